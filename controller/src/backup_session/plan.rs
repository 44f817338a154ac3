//! What a session needs: skipped, begun, summed up, cancelled, retried.

use std::time::Duration;

use holdfast_api::backup_configuration::InvokerPhase;
use holdfast_api::backup_session::{BackupSession, BackupSessionPhase, BackupSessionStatus};
use holdfast_api::condition::kinds::{backup_session as kinds, shared};
use holdfast_api::condition::{self, Condition};
use holdfast_api::snapshot::{ComponentPhase, Snapshot, SnapshotPhase};
use holdfast_api::{duration, phase};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Observed, claims, departure, hooks, retention, retry, snapshots};
use crate::action::Action;
use crate::first_use;
use crate::hooks::round::Turn;
use crate::invoker::either;
use crate::history::beyond;
use crate::object::Kind;

/// How long a session may be ahead of what its invoker says.
const AHEAD_MAX: Duration = Duration::from_secs(5);

/// What is to be done about a session.
pub fn plan(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let session = &observed.session;
    if session.metadata.deletion_timestamp.is_some() {
        return departure::plan(observed, now);
    }
    if claims::has_ended(session) {
        let mut actions: Vec<Action> = departure::release(session).into_iter().collect();
        actions.extend(retry::plan(observed, now));
        return actions;
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

/// Whether the session may only be seen before its invoker is seen as ready: an invoker creates its sessions before it writes
/// that it is, so that none is forgotten. Its next event wakes the session.
fn may_be_ahead(observed: &Observed, now: Timestamp) -> bool {
    let is_waited_for = observed.invoker.as_ref().is_some_and(|invoker| {
        !invoker.is_paused() && invoker.phase().is_none_or(|phase| phase == InvokerPhase::NotReady)
    });
    let created = observed.session.metadata.creation_timestamp.as_ref();
    is_waited_for && created.is_some_and(|created| now.duration_since(created.0).unsigned_abs() < AHEAD_MAX)
}

/// Why the session does not run at all.
fn in_the_way(observed: &Observed) -> Option<String> {
    let session = &observed.session;
    let Some(key) = either::key_in(session) else {
        let kind = session.spec.invoker.as_ref().map_or("", |invoker| invoker.kind.as_str());
        return Some(format!("invokers of kind {kind:?} take no backups; BackupConfiguration and BackupBatch do"));
    };
    let name = format!("{} {}", key.kind.as_str(), key.name);
    let Some(invoker) = &observed.invoker else { return Some(format!("{name} does not exist")) };
    if invoker.is_paused() {
        return Some(format!("{name} is paused"));
    }
    if invoker.phase() != Some(InvokerPhase::Ready) {
        return Some(format!("{name} is not ready"));
    }
    if observed.spec().is_none() {
        return Some(format!("{name} has no session {:?}", session.spec.session.as_deref().unwrap_or_default()));
    }
    if snapshots::of(observed).is_empty() {
        return Some(format!("{name} has no repository any more that this session retries"));
    }
    observed.other.as_ref().map(|other| format!("another session is running: {other}"))
}

fn skip(observed: &Observed, reason: String, now: Timestamp) -> Vec<Action> {
    let mut status = observed.session.status.clone().unwrap_or_default();
    let skipped = Condition::new(kinds::BACKUP_SKIPPED, true, kinds::PRE_REQUISITES_NOT_SATISFIED, reason.clone(), now);
    condition::set(&mut status.conditions, skipped);
    push_metrics(&mut status, now);
    status.phase = Some(phase::backup_session(&status));
    let mut actions = clean_history(observed, true);
    actions.extend(Action::status(observed.written.as_ref(), &status));
    actions.push(Action::warning("Skipped", reason));
    actions
}

fn begin(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let status = begun(observed, now);
    let mut actions = snapshots::missing(observed, &status, now);
    actions.extend(Action::status(observed.written.as_ref(), &status));
    actions
}

/// The status of a session that begins.
pub(super) fn begun(observed: &Observed, now: Timestamp) -> BackupSessionStatus {
    let mut status = observed.session.status.clone().unwrap_or_default();
    snapshots::list(observed, &mut status);
    let ensured = Condition::new(kinds::SNAPSHOTS_ENSURED, true, kinds::SUCCESSFULLY_ENSURED_SNAPSHOTS, first_use::begins_with(&observed.session.spec), now);
    condition::set(&mut status.conditions, ensured.observed(observed.session.metadata.generation));
    status.phase = Some(phase::backup_session(&status));
    status
}

/// A session that has begun: what its Snapshots say, until all have ended.
fn go_on(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let old = observed.session.status.clone().unwrap_or_default();
    // What was begun to be cancelled does not come back when its invoker resumes.
    if observed.invoker.as_ref().is_none_or(|invoker| invoker.is_paused()) || is_cancelled(&observed.session) {
        return cancel(observed, old, now);
    }
    if let Some(keep) = departure::keep(observed) {
        return vec![keep];
    }
    let mut status = old.clone();
    if first_use::is_changed(&observed.session) {
        let why = "its spec was changed after it had begun: it goes on as it was begun; for something else start another session";
        condition::set(&mut status.conditions, Condition::new(shared::SPEC_KEPT, false, shared::SPEC_CHANGED, why, now));
    }
    snapshots::look(observed, &mut status);
    snapshots::note_waiting(observed, &mut status, now);
    if let Turn::Busy(start) = hooks::before(observed, &mut status, now) {
        // The Snapshots wait: see `hooks::hold`.
        status.phase = Some(phase::backup_session(&status));
        let mut actions = snapshots::missing(observed, &status, now);
        actions.extend(Action::status(observed.written.as_ref(), &status));
        actions.extend(start);
        return actions;
    }
    ensure_executor(observed, &mut status, now);
    set_deadline(observed, &mut status, now);
    let mut actions = snapshots::missing(observed, &status, now);
    if snapshots::have_ended(&status) {
        actions.extend(end(observed, &mut status, now));
    } else {
        status.phase = Some(phase::backup_session(&status));
    }
    let write = Action::status(observed.written.as_ref(), &status);
    let comes_first = |action: &&Action| matches!(action, Action::Create(_) | Action::Delete { .. } | Action::Patch { .. });
    let at = actions.iter().take_while(comes_first).count();
    if let Some(write) = write {
        actions.insert(at, write);
    }
    actions
}

/// Whether this look at a session is its last: all its Snapshots have ended.
pub(super) fn is_ending(observed: &Observed) -> bool {
    let session = &observed.session;
    if session.metadata.deletion_timestamp.is_some() || claims::has_ended(session) || !claims::has_begun(session) {
        return false;
    }
    let mut status = session.status.clone().unwrap_or_default();
    snapshots::look(observed, &mut status);
    snapshots::have_ended(&status)
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
    let spec = observed.spec();
    let own = observed.session.spec.backup_timeout.as_deref();
    let timeout = own.or_else(|| spec.as_ref().and_then(|spec| spec.backup_timeout));
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
    actions.extend(clean_history(observed, false));
    let is_removal = |action: &Action| matches!(action, Action::Event(note) if note.reason == retention::REMOVED);
    let (removed, told): (Vec<Action>, Vec<Action>) = told.into_iter().partition(is_removal);
    actions.extend(told);
    let cleaned =
        Condition::new(kinds::SESSION_HISTORY_CLEANED, true, kinds::SUCCESSFULLY_CLEANED_SESSION_HISTORY, "", now);
    condition::set(&mut status.conditions, cleaned);
    push_metrics(status, now);
    status.phase = Some(phase::backup_session(status));
    status.duration = Some(duration_of(observed, now));
    retry::announce(observed, status, now);
    if status.phase == Some(BackupSessionPhase::Succeeded) {
        // In one Event what happens every day.
        let mut message = format!("the backup took {}", status.duration.as_deref().unwrap_or_default());
        for action in removed {
            if let Action::Event(note) = action {
                message += "; ";
                message += &note.message;
            }
        }
        actions.push(Action::normal("Succeeded", message));
    } else {
        actions.extend(removed);
        actions.push(Action::warning("Failed", failure(observed, status)));
    }
    actions.push(Action::HooksOver);
    actions
}

/// What went wrong with hooks and components.
pub(super) fn failure(observed: &Observed, status: &BackupSessionStatus) -> String {
    let errors = observed.snapshots.values().flat_map(|snapshot| {
        let name = snapshot.metadata.name.clone().unwrap_or_default();
        if crate::read_back::is_read_back(&snapshot.metadata) {
            return vec![format!("Snapshot {name} is there from before, read back from its storage: a session needs another name")];
        }
        let components = snapshot.status.iter().flat_map(|status| &status.components);
        let errors = components.filter_map(|(component, state)| {
            Some(format!("Snapshot {name}, component {component}: {}", state.error.as_ref()?))
        });
        errors.collect::<Vec<_>>()
    });
    let hooks = [kinds::PRE_BACKUP_HOOKS_EXECUTION_SUCCEEDED, kinds::POST_BACKUP_HOOKS_EXECUTION_SUCCEEDED];
    let hooks = hooks.into_iter().filter(|type_| condition::is_false(&status.conditions, type_));
    let hooks: Vec<String> = hooks.filter_map(|type_| condition::get(&status.conditions, type_)?.message.clone()).collect();
    let strangers = snapshots::strangers(observed, status);
    let errors: Vec<String> = hooks.into_iter().chain(strangers).chain(errors).take(5).collect();
    if errors.is_empty() { "a Snapshot of this session failed".into() } else { errors.join("; ") }
}

/// Nothing is pushed anywhere: the controller serves its metrics. The condition is KubeStash's mark of the last step.
fn push_metrics(status: &mut BackupSessionStatus, now: Timestamp) {
    let pushed =
        Condition::new(shared::METRICS_PUSHED, true, shared::SUCCESSFULLY_PUSHED_METRICS, "the last step is done", now);
    condition::set(&mut status.conditions, pushed);
}

/// Whether a session was cancelled: its Snapshots stop at once, whatever its hooks still do.
pub fn is_cancelled(session: &BackupSession) -> bool {
    session.status.as_ref().is_some_and(|status| condition::is_false(&status.conditions, kinds::BACKUP_EXECUTOR_ENSURED))
}

/// Its invoker was paused or is gone, or it is being deleted itself: the work stops, and what it had begun goes.
pub(super) fn cancel(observed: &Observed, old: BackupSessionStatus, now: Timestamp) -> Vec<Action> {
    let mut status = old;
    status.snapshots.retain(|snapshot| {
        let found = snapshot.name.as_ref().and_then(|name| observed.snapshots.get(name));
        found.and_then(|found| found.status.as_ref()?.phase).is_some_and(SnapshotPhase::is_terminal)
    });
    status.total_snapshots = i32::try_from(status.snapshots.len()).ok();
    let kind = observed.session.spec.invoker.as_ref().map_or("invoker", |invoker| invoker.kind.as_str());
    let message = match &observed.session.metadata.deletion_timestamp {
        Some(_) => "the backup was cancelled because its BackupSession was deleted".to_owned(),
        None => format!("the backup was cancelled because its {kind} was paused or deleted"),
    };
    let cancelled =
        Condition::new(kinds::BACKUP_EXECUTOR_ENSURED, false, kinds::FAILED_TO_ENSURE_BACKUP_EXECUTOR, message.clone(), now);
    condition::set(&mut status.conditions, cancelled);
    // An application that a hook has stopped is let go on by the hooks after it; those before it come to their end first.
    for turn in [hooks::before, hooks::after] {
        if let Turn::Busy(start) = turn(observed, &mut status, now) {
            let mut actions: Vec<Action> = Action::status(observed.written.as_ref(), &status).into_iter().collect();
            actions.extend(start);
            return actions;
        }
    }
    push_metrics(&mut status, now);
    status.phase = Some(phase::backup_session(&status));
    status.duration = Some(duration_of(observed, now));
    let mut actions: Vec<Action> = Action::status(observed.written.as_ref(), &status).into_iter().collect();
    actions.push(Action::warning("Cancelled", message));
    actions.push(Action::HooksOver);
    actions
}

pub(super) fn duration_of(observed: &Observed, now: Timestamp) -> String {
    let created = observed.session.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    duration::format(now.duration_since(created).max(SignedDuration::ZERO).unsigned_abs())
}

/// Older sessions beyond the limit, of those that ran and of those that were skipped each for itself; those whose retry is still to come stay.
fn clean_history(observed: &Observed, is_skipped: bool) -> Vec<Action> {
    let limit = observed.spec().and_then(|spec| spec.history_limit).unwrap_or(1).max(1);
    let ended = observed
        .ended
        .iter()
        .filter(|session| session.metadata.deletion_timestamp.is_none() && !retry::is_due(session))
        .filter(|session| (session.status.as_ref().and_then(|status| status.phase) == Some(BackupSessionPhase::Skipped)) == is_skipped);
    // The session that ends now is one of those that stay.
    beyond(Kind::BackupSession, ended, usize::try_from(limit - 1).unwrap_or(0))
}
