//! Where a restore has entries and content from: a snapshot of ours, or one that another tool has written. The planner believes
//! no entry, the writers no byte of either.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_repository::{BlobId, BlobKind, BlobLocation, Fetched as OwnFetched, PackName, ReadError, Reader, Scratch, SnapshotRecord};

use super::RestoreError;
use super::run::find_source;
use crate::catalog::{self, CatalogError, CatalogReader, Entry, Extent, ExtentStream, Gap, RelPath};

/// A snapshot, open.
#[async_trait]
pub trait Source: Send + Sync {
    /// What it holds at a path.
    async fn tree(&self, path: &[u8]) -> Result<Tree, RestoreError>;
    /// The content of its files.
    fn archive(&self) -> Arc<dyn Archive>;
}

/// The entries below one path of a snapshot.
pub struct Tree {
    /// They.
    pub entries: Box<dyn Entries>,
    /// The first of them is the root's own. Without, nothing but its name is known of the root.
    pub has_root: bool,
    /// Regular files; 0 if nobody knows.
    pub files: u64,
    /// Sum of their sizes; 0 if nobody knows.
    pub bytes: u64,
}

/// Entries in the order of path components, each behind the directory that it is in.
#[async_trait]
pub trait Entries: Send + Sync {
    /// The next; none at the end. An error is a store that does not answer, or a snapshot that is to be refused.
    async fn step(&mut self) -> Result<Option<Step>, CatalogError>;
    /// The entry at a path, wherever this stands.
    async fn entry_at(&self, path: &RelPath) -> Result<Option<Entry>, CatalogError>;
    /// The content of an entry that this gave; its own lists may be taken out of it.
    fn extents(&self, entry: &mut Entry) -> Box<dyn Extents>;
    /// Nothing below this directory, which it has just given, is wanted.
    fn pass_over(&mut self, _directory: &RelPath) {}
}

/// The content of one file, in order.
#[async_trait]
pub trait Extents: Send {
    /// The next; none at the end.
    async fn next(&mut self) -> Result<Option<Extent>, CatalogError>;
}

/// What entries come to.
pub enum Step {
    /// An entry.
    Entry(Entry),
    /// A file of which the content cannot be had, and why.
    Lost(Entry, String),
    /// What is (or is below) this path cannot be had, and why.
    Missing(RelPath, String),
    /// Entries that are lost, names and all.
    Gap(Gap),
}

/// Content by blobs.
#[async_trait]
pub trait Archive: Send + Sync {
    /// Where a blob is; none: nowhere.
    fn locate(&self, id: &BlobId) -> Option<Location>;
    /// Whether these bytes are the blob.
    fn is_blob(&self, id: &BlobId, location: &Location, raw: &[u8]) -> bool;
    /// A range of a pack, as stored.
    async fn fetch(&self, pack: Pack, range: Range<u64>) -> Result<Fetched, ReadError>;
    /// What takes blobs out of it, one for each thread.
    fn decoder(&self) -> Box<dyn Decoder>;
    /// A blob by itself, from any copy.
    async fn read_blob(&self, id: &BlobId) -> Result<Bytes, ReadError>;
    /// Parts of the index that cannot be read: what they list counts as missing.
    fn unreadable_runs(&self) -> Vec<String>;
}

/// Opens blobs, with memory of its own.
pub trait Decoder {
    /// One blob of a fetched range, verified.
    fn decode(&mut self, fetched: &Fetched, id: &BlobId, location: &Location) -> Result<&[u8], ReadError>;
}

/// Names a pack within its archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pack {
    /// One of ours.
    Own(PackName),
    /// As another archive numbers them.
    Number(u32),
}

/// Where a blob is.
#[derive(Clone, Copy, Debug)]
pub enum Location {
    /// In a pack of ours.
    Own(BlobLocation),
    /// In one of another archive.
    Other {
        /// The pack's number.
        pack: u32,
        /// From where.
        offset: u32,
        /// How much there.
        stored_bytes: u32,
        /// How much it is.
        raw_bytes: u32,
        /// Whether it is to be inflated.
        is_compressed: bool,
    },
}

impl Location {
    /// In which pack.
    pub fn pack(&self) -> Pack {
        match self {
            Self::Own(location) => Pack::Own(location.pack),
            Self::Other { pack, .. } => Pack::Number(*pack),
        }
    }

    /// The blob's bytes in the pack.
    pub fn range(&self) -> Range<u64> {
        match self {
            Self::Own(location) => location.range(),
            Self::Other { offset, stored_bytes, .. } => u64::from(*offset)..u64::from(*offset) + u64::from(*stored_bytes),
        }
    }

