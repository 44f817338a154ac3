//! A writer: a lease, what it knows to be stored, and what it adds.

use bytes::Bytes;

use crate::blob::BlobKind;
use crate::compress::Scratch;
use crate::error::{CommitError, ReadError, WriteError};
use crate::fine::FineHashes;
use crate::id::{BlobId, LeaseId, SnapshotId};
use crate::snapshot::{SnapshotDraft, SnapshotRecord};

/// Bounds of one writer.
#[derive(Debug, Clone, Copy)]
pub struct WriterOptions {
    /// Data packs held at once, the open one included: each is up to 32 MiB of memory.
    pub data_packs: usize,
    /// zstd level for data.
    pub compression_level: i32,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { data_packs: 2, compression_level: 3 }
    }
}

/// What `add` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Added {
    /// Bytes this blob takes in its pack; 0 if it was there.
    pub stored_bytes: u32,
    /// False if it was known already.
    pub was_new: bool,
}

/// Writes one snapshot. Clones share the lease; sync methods are for plain threads (never an async task: they may block),
/// async ones for tasks.
#[derive(Clone, Debug)]
pub struct Writer {}

impl Writer {
    /// Its lease; after a fence, another.
    pub fn lease(&self) -> LeaseId {
        unimplemented!()
    }

    /// The id of these bytes.
    pub fn blob_id(&self, _kind: BlobKind, _raw: &[u8]) -> BlobId {
        unimplemented!()
    }

    /// The fine hashes of a blob: from the same buffer as its id.
    pub fn fine_hashes(&self, _raw: &[u8]) -> FineHashes {
        unimplemented!()
    }

    /// Its raw length, if it is stored and may be used again (not condemned, doomed or bad), or was added by this writer.
    pub fn known(&self, _id: &BlobId) -> Option<u32> {
        unimplemented!()
    }

    /// The fine hashes stored with a blob, if there are any.
    pub async fn stored_fine_hashes(&self, _id: &BlobId) -> Result<Option<FineHashes>, ReadError> {
        unimplemented!()
    }

    /// Compresses, seals and packs a blob, unless it is known. `id` must be `blob_id(kind, raw)`. Blocks while uploads are behind:
    /// for plain threads.
    pub fn add(&self, _kind: BlobKind, _id: BlobId, _raw: &[u8], _fine: Option<FineHashes>, _scratch: &mut Scratch) -> Result<Added, WriteError> {
        unimplemented!()
    }

    /// The same from an async task; compresses on the calling thread.
    pub async fn add_async(
        &self,
        _kind: BlobKind,
        _id: BlobId,
        _raw: &[u8],
        _fine: Option<FineHashes>,
        _scratch: &mut Scratch,
    ) -> Result<Added, WriteError> {
        unimplemented!()
    }

    /// A snapshot, read after this writer's lease: a parent that is gone or damaged gives an error, and there is no parent then.
    pub async fn snapshot(&self, _id: &SnapshotId) -> Result<SnapshotRecord, ReadError> {
        unimplemented!()
    }

    /// Everything accepted, read after this writer's lease: to find a parent in.
    pub async fn snapshots(&self) -> Result<crate::repository::Snapshots, ReadError> {
        unimplemented!()
    }

    /// A stored blob (not one that is still on its way up), its id verified.
    pub async fn read_blob(&self, _kind: BlobKind, _id: &BlobId) -> Result<Bytes, ReadError> {
        unimplemented!()
    }

    /// Everything added so far is uploaded and indexed when this returns: an interrupted backup resumes from here.
    pub async fn checkpoint(&self) -> Result<(), WriteError> {
        unimplemented!()
    }

    /// Bytes handed to the store so far.
    pub fn stored_bytes(&self) -> u64 {
        unimplemented!()
    }

    /// Commits. `refs()` gives every blob that the snapshot needs (data, bundles, catalog segments, extent lists; not fine hashes
    /// and not refs), strictly sorted, with how many of its raw bytes are used; it is called again after a fence.
    /// On `CommitError::Gone` the writer lives on: add what is missing and commit again.
    pub async fn commit<I, F>(&self, _draft: SnapshotDraft, _refs: F) -> Result<SnapshotId, CommitError>
    where
        F: Fn() -> I + Send,
        I: Iterator<Item = (BlobId, u64)> + Send,
    {
        unimplemented!()
    }

    /// Ends without a snapshot: what is uploaded and indexed stays for the next backup to find until a prune.
    pub async fn abandon(&self) -> Result<(), WriteError> {
        unimplemented!()
    }
}
