//! Steps 4 and 5: what ended leases committed meanwhile is looked at, and what is condemned and still unused is doomed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use super::look::Look;
use super::runs::Merged;
use super::wait::Watch;
use super::{Prune, PruneError, RACES_MAX};
use crate::blob::PackName;
use crate::error::ReadError;
use crate::id::LeaseId;
use crate::index::RunName;
use crate::mutation::left_out;
use crate::snapshot::listing;
use crate::state::{self, State};
use crate::view;

/// Doomed packs that are gone stay in the list until it is longer than this: whatever names them late finds them there.
/// Few in tests, so that this happens there too.
const DOOMED_KEPT: usize = if cfg!(any(test, feature = "testing")) { 2 } else { 1024 };

/// A run of a lease that did not commit: its object's length, and the packs that it lists.
type Interrupted = BTreeMap<RunName, (u64, Vec<PackName>)>;

impl Prune<'_> {
    /// Leases older than `up_to` have ended. Dooms what was condemned no later than that, and raises the floor: to `goal` if that is
    /// it, else only as far as something is due, since a floor voids what a slow writer commits under it.
    pub(super) async fn doom(&mut self, look: &mut Look, up_to: u64, goal: u64, watch: &mut Watch) -> Result<(), PruneError> {
        for _ in 0..RACES_MAX {
            self.look_again(look, up_to).await?;
            let last_due = look.state.condemned.values().copied().filter(|&since| since <= up_to).max();
            let floor = if up_to == goal { goal } else { last_due.unwrap_or_default() };
            if last_due.is_none() && look.state.floor >= floor {
                return Ok(());
            }
            let interrupted = self.interrupted(look, floor).await?;
            let far = state::read_if_readable(self.core, floor).await?.map(|state| state.doomed).unwrap_or_default();
            let merged = self.merge_runs(look, &doomed_by(look, &look.state, up_to)).await?;
            if left_out!(DoomedBeforeDelete) {
                self.delete_doomed(&State { doomed: doomed_by(look, &look.state, up_to), ..State::default() }).await?;
            }
            let plan = Plan { up_to, floor, interrupted, far, merged };
            let moved = AtomicBool::new(false);
            let published = state::publish_after(self.core, look.state.clone(), |current| {
                if !look.holds_for(current) {
                    moved.store(true, Ordering::Relaxed);
                    return None;
                }
                Some(self.next(look, current, &plan))
            })
            .await?;
            if !moved.load(Ordering::Relaxed) {
                self.report.packs_doomed += published.doomed.iter().filter(|pack| look.state.condemned.contains_key(pack)).count() as u64;
                let taken_back = look.state.condemned.iter().filter(|(pack, since)| **since <= up_to && look.needs(pack));
                self.report.packs_taken_back += taken_back.count() as u64;
                look.state = published;
                look.run_packs.extend(plan.merged.runs.into_iter().map(|run| (run.name, run.packs)));
                return Ok(());
            }
            // Back to step 3: what is due now another may have condemned, or used again, since.
            while self.covered(up_to, look.state.floor, watch).await? < up_to {
                if self.options.no_wait {
                    return Ok(());
                }
                self.pause(watch).await;
            }
        }
        Err(PruneError::Races)
    }

    /// Lists the snapshots afresh. Only if there is another commit, though it be forgotten again, or another prune or check has published,
    /// all is marked again.
    async fn look_again(&mut self, look: &mut Look, up_to: u64) -> Result<(), PruneError> {
        let newest = state::newest(self.core).await?;
        if left_out!(Relook) {
            look.state = newest;
            return Ok(());
        }
        let candidates = listing::candidates(self.core, &newest).await?;
        let mut holds = look.holds_for(&newest);
        let known: BTreeSet<&LeaseId> = look.candidates.iter().collect();
        for lease in candidates.iter().filter(|lease| !known.contains(lease)) {
            match listing::accepted(self.core, &newest, lease).await {
                Err(ReadError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => holds = false,
            }
            if !holds {
                break;
            }
        }
        let opened = self.opened(&newest, up_to).await?;
        holds &= opened.iter().all(|(lease, last)| known.contains(lease) || look.opened.get(lease) >= Some(last));
        if holds {
            (look.candidates, look.state) = (candidates, newest);
        } else {
            *look = Look::take(self.core, &opened, &mut self.inventory, self.options.memory_bytes, self.progress).await?;
        }
        Ok(())
    }

    /// Runs that the new floor voids unless the next state lists them. All of them: a writer that began after the condemning state
    /// may be using what such a run lists.
    async fn interrupted(&self, look: &Look, floor: u64) -> Result<Interrupted, PruneError> {
        let mut found = Interrupted::new();
        for run in view::run_names(self.core, look.state.floor).await? {
            if run.lease.state >= floor || look.run_packs.contains_key(&run) {
                continue;
            }
            match view::read_run(self.core, &run).await {
                Ok((content, bytes)) => {
                    found.insert(run, (bytes, content.packs.iter().map(|pack| pack.name).collect()));
                }
                // Nobody's snapshot depends on it: damaged, it is as if it had never been.
                Err(error) if error.is_damage() => tracing::warn!(%run, %error, "a run of an interrupted backup cannot be read"),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    fn next(&self, look: &Look, current: &State, plan: &Plan) -> State {
        let mut next = current.clone();
        next.prune_epoch += u64::from(!left_out!(Epoch));
        for (commit, runs) in &look.adopted {
            next.list(commit, runs);
        }
        next.doomed = doomed_by(look, current, plan.up_to);
        next.condemned.retain(|_, since| !is_due(*since, plan.up_to));
        next.floor = next.floor.max(plan.floor);
        // Below the floor nothing else needs them, but whoever dooms the rest asks what was forgotten since that was condemned.
        next.forgotten.retain(|lease| lease.state >= next.floor || !next.condemned.is_empty());
        next.unused.retain(|pack, _| !next.doomed.contains(pack));
        next.bad_blobs.retain(|(_, pack)| !next.doomed.contains(pack));
        next.bad_packs.retain(|pack| !next.doomed.contains(pack));
        next.runs.retain(|run, _| !plan.merged.replaced.contains(run));
        next.runs.extend(plan.merged.runs.iter().map(|run| (run.name, run.object_bytes)));
        next.runs.extend(plan.interrupted.iter().map(|(run, (bytes, _))| (*run, *bytes)));
        let packs_of = |run: &RunName| plan.packs_of(look, run);
        next.runs.retain(|run, _| packs_of(run).is_none_or(|packs| packs.iter().any(|pack| !next.doomed.contains(pack))));
        if next.doomed.len() > DOOMED_KEPT {
            self.shorten_doomed(&mut next, packs_of, &plan.far);
        }
        next
    }

    /// A doomed pack leaves the list if it is deleted and nothing can name it any more: no live run lists it, and runs that are not
    /// live, but not void either, were written by who had seen it doomed.
    fn shorten_doomed<'l>(&self, next: &mut State, packs_of: impl Fn(&RunName) -> Option<&'l [PackName]>, far: &BTreeSet<PackName>) {
        if next.runs.keys().any(|run| packs_of(run).is_none()) {
            return;
        }
        let listed: BTreeSet<PackName> = next.runs.keys().filter_map(packs_of).flatten().copied().collect();
        next.doomed.retain(|pack| !far.contains(pack) || listed.contains(pack) || self.inventory.has(pack));
    }
}

/// What the publish is to do.
struct Plan {
    up_to: u64,
    floor: u64,
    interrupted: Interrupted,
    /// Doomed already when the state was published that the floor will be.
    far: BTreeSet<PackName>,
    merged: Merged,
}

impl Plan {
    /// The packs that a run lists, if it is known.
    fn packs_of<'l>(&'l self, look: &'l Look, run: &RunName) -> Option<&'l [PackName]> {
        let looked = look.run_packs.get(run).map(Vec::as_slice);
        let interrupted = || self.interrupted.get(run).map(|(_, packs)| packs.as_slice());
        let merged = || self.merged.runs.iter().find(|new| new.name == *run).map(|new| new.packs.as_slice());
        looked.or_else(interrupted).or_else(merged)
    }
}

/// All that is doomed after this publish. The state that condemned decides: what another prune condemned since, those may still use
/// who saw the state before that.
fn doomed_by(look: &Look, current: &State, up_to: u64) -> BTreeSet<PackName> {
    let due = current.condemned.iter().filter(|(pack, since)| is_due(**since, up_to) && !look.needs(pack));
    current.doomed.iter().copied().chain(due.map(|(pack, _)| *pack)).collect()
}

fn is_due(since: u64, up_to: u64) -> bool {
    since <= up_to || left_out!(Number)
}

impl Look {
    /// Whether what this look found is true of `current` too: no prune has published since, and no copy was found rotten. Commits
    /// that came since are of leases that see what is condemned as such.
    pub(super) fn holds_for(&self, current: &State) -> bool {
        let seen = &self.state;
        current.prune_epoch == seen.prune_epoch && current.bad_blobs == seen.bad_blobs && current.bad_packs == seen.bad_packs
    }
}
