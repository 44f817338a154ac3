//! What makes a change of a BackupVerificationSession invalid.

use super::{FieldErrors, started_stays};
use crate::backup_verification_session::BackupVerificationSession;

/// Checks a change: what a session tries stays as it was.
pub fn validate_update(
    old: &BackupVerificationSession,
    new: &BackupVerificationSession,
) -> Result<(), FieldErrors> {
    started_stays(&old.spec, &new.spec, |spec| spec.snapshot.clone())
}
