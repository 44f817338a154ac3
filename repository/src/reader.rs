//! A reader: a lease, the index, blobs.

use std::ops::Range;

use bytes::Bytes;

use crate::blob::{BlobKind, BlobLocation, PackName};
use crate::compress::Scratch;
use crate::error::ReadError;
use crate::fine::FineHashes;
use crate::id::{BlobId, SnapshotId};
use crate::repository::Snapshots;
use crate::snapshot::SnapshotRecord;

/// Reads under a lease, so that no prune takes away what it reads.
#[derive(Clone, Debug)]
pub struct Reader {}

/// A range of a pack, as stored: `Reader::decode` takes blobs out of it.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Which pack.
    pub pack: PackName,
    /// Where it begins there.
    pub offset: u64,
    /// The sealed bytes.
    pub bytes: Bytes,
}

impl Reader {
    /// An accepted snapshot, read after this reader's lease.
    pub async fn snapshot(&self, _id: &SnapshotId) -> Result<SnapshotRecord, ReadError> {
        unimplemented!()
    }

    /// Everything accepted.
    pub async fn snapshots(&self) -> Result<Snapshots, ReadError> {
        unimplemented!()
    }

    /// A blob, its id verified.
    pub async fn read_blob(&self, _kind: BlobKind, _id: &BlobId) -> Result<Bytes, ReadError> {
        unimplemented!()
    }

    /// Where a blob is.
    pub fn locate(&self, _id: &BlobId) -> Option<BlobLocation> {
        unimplemented!()
    }

    /// The fine hashes stored with a blob, if there are any.
    pub async fn stored_fine_hashes(&self, _id: &BlobId) -> Result<Option<FineHashes>, ReadError> {
        unimplemented!()
    }

    /// One request for many blobs: plan ranges by `locate`, at most 64 MiB each.
    pub async fn fetch(&self, _pack: PackName, _range: Range<u64>) -> Result<Fetched, ReadError> {
        unimplemented!()
    }

    /// Opens one blob of a fetched range on the calling thread, its id verified. The result stands in `scratch`.
    pub fn decode<'s>(&self, _fetched: &Fetched, _id: &BlobId, _location: &BlobLocation, _scratch: &'s mut Scratch) -> Result<&'s [u8], ReadError> {
        unimplemented!()
    }

    /// Ends the lease.
    pub async fn close(self) -> Result<(), ReadError> {
        unimplemented!()
    }
}
