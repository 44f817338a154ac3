//! What makes a BackupSession invalid.

use super::{FieldErrors, Findings, Problem, set};
use crate::backup_session::BackupSession;

/// Checks a session against the rules.
pub fn validate(session: &BackupSession) -> Result<(), FieldErrors> {
    let mut findings = Findings::default();
    match &session.spec.invoker {
        None => findings.required("spec.invoker", "it says what is backed up"),
        Some(invoker)
            if !matches!(invoker.kind.as_str(), "BackupConfiguration" | "BackupBatch") =>
        {
            let allowed = vec!["BackupConfiguration".to_owned(), "BackupBatch".to_owned()];
            findings.add(
                "spec.invoker.kind",
                Problem::NotAllowed {
                    found: invoker.kind.clone(),
                    allowed,
                },
            );
        }
        Some(_) => {}
    }
    if set(session.spec.session.as_deref()).is_none() {
        findings.required("spec.session", "it says which session of the invoker runs");
    }
    findings.duration("spec.backupTimeout", session.spec.backup_timeout.as_deref());
    findings.result()
}

/// Checks a change: what a session does stays as it was.
pub fn validate_update(old: &BackupSession, new: &BackupSession) -> Result<(), FieldErrors> {
    let mut findings = Findings::default();
    if old.spec != new.spec {
        let text = |session: &BackupSession| session.spec.session.clone().unwrap_or_default();
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
