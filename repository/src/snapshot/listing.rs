//! Which snapshots readers accept, and what stands in them.

use futures::stream::{self, StreamExt};

use super::{SnapshotObject, SnapshotRecord, object_name};
use crate::cache::CacheName;
use crate::core::Core;
use crate::error::ReadError;
use crate::id::{LeaseId, SnapshotId};
use crate::sealed::ObjectKind;
use crate::state::State;

/// Requests at once.
const AT_ONCE: usize = 64;
/// Snapshots looked at together while a parent is looked for.
const NEWEST_AT_ONCE: usize = 32;

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
    let (content, _) = core.read_immutable(ObjectKind::Snapshot, &name, &CacheName::snapshot(lease)).await?;
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

/// Leases that have an object in `snapshots/` and a name that is not void, or that the state lists; in their order.
pub(crate) async fn candidates(core: &Core, state: &State) -> Result<Vec<LeaseId>, ReadError> {
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
pub(crate) async fn unlisted(core: &Core, state: &State, candidates: &[LeaseId]) -> Result<Snapshots, ReadError> {
    let leases = candidates.iter().filter(|lease| !state.listed.contains(lease)).copied().collect();
    read_all(core, state, leases).await
}

/// Commits that a list gave no place to, although others in it may use what they stored: they came behind the place where it was
/// already, before the others came in front of it. A list made now has them. `listed` are that list's `candidates`.
pub(crate) async fn behind(core: &Core, state: &State, listed: &[LeaseId]) -> Result<Vec<(SnapshotId, SnapshotRecord)>, ReadError> {
    let now = candidates(core, state).await?;
    let leases = now.into_iter().filter(|lease| listed.binary_search(lease).is_err()).collect();
    Ok(read_all(core, state, leases).await?.readable)
}

/// The newest snapshots until `enough` says so, newest lease first, some at once: to find a parent without reading all of them.
/// A lease's number is the state that it saw, so what was begun after another had committed comes before it.
pub(crate) async fn newest_until(core: &Core, state: &State, candidates: &[LeaseId], enough: impl Fn(&Snapshots) -> bool) -> Result<Snapshots, ReadError> {
    let mut leases = candidates.to_vec();
    leases.sort_unstable_by_key(|lease| (std::cmp::Reverse(lease.state), lease.random));
    let mut found = Snapshots::default();
    let mut rest = leases.as_slice();
    while !rest.is_empty() && !enough(&found) {
        let mut count = rest.len().min(NEWEST_AT_ONCE);
        // Leases of one state have no order among them: all of them are looked at.
        count += rest[count..].iter().take_while(|lease| lease.state == rest[count - 1].state).count();
        let (now, later) = rest.split_at(count);
        let Snapshots { readable, unreadable } = read_all(core, state, now.to_vec()).await?;
        found.readable.extend(readable);
        found.unreadable.extend(unreadable);
        rest = later;
    }
    found.readable.sort_by_key(|(id, record)| (record.end_ms, *id));
    Ok(found)
}

/// The accepted ones of these.
pub(crate) async fn read_all(core: &Core, state: &State, leases: Vec<LeaseId>) -> Result<Snapshots, ReadError> {
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
