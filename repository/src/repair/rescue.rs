//! A state after one that cannot be read, so that the chain goes on.
//!
//! What was only in the lost state is lost: a forget, a list of bad copies, a prune's step. Commits are found by their names, and runs by
//! them. What the lost state may have doomed was condemned in the state before it, and stays condemned: no writer uses it. If more than
//! one state is lost, anything unknown may have been condemned and doomed, so every pack is condemned: nothing new depends on it, and the
//! next prune takes back what snapshots use. The floor rises as far as a lost state can have raised it: a run that a fenced writer
//! publishes late may list packs that are gone. The prune epoch rises above any that the lost ones can have had.

use super::Rescued;
use crate::core::{Core, Created};
use crate::error::{ReadError, WriteError};
use crate::mutation::left_out;
use crate::sealed::ObjectKind;
use crate::state::{self, State, object_name};
use crate::view::{Looker, View};

/// More of them are not named one by one.
const LOST_NAMED_MAX: usize = 16;

/// Publishes a state if the newest cannot be read or is missing (leases name it); with `dry_run` only says which. None if all is well.
pub(crate) async fn rescue(core: &Core, dry_run: bool) -> Result<Option<Rescued>, WriteError> {
    let (newest, numbers) = newest(core).await?;
    let highest = state::named_by_leases(core).await?.max(numbers.last().copied()).unwrap_or(0);
    if newest.is_some_and(|newest| newest == highest) {
        return Ok(None);
    }
    let from = last_readable(core, &numbers).await?;
    if from.as_ref().is_some_and(|from| from.number == highest) {
        return Ok(None);
    }
    let number = state::number_after(highest)?;
    let before = from.clone().unwrap_or_default();
    let first_lost = from.as_ref().map_or(0, |state| state.number + 1);
    let unknown = number - first_lost;
    let condemns_all = unknown > 1;
    let rescued = Rescued {
        lost: (first_lost..number).rev().take(LOST_NAMED_MAX).map(object_name).collect(),
        from: from.map(|state| object_name(state.number)),
        published: object_name(number),
        condemns_all,
    };
    if dry_run {
        return Ok(Some(rescued));
    }
    let view = View::load_bounded(core, before, Looker::Writer).await?;
    let mut next = view.state.clone();
    next.number = number;
    next.prune_epoch += unknown + 1;
    next.unused.clear();
    for (commit, runs) in &view.adopted {
        next.list(commit, runs);
    }
    if condemns_all {
        // A prune raises the floor to a state that condemned, and so to one before its own. What cannot be listed stays above it, or
        // readers would not even be told of it.
        let lists_all = view.unreadable_snapshots.is_empty() && view.unlisted.len() == view.adopted.len();
        if lists_all && !left_out!(LostFloor) {
            next.floor = next.floor.max(number.saturating_sub(2));
        }
        for info in view.index.packs() {
            next.condemned.entry(info.name).or_insert(number);
        }
    }
    match core.write(ObjectKind::State, &object_name(number), &next.encode()).await? {
        Created::Written => {
            tracing::warn!(state = %object_name(number), "the newest state could not be read; this one follows it");
            core.saw_state(&next);
            Ok(Some(rescued))
        }
        // Somebody else did the same.
        Created::Other(_) => Ok(None),
    }
}

/// The newest state's number if it can be read, and every number.
async fn newest(core: &Core) -> Result<(Option<u64>, Vec<u64>), ReadError> {
    // More than once: a read may be torn on its way.
    for _ in 0..state::READS_MAX {
        match state::newest(core).await {
            // A new repository has none, and that is well.
            Ok(state) => return Ok((Some(state.number), state::numbers(core).await?)),
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    Ok((None, state::numbers(core).await?))
}

async fn last_readable(core: &Core, numbers: &[u64]) -> Result<Option<State>, ReadError> {
    for &number in numbers.iter().rev() {
        match state::read(core, number).await {
            Ok(state) => return Ok(Some(state)),
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}
