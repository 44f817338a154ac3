//! A reader: a lease, the index, blobs.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::blob::{BlobKind, BlobLocation, PackName};
use crate::blobs::{Bad, Blobs};
use crate::compress::Scratch;
use crate::core::Core;
use crate::error::{ReadError, WriteError};
use crate::fine::FineHashes;
use crate::id::{BlobId, LeaseId, SnapshotId};
use crate::lease::{Activity, Lease, Purpose};
use crate::pack::PackInfo;
use crate::snapshot::listing::{self, Snapshots};
use crate::snapshot::{Ending, EndingReason, SnapshotRecord};
use crate::state::{self, State};
use crate::store::StoreError;
use crate::view::{Looker, View};

/// How often a reader loads the index again: each time it is all of it, and a prune that takes something away comes seldom.
const RELOADS_MAX: u32 = 16;

/// Reads under a lease, so that no prune takes away what it reads. Clones share it.
#[derive(Clone, Debug)]
pub struct Reader {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    core: Arc<Core>,
    purpose: Purpose,
    lease: Option<Lease>,
    blobs: Blobs,
    /// Why it is not the newest state that is read by.
    state_damage: Option<ReadError>,
    /// How often the index was loaded again.
    reloads: tokio::sync::Mutex<u32>,
}

/// A range of a pack, as stored: `Reader::decode` takes blobs out of it.
#[derive(Debug, Clone)]
pub struct Fetched {
    info: PackInfo,
    offset: u64,
    bytes: Bytes,
}

impl Reader {
    /// Takes a lease. A store that is read with read-only credentials gets none: then a prune might take away what is read,
    /// which is found out and said, never restored as good.
    pub(crate) async fn begin(core: Arc<Core>, purpose: Purpose) -> Result<Self, ReadError> {
        // Who looks whether everything is there must not be told so by a cache.
        let core = if is_check(&purpose) { Arc::new(core.uncached()) } else { core };
        let (seen, damage) = state::newest_readable(&core).await?;
        if damage.is_some() {
            // A lease is named by the newest state. What was committed can be read by an older one; a prune cannot go on either.
            return Self::with(core, purpose, None, seen, damage).await;
        }
        if let Some(needs) = core.missing_to_write(&seen) {
            tracing::warn!(needs, "reading without a lease: this version may not write here");
            return Self::with(core, purpose, None, seen, None).await;
        }
        let (lease, state) = match Lease::take_having_seen(&core, &purpose, seen).await {
            Ok((lease, state)) => (Some(lease), state),
            Err(WriteError::Store { source }) if source.is_refused_write() => {
                tracing::warn!(error = %source, "reading without a lease: the store takes no writes");
                (None, state::newest(&core).await?)
            }
            Err(error) => return Err(as_read_error(error)),
        };
        Self::with(core, purpose, lease, state, None).await
    }

    async fn with(core: Arc<Core>, purpose: Purpose, lease: Option<Lease>, state: State, state_damage: Option<ReadError>) -> Result<Self, ReadError> {
        let view = load(&core, state).await?;
        let blobs = Blobs::new(Arc::clone(&core), view);
        Ok(Self { inner: Arc::new(Inner { core, purpose, lease, blobs, state_damage, reloads: tokio::sync::Mutex::new(0) }) })
    }

    /// Its lease; `None` where the store took none.
    pub fn lease(&self) -> Option<LeaseId> {
        self.inner.lease.as_ref().map(|lease| lease.id)
    }

    /// An accepted snapshot, read after this reader's lease.
    pub async fn snapshot(&self, id: &SnapshotId) -> Result<SnapshotRecord, ReadError> {
        listing::accepted(&self.inner.core, &self.inner.blobs.view().state, id).await
    }

    /// Everything accepted.
    pub async fn snapshots(&self) -> Result<Snapshots, ReadError> {
        listing::all(&self.inner.core, &self.inner.blobs.view().state).await
    }

    /// A blob, its id verified. What is missing is looked for once more in a freshly loaded index, as long as that has news.
    pub async fn read_blob(&self, kind: BlobKind, id: &BlobId) -> Result<Bytes, ReadError> {
        loop {
            let seen = self.view();
            match self.inner.blobs.read(kind, id).await {
                Err(error) if error.is_damage() && self.reload(&seen).await? => {}
                result => return result,
            }
        }
    }

    /// Where a blob is.
    pub fn locate(&self, id: &BlobId) -> Option<BlobLocation> {
        self.inner.blobs.locate(id)
    }

    /// Whether these bytes are the blob: for whoever has them already.
    pub fn is_blob(&self, id: &BlobId, location: &BlobLocation, raw: &[u8]) -> bool {
        self.inner.core.keys.blob_id(location.kind, raw) == *id
    }

    /// The fine hashes stored with a blob, if there are any.
    pub async fn stored_fine_hashes(&self, id: &BlobId) -> Result<Option<FineHashes>, ReadError> {
        self.inner.blobs.fine_hashes(id).await
    }

