//! Packs on their way: open ones, and those being stored. Memory is bounded by permits: a pack has them for its bytes, more as it
//! grows, until the store has it. So the open one may be half full while the one before is still on its way.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::blob::{BlobKind, Encoding, PackClass};
use crate::core::Core;
use crate::error::WriteError;
use crate::id::BlobId;
use crate::lock::locked;
use crate::pace::Pace;
use crate::pack::{FinishedPack, PackBuilder, PackEntry, PackInfo};
use crate::store::StoreError;
use super::WriterOptions;

/// Metadata packs held at once, the open one included: their bytes.
const META_BYTES: usize = 12 << 20;
/// Data packs get at least this: one that is full, the largest blobs that a mover makes, and what waits for them.
const DATA_BYTES_MIN: usize = 40 << 20;
/// Memory of packs is counted in these.
const UNIT_BYTES: usize = 64 << 10;
/// Tries of one pack; each has the store's own bounded retries below it.
const ATTEMPTS_MAX: u32 = 3;

pub(crate) struct Uploads {
    core: Arc<Core>,
    runtime: Handle,
    open: [Mutex<Option<OpenPack>>; 2],
    room: [Arc<Semaphore>; 2],
    /// All units of a class.
    units: [usize; 2],
    pace: Pace,
    progress: Mutex<Progress>,
    /// Wakes whoever waits for an upload, or for the next run.
    changed: Notify,
}

/// What became of a blob.
enum Pushed {
    Entry(PackEntry),
    /// Nothing yet: it needs so many units more.
    NeedsRoom(u32),
}

struct OpenPack {
    builder: PackBuilder,
    room: OwnedSemaphorePermit,
}

#[derive(Default)]
struct Progress {
    next: u64,
    under_way: BTreeSet<u64>,
    /// Stored, in no run yet.
    stored: Vec<StoredPack>,
    stored_bytes: u64,
    failed: Option<Arc<WriteError>>,
}

/// A pack that the store has.
#[derive(Debug)]
pub(crate) struct StoredPack {
    pub(crate) info: PackInfo,
    pub(crate) entries: Vec<PackEntry>,
}

impl std::fmt::Debug for Uploads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uploads").field("stored_bytes", &self.stored_bytes()).finish_non_exhaustive()
    }
}

impl Uploads {
    /// Inside a runtime: uploads are its tasks.
    pub(crate) fn new(core: Arc<Core>, options: WriterOptions) -> Arc<Self> {
        let units = [options.data_pack_bytes.max(DATA_BYTES_MIN), META_BYTES].map(|bytes| bytes.div_ceil(UNIT_BYTES));
        Arc::new(Self {
            pace: Pace::new(options.upload_bytes_per_second, Arc::clone(&core.environment.clock)),
            core,
            runtime: Handle::current(),
            open: [Mutex::default(), Mutex::default()],
            room: units.map(|units| Arc::new(Semaphore::new(units))),
            units,
            progress: Mutex::default(),
            changed: Notify::new(),
        })
    }

    pub(super) fn stored_bytes(&self) -> u64 {
        locked(&self.progress).stored_bytes
    }

    /// Fails once anything has failed.
    pub(super) fn check(&self) -> Result<(), WriteError> {
        match &locked(&self.progress).failed {
            None => Ok(()),
            Some(cause) => Err(WriteError::Stopped { cause: Arc::clone(cause) }),
        }
    }

    /// Nothing more is taken; the first failure is the one that is told.
    pub(super) fn stop(&self, error: &WriteError) {
        if !matches!(error, WriteError::Stopped { .. }) {
            locked(&self.progress).failed.get_or_insert_with(|| Arc::new(error.clone()));
        }
        self.changed.notify_waiters();
    }

    /// Into a pack; waits while there is no room for it.
    pub(crate) async fn add(self: &Arc<Self>, kind: BlobKind, id: BlobId, encoding: Encoding, raw_bytes: u32, stored: &[u8]) -> Result<PackEntry, WriteError> {
        let mut room: Option<OwnedSemaphorePermit> = None;
        loop {
            match self.push(&mut room, kind, id, encoding, raw_bytes, stored)? {
                Pushed::Entry(entry) => return Ok(entry),
                Pushed::NeedsRoom(units) => room = Some(self.room(kind.class(), units).await?),
            }
        }
    }

    /// Waits until the packs of this class may grow by so many units.
    async fn room(&self, class: PackClass, units: u32) -> Result<OwnedSemaphorePermit, WriteError> {
        let room = Arc::clone(&self.room[class as usize - 1]).acquire_many_owned(units).await.map_err(|_| WriteError::Closed)?;
        // An upload that failed gave its room back.
        self.check()?;
        Ok(room)
    }

