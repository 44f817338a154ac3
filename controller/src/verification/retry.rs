//! A try that failed is followed by another one of the same Snapshot, as the verifier says.

use holdfast_api::{BackupVerificationSession, names};
use holdfast_api::condition::{self, kinds::backup_verification_session as kinds};
use jiff::Timestamp;

use super::{Observed, plan};
use crate::action::{Action, Created};
use crate::backup_session::retry::follows;

/// Whether another try is still to follow this one.
pub(super) fn is_due(observed: &Observed, session: &BackupVerificationSession) -> bool {
    let status = session.status.as_ref();
    plan::has_failed(status) && status.is_none_or(|status| status.retried != Some(true)) && left(observed, session) > 0
}

fn left(observed: &Observed, session: &BackupVerificationSession) -> i32 {
    let Some(config) = observed.verifier.as_ref().ok().and_then(|verifier| verifier.spec.retry_config.as_ref()) else { return 0 };
    session.spec.retry_left.unwrap_or_else(|| config.max_retry.unwrap_or(1))
}

/// One that has ended: another follows when its time has come, unless a newer one of the same does already.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let session = &observed.session;
    let created = |session: &BackupVerificationSession| session.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let is_superseded = observed.siblings.iter().any(|other| created(other) > created(session));
    let is_paused = observed.invoker.as_ref().is_none_or(|invoker| invoker.is_paused());
    if !is_due(observed, session) || is_superseded || is_paused || observed.snapshot.is_err() {
        return Vec::new();
    }
    let Some(at) = due(observed) else { return Vec::new() };
    if now < at {
        return vec![Action::at(at, now)];
    }
    let mut status = session.status.clone().unwrap_or_default();
    status.retried = Some(true);
    let mut actions = vec![Action::Create(Box::new(Created::Verification(again(observed, at)))), Action::normal("Retried", "another session tries again")];
    actions.extend(Action::status(session.status.as_ref(), &status));
    actions
}

fn due(observed: &Observed) -> Option<Timestamp> {
    let status = observed.session.status.as_ref()?;
    let ended = condition::get(&status.conditions, kinds::VERIFICATION_SESSION_HISTORY_CLEANED)?.last_transition_time.0;
    follows(observed.verifier.as_ref().ok()?.spec.retry_config.as_ref()?, ended)
}

fn again(observed: &Observed, at: Timestamp) -> BackupVerificationSession {
    let session = &observed.session;
    let mut spec = session.spec.clone();
    spec.retry_left = Some(left(observed, session) - 1);
    let (repository, name) = (spec.repository.clone().unwrap_or_default(), spec.session.clone().unwrap_or_default());
    let mut again = BackupVerificationSession::new(&names::backup_verification_session(&repository, &name, at), spec);
    again.metadata.namespace = session.metadata.namespace.clone();
    again.metadata.labels = session.metadata.labels.clone();
    again.metadata.owner_references = session.metadata.owner_references.clone();
    again
}
