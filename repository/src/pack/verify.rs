//! A pack verified byte by byte, in parts that are fetched and verified apart: whole blobs, and the padding behind them.

use std::ops::Range;

use super::trailer::{read_trailer, tail_bytes};
use super::{FOOTER_BYTES, HEADER_BYTES, PADDING_KIND, PackEntry, PackInfo, blob_aad, header, open_blob};
use crate::blob::{Encoding, PackName};
use crate::compress::Scratch;
use crate::crypto::{Keys, TAG_BYTES};
use crate::error::ReadError;
use crate::id::BlobId;

/// What a pack's own trailer says of it.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) info: PackInfo,
    pub(crate) entries: Vec<PackEntry>,
    padding: Range<u64>,
}

/// A piece that is verified by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The bytes it needs.
    pub(crate) range: Range<u64>,
    entries: Range<usize>,
    padding: bool,
}

impl Layout {
    /// From the last bytes of a pack whose salt is known from the index: what stands in the header is compared by the part that
    /// has it. `Err(Ok(n))`: the last `n` bytes are needed.
    pub(crate) fn read(keys: &Keys, known: &PackInfo, tail: &[u8]) -> Result<Self, Result<usize, ReadError>> {
        let header = header(known.name.class, &known.salt);
        Self::read_with(keys, &known.name, known.object_bytes, &header, tail)
    }

    fn read_with(keys: &Keys, name: &PackName, object_bytes: u64, header: &[u8], tail: &[u8]) -> Result<Self, Result<usize, ReadError>> {
        let (info, entries) = read_trailer(keys, name, object_bytes, header, tail)?;
        let footer_at = tail.len().checked_sub(FOOTER_BYTES).ok_or(Ok(FOOTER_BYTES))?;
        let trailer = tail_bytes(name, &tail[footer_at..], object_bytes).map_err(Err)?;
        let from = entries.last().map_or(HEADER_BYTES as u64, |last| u64::from(last.offset) + u64::from(last.stored_bytes));
        Ok(Self { info, entries, padding: from..object_bytes - trailer as u64 })
    }

    /// Parts of about `part_bytes` that cover every byte; the last is what of the pack's end at `tail_from` is there already.
    pub(crate) fn parts(&self, tail_from: u64, part_bytes: u64) -> Vec<Part> {
        let in_tail = self.entries.partition_point(|entry| u64::from(entry.offset) < tail_from);
        // A tail that is the whole pack has the header too.
        let in_tail = if tail_from == 0 { 0 } else { in_tail };
        let mut parts = Vec::new();
        let mut part = Part { range: 0..HEADER_BYTES as u64, entries: 0..0, padding: false };
        for (number, entry) in self.entries[..in_tail].iter().enumerate() {
            if part.range.end - part.range.start >= part_bytes {
                let next = Part { range: part.range.end..part.range.end, entries: number..number, padding: false };
                parts.push(std::mem::replace(&mut part, next));
            }
            part.range.end = u64::from(entry.offset) + u64::from(entry.stored_bytes);
            part.entries.end = number + 1;
        }
        if tail_from > 0 {
            parts.push(part);
        }
        // Padding is little: written by us it is in the tail.
        let padding_in_tail = self.padding.start >= tail_from;
        if !padding_in_tail {
            parts.push(Part { range: self.padding.clone(), entries: 0..0, padding: true });
        }
        parts.push(Part { range: tail_from..self.info.object_bytes, entries: in_tail..self.entries.len(), padding: padding_in_tail });
        parts
    }

    /// The blobs of a part that are not what they should be. An error is about the pack itself.
    pub(crate) fn verify(&self, keys: &Keys, part: &Part, bytes: &[u8], scratch: &mut Scratch) -> Result<Vec<(BlobId, ReadError)>, ReadError> {
        let damaged = |reason: &str| ReadError::damaged(self.info.name.to_string(), reason);
        let within = |range: Range<u64>| {
            let from = usize::try_from(range.start.checked_sub(part.range.start)?).ok()?;
            let to = usize::try_from(range.end.checked_sub(part.range.start)?).ok()?;
            bytes.get(from..to)
        };
        if part.range.start == 0 && within(0..HEADER_BYTES as u64) != Some(header(self.info.name.class, &self.info.salt).as_slice()) {
            return Err(damaged("its header is not the one that the index names"));
        }
        let mut rotten = Vec::new();
        for entry in &self.entries[part.entries.clone()] {
            let location = entry.location(self.info.name);
            let sealed = within(location.range()).ok_or_else(|| damaged("cut short"))?;
            if let Err(error) = open_blob(keys, &self.info.salt, &entry.id, &location, sealed, scratch) {
                rotten.push((entry.id, error));
            }
        }
        if part.padding {
            let sealed = within(self.padding.clone()).ok_or_else(|| damaged("cut short"))?;
            self.verify_padding(keys, sealed, scratch).ok_or_else(|| damaged("its padding is not what was written"))?;
        }
        Ok(rotten)
    }

    fn verify_padding(&self, keys: &Keys, sealed: &[u8], scratch: &mut Scratch) -> Option<()> {
        let raw_bytes = u32::try_from(sealed.len().checked_sub(TAG_BYTES)?).ok()?;
        let aad = blob_aad(&self.info.name, PADDING_KIND, Encoding::Raw, raw_bytes, &BlobId([0; 32]));
        let cipher = keys.pack(self.info.name.class, &self.info.salt).ok()?;
        cipher.open(self.padding.start, &aad, sealed, &mut scratch.opened).ok()?;
        scratch.opened.iter().all(|&byte| byte == 0).then_some(())
    }
}

/// Every byte of a whole pack: header, each blob by its id, padding, trailer. Calls `bad` for each blob that is not what it should be.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn verify_whole(
    keys: &Keys,
    name: &PackName,
    object: &[u8],
    scratch: &mut Scratch,
    mut bad: impl FnMut(BlobId, ReadError),
) -> Result<Vec<PackEntry>, ReadError> {
    let cut = || ReadError::damaged(name.to_string(), "cut short");
    let layout = Layout::read_with(keys, name, object.len() as u64, object, object).map_err(|error| error.err().unwrap_or_else(cut))?;
    for part in layout.parts(0, u64::MAX) {
        layout.verify(keys, &part, object, scratch)?.into_iter().for_each(|(id, error)| bad(id, error));
    }
    Ok(layout.entries)
}
