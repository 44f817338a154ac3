//! A failed session is followed by another one, which does again what has failed and nothing else.

use std::time::Duration;

use holdfast_api::backup_session::{BackupSession, BackupSessionPhase, BackupSessionStatus};
use holdfast_api::scheduler::RetryConfig;
use holdfast_api::snapshot::SnapshotPhase;
use holdfast_api::{duration, names};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Observed;
use crate::action::{Action, Created};
use crate::events::first_of;

/// On a session that is a retry: the Repositories whose Snapshots have failed, separated by commas. It backs up to these alone.
pub const ONLY: &str = "holdfast.dev/retries";

/// Names in an Event.
const NAMED_MAX: usize = 5;

/// Whether a session backs up to this repository.
pub fn includes(session: &BackupSession, repository: &str) -> bool {
    let only = session.metadata.annotations.as_ref().and_then(|annotations| annotations.get(ONLY));
    only.is_none_or(|only| only.split(',').any(|name| name == repository))
}

/// Whether another session is still to follow this one.
pub fn is_due(session: &BackupSession) -> bool {
    session.status.as_ref().is_some_and(|status| status.next_retry.is_some() && status.retried != Some(true))
}

/// Says when the next one follows a session that has ended, if one does.
pub(super) fn announce(observed: &Observed, status: &mut BackupSessionStatus, now: Timestamp) {
    if status.phase != Some(BackupSessionPhase::Failed) {
        return;
    }
    let spec = observed.spec();
    let Some(config) = spec.as_ref().and_then(|spec| spec.retry_config) else { return };
    if observed.session.spec.retry_left.unwrap_or_else(|| config.max_retry.unwrap_or(1)) <= 0 {
        return;
    }
    status.next_retry = follows(config, now).map(Time);
}

/// When a retry follows what ended at this time. Names count in seconds: one within the same second would have the name of what it repeats.
pub fn follows(config: &RetryConfig, ended: Timestamp) -> Option<Timestamp> {
    let delay = config.delay.as_deref().and_then(|delay| duration::parse(delay).ok()).unwrap_or_default();
    ended.checked_add(delay.max(Duration::from_secs(1))).ok()
}

/// A failed session with retries left: another session follows when its time has come.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let session = &observed.session;
    if !is_due(session) {
        return Vec::new();
    }
    let mut status = session.status.clone().unwrap_or_default();
    let Some(at) = status.next_retry.as_ref().map(|time| time.0) else { return Vec::new() };
    if now < at {
        return vec![Action::at(at, now)];
    }
    if let Some(newer) = superseded_by(observed) {
        status.next_retry = None;
        let mut actions: Vec<Action> = Action::status(session.status.as_ref(), &status).into_iter().collect();
        actions.push(Action::normal("RetryNotNeeded", format!("BackupSession {newer} came meanwhile, and has succeeded")));
        return actions;
    }
    status.retried = Some(true);
    let mut actions = Vec::new();
    if let (Some(invoker), Some(spec)) = (&observed.invoker, observed.spec())
        && !invoker.is_paused()
    {
        let allowed = spec.retry_config.and_then(|retry| retry.max_retry).unwrap_or(1);
        let left = session.spec.retry_left.unwrap_or(allowed);
        actions.push(Action::Create(Box::new(Created::BackupSession(again(session, left - 1, at)))));
        let what = match failed(session).as_slice() {
            [] => "all of it".to_owned(),
            repositories => first_of(repositories, NAMED_MAX),
        };
        actions.push(Action::normal("Retried", format!("another session tries again: {what}")));
    }
    actions.extend(Action::status(session.status.as_ref(), &status));
    actions
}

/// A session after this one, by its schedule or by hand, that has done what failed here: nothing is missing any more.
fn superseded_by(observed: &Observed) -> Option<String> {
    let session = &observed.session;
    let created = |session: &BackupSession| session.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let missing = failed(session);
    let has_done_it = |other: &BackupSession| {
        let Some(status) = &other.status else { return false };
        let has = |repository: &&str| {
            let mut listed = status.snapshots.iter().filter(|listed| listed.repository.as_deref() == Some(repository));
            listed.any(|listed| listed.phase == Some(SnapshotPhase::Succeeded))
        };
        status.phase == Some(BackupSessionPhase::Succeeded) && missing.iter().all(has)
    };
    let newer = observed.ended.iter().find(|other| created(other) > created(session) && has_done_it(other))?;
    newer.metadata.name.clone()
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
    let failed = failed(session);
    if !failed.is_empty() {
        again.metadata.annotations = Some([(ONLY.to_owned(), failed.join(","))].into());
    }
    again
}

/// The repositories that are to be tried again. None where all Snapshots succeeded: then a hook or the retention has failed, and since
/// hooks mean the backup that they are around, all of it is done again.
fn failed(session: &BackupSession) -> Vec<&str> {
    let listed = session.status.iter().flat_map(|status| &status.snapshots);
    listed
        .filter(|listed| listed.phase != Some(SnapshotPhase::Succeeded))
        .filter_map(|listed| listed.repository.as_deref())
        .collect()
}
