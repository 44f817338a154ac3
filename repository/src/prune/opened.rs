//! What may be open and is forgotten: a backup older than the state that condemned some packs commits with them, a restore younger than that
//! state opens the snapshot, and then it is forgotten. No prune waits for such a restore: what it needs of the condemned packs is held here.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::mark::snapshot_refs;
use super::{Prune, PruneError};
use crate::blob::PackName;
use crate::blobs::Blobs;
use crate::core::Core;
use crate::id::LeaseId;
use crate::mutation::left_out;
use crate::snapshot::{SnapshotObject, listing};
use crate::state::{self, State};
use crate::view::View;

/// Commits that were forgotten since a state condemned something that is due, each with the last such state.
pub(super) type Opened = BTreeMap<LeaseId, u64>;

impl Prune<'_> {
    /// Of what `newest` condemns up to the state `up_to`.
    pub(super) async fn opened(&self, newest: &State, up_to: u64) -> Result<Opened, PruneError> {
        let mut opened = Opened::new();
        let due: BTreeSet<u64> = newest.condemned.values().copied().filter(|since| *since <= up_to && !left_out!(Opened)).collect();
        for since in due {
            let before = state::read_if_readable(self.core, since).await?.map(|state| state.forgotten).unwrap_or_default();
            opened.extend(newest.forgotten.difference(&before).map(|lease| (*lease, since)));
        }
        Ok(opened)
    }
}

/// The condemned packs that these need. What of them cannot be read nobody waits for: who has it open sees it, too.
pub(super) async fn held(core: &Core, blobs: &Blobs, view: &View, opened: &Opened) -> Result<BTreeSet<PackName>, PruneError> {
    let mut held = BTreeSet::new();
    for (lease, last) in opened {
        let record = match listing::read(core, lease).await {
            Ok(SnapshotObject::Commit(record)) => record,
            Ok(SnapshotObject::Ended(_)) => continue,
            Err(error) if error.is_not_found() || error.is_damage() => continue,
            Err(error) => return Err(error.into()),
        };
        let note = |blob: &_| {
            let packs = view.index.find(blob).map(|found| found.location.pack);
            held.extend(packs.filter(|pack| view.state.condemned.get(pack).is_some_and(|since| since <= last)));
            Ok(())
        };
        match snapshot_refs(blobs, &record, &mut HashSet::new(), note).await {
            Err(PruneError::Unreadable(error)) => tracing::warn!(snapshot = %lease, %error, "forgotten, and not readable: not all of it is held"),
            other => other?,
        }
    }
    Ok(held)
}
