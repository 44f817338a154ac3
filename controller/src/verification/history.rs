//! Which tries that have ended stay: as many as the verifier says of those that ran, and the newest that was skipped.

use holdfast_api::BackupVerificationSession;
use holdfast_api::backup_verification_session::BackupVerificationSessionPhase;

use super::{Observed, has_ended, retry};
use crate::action::Action;
use crate::history::beyond;
use crate::object::Kind;

/// What goes as this one ends. What was skipped says nothing that it did not say before: it takes no other's place.
pub(super) fn clean(observed: &Observed, is_skipped: bool) -> Vec<Action> {
    let limit = observed.verifier.as_ref().ok().and_then(|verifier| verifier.spec.session_history_limit).unwrap_or(1).max(1);
    let ended = observed.siblings.iter().filter(|session| {
        has_ended(session) && session.metadata.deletion_timestamp.is_none() && !retry::is_due(observed, session)
    });
    let (skipped, ran): (Vec<_>, Vec<_>) = ended.partition(|session| was_skipped(session));
    let own = usize::from(!is_skipped);
    let kept = usize::try_from(limit).unwrap_or(1) - own;
    let mut gone = beyond(Kind::BackupVerificationSession, ran.into_iter(), kept);
    gone.extend(beyond(Kind::BackupVerificationSession, skipped.into_iter(), own));
    gone
}

fn was_skipped(session: &BackupVerificationSession) -> bool {
    session.status.as_ref().and_then(|status| status.phase) == Some(BackupVerificationSessionPhase::Skipped)
}
