//! What makes a RestoreSession invalid.

use super::{FieldErrors, Findings, set};
use crate::hook_template::HookTemplate;
use crate::restore_session::{DataSource, RestoreSession};
use crate::usage_policy::Namespace;

/// The snapshot name that means the newest one.
pub const LATEST: &str = "latest";

/// Checks a restore in `namespace` against the rules.
pub fn validate(
    restore: &RestoreSession,
    namespace: Namespace<'_>,
    hook_templates: &[&HookTemplate],
) -> Result<(), FieldErrors> {
    let mut findings = Findings::default();
    let spec = &restore.spec;
    match &spec.data_source {
        None => findings.required("spec.dataSource", "it says what is brought back"),
        Some(source) => check_data_source(&mut findings, source),
    }
    findings.addon("spec.addon", spec.addon.as_ref());
    findings.duration("spec.restoreTimeout", spec.restore_timeout.as_deref());
    if let Some(hooks) = &spec.hooks {
        findings.hooks(
            "spec.hooks.preRestore",
            &hooks.pre_restore,
            hook_templates,
            namespace,
        );
        findings.hooks(
            "spec.hooks.postRestore",
            &hooks.post_restore,
            hook_templates,
            namespace,
        );
    }
    findings.result()
}

fn check_data_source(findings: &mut Findings, source: &DataSource) {
    let snapshot = set(source.snapshot.as_deref());
    let repository = set(source.repository.as_deref());
    if let Some(pitr) = &source.pitr {
        if pitr.target_time.is_none() {
            findings.required(
                "spec.dataSource.pitr.targetTime",
                "it says which snapshot is meant",
            );
        }
        if repository.is_none() {
            findings.required(
                "spec.dataSource.repository",
                "a time means a snapshot of one repository",
            );
        }
        if let Some(snapshot) = snapshot {
            findings.taken(
                "spec.dataSource.snapshot",
                snapshot,
                "pitr says which snapshot is meant",
            );
        }
        return;
    }
    match snapshot {
        None => findings.required("spec.dataSource.snapshot", "a name, or latest"),
        Some(LATEST) if repository.is_none() => {
            findings.required(
                "spec.dataSource.repository",
                "latest means the newest snapshot of one repository",
            );
        }
        Some(_) => {}
    }
}
