//! Checkpoints: what is uploaded is listed in a run, so that what comes after an interruption sends again at most what followed.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::uploads::StoredPack;
use super::{Inner, locked};
use crate::cache::CacheName;
use crate::core::Created;
use crate::error::WriteError;
use crate::id::{BlobId, LeaseId};
use crate::index::{FinePlace, Run, RunEntry, RunName};
use crate::sealed::ObjectKind;
use crate::store::StoreError;

/// A checkpoint comes at the latest after this much was stored, or this long. Each costs three objects: a run, and two packs that are closed early.
const CHECKPOINT_BYTES: u64 = 4 << 30;
const CHECKPOINT_TIME: Duration = Duration::from_secs(60);
/// Keeps a run far below the limit of an object.
const RUN_ENTRIES_MAX: usize = 400_000;

/// The runs of the lease that is held.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// With their objects' lengths, in order.
    pub(super) written: Vec<(RunName, u64)>,
}

impl Inner {
    /// Everything added before is stored and listed in runs when this returns.
    pub(super) async fn checkpoint(&self) -> Result<(), WriteError> {
        let lease = self.lease_id()?;
        let mut runs = self.runs.lock().await;
        self.uploads.check()?;
        if let Some(batch) = self.take_fine() {
            self.add_fine_batch_async(batch).await?;
        }
        self.uploads.close_open()?;
        self.uploads.settle().await?;

        let packs = self.listable(self.uploads.take_stored());
        for run in self.runs_of(packs) {
            if let Err(error) = self.write_run(lease, &mut runs, &run).await {
                // Its packs are in no run now: going on could commit a snapshot that nobody can read.
                self.uploads.stop(&error);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Packs all of whose blobs can be listed; the others wait for the next run.
    fn listable(&self, packs: Vec<StoredPack>) -> Vec<StoredPack> {
        let fine = locked(&self.fine);
        let (now, later) = packs.into_iter().partition(|pack| pack.entries.iter().all(|entry| fine.is_settled(&entry.id)));
        drop(fine);
        self.uploads.put_back(later);
        now
    }

    fn runs_of(&self, packs: Vec<StoredPack>) -> Vec<Run> {
        let mut fine = locked(&self.fine);
        let mut runs = Vec::new();
        let mut run = Run::default();
        let mut fine_slots: HashMap<BlobId, u32> = HashMap::new();
        for pack in packs {
            if run.entries.len() >= RUN_ENTRIES_MAX {
                runs.push(std::mem::take(&mut run));
                fine_slots.clear();
            }
            let slot = run.packs.len() as u32;
            run.packs.push(pack.info);
            for blob in pack.entries {
                let place = fine.forget(&blob.id).map(|(fine_blob, offset)| {
                    let next = run.fine_blobs.len() as u32;
                    let fine_slot = *fine_slots.entry(fine_blob).or_insert(next);
                    if fine_slot == next {
                        run.fine_blobs.push(fine_blob);
                    }
                    FinePlace { blob: fine_slot, offset }
                });
                run.entries.push(RunEntry { blob, pack: slot, fine: place });
            }
        }
        fine.sweep();
        if !run.packs.is_empty() {
            runs.push(run);
        }
        runs.iter_mut().for_each(Run::sort);
        runs
    }

    /// Writes the next run of `lease`.
    pub(super) async fn write_run(&self, lease: LeaseId, runs: &mut Runs, run: &Run) -> Result<(), WriteError> {
        let name = RunName { lease, number: runs.written.len() as u32 };
        let object_name = name.to_string();
        let object = self.core.seal(ObjectKind::IndexRun, &object_name, &run.encode())?;
        match crate::core::create(self.core.store.as_ref(), &self.core.environment, &object_name, &object).await? {
            Created::Written => {
                self.core.keep_immutable(&CacheName::run(&name), &object);
                runs.written.push((name, object.len() as u64));
                Ok(())
            }
            // The lease is ours alone, and so are its runs' names.
            Created::Other(_) => Err(StoreError::Corrupt { object: object_name, reason: "someone else's bytes stand there".into() }.into()),
        }
    }
}

#[cfg(any(test, feature = "testing"))]
fn checkpoint_bytes() -> u64 {
    crate::testing::checkpoint_bytes().unwrap_or(CHECKPOINT_BYTES)
}

#[cfg(not(any(test, feature = "testing")))]
fn checkpoint_bytes() -> u64 {
    CHECKPOINT_BYTES
}

/// Checkpoints by time and by bytes, until the writer is dropped or closed.
pub(super) fn keep(inner: &Arc<Inner>) -> tokio::task::AbortHandle {
    let weak = Arc::downgrade(inner);
    let (clock, uploads) = (Arc::clone(&inner.core.environment.clock), Arc::clone(&inner.uploads));
    let keeper = tokio::spawn(async move {
        let (mut then, checkpoint_bytes) = (0, checkpoint_bytes());
        loop {
            let due = clock.sleep(CHECKPOINT_TIME);
            tokio::pin!(due);
            loop {
                tokio::select! {
                    () = &mut due => break,
                    () = uploads.changed() => {
                        if uploads.stored_bytes().saturating_sub(then) >= checkpoint_bytes {
                            break;
                        }
                    }
                }
            }
            then = uploads.stored_bytes();
            if !checkpoint_if_alive(&weak).await {
                return;
            }
        }
    });
    keeper.abort_handle()
}

async fn checkpoint_if_alive(weak: &Weak<Inner>) -> bool {
    let Some(inner) = weak.upgrade() else { return false };
    if inner.uploads.is_idle() {
        return inner.lease_id().is_ok();
    }
    match inner.checkpoint().await {
        Ok(()) => true,
        Err(WriteError::Closed) => false,
        Err(error) => {
            // It is told by the next `add` or by `commit`; here it only ends the checkpoints.
            tracing::debug!(%error, "checkpoint failed");
            false
        }
    }
}
