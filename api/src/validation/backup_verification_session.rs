//! What makes a change of a BackupVerificationSession invalid.

use super::{FieldErrors, Findings, Problem};
use crate::backup_verification_session::BackupVerificationSession;

/// Checks a change: what a session tries stays as it was.
pub fn validate_update(
    old: &BackupVerificationSession,
    new: &BackupVerificationSession,
) -> Result<(), FieldErrors> {
    let mut findings = Findings::default();
    if old.spec != new.spec {
        let text = |session: &BackupVerificationSession| {
            session.spec.snapshot.clone().unwrap_or_default()
        };
        let why = "a session that was started stays as it is; start another one".to_owned();
        findings.add(
            "spec",
            Problem::Immutable {
                found: text(new),
                was: text(old),
                why,
            },
        );
    }
    findings.result()
}
