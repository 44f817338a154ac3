//! What cached files are called.

use crate::blob::{BlobLocation, PackName};
use crate::id::{LeaseId, PackId};
use crate::index::RunName;

/// A folder of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CacheClass {
    Index,
    Snapshots,
    Blobs,
}

impl CacheClass {
    pub(crate) const ALL: [Self; 3] = [Self::Index, Self::Snapshots, Self::Blobs];

    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Snapshots => "snapshots",
            Self::Blobs => "blobs",
        }
    }
}

/// One cached thing. Its file's name is made of ids only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CacheName {
    class: CacheClass,
    file: String,
}

impl CacheName {
    /// Of a file that was found.
    pub(crate) fn new(class: CacheClass, file: &str) -> Self {
        Self { class, file: file.to_owned() }
    }

    pub(crate) fn run(name: &RunName) -> Self {
        Self { class: CacheClass::Index, file: format!("{}.{:08x}", name.lease, name.number) }
    }

    pub(crate) fn snapshot(lease: &LeaseId) -> Self {
        Self { class: CacheClass::Snapshots, file: lease.to_string() }
    }

    /// A blob of a metadata pack, as stored.
    pub(crate) fn blob(location: &BlobLocation) -> Self {
        let PackName { id, .. } = location.pack;
        Self { class: CacheClass::Blobs, file: format!("{id}.{:08x}", location.offset) }
    }

    /// The pack that a file of `CacheClass::Blobs` is of.
    pub(crate) fn pack_of(file: &str) -> Option<PackId> {
        file.split_once('.')?.0.parse().ok()
    }

    pub(super) fn class(&self) -> CacheClass {
        self.class
    }

    pub(super) fn file(&self) -> &str {
        &self.file
    }
}
