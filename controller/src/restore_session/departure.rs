//! A restore that is deleted while it runs: its work stops, and the hooks after it run before it goes. One before it may have stopped an
//! application that only they start again.

use holdfast_api::restore_session::{RestorePhase, RestoreSession, RestoreSessionStatus};
use jiff::{SignedDuration, Timestamp};

use super::plan::{LET_GO, Pass, write};
use super::{Observed, key_of};
use crate::action::Action;
use crate::backup_session::departure::{given_up, left};
use crate::finalizer::{self, is_held};
use crate::hooks::round::Turn;

/// Whether it is being deleted, and hooks after it are still to run.
pub(super) fn is_running(restore: &RestoreSession) -> bool {
    restore.metadata.deletion_timestamp.is_some()
        && is_held(&restore.metadata)
        && !restore.status.as_ref().and_then(|status| status.phase).is_some_and(RestorePhase::is_terminal)
}

/// The finalizer of a restore with hooks after it, before anything of it runs.
pub(super) fn keep(restore: &RestoreSession) -> Option<Action> {
    let has_hooks = restore.spec.hooks.as_ref().is_some_and(|hooks| !hooks.post_restore.is_empty());
    if has_hooks { finalizer::keep(key_of(restore), &restore.metadata, true) } else { None }
}

/// The finalizer goes when nothing of it runs any more.
pub(super) fn release(restore: &RestoreSession) -> Option<Action> {
    finalizer::keep(key_of(restore), &restore.metadata, false)
}

/// A restore that is being deleted.
pub(super) fn plan(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let restore = &observed.restore;
    let left = left(&restore.metadata, now);
    if left <= SignedDuration::ZERO {
        return [given_up(), Action::Tasks(Vec::new()), Action::HooksOver].into_iter().chain(release(restore)).collect();
    }
    let mut status = restore.status.clone().unwrap_or_default();
    let mut run = Pass::new(observed, now);
    // Nothing is let go on while an agent may still write.
    let is_over = !has_begun(&status) || (run.hooks_before(&mut status) == Turn::Done && !observed.has_tasks && run.after_deletion(&mut status));
    let mut actions = write(observed, &status);
    actions.push(Action::Tasks(Vec::new()));
    actions.extend(run.events);
    if is_over {
        actions.push(Action::HooksOver);
        actions.extend(release(restore));
    } else {
        actions.push(Action::Later(if observed.has_tasks { LET_GO } else { left.unsigned_abs() }));
    }
    actions
}

/// Whether anything was done that hooks after it answer to.
pub(super) fn has_begun(status: &RestoreSessionStatus) -> bool {
    status.hooks.as_ref().is_some_and(|hooks| !hooks.pre_hooks.is_empty()) || !status.components.is_empty()
}
