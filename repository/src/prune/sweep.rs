//! Step 6: what a published state dooms, and what no name can bring back, is deleted.

use std::sync::atomic::Ordering;

use futures::stream::{self, StreamExt};

use super::{Prune, PruneError, PruneReport};
use crate::blob::PackName;
use crate::id::LeaseId;
use crate::index::RunName;
use crate::lease;
use crate::mutation::left_out;
use crate::state::{self, State};
use crate::store::StoreError;

/// Deletions under way at once.
const AT_ONCE: usize = 32;
/// So many states and more above the floor are worth raising it for.
const STATES_KEPT: u64 = 64;

impl Prune<'_> {
    /// Nothing but what a state that stands dooms.
    pub(super) async fn delete_doomed(&mut self, published: &State) -> Result<(), PruneError> {
        let due: Vec<(PackName, u64)> = published.doomed.iter().filter(|pack| self.inventory.has(pack) && !self.refused.contains(pack)).map(|pack| (*pack, self.inventory.bytes(pack))).collect();
        self.progress.objects_due.fetch_add(due.len() as u64, Ordering::Relaxed);
        let core = self.core;
        let mut deletions = stream::iter(due).map(|(pack, bytes)| async move { (pack, bytes, core.store.delete(&pack.to_string()).await) }).buffer_unordered(AT_ONCE);
        while let Some((pack, bytes, deleted)) = deletions.next().await {
            if self.report.refuses(deleted)? {
                self.refused.insert(pack);
                continue;
            }
            self.inventory.remove(&pack);
            self.report.packs_deleted += 1;
            self.report.bytes_deleted += bytes;
            self.progress.deleted();
        }
        Ok(())
    }

    /// Old leases, endings, runs and states. Below the floor they are void; they go when that floor's own state has risen above them
    /// too, since until then someone may be at work who saw the floor before and took a run below it for good. What that state still
    /// lists stays: leases that are not below the floor may be reading a snapshot that was forgotten since.
    pub(super) async fn delete_old(&mut self, published: &State) -> Result<(), PruneError> {
        let Some(floor_state) = state::read_if_readable(self.core, published.floor).await? else { return Ok(()) };
        let far = if left_out!(FarBelowFloor) { published.floor } else { floor_state.floor };
        if far == 0 {
            return Ok(());
        }
        // A lease before its ending, or another prune would wait for it.
        if self.delete_where("leases", |name| lease::parse_object_name(name).is_some_and(|(lease, _)| lease.state < far)).await? > 0 {
            return Ok(());
        }
        let is_old = |name: &str| {
            let lease = name.strip_prefix("snapshots/").and_then(|name| name.parse::<LeaseId>().ok());
            let held = |lease: &LeaseId| floor_state.listed.contains(lease) && !left_out!(HeldByFloor);
            lease.is_some_and(|lease| lease.state < far && !published.listed.contains(&lease) && !held(&lease))
        };
        let mut refused = self.delete_where("snapshots", is_old).await?;
        let lives = |run: &RunName| published.runs.contains_key(run) || floor_state.runs.contains_key(run);
        refused += self.delete_where("index", |name| RunName::parse(name).is_some_and(|run| run.lease.state < far && !lives(&run))).await?;
        // The states are what says that the others are void: the last to go.
        if refused == 0 {
            self.delete_where("state", |name| state::parse_object_name(name).is_some_and(|number| number < far)).await?;
        }
        Ok(())
    }

    /// How many deletions were refused.
    async fn delete_where(&mut self, folder: &str, is_old: impl Fn(&str) -> bool) -> Result<u64, PruneError> {
        let core = self.core;
        let mut old = Vec::new();
        let mut names = core.store.list(folder, None);
        while let Some(entry) = names.next().await {
            old.extend(Some(entry?.name).filter(|name| is_old(name)));
        }
        self.progress.objects_due.fetch_add(old.len() as u64, Ordering::Relaxed);
        let mut deletions = stream::iter(old).map(|name| async move { core.store.delete(&name).await }).buffer_unordered(AT_ONCE);
        let mut refused = 0;
        while let Some(deleted) = deletions.next().await {
            if self.report.refuses(deleted)? {
                refused += 1;
                continue;
            }
            self.report.objects_deleted += 1;
            self.progress.deleted();
        }
        Ok(refused)
    }

    /// Nothing is condemned: a higher floor would only let old leases, endings and states go.
    pub(super) fn is_worth_raising_the_floor(&self, state: &State) -> bool {
        state.number - state.floor > STATES_KEPT
    }
}

impl PruneReport {
    /// Whether a deletion was refused: a lock, a retention or keys without that right. It stays due, and the next prune asks again.
    fn refuses(&mut self, deleted: Result<(), StoreError>) -> Result<bool, StoreError> {
        match deleted {
            Ok(()) => Ok(false),
            Err(error @ StoreError::Denied { .. }) => {
                self.deletions_refused += 1;
                self.refusal.get_or_insert_with(|| error.to_string());
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }
}
