//! Forget: readers accept a snapshot no more. Its objects stay until a prune finds that nothing uses them.

use std::collections::BTreeSet;

use crate::core::Core;
use crate::error::{ReadError, WriteError};
use crate::id::SnapshotId;
use crate::mutation::left_out;
use crate::state;
use crate::view::{Looker, View};

pub(crate) mod retention;

/// Publishes a state in which these are forgotten; how many were accepted until then.
///
/// A commit that no state lists yet is listed first, in the same state: a backup that runs now may have used its blobs, and knows
/// where they are only by its runs. One that cannot be listed, because part of it cannot be read, is refused.
pub(crate) async fn run(core: &Core, wanted: &BTreeSet<SnapshotId>) -> Result<usize, WriteError> {
    if let Some(needs) = core.config.features.missing_to_write() {
        return Err(WriteError::TooNew { needs });
    }
    let seen = state::newest(core).await?;
    let view = View::load(core, seen, Looker::Reader).await?;
    for id in wanted {
        let is_known = view.state.listed.contains(id) || view.adopted.contains_key(id) || !view.candidates.contains(id);
        if !is_known {
            let object = crate::snapshot::object_name(id);
            return Err(ReadError::damaged(object, "it, or an index run that it names, cannot be read, so it cannot be forgotten safely").into());
        }
    }
    let accepted: BTreeSet<SnapshotId> =
        wanted.iter().filter(|id| view.state.listed.contains(id) || view.adopted.contains_key(id)).copied().collect();
    if accepted.is_empty() {
        return Ok(0);
    }
    state::publish(core, |current| {
        let mut next = current.clone();
        for (commit, runs) in view.adopted.iter().filter(|_| !left_out!(ForgetLists)) {
            next.list(commit, runs);
        }
        let due: Vec<SnapshotId> = accepted.iter().filter(|id| next.listed.contains(id) || left_out!(ForgetLists)).copied().collect();
        due.iter().for_each(|id| next.forget(id));
        (!due.is_empty()).then_some(next)
    })
    .await?;
    Ok(accepted.len())
}

#[cfg(test)]
mod tests;
