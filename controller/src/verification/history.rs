//! Which tries that have ended stay: as many as the verifier says of those that ran, and the newest that was skipped.

use std::cmp::Reverse;
use std::sync::Arc;

use holdfast_api::BackupVerificationSession;
use holdfast_api::backup_verification_session::BackupVerificationSessionPhase;

use super::{Observed, has_ended, retry};
use crate::action::Action;
use crate::object::{Key, Kind};

/// What goes as this one ends. What was skipped says nothing that it did not say before: it takes no other's place.
pub(super) fn clean(observed: &Observed, is_skipped: bool) -> Vec<Action> {
    let limit = observed.verifier.as_ref().ok().and_then(|verifier| verifier.spec.session_history_limit).unwrap_or(1).max(1);
    let ended = observed.siblings.iter().filter(|session| {
        has_ended(session) && session.metadata.deletion_timestamp.is_none() && !retry::is_due(observed, session)
    });
    let (skipped, ran): (Vec<_>, Vec<_>) = ended.partition(|session| was_skipped(session));
    let own = usize::from(!is_skipped);
    let kept = usize::try_from(limit).unwrap_or(1) - own;
    let mut gone = beyond(ran, kept);
    gone.extend(beyond(skipped, own));
    gone
}

fn was_skipped(session: &BackupVerificationSession) -> bool {
    session.status.as_ref().and_then(|status| status.phase) == Some(BackupVerificationSessionPhase::Skipped)
}

fn beyond(mut sessions: Vec<&Arc<BackupVerificationSession>>, kept: usize) -> Vec<Action> {
    sessions.sort_by_key(|session| {
        Reverse((session.metadata.creation_timestamp.as_ref().map(|time| time.0), session.metadata.name.clone()))
    });
    let gone = sessions.into_iter().skip(kept).map(|session| Action::Delete {
        key: Key::of(Kind::BackupVerificationSession, &session.metadata),
        uid: session.metadata.uid.clone().unwrap_or_default(),
    });
    gone.collect()
}
