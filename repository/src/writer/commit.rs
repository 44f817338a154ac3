//! Steps 3 to 5 of a writer: commit, look whether readers accept it, publish; and a new lease for one that was fenced while alive.

use std::collections::{BTreeMap, HashMap};

use futures::stream::{self, StreamExt};

use super::runs::Runs;
use super::{Inner, Writer, locked};
use crate::blob::PackName;
use crate::cache::CacheName;
use crate::core::{self, Created};
use crate::error::{CommitError, WriteError};
use crate::id::{BlobId, LeaseId, SnapshotId};
use crate::index::{Run, RunName};
use crate::lease::Lease;
use crate::mutation::left_out;
use crate::sealed::ObjectKind;
use crate::snapshot::{self, SnapshotDraft, SnapshotObject, SnapshotRecord};
use crate::state::{self, State};
use crate::store::StoreError;
use crate::view::{self, Looker, View};

/// How often one backup may be fenced: each costs a fence time, so this is hours of bad network.
const FENCES_MAX: u32 = 8;
const EXTENSIONS_BYTES_MAX: usize = 1 << 20;
/// Packs looked at at once after a fence.
const AT_ONCE: usize = 16;

impl Writer {
    /// Commits. `refs()` gives every blob that the snapshot needs (data, bundles, catalog segments, extent lists; not fine hashes
    /// and not refs), strictly sorted, with how many of its raw bytes are used; it is called again after a fence.
    /// On `CommitError::Gone` the writer lives on: add what is missing and commit again.
    pub async fn commit<I, F>(&self, draft: SnapshotDraft, refs: F) -> Result<SnapshotId, CommitError>
    where
        F: Fn() -> I + Send,
        I: Iterator<Item = (BlobId, u64)> + Send,
    {
        let inner = &self.inner;
        check_draft(&draft)?;
        for _ in 0..FENCES_MAX {
            let lease = inner.lease_id()?;
            inner.check_refs(refs(), draft.sources.iter().filter_map(|source| source.catalog))?;
            let root = inner.write_refs(refs()).await?;
            if !left_out!(IndexBeforeSnapshot) {
                inner.checkpoint().await?;
            }
            if let Some(state) = inner.put_snapshot(lease, &draft, root).await? {
                if left_out!(IndexBeforeSnapshot) {
                    inner.checkpoint().await?;
                }
                inner.publish(lease, state).await;
                inner.close();
                return Ok(lease);
            }
            tracing::warn!(%lease, "fenced while alive; going on under a new lease");
            inner.renew().await?;
        }
        Err(CommitError::Fenced { times: FENCES_MAX })
    }
}

fn check_draft(draft: &SnapshotDraft) -> Result<(), WriteError> {
    let bytes: usize = draft.extensions.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > EXTENSIONS_BYTES_MAX {
        return Err(WriteError::TooLarge { bytes, limit_bytes: EXTENSIONS_BYTES_MAX });
    }
    Ok(())
}

impl Inner {
    /// The newest state if the snapshot is committed: it stands under its name, and readers of that state accept it. None if fenced.
    async fn put_snapshot(&self, lease: LeaseId, draft: &SnapshotDraft, refs: BlobId) -> Result<Option<State>, WriteError> {
        let runs = self.adopted_runs().await.into_iter().map(|(run, _)| run).collect();
        let record = self.record(draft, refs, runs);
        let content = SnapshotObject::Commit(Box::new(record)).encode();
        let name = snapshot::object_name(&lease);
        let object = self.core.seal(ObjectKind::Snapshot, &name, &content)?;
        // Whatever else stands there, a tombstone or rubbish, it is not our commit.
        let stands = match core::create(self.core.store.as_ref(), &self.core.environment, &name, &object).await {
            // Taken, and nothing there: the tombstone was deleted, in a bucket that keeps versions and does not give names away twice.
            Err(StoreError::AlreadyExists { .. }) => return Ok(None),
            created => created?,
        };
        if stands != Created::Written && !left_out!(Tombstone) {
            return Ok(None);
        }
        self.core.keep_immutable(&CacheName::snapshot(&lease), &object);
        // The floor may have passed a lease that was fenced, and whose tombstone was cleaned up since.
        Ok(Some(state::newest(&self.core).await?).filter(|state| state.accepts(&lease) || left_out!(Confirm)))
    }

