//! The index: blob -> pack, offset, length. All of it in memory, 32 bytes for a blob, within a budget.

use holdfast_repository::{BLOB_RAW_BYTES_MAX, BlobId};
use serde::Deserialize;

use crate::cipher::OVERHEAD_BYTES;
use crate::id::{BlobDigits, PackId};

/// An index object inflated: restic begins another one long before.
pub(crate) const OBJECT_RAW_BYTES_MAX: usize = 32 << 20;
/// A list of a directory's entries. Longer ones have some hundred thousand of them.
pub(crate) const TREE_BYTES_MAX: usize = 256 << 20;

/// As JSON has it.
#[derive(Deserialize)]
pub(crate) struct IndexObject {
    packs: Vec<PackBlobs>,
}

#[derive(Deserialize)]
struct PackBlobs {
    id: PackId,
    blobs: Vec<StoredBlob>,
}

#[derive(Deserialize)]
struct StoredBlob {
    id: BlobDigits,
    #[serde(rename = "type")]
    kind: Kind,
    offset: u32,
    length: u32,
    #[serde(default)]
    uncompressed_length: u32,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Data,
    Tree,
}

impl IndexObject {
    pub(crate) fn parse(raw: &[u8]) -> Result<Self, &'static str> {
        serde_json::from_slice(raw).map_err(|_| "it is no index")
    }
}

/// Where a copy of a blob is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) pack: u32,
    pub(crate) offset: u32,
    /// Sealed.
    pub(crate) stored_bytes: u32,
    raw: Raw,
}

/// How long a blob is, and whether it is compressed, which lengths do not tell: there are some that came out as long as they went in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Raw(u32);

impl Raw {
    const COMPRESSED: u32 = 1 << 31;

    /// Of less than 2 GiB.
    fn new(bytes: u32, is_compressed: bool) -> Self {
        Self(bytes & !Self::COMPRESSED | if is_compressed { Self::COMPRESSED } else { 0 })
    }
}

impl Place {
    pub(crate) fn new(pack: u32, offset: u32, stored_bytes: u32, raw_bytes: u32, is_compressed: bool) -> Self {
        Self { pack, offset, stored_bytes, raw: Raw::new(raw_bytes, is_compressed) }
    }

    pub(crate) fn raw_bytes(&self) -> u32 {
        self.raw.0 & !Raw::COMPRESSED
    }

    pub(crate) fn is_compressed(&self) -> bool {
        self.raw.0 & Raw::COMPRESSED != 0
    }

    pub(crate) fn range(&self) -> std::ops::Range<u64> {
        u64::from(self.offset)..u64::from(self.offset) + u64::from(self.stored_bytes)
    }
}

/// Half an id finds a blob; what is read is held against all of it.
#[derive(Clone, Copy)]
struct Entry {
    half: u128,
    place: Place,
}

/// More blobs than the budget holds.
#[derive(Debug)]
pub(crate) struct TooMany;

#[derive(Default)]
pub(crate) struct Index {
    packs: Vec<PackId>,
    entries: Vec<Entry>,
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Index({} blobs)", self.entries.len())
    }
}

impl Index {
    /// How many blobs so much memory holds.
    pub(crate) fn blobs_max(memory_bytes: usize) -> usize {
        memory_bytes / size_of::<Entry>()
    }

    pub(crate) fn add(&mut self, object: IndexObject, blobs_max: usize) -> Result<(), TooMany> {
        for pack in object.packs {
            let number = u32::try_from(self.packs.len()).map_err(|_| TooMany)?;
            let places = pack.blobs.iter().filter_map(|blob| Some(Entry { half: half(&blob.id.0), place: place(blob, number)? }));
            self.entries.extend(places);
            self.packs.push(pack.id);
            if self.entries.len() > blobs_max || self.packs.len() > blobs_max {
                return Err(TooMany);
            }
        }
        Ok(())
    }

