//! What makes a BackupVerifier invalid. KubeStash's rule for the scheduler is inverted (it refuses one and says "cannot be
//! empty"); here it is what its message says.

use super::{FieldErrors, Findings, set};
use crate::backup_verifier::{BackupVerifier, BackupVerifierSpec, VerificationType};

/// Checks a verifier against the rules.
pub fn validate(verifier: &BackupVerifier) -> Result<(), FieldErrors> {
    let mut findings = Findings::default();
    let spec = &verifier.spec;
    if spec.scheduler.is_none() {
        findings.required("spec.scheduler", "it says when backups are tried out");
    }
    match &spec.restore_option {
        None => findings.required(
            "spec.restoreOption",
            "it says where and how a backup is restored",
        ),
        Some(option) => findings.addon("spec.restoreOption.addonInfo", option.addon_info.as_ref()),
    }
    check_type(&mut findings, spec);
    let delay = spec
        .retry_config
        .as_ref()
        .and_then(|retry| retry.delay.as_deref());
    findings.duration("spec.retryConfig.delay", delay);
    findings.result()
}

fn check_type(findings: &mut Findings, spec: &BackupVerifierSpec) {
    let Some(kind) = spec.type_ else {
        return findings.required("spec.type", "one of RestoreOnly, Query, Script");
    };
    if kind == VerificationType::RestoreOnly {
        return;
    }
    if set(spec.function.as_deref()).is_none() {
        findings.required("spec.function", "the Function does the check");
    }
    match kind {
        VerificationType::Query if spec.query.is_empty() => {
            findings.required("spec.query", "the type is Query");
        }
        VerificationType::Script => {
            let location = spec
                .script
                .as_ref()
                .and_then(|script| script.location.as_deref());
            if set(location).is_none() {
                findings.required("spec.script.location", "the type is Script");
            }
        }
        _ => {}
    }
}
