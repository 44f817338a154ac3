//! What makes a BackupSession invalid.

use super::{FieldErrors, Findings, Problem, set, started_stays};
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
    started_stays(&old.spec, &new.spec, |spec| spec.session.clone())
}
