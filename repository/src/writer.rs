//! A writer: a lease, what it knows to be stored, and what it adds.
//!
//! The order that keeps data safe: packs, then the runs that list them, then `snapshots/<lease>`; nothing names what is not stored.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::executor::block_on;

use crate::blob::{BLOB_RAW_BYTES_MAX, BlobKind};
use crate::blobs::{Bad, Blobs};
use crate::compress::Scratch;
use crate::core::Core;
use crate::error::{ReadError, WriteError};
use crate::fine::{self, FineHash, FineHashes};
use crate::id::{BlobId, LeaseId, SnapshotId};
use crate::index::RunName;
use crate::lease::{Lease, Purpose};
use crate::lock::locked;
use crate::snapshot::listing::{self, Snapshots};
use crate::snapshot::{Ending, EndingReason, SnapshotRecord};
use crate::view::{Looker, View};

mod commit;
mod fine_places;
mod presence;
mod refs;
mod runs;
pub(crate) mod uploads;

use fine_places::FinePlaces;
use runs::Runs;
use uploads::Uploads;

/// Bounds of one writer.
#[derive(Debug, Clone, Copy)]
pub struct WriterOptions {
    /// Memory of the data packs that are held at once, the open one included: at least 40 MiB, since one grows to 32 MiB.
    pub data_pack_bytes: usize,
    /// zstd level.
    pub compression_level: i32,
    /// Bytes of packs per second to the store; 0: no limit.
    pub upload_bytes_per_second: u64,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { data_pack_bytes: 64 << 20, compression_level: 3, upload_bytes_per_second: 0 }
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

const KNOWN: Added = Added { stored_bytes: 0, was_new: false };

/// Writes one snapshot. Clones share the lease; sync methods are for plain threads (never an async task: they may block),
/// async ones for tasks.
#[derive(Clone, Debug)]
pub struct Writer {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    core: Arc<Core>,
    purpose: Purpose,
    options: WriterOptions,
    lease: Mutex<Option<Lease>>,
    blobs: Blobs,
    /// Blobs that this writer added, with their raw lengths: on their way up or stored.
    added: Mutex<HashMap<BlobId, u32>>,
    /// Runs of uncommitted leases that this writer's blobs are listed in: its snapshot adopts them.
    resumed: Mutex<BTreeSet<RunName>>,
    fine: Mutex<FinePlaces>,
    uploads: Arc<Uploads>,
    runs: tokio::sync::Mutex<Runs>,
    closed: AtomicBool,
    /// The task of the checkpoints by time.
    keeper: Mutex<Option<tokio::task::AbortHandle>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

impl Writer {
    pub(crate) async fn begin(core: Arc<Core>, purpose: Purpose, options: WriterOptions) -> Result<Self, WriteError> {
        refuse_unknown_features(&core, &core.config.features)?;
        let newest = newest_or_rescued(&core).await?;
        refuse_unknown_features(&core, &newest.features)?;
        // Before any lease there must be a state: a lease without one means that states were lost.
        if newest.number == 0 {
            crate::state::ensure_first(&core).await?;
        }
        let (lease, state) = Lease::take_having_seen(&core, &purpose, newest).await?;
        let (view, listed) = futures::join!(View::load_bounded(&core, state, Looker::Writer), presence::list(&core, presence::LISTED_MAX));
        let view = view?;
        let looked = match listed {
            Ok(listed) => presence::lost(&core, &view, listed, presence::LISTED_MAX).await,
            Err(error) => Err(error),
        };
        let lost = looked.unwrap_or_else(|error| {
            tracing::warn!(%error, "whether all packs are there could not be looked at");
            Bad::default()
        });
        let inner = Arc::new(Inner {
            blobs: Blobs::knowing(Arc::clone(&core), view, lost),
            uploads: Uploads::new(Arc::clone(&core), options),
            core,
            purpose,
            options,
            lease: Mutex::new(Some(lease)),
            added: Mutex::default(),
            resumed: Mutex::default(),
            fine: Mutex::default(),
            runs: tokio::sync::Mutex::default(),
            closed: AtomicBool::new(false),
            keeper: Mutex::default(),
        });
        *locked(&inner.keeper) = Some(runs::keep(&inner));
        Ok(Self { inner })
    }

    /// Its lease; after a fence, another. `None` once it is closed.
    pub fn lease(&self) -> Option<LeaseId> {
        self.inner.lease_id().ok()
    }