    fn record(&self, draft: &SnapshotDraft, refs: BlobId, runs: Vec<RunName>) -> SnapshotRecord {
        let draft = draft.clone();
        SnapshotRecord {
            host: draft.host,
            sources: draft.sources,
            session: draft.session,
            component: draft.component,
            start_ms: draft.start_ms,
            end_ms: self.core.environment.clock.unix_ms(),
            scan_ms: draft.scan_ms,
            parent: draft.parent,
            refs,
            runs,
            statistics: draft.statistics,
            extensions: draft.extensions,
        }
    }

    /// The runs that this snapshot brings into the repository: its own, and those of uncommitted leases that it uses.
    async fn adopted_runs(&self) -> Vec<(RunName, u64)> {
        let mut runs = self.runs.lock().await.written.clone();
        let view = self.blobs.view();
        let resumed = locked(&self.resumed);
        runs.extend(resumed.iter().filter_map(|run| Some((*run, *view.resumed.get(run)?))));
        runs
    }

    /// Lists the snapshot and its runs in the next state, and those of other commits that no state lists. If this fails the
    /// snapshot stands all the same: whoever comes next takes its runs over.
    async fn publish(&self, lease: LeaseId, newest: State) {
        let mut commits: BTreeMap<LeaseId, Vec<(RunName, u64)>> = self.blobs.view().adopted.clone();
        commits.insert(lease, self.adopted_runs().await);
        let bad = self.blobs.bad();
        let published = state::publish_after(&self.core, newest, |state| {
            let mut next = state.clone();
            let mut changed = bad.add_to(&mut next);
            for (commit, runs) in &commits {
                changed |= next.list(commit, runs);
            }
            changed.then_some(next)
        });
        if let Err(error) = published.await {
            tracing::warn!(snapshot = %lease, %error, "committed, and not listed in a state yet; the next writer lists it");
        }
    }

    /// A fenced writer that lives: a new lease, the newest index, and of its own packs those that are still there and may be used.
    async fn renew(&self) -> Result<(), WriteError> {
        let mut runs = self.runs.lock().await;
        locked(&self.lease).take();
        let (lease, state) = Lease::take(&self.core, &self.purpose).await?;
        let id = lease.id;
        *locked(&self.lease) = Some(lease);
        let view = View::load_bounded(&self.core, state, Looker::Writer).await?;
        locked(&self.resumed).clear();

        let mut survivors = Vec::new();
        for (name, _) in std::mem::take(&mut *runs).written {
            match view::read_run(&self.core, &name).await {
                Ok((run, _)) => survivors.push(self.survivors(&view.state, run).await?),
                // Cleaned up with the fenced lease: what it listed counts as gone.
                Err(error) if error.is_damage() => tracing::warn!(run = %name, %error, "own run is gone"),
                Err(error) => return Err(error.into()),
            }
        }
        self.blobs.replace_view(view);
        let added: HashMap<BlobId, u32> =
            survivors.iter().flat_map(|run: &Run| run.entries.iter().map(|entry| (entry.blob.id, entry.blob.raw_bytes))).collect();
        *locked(&self.added) = added;
        let mut renewed = Runs::default();
        for run in survivors.iter().filter(|run| !run.entries.is_empty()) {
            self.write_run(id, &mut renewed, run).await.inspect_err(|error| self.uploads.stop(error))?;
        }
        *runs = renewed;
        Ok(())
    }

    /// The part of a run whose packs no prune has condemned and that are still there. Looked at under the new lease: a prune that
    /// condemns them from now on waits for it.
    async fn survivors(&self, state: &State, mut run: Run) -> Result<Run, WriteError> {
        let mut lives = HashMap::new();
        let mut heads = stream::iter(run.packs.clone().into_iter().map(|pack| async move { (pack, self.core.store.head(&pack.name.to_string()).await) }))
            .buffered(AT_ONCE);
        while let Some((pack, head)) = heads.next().await {
            let there = match head {
                Ok(bytes) => bytes == pack.object_bytes,
                Err(StoreError::NotFound { .. }) => false,
                Err(error) => return Err(error.into()),
            };
            lives.insert(pack.name, there && state.usable(&pack.name) || left_out!(Survivors));
        }
        drop(heads);
        let names: Vec<PackName> = run.packs.iter().map(|pack| pack.name).collect();
        run.entries.retain(|entry| lives.get(&names[entry.pack as usize]).copied().unwrap_or(false));
        Ok(run)
    }
}
