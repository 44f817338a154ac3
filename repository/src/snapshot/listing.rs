//! Which snapshots readers accept, and what stands in them.

use futures::stream::{self, StreamExt, TryStreamExt};

use super::{SnapshotObject, SnapshotRecord, object_name};
use crate::core::Core;
use crate::error::ReadError;
use crate::id::{LeaseId, SnapshotId};
use crate::sealed::ObjectKind;
use crate::state::State;

/// Requests at once.
const AT_ONCE: usize = 16;

/// The snapshots that readers accept.
#[derive(Debug, Default)]
pub struct Snapshots {
    /// Oldest first, by end time.
    pub readable: Vec<(SnapshotId, SnapshotRecord)>,
    /// Accepted by name, not readable: named beside, never hidden.
    pub unreadable: Vec<(SnapshotId, ReadError)>,
}

/// A snapshot object, whoever accepts it.
pub(crate) async fn read(core: &Core, lease: &LeaseId) -> Result<SnapshotObject, ReadError> {
    let name = object_name(lease);
    let content = core.read(ObjectKind::Snapshot, &name).await?;
    SnapshotObject::decode(&content).map_err(|error| ReadError::damaged(name, error.to_string()))
}

/// One snapshot that a reader who saw `state` accepts.
pub(crate) async fn accepted(core: &Core, state: &State, id: &SnapshotId) -> Result<SnapshotRecord, ReadError> {
    let absent = || ReadError::NotFound { what: format!("snapshot {id}") };
    if !state.accepts(id) {
        return Err(absent());
    }
    match read(core, id).await {
        Ok(SnapshotObject::Commit(record)) => Ok(*record),
        Ok(SnapshotObject::Ended(_)) => Err(absent()),
        // Listed and gone is damage; otherwise nobody ever committed it.
        Err(error) if error.is_not_found() && !state.listed.contains(id) => Err(absent()),
        Err(error) if error.is_not_found() => Err(ReadError::damaged(object_name(id), "the state lists it, and it is gone")),
        Err(error) => Err(error),
    }
}

/// Leases that have an object in `snapshots/` and a name that is not void, or that the state lists.
async fn candidates(core: &Core, state: &State) -> Result<Vec<LeaseId>, ReadError> {
    let mut found = state.listed.clone();
    let mut names = core.store.list("snapshots", None);
    while let Some(entry) = names.next().await {
        if let Some(Ok(lease)) = entry?.name.strip_prefix("snapshots/").map(str::parse::<LeaseId>) {
            found.insert(lease);
        }
    }
    Ok(found.into_iter().filter(|lease| state.accepts(lease)).collect())
}

/// Everything that a reader who saw `state` accepts.
pub(crate) async fn all(core: &Core, state: &State) -> Result<Snapshots, ReadError> {
    read_all(core, state, candidates(core, state).await?).await
}

/// The accepted commits that the state does not list yet: whoever finds them takes their runs over.
pub(crate) async fn unlisted(core: &Core, state: &State) -> Result<Snapshots, ReadError> {
    let mut leases = candidates(core, state).await?;
    leases.retain(|lease| !state.listed.contains(lease));
    read_all(core, state, leases).await
}

async fn read_all(core: &Core, state: &State, leases: Vec<LeaseId>) -> Result<Snapshots, ReadError> {
    let mut snapshots = Snapshots::default();
    let mut reads = stream::iter(leases.into_iter().map(|lease| async move { (lease, accepted(core, state, &lease).await) })).buffered(AT_ONCE);
    while let Some((lease, record)) = reads.next().await {
        match record {
            Ok(record) => snapshots.readable.push((lease, record)),
            Err(ReadError::NotFound { .. }) => {}
            Err(error @ (ReadError::Damaged { .. } | ReadError::TooNew { .. })) => snapshots.unreadable.push((lease, error)),
            Err(error) => return Err(error),
        }
    }
    snapshots.readable.sort_by_key(|(id, record)| (record.end_ms, *id));
    Ok(snapshots)
}

/// How many requests a caller of this crate may have under way at once for small objects.
pub(crate) async fn read_each<T, F>(reads: impl Iterator<Item = F>) -> Result<Vec<T>, ReadError>
where
    F: Future<Output = Result<T, ReadError>>,
{
    stream::iter(reads).buffered(AT_ONCE).try_collect().await
}
