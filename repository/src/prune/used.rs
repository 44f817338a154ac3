//! Which blobs the snapshots use: noted in any order and more than once, asked for in the order of the index.
//!
//! An index that is in memory has a bit for each of its entries here: nothing beside it grows with the repository. What is noted beside
//! an index that is on disk is sorted there.

use super::PruneError;
use crate::id::BlobId;
use crate::index::Index;
use crate::spill::{Sorted, Sorter, Spill};

/// One bit for each place of an index.
#[derive(Debug, Default)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    pub(super) fn set(&mut self, place: usize) {
        if self.0.len() <= place / 64 {
            self.0.resize(place / 64 + 1, 0);
        }
        self.0[place / 64] |= 1 << (place % 64);
    }

    pub(super) fn has(&self, place: usize) -> bool {
        self.0.get(place / 64).is_some_and(|bits| bits >> (place % 64) & 1 == 1)
    }
}

/// While it is noted.
pub(super) struct Used<'i> {
    index: &'i Index,
    noted: Noted,
}

enum Noted {
    /// At the first copy of each blob; and the first blob in order that the index does not have.
    Places(Bits, Option<BlobId>),
    Sorter(Sorter),
}

impl<'i> Used<'i> {
    pub(super) fn of(index: &'i Index, spill: &Spill, memory_bytes: usize) -> Self {
        let noted = if index.is_resident() { Noted::Places(Bits::default(), None) } else { Noted::Sorter(spill.sorter(memory_bytes)) };
        Self { index, noted }
    }

    pub(super) fn note(&mut self, id: &BlobId) -> Result<(), PruneError> {
        match &mut self.noted {
            Noted::Places(bits, unlisted) => match self.index.place(id) {
                Some(place) => bits.set(place),
                None => *unlisted = unlisted.map_or(Some(*id), |first| Some(first.min(*id))),
            },
            Noted::Sorter(sorter) => sorter.push(&id.0, &[])?,
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<InOrder<'i>, PruneError> {
        let noted = match self.noted {
            Noted::Places(bits, unlisted) => Ordered::Places(bits, unlisted),
            Noted::Sorter(sorter) => {
                let mut sorted = sorter.finish()?;
                let next = next_id(&mut sorted, None)?;
                Ordered::Sorted(sorted, next)
            }
        };
        Ok(InOrder { index: self.index, noted })
    }
}

/// When all is noted.
pub(super) struct InOrder<'i> {
    index: &'i Index,
    noted: Ordered,
}

enum Ordered {
    Places(Bits, Option<BlobId>),
    /// And the first that was not asked for yet.
    Sorted(Sorted, Option<BlobId>),
}

impl InOrder<'_> {
    /// Whether this blob is used. To be asked for each that the index has, in order, with the place of its first copy. A used blob that is
    /// skipped is one that no run lists.
    pub(super) fn has(&mut self, id: &BlobId, place: usize) -> Result<bool, PruneError> {
        match &mut self.noted {
            Ordered::Places(bits, _) => Ok(bits.has(place)),
            Ordered::Sorted(sorted, next) => match *next {
                Some(blob) if blob < *id => Err(unlisted(self.index, blob)),
                Some(blob) if blob == *id => {
                    *next = next_id(sorted, Some(blob))?;
                    Ok(true)
                }
                _ => Ok(false),
            },
        }
    }

    /// After the last one.
    pub(super) fn end(self) -> Result<(), PruneError> {
        let (Ordered::Places(_, left) | Ordered::Sorted(_, left)) = self.noted;
        left.map_or(Ok(()), |blob| Err(unlisted(self.index, blob)))
    }
}

/// The next id above `last`.
fn next_id(sorted: &mut Sorted, last: Option<BlobId>) -> Result<Option<BlobId>, PruneError> {
    while let Some((key, _)) = sorted.next()? {
        let id = <[u8; 32]>::try_from(key).map(BlobId).ok();
        if id.is_some() && id != last {
            return Ok(id);
        }
    }
    Ok(None)
}

fn unlisted(index: &Index, blob: BlobId) -> PruneError {
    index.intact().map_or_else(PruneError::from, |()| PruneError::Unlisted { blob })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::{BlobKind, Encoding, PackClass, PackName};
    use crate::environment::Environment;
    use crate::id::PackId;
    use crate::index::{IndexBuilder, Run, RunEntry};
    use crate::pack::{PackEntry, PackInfo};
    use crate::state::State;

    fn id(number: u8) -> BlobId {
        BlobId([number; 32])
    }

    /// In memory, and on disk.
    fn indexes(directory: &tempfile::TempDir, blobs: &[u8]) -> [(Index, Spill); 2] {
        let name = PackName { class: PackClass::Data, id: PackId([1; 16]) };
        let pack = |number: &u8| {
            let blob = PackEntry { id: id(*number), kind: BlobKind::Data, encoding: Encoding::Raw, offset: 44, stored_bytes: 100, raw_bytes: 84 };
            RunEntry { blob, pack: 0, fine: None }
        };
        let packs = vec![PackInfo { name, object_bytes: 100_000, salt: [1; 32] }];
        let run = Run { packs, entries: blobs.iter().map(pack).collect(), ..Run::default() };
        let folder = std::fs::File::open(directory.path()).expect("folder").into();
        let spill = Spill::new(Environment::system(), folder, 1 << 20);
        [usize::MAX, 0].map(|resident_max| {
            let state = State::default();
            let mut builder = IndexBuilder::new(&state, spill.clone());
            builder.resident_max = resident_max;
            builder.push(&run).expect("push");
            (builder.finish().expect("index"), spill.clone())
        })
    }

    fn asked(index: &Index, spill: &Spill, used: &[u8]) -> Result<Vec<u8>, PruneError> {
        let mut noted = Used::of(index, spill, 1 << 20);
        used.iter().try_for_each(|number| noted.note(&id(*number)))?;
        let mut ordered = noted.finish()?;
        let mut found = Vec::new();
        for (place, (id, _)) in index.all().enumerate() {
            if ordered.has(&id, place)? {
                found.push(id.0[0]);
            }
        }
        ordered.end().map(|()| found)
    }

    #[test]
    fn in_memory_and_on_disk_it_is_the_same() {
        let directory = tempfile::TempDir::new().expect("folder");
        let indexes = indexes(&directory, &[2, 5, 9]);
        assert!(indexes[0].0.is_resident() && !indexes[1].0.is_resident());
        for (index, spill) in &indexes {
            assert_eq!(asked(index, spill, &[9, 2, 9]).expect("all listed"), [2, 9]);
            assert_eq!(asked(index, spill, &[]).expect("none"), [0; 0]);
            for (used, missing) in [(&[2, 3, 9][..], 3), (&[9, 1, 8], 1), (&[10], 10)] {
                let told = asked(index, spill, used);
                assert!(matches!(told, Err(PruneError::Unlisted { blob }) if blob == id(missing)), "{used:?}: {told:?}");
            }
        }
    }
}
