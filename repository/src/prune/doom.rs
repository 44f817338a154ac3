//! Steps 4 and 5: what ended leases committed meanwhile is looked at, and what is condemned and still unused is doomed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use super::look::Look;
use super::wait::Watch;
use super::{Prune, PruneError, RACES_MAX};
use crate::blob::PackName;
use crate::error::ReadError;
use crate::id::LeaseId;
use crate::index::RunName;
use crate::snapshot::listing;
use crate::state::{self, State};
use crate::view;

/// Doomed packs that are gone stay in the list until it is longer than this: whatever names them late finds them there.
const DOOMED_KEPT: usize = 1024;

/// A run of a lease that did not commit: its object's length, and the packs that it lists.
type Interrupted = BTreeMap<RunName, (u64, Vec<PackName>)>;

impl Prune<'_> {
    /// Leases older than `up_to` have ended. Dooms what was condemned no later than that, and raises the floor: to `goal` if that is
    /// it, else only as far as something is due, since a floor voids what a slow writer commits under it.
    pub(super) async fn doom(&mut self, look: &mut Look, up_to: u64, goal: u64, watch: &mut Watch) -> Result<(), PruneError> {
        for _ in 0..RACES_MAX {
            self.look_again(look).await?;
            let last_due = look.state.condemned.values().copied().filter(|&since| since <= up_to).max();
            let floor = if up_to == goal { goal } else { last_due.unwrap_or_default() };
            if last_due.is_none() && look.state.floor >= floor {
                return Ok(());
            }
            let interrupted = self.interrupted(look, floor).await?;
            let far = state::read_if_there(self.core, floor).await?.map(|state| state.doomed).unwrap_or_default();
            let moved = AtomicBool::new(false);
            let published = state::publish_after(self.core, look.state.clone(), |current| {
                if !look.holds_for(current) {
                    moved.store(true, Ordering::Relaxed);
                    return None;
                }
                Some(self.next(look, current, up_to, floor, &interrupted, &far))
            })
            .await?;
            if !moved.load(Ordering::Relaxed) {
                self.report.packs_doomed += published.doomed.iter().filter(|pack| look.state.condemned.contains_key(pack)).count() as u64;
                let taken_back = look.state.condemned.iter().filter(|(pack, since)| **since <= up_to && look.needs(pack));
                self.report.packs_taken_back += taken_back.count() as u64;
                look.state = published;
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

    /// Lists the snapshots afresh. Only if there is another commit, or another prune or check has published, all is marked again.
    async fn look_again(&mut self, look: &mut Look) -> Result<(), PruneError> {
        let newest = state::newest(self.core).await?;
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
        if holds {
            (look.candidates, look.state) = (candidates, newest);
        } else {
            *look = Look::take(self.core, &mut self.inventory, self.options.memory_bytes, self.progress).await?;
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

    fn next(&self, look: &Look, current: &State, up_to: u64, floor: u64, interrupted: &Interrupted, far: &BTreeSet<PackName>) -> State {
        let mut next = current.clone();
        next.prune_epoch += 1;
        for (commit, runs) in &look.adopted {
            next.list(commit, runs);
        }
        // The state that condemned decides: what another prune condemned since, others may still use who saw it before that.
        let due: Vec<PackName> = current.condemned.iter().filter(|(_, since)| **since <= up_to).map(|(pack, _)| *pack).collect();
        for pack in due {
            next.condemned.remove(&pack);
            if !look.needs(&pack) {
                next.doomed.insert(pack);
            }
        }
        next.floor = next.floor.max(floor);
        next.forgotten.retain(|lease| lease.state >= next.floor);
        next.unused.retain(|pack, _| !next.doomed.contains(pack));
        next.bad_blobs.retain(|(_, pack)| !next.doomed.contains(pack));
        next.bad_packs.retain(|pack| !next.doomed.contains(pack));
        let lives = |packs: &[PackName], doomed: &BTreeSet<PackName>| packs.iter().any(|pack| !doomed.contains(pack));
        next.runs.retain(|run, _| look.run_packs.get(run).is_none_or(|packs| lives(packs, &next.doomed)));
        next.runs.extend(interrupted.iter().filter(|(_, (_, packs))| lives(packs, &next.doomed)).map(|(run, (bytes, _))| (*run, *bytes)));
        if next.doomed.len() > DOOMED_KEPT {
            self.shorten_doomed(&mut next, look, interrupted, far);
        }
        next
    }

    /// A doomed pack leaves the list if it is deleted and nothing can name it any more: no live run lists it, and runs that are not
    /// live, but not void either, were written by who had seen it doomed.
    fn shorten_doomed(&self, next: &mut State, look: &Look, interrupted: &Interrupted, far: &BTreeSet<PackName>) {
        let packs_of = |run| look.run_packs.get(run).or_else(|| interrupted.get(run).map(|(_, packs)| packs));
        if next.runs.keys().any(|run| packs_of(run).is_none()) {
            return;
        }
        let listed: BTreeSet<PackName> = next.runs.keys().filter_map(packs_of).flatten().copied().collect();
        next.doomed.retain(|pack| !far.contains(pack) || listed.contains(pack) || self.inventory.has(pack));
    }
}

impl Look {
    /// Whether what this look found is true of `current` too: no prune has published since, and no copy was found rotten. Commits
    /// that came since are of leases that see what is condemned as such.
    pub(super) fn holds_for(&self, current: &State) -> bool {
        let seen = &self.state;
        current.prune_epoch == seen.prune_epoch && current.bad_blobs == seen.bad_blobs && current.bad_packs == seen.bad_packs
    }
}
