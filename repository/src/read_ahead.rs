//! Ranges of metadata packs read ahead: a catalog's segments, an extent list's parts, lie behind each other as they were written.

use std::ops::Range;

use bytes::Bytes;

use crate::blob::{BlobLocation, PackName};

/// A first read of a place; what goes on behind it doubles that, up to the most.
const FIRST_BYTES: u64 = 64 << 10;
const BYTES_MAX: u64 = 1 << 20;
/// Ranges kept: a catalog and its extent lists.
const RANGES: usize = 2;
/// What is skipped and still counts as going on.
const GAP_BYTES: u64 = 256 << 10;

#[derive(Debug)]
struct Kept {
    pack: PackName,
    range: Range<u64>,
    bytes: Bytes,
}

/// The ranges read last, the newest at the end.
#[derive(Debug, Default)]
pub(crate) struct ReadAhead {
    kept: Vec<Kept>,
}

/// Where a blob is to be had.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ahead {
    /// Its sealed bytes.
    There(Bytes),
    /// By reading this; it begins with the blob, and may reach beyond the pack.
    Fetch(Range<u64>),
}

impl ReadAhead {
    pub(crate) fn find(&self, location: &BlobLocation) -> Ahead {
        let wanted = location.range();
        let of_pack = || self.kept.iter().filter(|kept| kept.pack == location.pack);
        if let Some(kept) = of_pack().find(|kept| kept.range.start <= wanted.start && wanted.end <= kept.range.end) {
            let from = (wanted.start - kept.range.start) as usize;
            return Ahead::There(kept.bytes.slice(from..from + location.stored_bytes as usize));
        }
        let goes_on = of_pack().find(|kept| kept.range.contains(&wanted.start) || (kept.range.end..=kept.range.end + GAP_BYTES).contains(&wanted.start));
        let bytes = goes_on.map_or(FIRST_BYTES, |kept| ((kept.range.end - kept.range.start) * 2).min(BYTES_MAX));
        Ahead::Fetch(wanted.start..wanted.end.max(wanted.start + bytes))
    }

    pub(crate) fn keep(&mut self, pack: PackName, range: Range<u64>, bytes: Bytes) {
        // What goes on takes the place of what it follows.
        self.kept.retain(|kept| kept.pack != pack);
        if self.kept.len() >= RANGES {
            self.kept.remove(0);
        }
        self.kept.push(Kept { pack, range, bytes });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::{BlobKind, Encoding, PackClass};
    use crate::id::PackId;

    fn at(pack: u8, offset: u32) -> BlobLocation {
        let pack = PackName { class: PackClass::Meta, id: PackId([pack; 16]) };
        BlobLocation { pack, offset, stored_bytes: 1000, raw_bytes: 984, kind: BlobKind::Catalog, encoding: Encoding::Raw }
    }

    /// Reads blobs as `Blobs` does; how many requests it took.
    fn requests(locations: impl Iterator<Item = BlobLocation>, pack_bytes: u64) -> usize {
        let content = Bytes::from((0..pack_bytes).map(|byte| (byte % 251) as u8).collect::<Vec<_>>());
        let (mut ahead, mut count) = (ReadAhead::default(), 0);
        for location in locations {
            let expected = content.slice(location.offset as usize..location.offset as usize + 1000);
            match ahead.find(&location) {
                Ahead::There(sealed) => assert_eq!(sealed, expected),
                Ahead::Fetch(range) => {
                    count += 1;
                    let range = range.start..range.end.min(pack_bytes);
                    assert_eq!(range.start, u64::from(location.offset));
                    ahead.keep(location.pack, range.clone(), content.slice(range.start as usize..range.end as usize));
                }
            }
        }
        count
    }

    #[test]
    fn what_lies_behind_each_other_is_read_in_few_requests() {
        let sequential = (0..4000).map(|number| at(1, 44 + number * 1000));
        assert!(requests(sequential, 4_001_000) <= 8);
        let far_apart = (0..20).map(|number| at(1, 44 + (20 - number) * 1_000_000));
        assert_eq!(requests(far_apart, 22_000_000), 20);
        let two_packs = (0..1000).flat_map(|number| [at(1, 44 + number * 1000), at(2, 44 + number * 1000)]);
        assert!(requests(two_packs, 1_001_044) <= 12);
    }
}