    /// Into the open pack, or into a new one, if it has room for it or the caller brings some.
    fn push(
        self: &Arc<Self>,
        room: &mut Option<OwnedSemaphorePermit>,
        kind: BlobKind,
        id: BlobId,
        encoding: Encoding,
        raw_bytes: u32,
        stored: &[u8],
    ) -> Result<Pushed, WriteError> {
        let class = kind.class();
        let mut slot = locked(&self.open[class as usize - 1]);
        // What is brought goes to the open pack at once: nobody holds room while waiting for more.
        if let Some(open) = &mut *slot
            && let Some(more) = room.take()
        {
            open.room.merge(more);
        }
        let filled = slot.as_ref().map_or(0, |open| open.builder.bytes());
        let held = slot.as_ref().map(|open| &open.room).or(room.as_ref()).map_or(0, OwnedSemaphorePermit::num_permits);
        // A pack may be larger than all room there is: then it waits until it has all.
        let needed = (filled + stored.len()).div_ceil(UNIT_BYTES).clamp(1, self.units[class as usize - 1]);
        if held < needed {
            // Without an open pack what was brought is given back, and all is waited for anew.
            let missing = if room.take().is_some() { needed } else { needed - held };
            return Ok(Pushed::NeedsRoom(missing as u32));
        }
        let open = match (&mut *slot, room.take()) {
            (Some(open), _) => open,
            (empty, Some(room)) => empty.insert(OpenPack { builder: PackBuilder::new(&self.core.keys, &self.core.environment, class)?, room }),
            (None, None) => return Ok(Pushed::NeedsRoom(needed as u32)),
        };
        let entry = open.builder.push(kind, id, encoding, raw_bytes, stored)?;
        let full = if open.builder.is_full() { slot.take() } else { None };
        // Counted while the slot is locked: a checkpoint that finds the slot empty finds the pack under way.
        let ticket = full.as_ref().map(|_| self.ticket());
        drop(slot);
        if let (Some(full), Some(ticket)) = (full, ticket) {
            self.start(full, ticket)?;
        }
        Ok(Pushed::Entry(entry))
    }

    /// Closes the open packs; everything pushed before is under way or stored afterwards.
    pub(crate) fn close_open(self: &Arc<Self>) -> Result<(), WriteError> {
        for slot in &self.open {
            let mut slot = locked(slot);
            let Some(open) = slot.take() else { continue };
            let ticket = self.ticket();
            drop(slot);
            self.start(open, ticket)?;
        }
        Ok(())
    }

    fn ticket(&self) -> u64 {
        let mut progress = locked(&self.progress);
        let ticket = progress.next;
        progress.next += 1;
        progress.under_way.insert(ticket);
        ticket
    }

    /// Seals the trailer on the calling thread; a task stores the pack.
    fn start(self: &Arc<Self>, open: OpenPack, ticket: u64) -> Result<(), WriteError> {
        let OpenPack { builder, room } = open;
        let pack = builder.finish().inspect_err(|error| self.stop(error))?;
        let uploads = Arc::clone(self);
        self.runtime.spawn(async move {
            let outcome = uploads.store(&pack).await;
            {
                let mut progress = locked(&uploads.progress);
                progress.under_way.remove(&ticket);
                if outcome.is_ok() {
                    progress.stored_bytes += pack.info.object_bytes;
                    progress.stored.push(StoredPack { info: pack.info, entries: pack.entries });
                }
            }
            if let Err(error) = outcome {
                uploads.stop(&error);
            }
            drop((pack.bytes, room));
            uploads.changed.notify_waiters();
        });
        Ok(())
    }

    /// A pack's name is random and its bytes are sealed for that name, so whatever stands there with its length is this pack:
    /// an earlier try that arrived.
    async fn store(&self, pack: &FinishedPack) -> Result<(), WriteError> {
        let name = pack.info.name.to_string();
        let mut last = StoreError::NotFound { object: name.clone() };
        for _ in 0..ATTEMPTS_MAX {
            if let Some(wait) = self.pace.spend(pack.info.object_bytes) {
                wait.await;
            }
            match self.core.store.create(&name, vec![pack.bytes.clone()]).await {
                Ok(()) => return Ok(()),
                Err(error @ StoreError::AlreadyExists { .. }) => last = error,
                Err(error) if error.is_ambiguous() => last = error,
                Err(error) => return Err(error.into()),
            }
            match self.core.store.head(&name).await {
                Ok(bytes) if bytes == pack.info.object_bytes => return Ok(()),
                Ok(bytes) => {
                    let reason = format!("{bytes} bytes stand there instead of {}", pack.info.object_bytes);
                    return Err(StoreError::Corrupt { object: name, reason }.into());
                }
                Err(StoreError::NotFound { .. }) => {}
                Err(error) if error.is_ambiguous() => last = error,
                Err(error) => return Err(error.into()),
            }
        }
        Err(last.into())
    }

    /// Waits for every pack that is under way now; later ones do not count, or a busy writer would never have a checkpoint.
    pub(crate) async fn settle(&self) -> Result<(), WriteError> {
        let mark = locked(&self.progress).next;
        loop {
            // Registered before the look, or a change in between would be missed.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            self.check()?;
            if locked(&self.progress).under_way.first().is_none_or(|&oldest| oldest >= mark) {
                return Ok(());
            }
            changed.await;
        }
    }

    /// Packs that are stored and in no run yet.
    pub(crate) fn take_stored(&self) -> Vec<StoredPack> {
        std::mem::take(&mut locked(&self.progress).stored)
    }

    /// Gives back what could not be listed in a run yet.
    pub(super) fn put_back(&self, packs: Vec<StoredPack>) {
        locked(&self.progress).stored.extend(packs);
    }

    pub(super) fn is_idle(&self) -> bool {
        let progress = locked(&self.progress);
        progress.under_way.is_empty() && progress.stored.is_empty() && self.open.iter().all(|slot| locked(slot).is_none())
    }

    /// Resolves when something was stored or failed.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests;