    /// The id of these bytes.
    pub fn blob_id(&self, kind: BlobKind, raw: &[u8]) -> BlobId {
        self.inner.core.keys.blob_id(kind, raw)
    }

    /// The id of these bytes and, of data, the fine hashes: for one look at them.
    pub fn identify(&self, kind: BlobKind, raw: &[u8]) -> (BlobId, Option<FineHashes>) {
        if kind != BlobKind::Data {
            return (self.blob_id(kind, raw), None);
        }
        let (id, fine) = fine::identify(self.inner.core.keys.data_blobs(), raw);
        (id, Some(fine))
    }

    /// The fine hash of the step at `offset` of a blob: at most 16 KiB, at a multiple of that.
    pub fn fine_hash(&self, offset: u32, step: &[u8]) -> FineHash {
        fine::of_step(self.inner.core.keys.data_blobs(), offset, step)
    }

    /// Its raw length, if it is stored and may be used again (not condemned, doomed or bad), or was added by this writer.
    pub fn known(&self, id: &BlobId) -> Option<u32> {
        self.inner.known(id)
    }

    /// The fine hashes stored with a blob, if there are any.
    pub async fn stored_fine_hashes(&self, id: &BlobId) -> Result<Option<FineHashes>, ReadError> {
        self.inner.blobs.fine_hashes(id).await
    }

    /// Compresses, seals and packs a blob, unless it is known. `id` must be `blob_id(kind, raw)`. Blocks while uploads are behind:
    /// for plain threads, never for tasks.
    pub fn add(&self, kind: BlobKind, id: BlobId, raw: &[u8], fine: Option<FineHashes>, scratch: &mut Scratch) -> Result<Added, WriteError> {
        let Some(raw_bytes) = self.inner.claim(kind, &id, raw)? else { return Ok(KNOWN) };
        let added = self.inner.stopping(|| {
            let (encoding, stored) = scratch.compress(raw, self.inner.options.compression_level)?;
            let stored_bytes = block_on(self.inner.uploads.add(kind, id, encoding, raw_bytes, stored))?.stored_bytes;
            if let Some(full) = fine.and_then(|hashes| self.inner.push_fine(&id, raw_bytes, &hashes)) {
                self.inner.add_fine_batch(full)?;
            }
            Ok(Added { stored_bytes, was_new: true })
        })?;
        Ok(added)
    }

    /// The same from an async task; compresses on the calling thread.
    pub async fn add_async(
        &self,
        kind: BlobKind,
        id: BlobId,
        raw: &[u8],
        fine: Option<FineHashes>,
        scratch: &mut Scratch,
    ) -> Result<Added, WriteError> {
        self.inner.add_async(kind, id, raw, fine, scratch).await
    }

    /// A snapshot, read after this writer's lease: a parent that is gone or damaged gives an error, and there is no parent then.
    pub async fn snapshot(&self, id: &SnapshotId) -> Result<SnapshotRecord, ReadError> {
        listing::accepted(&self.inner.core, &self.inner.blobs.view().state, id).await
    }

    /// To find a parent in, read after this writer's lease: the newest snapshots, about thirty more at a time until `enough` says that
    /// those are enough, else all. Sorted as `Repository::snapshots`.
    pub async fn newest_snapshots(&self, enough: impl Fn(&Snapshots) -> bool) -> Result<Snapshots, ReadError> {
        let view = self.inner.blobs.view();
        listing::newest_until(&self.inner.core, &view.state, &view.candidates, enough).await
    }

    /// A stored blob (not one that is still on its way up), its id verified. A copy that turns out rotten is not `known` any more.
    pub async fn read_blob(&self, kind: BlobKind, id: &BlobId) -> Result<Bytes, ReadError> {
        self.inner.blobs.read(kind, id).await
    }

    /// Everything added so far is uploaded and indexed when this returns: an interrupted backup resumes from here.
    pub async fn checkpoint(&self) -> Result<(), WriteError> {
        self.inner.checkpoint().await
    }

    /// Bytes that the store has taken so far.
    pub fn stored_bytes(&self) -> u64 {
        self.inner.uploads.stored_bytes()
    }