    pub(crate) fn sort(&mut self) {
        self.entries.sort_unstable_by_key(|entry| entry.half);
        self.entries.shrink_to_fit();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What it takes of the memory.
    pub(crate) fn bytes(&self) -> usize {
        self.entries.len() * size_of::<Entry>() + self.packs.len() * size_of::<PackId>()
    }

    /// All copies of a blob.
    pub(crate) fn find(&self, id: &BlobId) -> impl Iterator<Item = Place> + '_ {
        let half = half(id);
        let first = self.entries.partition_point(|entry| entry.half < half);
        self.entries[first..].iter().take_while(move |entry| entry.half == half).map(|entry| entry.place)
    }

    /// The copy that a restore begins with; none if no part of a file may be so long.
    pub(crate) fn find_content(&self, id: &BlobId) -> Option<Place> {
        self.find(id).find(|place| place.raw_bytes() as usize <= BLOB_RAW_BYTES_MAX)
    }

    pub(crate) fn pack(&self, number: u32) -> Option<&PackId> {
        self.packs.get(number as usize)
    }
}

fn half(id: &BlobId) -> u128 {
    let mut half = [0; 16];
    half.copy_from_slice(&id.0[..16]);
    u128::from_be_bytes(half)
}

/// None of what could not be read: that counts as missing, wherever it is asked for.
fn place(blob: &StoredBlob, pack: u32) -> Option<Place> {
    let content_bytes = blob.length.checked_sub(OVERHEAD_BYTES as u32)?;
    let is_compressed = blob.uncompressed_length > 0;
    let raw_bytes = if is_compressed { blob.uncompressed_length } else { content_bytes };
    let bytes_max = if blob.kind == Kind::Data { BLOB_RAW_BYTES_MAX } else { TREE_BYTES_MAX };
    // zstd makes nothing longer by more than a little.
    let fits = raw_bytes as usize <= bytes_max && content_bytes as usize <= bytes_max + bytes_max / 64;
    (fits && blob.offset.checked_add(blob.length).is_some()).then_some(Place::new(pack, blob.offset, blob.length, raw_bytes, is_compressed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(blobs: &str) -> IndexObject {
        IndexObject::parse(format!(r#"{{"supersedes":["x"],"packs":[{{"id":"{}","blobs":[{blobs}]}}]}}"#, "ab".repeat(32)).as_bytes()).unwrap_or(IndexObject { packs: Vec::new() })
    }

    fn blob(id: u8, kind: &str, numbers: &str) -> String {
        format!(r#"{{"id":"{}","type":"{kind}",{numbers}}}"#, BlobId([id; 32]))
    }

    #[test]
    fn blobs_are_found_and_what_cannot_be_is_not_listed() {
        let mut index = Index::default();
        let good = [blob(2, "data", r#""offset":0,"length":132"#), blob(1, "tree", r#""offset":132,"length":100,"uncompressed_length":500"#), blob(9, "data", r#""offset":232,"length":132,"uncompressed_length":100"#)].join(",");
        index.add(object(&good), 100).unwrap();
        let bad = [
            blob(3, "data", r#""offset":0,"length":31"#),
            blob(4, "data", r#""offset":0,"length":100,"uncompressed_length":4294967295"#),
            blob(5, "data", r#""offset":4294967295,"length":100"#),
            blob(6, "tree", r#""offset":0,"length":4294967295"#),
        ];
        index.add(object(&bad.join(",")), 100).unwrap();
        index.sort();
        let found = |id: u8| index.find(&BlobId([id; 32])).collect::<Vec<_>>();
        assert_eq!(found(2), [Place::new(0, 0, 132, 100, false)]);
        assert_eq!(found(1), [Place::new(0, 132, 100, 500, true)]);
        // Compressed, and no shorter for it.
        assert_eq!(found(9), [Place::new(0, 232, 132, 100, true)]);
        assert_eq!((found(9)[0].raw_bytes(), found(9)[0].is_compressed()), (100, true));
        assert!((3..7).all(|id| found(id).is_empty()));
        assert!(index.add(object(&good), 2).is_err(), "over the budget");
        for wrong in [blob(7, "other", r#""offset":0,"length":100"#), blob(7, "data", r#""offset":-1,"length":100"#), "7".to_owned()] {
            assert!(object(&wrong).packs.is_empty(), "{wrong}");
        }
    }
}
