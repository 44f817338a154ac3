//! What makes a BackupBlueprint invalid. Its strings may hold variables, so that only their places are looked at.

use super::invoker::Surroundings;
use super::{FieldErrors, Findings, find};
use crate::backup_blueprint::{BackupBlueprint, BackupConfigurationTemplate};

/// Checks a blueprint against the rules and the objects its template names.
pub fn validate(
    blueprint: &BackupBlueprint,
    surroundings: Surroundings<'_>,
) -> Result<(), FieldErrors> {
    let mut findings = Findings::default();
    findings.usage_policy(blueprint.spec.usage_policy.as_ref());
    match &blueprint.spec.backup_configuration_template {
        None => findings.required(
            "spec.backupConfigurationTemplate",
            "it says which configuration is made",
        ),
        Some(template) => check_template(&mut findings, template, surroundings),
    }
    findings.result()
}

fn check_template(
    findings: &mut Findings,
    template: &BackupConfigurationTemplate,
    surroundings: Surroundings<'_>,
) {
    let at = "spec.backupConfigurationTemplate";
    let user = surroundings.namespace;
    for (index, backend) in template.backends.iter().enumerate() {
        let path = format!("{at}.backends[{index}]");
        if let Some(reference) = &backend.storage_ref {
            let owner = reference.namespace_or(user.name);
            if let Some(storage) = find(surroundings.storages, owner, &reference.name) {
                let policy = storage.spec.usage_policy.as_ref();
                findings.usage(
                    format!("{path}.storageRef"),
                    owner,
                    &reference.name,
                    policy,
                    user,
                );
            }
        }
        if let Some(reference) = &backend.retention_policy {
            let owner = reference.namespace_or(user.name);
            if let Some(kept) = find(surroundings.retention_policies, owner, &reference.name) {
                let policy = kept.spec.usage_policy.as_ref();
                findings.usage(
                    format!("{path}.retentionPolicy"),
                    owner,
                    &reference.name,
                    policy,
                    user,
                );
            }
        }
    }
    if template.sessions.is_empty() {
        findings.required(
            format!("{at}.sessions"),
            "at least one session takes backups",
        );
    }
    for (index, session) in template.sessions.iter().enumerate() {
        let path = format!("{at}.sessions[{index}].hooks");
        if let Some(hooks) = &session.hooks {
            let templates = surroundings.hook_templates;
            findings.hooks(
                &format!("{path}.preBackup"),
                &hooks.pre_backup,
                templates,
                user,
            );
            findings.hooks(
                &format!("{path}.postBackup"),
                &hooks.post_backup,
                templates,
                user,
            );
        }
    }
}
