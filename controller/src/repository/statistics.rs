//! What the Snapshots of a repository add up to.

use std::collections::BTreeSet;
use std::sync::Arc;

use holdfast_api::Snapshot;
use holdfast_api::repository::{RepositoryStatus, SnapshotInfo};
use holdfast_api::snapshot::SnapshotPhase;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::read_back;

/// Snapshots that a repository's status lists; as KubeStash.
const RECENT: usize = 5;

/// Sums up into `status`. Fields: the rules are in `docs/compat.md`.
pub fn sum_up(status: &mut RepositoryStatus, snapshots: &[Arc<Snapshot>]) {
    let mut living: Vec<&Arc<Snapshot>> =
        snapshots.iter().filter(|snapshot| snapshot.metadata.deletion_timestamp.is_none()).collect();
    // Newest first; the name decides among those of one second, so that the order never wavers.
    living.sort_by(|left, right| (taken(right), name(right)).cmp(&(taken(left), name(left))));
    status.snapshot_count = i32::try_from(living.len()).ok();
    status.recent_snapshots = living.iter().take(RECENT).map(|snapshot| info(snapshot)).collect();
    let succeeded = || living.iter().filter(|snapshot| phase(snapshot) == Some(SnapshotPhase::Succeeded));
    status.last_backup_time =
        succeeded().filter_map(|snapshot| snapshot.status.as_ref()?.snapshot_time.clone()).max_by_key(|time| time.0);
    if let Some(size) = succeeded().find_map(|snapshot| snapshot.status.as_ref()?.size.clone()) {
        status.size = Some(size);
    }
    let paths: BTreeSet<String> = living
        .iter()
        .filter_map(|snapshot| snapshot.status.as_ref())
        .flat_map(|status| status.components.values().filter_map(|component| component.path.clone()))
        .collect();
    status.component_paths = paths.into_iter().collect();
}

fn info(snapshot: &Snapshot) -> SnapshotInfo {
    let status = snapshot.status.as_ref();
    SnapshotInfo {
        name: snapshot.metadata.name.clone(),
        phase: phase(snapshot),
        session: snapshot.spec.session.clone(),
        size: status.and_then(|status| status.size.clone()),
        snapshot_time: status.and_then(|status| status.snapshot_time.clone()),
    }
}

fn phase(snapshot: &Snapshot) -> Option<SnapshotPhase> {
    snapshot.status.as_ref().and_then(|status| status.phase)
}

/// When its backup began; of one that was read back, when it was taken, since the object is younger.
fn taken(snapshot: &Snapshot) -> Option<jiff::Timestamp> {
    let taken = snapshot.status.as_ref().and_then(|status| status.snapshot_time.as_ref());
    let taken = taken.filter(|_| read_back::is_read_back(&snapshot.metadata));
    taken.or(snapshot.metadata.creation_timestamp.as_ref()).map(|Time(time)| *time)
}

fn name(snapshot: &Snapshot) -> &str {
    snapshot.metadata.name.as_deref().unwrap_or_default()
}
