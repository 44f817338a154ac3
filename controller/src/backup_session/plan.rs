//! What a session needs: skipped, begun, summed up, cancelled, retried.

use std::time::Duration as StdDuration;

use holdfast_api::backup_configuration::InvokerPhase;
use holdfast_api::backup_session::{BackupSession, BackupSessionPhase, BackupSessionStatus, SnapshotStatus};
use holdfast_api::condition::kinds::{backup_session as kinds, shared};
use holdfast_api::condition::{self, Condition};
use holdfast_api::snapshot::{ComponentPhase, Snapshot, SnapshotPhase, SnapshotSpec};
use holdfast_api::{duration, labels, names, phase};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use ulid::Ulid;

use super::{Observed, claims, hooks, retention};
use crate::action::{Action, Created};
use crate::hooks::round::Turn;
use crate::object::{Key, Kind};

/// How long a session may be ahead of what its configuration says.
const AHEAD_MAX: StdDuration = StdDuration::from_secs(5);

/// What is to be done about a session.
pub fn plan(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let session = &observed.session;
    if session.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    if claims::has_ended(session) {
        return retry(observed, now);
    }
    if claims::has_begun(session) {
        return go_on(observed, now);
    }
    match in_the_way(observed) {
        Some(_) if may_be_ahead(observed, now) => vec![Action::Later(AHEAD_MAX)],
        Some(reason) => skip(observed, reason, now),
        None => begin(observed, now),
    }
}

/// Whether the session may only be seen before its configuration is seen as ready: a configuration creates its sessions before it writes
/// that it is, so that none is forgotten. Its next event wakes the session.
fn may_be_ahead(observed: &Observed, now: Timestamp) -> bool {
    let is_waited_for = observed.configuration.as_ref().is_some_and(|configuration| {
        let phase = configuration.status.as_ref().and_then(|status| status.phase);
        configuration.spec.paused != Some(true) && phase.is_none_or(|phase| phase == InvokerPhase::NotReady)
    });
    let created = observed.session.metadata.creation_timestamp.as_ref();
    is_waited_for && created.is_some_and(|created| now.duration_since(created.0).unsigned_abs() < AHEAD_MAX)
}

/// Why the session does not run at all.
fn in_the_way(observed: &Observed) -> Option<String> {
    let invoker = observed.session.spec.invoker.as_ref();
    let Some(invoker) = invoker.filter(|invoker| invoker.kind == holdfast_api::BackupConfiguration::KIND) else {
        let kind = invoker.map_or("", |invoker| invoker.kind.as_str());
        return Some(format!("invokers of kind {kind:?} are not supported yet; BackupConfiguration is"));
    };
    let Some(configuration) = &observed.configuration else {
        return Some(format!("BackupConfiguration {} does not exist", invoker.name));
    };
    if configuration.spec.paused == Some(true) {
        return Some(format!("BackupConfiguration {} is paused", invoker.name));
    }
    let phase = configuration.status.as_ref().and_then(|status| status.phase);
    if phase != Some(InvokerPhase::Ready) {
        return Some(format!("BackupConfiguration {} is not ready", invoker.name));
    }
    if observed.spec().is_none() {
        let name = observed.session.spec.session.as_deref().unwrap_or_default();
        return Some(format!("BackupConfiguration {} has no session {name:?}", invoker.name));
    }
    observed.other.as_ref().map(|other| format!("another session is running: {other}"))
}

fn skip(observed: &Observed, reason: String, now: Timestamp) -> Vec<Action> {
    let mut status = observed.session.status.clone().unwrap_or_default();
    let skipped = Condition::new(kinds::BACKUP_SKIPPED, true, kinds::PRE_REQUISITES_NOT_SATISFIED, reason.clone(), now);
    condition::set(&mut status.conditions, skipped);
    push_metrics(&mut status, now);
    status.phase = Some(phase::backup_session(&status));
    let mut actions = clean_history(observed);
    actions.extend(Action::status(observed.session.status.as_ref(), &status));
    actions.push(Action::warning("Skipped", reason));
    actions
}