    /// Ends without a snapshot. What was checkpointed stays, and the next backup finds it, until two marks of a prune found it unused.
    pub async fn abandon(&self) -> Result<(), WriteError> {
        let lease = self.inner.lease_id()?;
        self.inner.closed.store(true, Ordering::Release);
        let ending = Ending { reason: EndingReason::Abandoned, by: self.inner.purpose.host.clone() };
        ending.write(&self.inner.core, &lease).await?;
        self.inner.close();
        Ok(())
    }
}

/// A backup is not stopped by a state that somebody's disk has spoiled: it puts another behind it, as repair does.
async fn newest_or_rescued(core: &Core) -> Result<crate::state::State, WriteError> {
    match crate::state::newest(core).await {
        Err(error) if error.is_damage() && core.config.features.missing_to_write().is_none() => {
            crate::repair::rescue(core, false).await?;
            Ok(crate::state::newest(core).await?)
        }
        newest => Ok(newest?),
    }
}

fn refuse_unknown_features(core: &Core, features: &crate::features::Features) -> Result<(), WriteError> {
    match features.missing_to_write() {
        Some(needs) => {
            tracing::debug!(location = core.store.location(), needs, "refusing to write");
            Err(WriteError::TooNew { needs })
        }
        None => Ok(()),
    }
}

impl Inner {
    fn lease_id(&self) -> Result<LeaseId, WriteError> {
        locked(&self.lease).as_ref().map(|lease| lease.id).ok_or(WriteError::Closed)
    }

    /// Drops the lease, and with it its heartbeats; ends the checkpoints by time.
    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        locked(&self.lease).take();
        if let Some(keeper) = locked(&self.keeper).take() {
            keeper.abort();
        }
    }

    fn known(&self, id: &BlobId) -> Option<u32> {
        locked(&self.added).get(id).copied().or_else(|| self.blobs.usable(id).map(|location| location.raw_bytes))
    }

    /// Whether the blob is stored and usable; the snapshot will depend on where it is listed.
    fn use_stored(&self, id: &BlobId) -> bool {
        let Some(location) = self.blobs.usable(id) else { return false };
        if let Some(runs) = self.blobs.view().resumed_packs.get(&location.pack) {
            locked(&self.resumed).extend(runs);
        }
        true
    }

    /// The blob's length if the caller is to store it: exactly one of the threads that meet a new blob is told so.
    fn claim(&self, kind: BlobKind, id: &BlobId, raw: &[u8]) -> Result<Option<u32>, WriteError> {
        if raw.len() > BLOB_RAW_BYTES_MAX {
            return Err(WriteError::TooLarge { bytes: raw.len(), limit_bytes: BLOB_RAW_BYTES_MAX });
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(WriteError::Closed);
        }
        self.uploads.check()?;
        debug_assert_eq!(self.core.keys.blob_id(kind, raw), *id, "an id of other bytes");
        if self.use_stored(id) {
            return Ok(None);
        }
        let raw_bytes = raw.len() as u32;
        let claimed = locked(&self.added).insert(*id, raw_bytes).is_none();
        Ok(claimed.then_some(raw_bytes))
    }

    /// A failure after the claim stops the writer: others already count on the blob.
    fn stopping<T>(&self, store: impl FnOnce() -> Result<T, WriteError>) -> Result<T, WriteError> {
        store().inspect_err(|error| self.uploads.stop(error))
    }

    async fn add_async(
        &self,
        kind: BlobKind,
        id: BlobId,
        raw: &[u8],
        fine: Option<FineHashes>,
        scratch: &mut Scratch,
    ) -> Result<Added, WriteError> {
        let Some(raw_bytes) = self.claim(kind, &id, raw)? else { return Ok(KNOWN) };
        // A task that is cancelled here leaves a claim without a blob: the guard stops the writer, so nothing counts on it.
        let guard = ClaimGuard { uploads: &self.uploads, id, done: false };
        let (encoding, stored) = scratch.compress(raw, self.options.compression_level)?;
        let stored_bytes = self.uploads.add(kind, id, encoding, raw_bytes, stored).await?.stored_bytes;
        if let Some(full) = fine.and_then(|hashes| self.push_fine(&id, raw_bytes, &hashes)) {
            self.add_fine_batch_async(full).await?;
        }
        guard.done();
        Ok(Added { stored_bytes, was_new: true })
    }
}

struct ClaimGuard<'u> {
    uploads: &'u Uploads,
    id: BlobId,
    done: bool,
}

impl ClaimGuard<'_> {
    fn done(mut self) {
        self.done = true;
    }
}

impl Drop for ClaimGuard<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.uploads.stop(&WriteError::Internal { what: format!("adding blob {} failed or was cancelled", self.id) });
        }
    }
}

#[cfg(test)]
mod tests;
