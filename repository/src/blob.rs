//! Blobs: the unit of deduplication, and what kinds there are.

use crate::id::PackId;

/// No blob is larger before compression.
pub const BLOB_RAW_BYTES_MAX: usize = 16 << 20;
/// Fine hashes cover steps of this length from a blob's start.
pub const FINE_STEP_BYTES: usize = 16 << 10;

/// What a blob holds. Ids of different kinds never meet: each kind hashes under its own key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum BlobKind {
    /// A part of a large file.
    Data = 1,
    /// Small files, one after the other.
    Bundle = 2,
    /// A segment of a catalog.
    Catalog = 3,
    /// The extents of a giant file.
    ExtentList = 4,
    /// Fine hashes of data blobs.
    FineHashes = 5,
    /// What a snapshot uses.
    Refs = 6,
}

impl BlobKind {
    pub(crate) const ALL: [Self; 6] = [Self::Data, Self::Bundle, Self::Catalog, Self::ExtentList, Self::FineHashes, Self::Refs];

    pub(crate) fn from_u8(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == value)
    }

    /// Where it goes.
    pub fn class(self) -> PackClass {
        match self {
            Self::Data | Self::Bundle => PackClass::Data,
            Self::Catalog | Self::ExtentList | Self::FineHashes | Self::Refs => PackClass::Meta,
        }
    }
}

/// Data apart from metadata: other keys, and data may go to a colder tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum PackClass {
    /// File contents.
    Data = 1,
    /// Catalogs, extent lists, fine hashes, refs.
    Meta = 2,
}

impl PackClass {
    pub(crate) fn from_u8(value: u8) -> Option<Self> {
        [Self::Data, Self::Meta].into_iter().find(|class| *class as u8 == value)
    }

    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Data => "packs/data",
            Self::Meta => "packs/meta",
        }
    }
}

/// A pack's whole name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackName {
    /// Data or metadata.
    pub class: PackClass,
    /// Its id.
    pub id: PackId,
}

impl std::fmt::Display for PackName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = self.id.to_string();
        write!(f, "{}/{}/{id}", self.class.folder(), &id[..2])
    }
}

/// How a blob's bytes stand in its pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Encoding {
    Raw = 0,
    Zstd = 1,
}

impl Encoding {
    pub(crate) fn from_u8(value: u8) -> Option<Self> {
        [Self::Raw, Self::Zstd].into_iter().find(|encoding| *encoding as u8 == value)
    }
}

/// Where a blob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobLocation {
    /// In which pack.
    pub pack: PackName,
    /// From where.
    pub offset: u32,
    /// How much there: sealed, tag included.
    pub stored_bytes: u32,
    /// How much it is.
    pub raw_bytes: u32,
    pub(crate) kind: BlobKind,
    pub(crate) encoding: Encoding,
}

impl BlobLocation {
    /// The blob's bytes in the pack.
    pub fn range(&self) -> std::ops::Range<u64> {
        let start = u64::from(self.offset);
        start..start + u64::from(self.stored_bytes)
    }
}

/// How the mover cuts; part of the format, so that equal data gives equal blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkerParameters {
    /// Seed of the keyed gear table: derived from the master key, so cut points tell an outsider nothing.
    pub gear_seed: u64,
    /// Least chunk of a large file.
    pub min_bytes: u32,
    /// Average chunk.
    pub avg_bytes: u32,
    /// Largest chunk.
    pub max_bytes: u32,
    /// About how long a bundle is.
    pub bundle_bytes: u32,
    /// Files below this go into bundles.
    pub small_file_bytes: u32,
    /// Step of the fine hashes.
    pub fine_step_bytes: u32,
}