    /// One request for many blobs: plan ranges by `locate`, at most 64 MiB each. If it fails with damage, read blob by blob:
    /// `read_blob` knows other copies and a newer index.
    pub async fn fetch(&self, pack: PackName, range: Range<u64>) -> Result<Fetched, ReadError> {
        let view = self.inner.blobs.view();
        let info = *view.index.pack(&pack).ok_or_else(|| ReadError::NotFound { what: pack.to_string() })?;
        let bytes = self.inner.blobs.fetch(&info, range.clone()).await?;
        Ok(Fetched { info, offset: range.start, bytes })
    }

    /// Opens one blob of a fetched range on the calling thread, its id verified. The result stands in `scratch`.
    pub fn decode<'s>(&self, fetched: &Fetched, id: &BlobId, location: &BlobLocation, scratch: &'s mut Scratch) -> Result<&'s [u8], ReadError> {
        let range = location.range();
        let sealed = (|| {
            let from = usize::try_from(range.start.checked_sub(fetched.offset)?).ok()?;
            let to = usize::try_from(range.end.checked_sub(fetched.offset)?).ok()?;
            fetched.bytes.get(from..to)
        })();
        let sealed = sealed
            .filter(|_| location.pack == fetched.info.name)
            .ok_or_else(|| ReadError::NotFound { what: format!("blob {id} in the fetched range of {}", fetched.info.name) })?;
        self.inner.blobs.open(&fetched.info, id, location, sealed, scratch)?;
        Ok(&scratch.raw)
    }

    /// True if there is another index than the one that was `seen`. The first time it may have what no state lists yet; from then on only
    /// a newer state has news: a prune may have left a blob in other packs, and no reader that came behind it is waited for.
    async fn reload(&self, seen: &Arc<View>) -> Result<bool, ReadError> {
        let mut reloads = self.inner.reloads.lock().await;
        if !Arc::ptr_eq(&self.view(), seen) {
            return Ok(true);
        }
        if *reloads >= RELOADS_MAX {
            return Ok(false);
        }
        let (state, _) = state::newest_readable(&self.inner.core).await?;
        if *reloads > 0 && state.number <= seen.state.number {
            return Ok(false);
        }
        self.look_by(state).await?;
        *reloads += 1;
        Ok(true)
    }

    /// Index runs that cannot be read: what they list counts as missing.
    pub fn unreadable_runs(&self) -> Vec<String> {
        self.inner.blobs.view().unreadable_runs.iter().map(|(name, _)| name.to_string()).collect()
    }

    /// Whether there is any of them.
    pub fn has_unreadable_runs(&self) -> bool {
        !self.inner.blobs.view().unreadable_runs.is_empty()
    }

    /// Reads by the newest state from here on.
    pub(crate) async fn refresh(&self) -> Result<Arc<View>, ReadError> {
        let (state, _) = state::newest_readable(&self.inner.core).await?;
        self.look_by(state).await?;
        Ok(self.view())
    }

    async fn look_by(&self, state: State) -> Result<(), ReadError> {
        self.inner.blobs.replace_view(load(&self.inner.core, state).await?);
        Ok(())
    }

    /// Why it is not the newest state that is read by, if it is not.
    pub(crate) fn state_damage(&self) -> Option<&ReadError> {
        self.inner.state_damage.as_ref()
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.inner.core
    }

    /// A range of a pack, as stored.
    pub(crate) async fn fetch_stored(&self, info: &PackInfo, range: Range<u64>) -> Result<Bytes, ReadError> {
        self.inner.blobs.fetch(info, range).await
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.inner.blobs.view()
    }

    /// What turned out rotten so far.
    pub(crate) fn found_bad(&self) -> Bad {
        self.inner.blobs.bad()
    }

    /// Publishes what was found rotten, so that the next backup that sees the data heals it, and ends the lease. Both are best
    /// effort: what was read is read.
    pub async fn close(self) -> Result<(), ReadError> {
        let bad = self.found_bad();
        if self.inner.lease.is_some() && !bad.is_empty() {
            publish_bad(&self.inner.core, &bad).await.map_err(as_read_error)?;
        }
        self.end().await
    }

    /// Ends the lease, whatever was found.
    pub(crate) async fn end(self) -> Result<(), ReadError> {
        let Some(lease) = &self.inner.lease else { return Ok(()) };
        let ending = Ending { reason: EndingReason::Done, by: self.inner.purpose.host.clone() };
        ending.write(&self.inner.core, &lease.id).await.map_err(as_read_error)?;
        Ok(())
    }
}

fn is_check(purpose: &Purpose) -> bool {
    purpose.activity == Activity::Check
}

async fn load(core: &Core, state: State) -> Result<View, ReadError> {
    View::load_bounded(core, state, Looker::Reader).await
}

/// Publishes rotten copies: writers treat them as absent from then on.
pub(crate) async fn publish_bad(core: &Core, bad: &Bad) -> Result<(), WriteError> {
    state::publish(core, |state| {
        let mut next = state.clone();
        bad.add_to(&mut next).then_some(next)
    })
    .await
    .map(|_| ())
}

pub(crate) fn as_read_error(error: WriteError) -> ReadError {
    match error {
        WriteError::Read(error) => error,
        WriteError::Store { source } => source.into(),
        WriteError::TooNew { needs } => ReadError::TooNew { object: "state".to_owned(), needs },
        other => ReadError::Store(StoreError::Corrupt { object: "lease".to_owned(), reason: other.to_string() }),
    }
}

#[cfg(test)]
mod tests;
