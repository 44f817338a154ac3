//! The Snapshots of a session: one for each repository of each of its targets.

use std::collections::BTreeSet;

use holdfast_api::backup_session::{BackupSession, BackupSessionStatus, SnapshotStatus};
use holdfast_api::snapshot::{Snapshot, SnapshotPhase, SnapshotSpec};
use holdfast_api::{Repository, TypedObjectReference, labels, names};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use ulid::Ulid;

use super::{Observed, retry};
use crate::action::{Action, Created};
use crate::snapshot::waiting;
use crate::read_back::is_read_back;

/// Its repositories, and the names of the Snapshots in them. Long names are shortened, and those of two repositories may become one.
pub(super) fn of(observed: &Observed) -> Vec<(String, String)> {
    let session = &observed.session;
    let session_name = session.metadata.name.as_deref().unwrap_or_default();
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    let spec = observed.spec();
    let repositories = spec.iter().flat_map(|spec| spec.repositories()).filter_map(|(_, reference)| reference.name.as_deref());
    for repository in repositories.filter(|repository| retry::includes(session, repository)) {
        let mut name = names::snapshot(repository, session_name);
        if seen.contains(&name) {
            name = names::distinct(&name, &repository);
        }
        seen.insert(name.clone());
        all.push((repository.to_owned(), name));
    }
    all
}

/// All of them, listed in the status.
pub(super) fn list(observed: &Observed, status: &mut BackupSessionStatus) {
    for (repository, name) in of(observed) {
        status.snapshots.push(SnapshotStatus {
            name: Some(name),
            phase: Some(SnapshotPhase::Pending),
            app_ref: application(observed, &repository),
            repository: Some(repository),
        });
    }
    status.total_snapshots = i32::try_from(status.snapshots.len()).ok();
}

/// Whether all of them are there, and are this session's: then it has begun, although its status may not say so yet.
pub(super) fn are_made(observed: &Observed) -> bool {
    let all = of(observed);
    let is_made = |repository: &str, name: &str| observed.snapshots.get(name).is_some_and(|found| is_of(found, &observed.session, Some(repository)));
    !all.is_empty() && all.iter().all(|(repository, name)| is_made(repository, name))
}

/// Those that the status lists and that do not exist: a crash came between, or the cache is behind (then creating them
/// again does nothing).
pub(super) fn missing(observed: &Observed, status: &BackupSessionStatus, now: Timestamp) -> Vec<Action> {
    let pending = status.snapshots.iter().filter(|listed| listed.phase == Some(SnapshotPhase::Pending));
    pending
        .filter_map(|listed| Some((listed.repository.as_deref()?, listed.name.as_deref()?)))
        .filter(|(_, name)| !observed.snapshots.contains_key(*name))
        .map(|(repository, name)| Action::Create(Box::new(Created::Snapshot(snapshot(observed, repository, name, now)))))
        .collect()
}

/// What each says.
pub(super) fn look(observed: &Observed, status: &mut BackupSessionStatus) {
    for listed in &mut status.snapshots {
        let found = listed.name.as_ref().and_then(|name| observed.snapshots.get(name));
        listed.phase = match found {
            // Another session's has the name, or one of before that was read back: its data are not this session's.
            Some(found) if !is_of(found, &observed.session, listed.repository.as_deref()) => Some(SnapshotPhase::Failed),
            Some(found) => found.status.as_ref().and_then(|status| status.phase).or(Some(SnapshotPhase::Pending)),
            // Not created yet, or not seen yet; if it was seen before, somebody has deleted it.
            None if listed.phase == Some(SnapshotPhase::Pending) => listed.phase,
            None => Some(SnapshotPhase::Failed),
        };
    }
}

/// What they have waited for too long, said at the session as well.
pub(super) fn note_waiting(observed: &Observed, status: &mut BackupSessionStatus, now: Timestamp) {
    let waits = observed.snapshots.iter().filter_map(|(name, snapshot)| {
        let said = waiting::said(&snapshot.status.as_ref()?.conditions)?;
        Some(format!("Snapshot {name}: {said}"))
    });
    let waits: Vec<String> = waits.collect();
    // They have waited long enough to say so.
    waiting::note(&mut status.conditions, &waits, Timestamp::MIN, now);
}

/// What cannot be this session's: another one's Snapshot has its name.
pub(super) fn strangers(observed: &Observed, status: &BackupSessionStatus) -> Vec<String> {
    let listed = status.snapshots.iter().filter_map(|listed| {
        let (name, found) = observed.snapshots.get_key_value(listed.name.as_ref()?)?;
        let theirs = found.spec.backup_session.as_deref().unwrap_or_default();
        let is_ours = is_of(found, &observed.session, listed.repository.as_deref());
        (!is_ours).then(|| format!("the name {name} is taken by a Snapshot of BackupSession {theirs}"))
    });
    listed.collect()
}

fn is_of(snapshot: &Snapshot, session: &BackupSession, repository: Option<&str>) -> bool {
    let spec = &snapshot.spec;
    spec.backup_session == session.metadata.name && spec.repository.as_deref() == repository && !is_read_back(&snapshot.metadata)
}

/// Whether all have ended.
pub(super) fn have_ended(status: &BackupSessionStatus) -> bool {
    !status.snapshots.is_empty()
        && status.snapshots.iter().all(|snapshot| snapshot.phase.is_some_and(SnapshotPhase::is_terminal))
}

/// What is backed up to a repository.
fn application(observed: &Observed, repository: &str) -> Option<TypedObjectReference> {
    let known = observed.repositories.get(repository).and_then(|known| known.spec.app_ref.clone());
    known.or_else(|| {
        let namespace = observed.session.metadata.namespace.as_deref().unwrap_or_default();
        Some(observed.spec()?.target_of(repository)?.application(namespace))
    })
}

fn snapshot(observed: &Observed, repository: &str, name: &str, now: Timestamp) -> Snapshot {
    let session = &observed.session;
    let namespace = session.metadata.namespace.clone().unwrap_or_default();
    let known = observed.repositories.get(repository);
    let app_ref = application(observed, repository);
    let mut snapshot = Snapshot::new(
        name,
        SnapshotSpec {
            snapshot_id: Some(snapshot_id(session, repository, now)),
            type_: Some("FullBackup".into()),
            repository: Some(repository.to_owned()),
            session: session.spec.session.clone(),
            backup_session: session.metadata.name.clone(),
            version: Some(names::LAYOUT_VERSION.into()),
            app_ref: app_ref.clone(),
            deletion_policy: None,
            paused: None,
        },
    );
    snapshot.metadata.labels = app_ref.as_ref().map(|app| labels::of_snapshot(repository, app));
    snapshot.metadata.namespace = Some(namespace);
    snapshot.metadata.owner_references = known.map(|known| {
        vec![OwnerReference {
            api_version: Repository::API_VERSION.into(),
            kind: Repository::KIND.into(),
            name: repository.to_owned(),
            uid: known.metadata.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: Some(false),
        }]
    });
    snapshot
}

/// A ULID: the time, then 80 bits that are the same whenever this plan is made again for this session and repository.
fn snapshot_id(session: &BackupSession, repository: &str, now: Timestamp) -> String {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let created = session.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let part = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, &session.metadata.uid, repository).hash(&mut hasher);
        u128::from(hasher.finish())
    };
    let random = (part(0) << 64 | part(1)) & ((1 << Ulid::RAND_BITS) - 1);
    Ulid::from_parts(u64::try_from(created.as_millisecond()).unwrap_or(0), random).to_string()
}
