//! Refs: every blob that a snapshot needs, with how much of it. What prune marks by, without reading a catalog.
//!
//! Sorted by id and cut into segments where the ids themselves say so, so that snapshots which share blobs share segments.

use crate::codec::{Decoder, Encoder, Malformed};
use crate::id::BlobId;

const SEGMENT: u8 = 1;
const ROOT: u8 = 2;
/// A segment ends behind an id whose last bits are zero: about every thousandth.
const CUT_MASK: u16 = 1023;
const SEGMENT_ENTRIES_MAX: usize = 8192;
const ENTRY_BYTES_MIN: usize = 32 + 1;
const ROOT_ENTRY_BYTES_MIN: usize = 32 + 32 + 1 + 1;

/// A blob and how many of its raw bytes are used.
pub(crate) type Ref = (BlobId, u64);

/// One segment of the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentRef {
    /// The first blob in it.
    pub(crate) first: BlobId,
    /// The segment itself.
    pub(crate) blob: BlobId,
    pub(crate) entries: u64,
    pub(crate) live_bytes: u64,
}

/// A segment while it fills.
#[derive(Debug, Default)]
pub(crate) struct Segment {
    entries: Vec<Ref>,
}

impl Segment {
    /// True if the segment ends here.
    pub(crate) fn push(&mut self, entry: Ref) -> bool {
        self.entries.push(entry);
        let low = u16::from_le_bytes([entry.0.0[31], entry.0.0[30]]);
        low & CUT_MASK == 0 || self.entries.len() == SEGMENT_ENTRIES_MAX
    }

    /// Its bytes, and what the root says of it, but for its id. `None` if it is empty.
    pub(crate) fn take(&mut self) -> Option<(Vec<u8>, SegmentRef)> {
        let entries = std::mem::take(&mut self.entries);
        let first = entries.first()?.0;
        let live_bytes = entries.iter().map(|(_, live)| live).sum();
        let mut encoder = Encoder::new();
        encoder.u8(SEGMENT);
        encoder.count(entries.len());
        for (id, live) in &entries {
            encoder.fixed(&id.0);
            encoder.varint(*live);
        }
        Some((encoder.finish(), SegmentRef { first, blob: BlobId([0; 32]), entries: entries.len() as u64, live_bytes }))
    }
}

pub(crate) fn encode_root(segments: &[SegmentRef]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.u8(ROOT);
    encoder.count(segments.len());
    for segment in segments {
        encoder.fixed(&segment.first.0);
        encoder.fixed(&segment.blob.0);
        encoder.varint(segment.entries);
        encoder.varint(segment.live_bytes);
    }
    encoder.finish()
}

pub(crate) fn decode_root(content: &[u8]) -> Result<Vec<SegmentRef>, Malformed> {
    let mut decoder = Decoder::new(content);
    if decoder.u8()? != ROOT {
        return Err(Malformed("not the root of refs"));
    }
    let count = decoder.count(ROOT_ENTRY_BYTES_MIN)?;
    let mut segments = Vec::with_capacity(count);
    for _ in 0..count {
        segments.push(SegmentRef {
            first: BlobId(decoder.fixed()?),
            blob: BlobId(decoder.fixed()?),
            entries: decoder.varint()?,
            live_bytes: decoder.varint()?,
        });
    }
    decoder.end()?;
    if segments.windows(2).any(|pair| pair[0].first >= pair[1].first) {
        return Err(Malformed("segments are not sorted"));
    }
    Ok(segments)
}

/// A segment must be what the root says of it.
pub(crate) fn decode_segment(content: &[u8], expected: &SegmentRef) -> Result<Vec<Ref>, Malformed> {
    let mut decoder = Decoder::new(content);
    if decoder.u8()? != SEGMENT {
        return Err(Malformed("not a segment of refs"));
    }
    let count = decoder.count(ENTRY_BYTES_MIN)?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push((BlobId(decoder.fixed()?), decoder.varint()?));
    }
    decoder.end()?;
    if entries.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        return Err(Malformed("refs are not sorted"));
    }
    if entries.len() as u64 != expected.entries || entries.first().map(|(id, _)| *id) != Some(expected.first) {
        return Err(Malformed("not the segment that the root names"));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn blob(number: u32) -> BlobId {
        BlobId(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    fn cut(refs: &[Ref]) -> Vec<(Vec<u8>, SegmentRef)> {
        let mut segments = Vec::new();
        let mut segment = Segment::default();
        for entry in refs {
            if segment.push(*entry) {
                segments.extend(segment.take());
            }
        }
        segments.extend(segment.take());
        segments
    }

    fn sorted(numbers: std::ops::Range<u32>) -> Vec<Ref> {
        let mut refs: Vec<_> = numbers.map(|number| (blob(number), u64::from(number))).collect();
        refs.sort_unstable();
        refs
    }

    #[test]
    fn refs_survive_their_segments() {
        let refs = sorted(0..50_000);
        let segments = cut(&refs);
        assert!((35..=65).contains(&segments.len()), "about a thousand each: {}", segments.len());
        let back: Vec<_> = segments.iter().flat_map(|(content, expected)| decode_segment(content, expected).expect("segment")).collect();
        assert_eq!(back, refs);
        let root: Vec<_> = segments.into_iter().map(|(_, segment)| segment).collect();
        assert_eq!(decode_root(&encode_root(&root)), Ok(root));
    }

    #[test]
    fn snapshots_that_share_blobs_share_segments() {
        let (old, new) = (cut(&sorted(0..50_000)), cut(&sorted(0..50_003)));
        let shared = new.iter().filter(|(content, _)| old.iter().any(|(other, _)| other == content)).count();
        assert!(new.len() - shared <= 4, "{} of {} are new", new.len() - shared, new.len());
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>) {
            let expected = SegmentRef { first: blob(0), blob: blob(1), entries: 1, live_bytes: 0 };
            let _ = decode_root(&bytes);
            let _ = decode_segment(&bytes, &expected);
        }
    }
}
