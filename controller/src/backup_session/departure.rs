//! A session that is deleted while it runs: the hooks after it run before it goes, since one before it may have stopped an application
//! that only they let go on.

use holdfast_api::backup_session::BackupSession;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Observed, claims, plan};
use crate::action::Action;
use crate::finalizer;
use crate::object::{Key, Kind};

/// What hooks after a deleted session or restore may take together; a namespace that is deleted as a whole waits no longer.
pub(crate) const WAITED_MAX: SignedDuration = SignedDuration::from_mins(15);

/// What of that is left.
pub(crate) fn left(metadata: &ObjectMeta, now: Timestamp) -> SignedDuration {
    WAITED_MAX - finalizer::waited(metadata, now)
}

pub(crate) fn given_up() -> Action {
    Action::warning("HooksGivenUp", "it was deleted, and the hooks after it did not end in time")
}

/// The finalizer of a session with hooks after it, before the first one before it runs.
pub(super) fn keep(observed: &Observed) -> Option<Action> {
    let session = &observed.session;
    let has_hooks = observed.spec().and_then(|spec| spec.hooks).is_some_and(|hooks| !hooks.post_backup.is_empty());
    if has_hooks { finalizer::keep(key(session), &session.metadata, true) } else { None }
}

/// The finalizer goes when nothing of the session runs any more.
pub(super) fn release(session: &BackupSession) -> Option<Action> {
    finalizer::keep(key(session), &session.metadata, false)
}

/// A session that is being deleted.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let session = &observed.session;
    let Some(release) = release(session) else { return Vec::new() };
    if claims::has_ended(session) || !claims::has_begun(session) {
        return vec![release];
    }
    let left = left(&session.metadata, now);
    if left <= SignedDuration::ZERO {
        return vec![given_up(), Action::HooksOver, release];
    }
    let mut actions = plan::cancel(observed, session.status.clone().unwrap_or_default(), now);
    actions.push(Action::Later(left.unsigned_abs()));
    actions
}

fn key(session: &BackupSession) -> Key {
    Key::of(Kind::BackupSession, &session.metadata)
}