fn begin(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let Some(spec) = observed.spec() else { return Vec::new() };
    let mut status = observed.session.status.clone().unwrap_or_default();
    let mut actions = Vec::new();
    for reference in &spec.repositories {
        let Some(repository) = reference.name.as_deref() else { continue };
        let snapshot = snapshot(observed, repository, now);
        status.snapshots.push(SnapshotStatus {
            name: snapshot.metadata.name.clone(),
            phase: Some(SnapshotPhase::Pending),
            app_ref: snapshot.spec.app_ref.clone(),
            repository: Some(repository.to_owned()),
        });
        actions.push(Action::Create(Box::new(Created::Snapshot(snapshot))));
    }
    status.total_snapshots = i32::try_from(status.snapshots.len()).ok();
    let ensured = Condition::new(kinds::SNAPSHOTS_ENSURED, true, kinds::SUCCESSFULLY_ENSURED_SNAPSHOTS, "", now);
    condition::set(&mut status.conditions, ensured);
    status.phase = Some(phase::backup_session(&status));
    actions.extend(Action::status(observed.session.status.as_ref(), &status));
    actions
}

fn snapshot(observed: &Observed, repository: &str, now: Timestamp) -> Snapshot {
    let session = &observed.session;
    let namespace = session.metadata.namespace.clone().unwrap_or_default();
    let session_name = session.metadata.name.clone().unwrap_or_default();
    let known = observed.repositories.get(repository);
    let app_ref = known
        .and_then(|known| known.spec.app_ref.clone())
        .or_else(|| observed.configuration.as_ref().map(|configuration| configuration.spec.app_ref(&namespace)));
    let mut snapshot = Snapshot::new(
        &names::snapshot(repository, &session_name),
        SnapshotSpec {
            snapshot_id: Some(snapshot_id(session, repository, now)),
            type_: Some("FullBackup".into()),
            repository: Some(repository.to_owned()),
            session: session.spec.session.clone(),
            backup_session: Some(session_name),
            version: Some(names::LAYOUT_VERSION.into()),
            app_ref: app_ref.clone(),
            deletion_policy: None,
            paused: None,
        },
    );
    snapshot.metadata.namespace = Some(namespace);
    snapshot.metadata.labels = app_ref.as_ref().map(|app| labels::of_snapshot(repository, app));
    snapshot.metadata.owner_references = known.map(|known| {
        vec![OwnerReference {
            api_version: holdfast_api::Repository::API_VERSION.into(),
            kind: holdfast_api::Repository::KIND.into(),
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

/// A session that has begun: what its Snapshots say, until all have ended.
fn go_on(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let old = observed.session.status.clone().unwrap_or_default();
    let paused = observed.configuration.as_ref().is_none_or(|configuration| configuration.spec.paused == Some(true));
    if paused {
        return cancel(observed, old, now);
    }
    let mut status = old.clone();
    look_at_snapshots(observed, &mut status);
    if let Turn::Busy(start) = hooks::before(observed, &mut status, now) {
        // The Snapshots wait: see `hooks::hold`.
        status.phase = Some(phase::backup_session(&status));
        let mut actions = missing_snapshots(observed, &status, now);
        actions.extend(Action::status(observed.session.status.as_ref(), &status));
        actions.extend(start);
        return actions;
    }
    ensure_executor(observed, &mut status, now);
    set_deadline(observed, &mut status, now);
    let mut actions = missing_snapshots(observed, &status, now);
    if all_ended(&status) {
        actions.extend(end(observed, &mut status, now));
    } else {
        status.phase = Some(phase::backup_session(&status));
    }
    let write = Action::status(observed.session.status.as_ref(), &status);
    let comes_first = |action: &&Action| matches!(action, Action::Create(_) | Action::Delete { .. } | Action::Patch { .. });
    let at = actions.iter().take_while(comes_first).count();
    if let Some(write) = write {
        actions.insert(at, write);
    }
    actions
}

fn look_at_snapshots(observed: &Observed, status: &mut BackupSessionStatus) {
    for listed in &mut status.snapshots {
        let found = listed.name.as_ref().and_then(|name| observed.snapshots.get(name));
        let phase = found.map(|snapshot| snapshot.status.as_ref().and_then(|status| status.phase));
        listed.phase = match phase {
            Some(phase) => Some(phase.unwrap_or(SnapshotPhase::Pending)),
            // Not created yet, or not seen yet; if it was seen before, somebody has deleted it.
            None if listed.phase == Some(SnapshotPhase::Pending) => listed.phase,
            None => Some(SnapshotPhase::Failed),
        };
    }
}

fn all_ended(status: &BackupSessionStatus) -> bool {
    !status.snapshots.is_empty()
        && status.snapshots.iter().all(|snapshot| snapshot.phase.is_some_and(SnapshotPhase::is_terminal))
}

/// Whether this look at a session is its last: all its Snapshots have ended.
pub(super) fn is_ending(observed: &Observed) -> bool {
    let session = &observed.session;
    if session.metadata.deletion_timestamp.is_some() || claims::has_ended(session) || !claims::has_begun(session) {
        return false;
    }
    let mut status = session.status.clone().unwrap_or_default();
    look_at_snapshots(observed, &mut status);
    all_ended(&status)
}

/// Snapshots that the status lists and that do not exist: a crash came between, or the cache is behind (then creating
/// them again does nothing).
fn missing_snapshots(observed: &Observed, status: &BackupSessionStatus, now: Timestamp) -> Vec<Action> {
    let pending = status.snapshots.iter().filter(|listed| listed.phase == Some(SnapshotPhase::Pending));
    pending
        .filter(|listed| listed.name.as_ref().is_some_and(|name| !observed.snapshots.contains_key(name)))
        .filter_map(|listed| listed.repository.as_deref())
        .map(|repository| Action::Create(Box::new(Created::Snapshot(snapshot(observed, repository, now)))))
        .collect()
}

fn ensure_executor(observed: &Observed, status: &mut BackupSessionStatus, now: Timestamp) {
    let begun = |snapshot: &std::sync::Arc<Snapshot>| {
        snapshot.status.as_ref().is_some_and(|status| status.total_components.is_some())
    };
    let all = status
        .snapshots
        .iter()
        .all(|listed| listed.name.as_ref().and_then(|name| observed.snapshots.get(name)).is_some_and(begun));
    if all && !condition::has(&status.conditions, kinds::BACKUP_EXECUTOR_ENSURED) {
        let ensured =
            Condition::new(kinds::BACKUP_EXECUTOR_ENSURED, true, kinds::SUCCESSFULLY_ENSURED_BACKUP_EXECUTOR, "", now);
        condition::set(&mut status.conditions, ensured);
    }
}

/// The deadline counts from the first assignment: waiting in line is not the backup's fault.
fn set_deadline(observed: &Observed, status: &mut BackupSessionStatus, now: Timestamp) {
    let timeout = observed
        .session
        .spec
        .backup_timeout
        .as_deref()
        .or_else(|| observed.spec().and_then(|spec| spec.backup_timeout.as_deref()));
    let Some(timeout) = timeout.and_then(|text| duration::parse(text).ok()) else { return };
    let components = observed
        .snapshots
        .values()
        .filter_map(|snapshot| snapshot.status.as_ref())
        .flat_map(|status| status.components.values());
    let mut phases = components.filter_map(|component| component.phase);
    if status.backup_deadline.is_none() && phases.any(|phase| phase != ComponentPhase::Pending) {
        status.backup_deadline = now.checked_add(timeout).ok().map(Time);
    }
}

fn end(observed: &Observed, status: &mut BackupSessionStatus, now: Timestamp) -> Vec<Action> {
    if let Turn::Busy(start) = hooks::after(observed, status, now) {
        status.phase = Some(phase::backup_session(status));
        return start.into_iter().collect();
    }
    // What is to be removed is written down first: if that fails, the session has not ended yet.
    let (mut actions, told): (Vec<Action>, Vec<Action>) = retention::plan(observed, status, now)
        .into_iter()
        .partition(|action| matches!(action, Action::Patch { .. }));
    actions.extend(clean_history(observed));
    actions.extend(told);
    let cleaned =
        Condition::new(kinds::SESSION_HISTORY_CLEANED, true, kinds::SUCCESSFULLY_CLEANED_SESSION_HISTORY, "", now);
    condition::set(&mut status.conditions, cleaned);
    push_metrics(status, now);
    status.phase = Some(phase::backup_session(status));
    status.duration = Some(duration_of(observed, now));
    plan_retry(observed, status, now);
    actions.push(match status.phase {
        Some(BackupSessionPhase::Succeeded) => {
            Action::normal("Succeeded", format!("the backup took {}", status.duration.as_deref().unwrap_or_default()))
        }
        _ => Action::warning("Failed", failure(observed, status)),
    });
    actions.push(Action::HooksOver);
    actions
}

/// What went wrong with hooks and components.
pub(super) fn failure(observed: &Observed, status: &BackupSessionStatus) -> String {
    let errors = observed.snapshots.values().flat_map(|snapshot| {
        let name = snapshot.metadata.name.clone().unwrap_or_default();
        let components = snapshot.status.iter().flat_map(|status| &status.components);
        components.filter_map(move |(component, state)| {
            Some(format!("Snapshot {name}, component {component}: {}", state.error.as_ref()?))
        })
    });
    let hooks = [kinds::PRE_BACKUP_HOOKS_EXECUTION_SUCCEEDED, kinds::POST_BACKUP_HOOKS_EXECUTION_SUCCEEDED];
    let hooks = hooks.into_iter().filter(|type_| condition::is_false(&status.conditions, type_));
    let hooks: Vec<String> = hooks.filter_map(|type_| condition::get(&status.conditions, type_)?.message.clone()).collect();
    let errors: Vec<String> = hooks.into_iter().chain(errors).take(5).collect();
    if errors.is_empty() { "a Snapshot of this session failed".into() } else { errors.join("; ") }
}

/// Nothing is pushed anywhere: the controller serves its metrics. The condition is KubeStash's mark of the last step.
fn push_metrics(status: &mut BackupSessionStatus, now: Timestamp) {
    let pushed =
        Condition::new(shared::METRICS_PUSHED, true, shared::SUCCESSFULLY_PUSHED_METRICS, "the last step is done", now);
    condition::set(&mut status.conditions, pushed);
}

/// The invoker was paused, or is gone: the work stops, and what it had begun goes.
fn cancel(observed: &Observed, old: BackupSessionStatus, now: Timestamp) -> Vec<Action> {
    let mut status = old;
    status.snapshots.retain(|snapshot| {
        let found = snapshot.name.as_ref().and_then(|name| observed.snapshots.get(name));
        found.and_then(|found| found.status.as_ref()?.phase).is_some_and(SnapshotPhase::is_terminal)
    });
    status.total_snapshots = i32::try_from(status.snapshots.len()).ok();
    let message = "the backup was cancelled because its BackupConfiguration was paused or deleted";
    let cancelled =
        Condition::new(kinds::BACKUP_EXECUTOR_ENSURED, false, kinds::FAILED_TO_ENSURE_BACKUP_EXECUTOR, message, now);
    condition::set(&mut status.conditions, cancelled);
    push_metrics(&mut status, now);
    status.phase = Some(phase::backup_session(&status));
    status.duration = Some(duration_of(observed, now));
    let mut actions: Vec<Action> = Action::status(observed.session.status.as_ref(), &status).into_iter().collect();
    actions.push(Action::warning("Cancelled", message));
    actions.push(Action::HooksOver);
    actions
}

pub(super) fn duration_of(observed: &Observed, now: Timestamp) -> String {
    let created = observed.session.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    duration::format(now.duration_since(created).max(SignedDuration::ZERO).unsigned_abs())
}

/// Older sessions beyond the limit; those whose retry is still to come stay.
fn clean_history(observed: &Observed) -> Vec<Action> {
    let limit = observed.spec().and_then(|spec| spec.session_history_limit).unwrap_or(1).max(1);
    let mut ended: Vec<&std::sync::Arc<BackupSession>> = observed
        .ended
        .iter()
        .filter(|session| session.metadata.deletion_timestamp.is_none() && !retry_is_due(session))
        .collect();
    ended.sort_by_key(|session| {
        std::cmp::Reverse((
            session.metadata.creation_timestamp.as_ref().map(|time| time.0),
            session.metadata.name.clone(),
        ))
    });
    // The session that ends now is one of those that stay.
    ended
        .into_iter()
        .skip(usize::try_from(limit - 1).unwrap_or(0))
        .map(|session| Action::Delete { key: key_of(session), uid: session.metadata.uid.clone().unwrap_or_default() })
        .collect()
}

fn key_of(session: &BackupSession) -> Key {
    Key::of(Kind::BackupSession, &session.metadata)
}

fn retry_is_due(session: &BackupSession) -> bool {
    session.status.as_ref().is_some_and(|status| status.next_retry.is_some() && status.retried != Some(true))
}

fn plan_retry(observed: &Observed, status: &mut BackupSessionStatus, now: Timestamp) {
    if status.phase != Some(BackupSessionPhase::Failed) {
        return;
    }
    let Some(config) = observed.spec().and_then(|spec| spec.retry_config.as_ref()) else { return };
    if observed.session.spec.retry_left.unwrap_or_else(|| config.max_retry.unwrap_or(1)) <= 0 {
        return;
    }
    let delay = config.delay.as_deref().and_then(|delay| duration::parse(delay).ok()).unwrap_or_default();
    // Names count in seconds: a retry within the same one would have the name of what it repeats.
    status.next_retry = now.checked_add(delay.max(StdDuration::from_secs(1))).ok().map(Time);
}

/// A failed session with retries left: another session follows when its time has come.
fn retry(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let session = &observed.session;
    if !retry_is_due(session) {
        return Vec::new();
    }
    let mut status = session.status.clone().unwrap_or_default();
    let Some(at) = status.next_retry.as_ref().map(|time| time.0) else { return Vec::new() };
    if now < at {
        let wait = at.duration_since(now).max(SignedDuration::from_millis(1));
        return vec![Action::Later(wait.unsigned_abs().min(StdDuration::from_secs(600)))];
    }
    status.retried = Some(true);
    let mut actions = Vec::new();
    if let (Some(config), Some(spec)) = (&observed.configuration, observed.spec())
        && config.spec.paused != Some(true)
    {
        let left = session
            .spec
            .retry_left
            .unwrap_or_else(|| spec.retry_config.as_ref().and_then(|retry| retry.max_retry).unwrap_or(1));
        actions.push(Action::Create(Box::new(Created::BackupSession(again(session, left - 1, at)))));
        actions.push(Action::normal("Retried", "another session was created"));
    }
    actions.extend(Action::status(session.status.as_ref(), &status));
    actions
}

fn again(session: &BackupSession, retry_left: i32, at: Timestamp) -> BackupSession {
    let invoker = session.spec.invoker.as_ref().map(|invoker| invoker.name.clone()).unwrap_or_default();
    let name = names::backup_session(&invoker, session.spec.session.as_deref().unwrap_or_default(), at);
    let mut spec = session.spec.clone();
    spec.retry_left = Some(retry_left);
    let mut again = BackupSession::new(&name, spec);
    again.metadata.namespace = session.metadata.namespace.clone();
    again.metadata.labels = session.metadata.labels.clone();
    again.metadata.owner_references = session.metadata.owner_references.clone();
    again
}