    /// How many those are.
    pub fn stored_bytes(&self) -> u32 {
        match self {
            Self::Own(BlobLocation { stored_bytes, .. }) | Self::Other { stored_bytes, .. } => *stored_bytes,
        }
    }

    /// How much the blob is.
    pub fn raw_bytes(&self) -> u32 {
        match self {
            Self::Own(BlobLocation { raw_bytes, .. }) | Self::Other { raw_bytes, .. } => *raw_bytes,
        }
    }
}

/// A range of a pack, as stored.
#[derive(Clone, Debug)]
pub enum Fetched {
    /// Of one of ours.
    Own(OwnFetched),
    /// Of another archive's.
    Other {
        /// The pack's number.
        pack: u32,
        /// Where in it the range begins.
        offset: u64,
        /// The range.
        bytes: Bytes,
    },
}

/// A snapshot of ours.
pub(super) struct Own {
    pub(super) reader: Reader,
    pub(super) record: SnapshotRecord,
}

#[async_trait]
impl Source for Own {
    async fn tree(&self, path: &[u8]) -> Result<Tree, RestoreError> {
        let source = find_source(&self.record, path)?;
        let source_path = || String::from_utf8_lossy(&source.path).into_owned();
        let Some(root) = source.catalog else {
            return Err(RestoreError::BadCatalog { source_path: source_path(), path: ".".into(), reason: "nothing of it was backed up" });
        };
        let catalog = CatalogReader::new(Arc::new(self.reader.clone()), root);
        let entries = Box::new(OwnEntries { reader: self.reader.clone(), root, catalog });
        Ok(Tree { entries, has_root: true, files: source.statistics.files, bytes: source.statistics.bytes })
    }

    fn archive(&self) -> Arc<dyn Archive> {
        Arc::new(self.reader.clone())
    }
}

struct OwnEntries {
    reader: Reader,
    root: BlobId,
    catalog: CatalogReader,
}

#[async_trait]
impl Entries for OwnEntries {
    async fn step(&mut self) -> Result<Option<Step>, CatalogError> {
        Ok(self.catalog.step().await?.map(|step| match step {
            catalog::Step::Entry(entry) => Step::Entry(entry),
            catalog::Step::Gap(gap) => Step::Gap(gap),
        }))
    }

    async fn entry_at(&self, path: &RelPath) -> Result<Option<Entry>, CatalogError> {
        let mut catalog = CatalogReader::new(Arc::new(self.reader.clone()), self.root);
        catalog.seek(path).await?;
        Ok(catalog.next().await?.filter(|entry| entry.path == *path))
    }

    fn extents(&self, entry: &mut Entry) -> Box<dyn Extents> {
        Box::new(self.catalog.extents(entry))
    }
}

#[async_trait]
impl Extents for ExtentStream {
    async fn next(&mut self) -> Result<Option<Extent>, CatalogError> {
        Self::next(self).await
    }
}

#[async_trait]
impl Archive for Reader {
    fn locate(&self, id: &BlobId) -> Option<Location> {
        Self::locate(self, id).map(Location::Own)
    }

    fn is_blob(&self, id: &BlobId, location: &Location, raw: &[u8]) -> bool {
        matches!(location, Location::Own(location) if Self::is_blob(self, id, location, raw))
    }

    async fn fetch(&self, pack: Pack, range: Range<u64>) -> Result<Fetched, ReadError> {
        match pack {
            Pack::Own(pack) => Self::fetch(self, pack, range).await.map(Fetched::Own),
            Pack::Number(number) => Err(ReadError::NotFound { what: format!("pack {number} of another archive") }),
        }
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(OwnDecoder { reader: self.clone(), scratch: Scratch::new() })
    }

    /// An extent does not say of which kind its blob is; the id fits only one.
    async fn read_blob(&self, id: &BlobId) -> Result<Bytes, ReadError> {
        match Self::read_blob(self, BlobKind::Data, id).await {
            Err(error) if error.is_damage() => Self::read_blob(self, BlobKind::Bundle, id).await,
            read => read,
        }
    }

    fn unreadable_runs(&self) -> Vec<String> {
        Self::unreadable_runs(self)
    }
}

struct OwnDecoder {
    reader: Reader,
    scratch: Scratch,
}

impl Decoder for OwnDecoder {
    fn decode(&mut self, fetched: &Fetched, id: &BlobId, location: &Location) -> Result<&[u8], ReadError> {
        match (fetched, location) {
            (Fetched::Own(fetched), Location::Own(location)) => self.reader.decode(fetched, id, location, &mut self.scratch),
            _ => Err(ReadError::NotFound { what: format!("blob {id} in a pack of another archive") }),
        }
    }
}
