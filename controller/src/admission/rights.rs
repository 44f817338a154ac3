//! What an object makes us do that its user must be allowed to do (DESIGN.md, Security): a backup operator reads Secrets
//! and volumes, and runs commands, for whoever may create its objects.

use holdfast_api::addon::tasks::{TaskPurpose, is_of_manifests};
use holdfast_api::addon_info::{AddonInfo, TaskReference};
use holdfast_api::hook_template::HookTemplateSpec;
use holdfast_api::invoker::SessionView;
use holdfast_api::offshoot::PodTemplateSpec;
use holdfast_api::reference::{ObjectReference, TypedObjectReference};
use holdfast_api::{
    BackupBatch, BackupBlueprint, BackupConfiguration, BackupStorage, BackupVerificationSession, BackupVerifier, Repository, RestoreSession,
};
use serde::Serialize;
use serde_json::Value;

mod hooks;

pub use hooks::hook_template;

use hooks::Around;

/// Hooks and repositories of one object, and so the questions asked about it, have an end.
pub const RIGHTS_MAX: usize = 200;

/// One thing that the user must be allowed.
#[derive(Clone, Debug, PartialEq)]
pub struct Right {
    /// Field that asks for it.
    pub path: String,
    /// Verb, as in RBAC.
    pub verb: &'static str,
    /// API group.
    pub group: String,
    /// Resource, plural.
    pub resource: String,
    /// Subresource.
    pub subresource: &'static str,
    /// Namespace.
    pub namespace: String,
    /// Name; empty where none is known yet.
    pub name: String,
    /// What the field says: with another content the same right is asked for again.
    content: Value,
}

impl Right {
    fn new(path: impl Into<String>, verb: &'static str, (group, resource): (&str, &str), namespace: &str, name: &str) -> Self {
        Self {
            path: path.into(),
            verb,
            group: group.to_owned(),
            resource: resource.to_owned(),
            subresource: "",
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            content: Value::Null,
        }
    }

    fn secret(path: impl Into<String>, namespace: &str, name: &str) -> Self {
        Self::new(path, "get", ("", "secrets"), namespace, name)
    }

    fn pods(path: impl Into<String>, namespace: &str) -> Self {
        Self::new(path, "create", ("", "pods"), namespace, "")
    }

    fn exec(path: impl Into<String>, namespace: &str) -> Self {
        Self { subresource: "exec", ..Self::pods(path, namespace) }
    }

    fn with(self, content: &impl Serialize) -> Self {
        // What cannot be written down compares unequal to nothing: it is asked for on its first appearance only.
        Self { content: serde_json::to_value(content).unwrap_or(Value::Null), ..self }
    }

    fn is_in(&self, others: &[Self]) -> bool {
        others.iter().any(|other| Self { path: self.path.clone(), ..other.clone() } == *self)
    }
}

/// Those of `new` that were not granted with `old`: what stays as it was is not asked for again, so that what GitOps applies
/// anew goes through.
pub fn changed(new: Vec<Right>, old: &[Right]) -> Vec<Right> {
    new.into_iter().filter(|right| !right.is_in(old)).collect()
}

/// HookTemplates by namespace and name, of those that exist.
pub type Templates<'a> = dyn Fn(&str, &str) -> Option<HookTemplateSpec> + Sync + 'a;

/// Whether a task of an addon may be done by a pod.
pub type MayBePod<'a> = dyn Fn(TaskPurpose, &AddonInfo, &TaskReference) -> bool + Sync + 'a;

/// What is known of the objects that one names.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// The HookTemplates.
    pub templates: &'a Templates<'a>,
    /// The Addons and their Functions.
    pub may_be_pod: &'a MayBePod<'a>,
}

/// Of a storage: its credentials go to the endpoint it names, and a volume is mounted for it.
pub fn backup_storage(storage: &BackupStorage, own: &str) -> Vec<Right> {
    let Some(backend) = &storage.spec.storage else { return Vec::new() };
    let secrets = [
        ("s3", backend.s3.as_ref().and_then(|s3| s3.secret_name.as_deref())),
        ("gcs", backend.gcs.as_ref().and_then(|gcs| gcs.secret_name.as_deref())),
        ("azure", backend.azure.as_ref().and_then(|azure| azure.secret_name.as_deref())),
    ];
    let mut rights: Vec<Right> = secrets
        .into_iter()
        .filter_map(|(provider, name)| Some((provider, name.filter(|name| !name.is_empty())?)))
        .map(|(provider, name)| Right::secret(format!("spec.storage.{provider}.secretName"), own, name).with(backend))
        .collect();
    if let Some(local) = &backend.local {
        rights.push(Right::pods("spec.storage.local", own).with(local));
    }
    rights
}

/// Of a Repository: whoever may look at its place may try to guess the password that opens what is stored there.
pub fn repository(repository: &Repository, own: &str) -> Vec<Right> {
    let spec = &repository.spec;
    let mut rights = Vec::new();
    encryption(&mut rights, "spec.encryptionSecret", spec.encryption_secret.as_ref(), own);
    rights.into_iter().map(|right| right.with(&(&spec.storage_ref, &spec.path))).collect()
}

/// Of a configuration.
pub fn backup_configuration(configuration: &BackupConfiguration, own: &str, known: &Known<'_>) -> Vec<Right> {
    let spec = &configuration.spec;
    let mut rights = Vec::new();
    elsewhere(&mut rights, "spec.target", spec.target.as_ref(), own, "get");
    sessions(&mut rights, "spec.sessions", spec.session_views(), (own, own), known);
    rights
}

/// Of a batch.
pub fn backup_batch(batch: &BackupBatch, own: &str, known: &Known<'_>) -> Vec<Right> {
    let mut rights = Vec::new();
    for (index, target) in batch.spec.targets.iter().enumerate() {
        elsewhere(&mut rights, &format!("spec.targets[{index}].appRef"), target.app_ref.as_ref(), own, "get");
    }
    sessions(&mut rights, "spec.sessions", batch.spec.session_views(), (own, own), known);
    rights
}

/// Of a blueprint: its author vouches for what its configurations will do in the template's namespace.
pub fn backup_blueprint(blueprint: &BackupBlueprint, own: &str, known: &Known<'_>) -> Vec<Right> {
    let mut rights = Vec::new();
    if let Some(template) = &blueprint.spec.backup_configuration_template {
        let namespace = template.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or(own);
        let path = "spec.backupConfigurationTemplate";
        if namespace != own && !namespace.contains("${") {
            let resource = ("core.kubestash.com", "backupconfigurations");
            rights.push(Right::new(format!("{path}.namespace"), "create", resource, namespace, ""));
        }
        // Of an application that asks for it, whichever that is.
        let views = template.sessions.iter().map(|session| session.view(None));
        sessions(&mut rights, &format!("{path}.sessions"), views, (namespace, own), known);
    }
    rights
}

/// Of a restore: it reads a snapshot and writes over an application.
pub fn restore_session(restore: &RestoreSession, own: &str, known: &Known<'_>) -> Vec<Right> {
    let spec = &restore.spec;
    let mut rights = Vec::new();
    elsewhere(&mut rights, "spec.target", spec.target.as_ref(), own, "update");
    if let Some(source) = &spec.data_source {
        let namespace = source.namespace.as_deref().filter(|namespace| !namespace.is_empty()).unwrap_or(own);
        if namespace != own {
            for (field, resource, name) in
                [("snapshot", "snapshots", &source.snapshot), ("repository", "repositories", &source.repository)]
            {
                // `latest` may be any snapshot of the namespace.
                let name = name.as_deref().filter(|name| *name != "latest").unwrap_or_default();
                let path = format!("spec.dataSource.{field}");
                rights.push(Right::new(path, "get", ("storage.kubestash.com", resource), namespace, name));
            }
        }
        encryption(&mut rights, "spec.dataSource.encryptionSecret", source.encryption_secret.as_ref(), own);
    }
    addon(&mut rights, "spec.addon", spec.addon.as_ref(), own, (TaskPurpose::Restore, known));
    if let Some(given) = &spec.hooks {
        let pods = spec.target.as_ref().map_or(own, |target| target.namespace_or(own));
        let around = Around { own, home: own, pods };
        hooks::of(&mut rights, "spec.hooks.preRestore", &given.pre_restore, around, known.templates);
        hooks::of(&mut rights, "spec.hooks.postRestore", &given.post_restore, around, known.templates);
    }
    rights
}

/// Of a verifier: its Function runs as a pod, and the backup is restored into its target.
pub fn backup_verifier(verifier: &BackupVerifier, own: &str, known: &Known<'_>) -> Vec<Right> {
    let spec = &verifier.spec;
    let mut rights = Vec::new();
    if let Some(function) = spec.function.as_deref().filter(|function| !function.is_empty()) {
        let content = (function, &spec.volumes, &spec.volume_mounts, &spec.script, &spec.query, &spec.runtime_settings);
        rights.push(Right::pods("spec.function", own).with(&content));
    }
    if let Some(option) = &spec.restore_option {
        elsewhere(&mut rights, "spec.restoreOption.target", option.target.as_ref(), own, "update");
        addon(&mut rights, "spec.restoreOption.addonInfo", option.addon_info.as_ref(), own, (TaskPurpose::Restore, known));
    }
    rights
}

/// Of a try that somebody starts by hand: it makes claims.
pub fn backup_verification_session(session: &BackupVerificationSession, own: &str) -> Vec<Right> {
    vec![Right::new("spec", "create", ("", "persistentvolumeclaims"), own, "").with(&session.spec)]
}

/// What sessions do in `own`. Hooks' templates and verifiers without a namespace are those of `home`: a blueprint's stay its own, wherever
/// its configurations are.
fn sessions<'a>(
    rights: &mut Vec<Right>,
    path: &str,
    sessions: impl Iterator<Item = SessionView<'a>>,
    (own, home): (&str, &str),
    known: &Known<'_>,
) {
    for (index, session) in sessions.enumerate() {
        let path = format!("{path}[{index}]");
        if let Some(given) = session.hooks {
            let around = Around { own, home, pods: session.pods_namespace(own) };
            hooks::of(rights, &format!("{path}.hooks.preBackup"), &given.pre_backup, around, known.templates);
            hooks::of(rights, &format!("{path}.hooks.postBackup"), &given.post_backup, around, known.templates);
        }
        for target in &session.targets {
            let path = format!("{path}{}", target.path);
            addon(rights, &format!("{path}.addon"), target.addon, own, (TaskPurpose::Backup, known));
            for (position, repository) in target.repositories.iter().enumerate() {
                let path = format!("{path}.repositories[{position}]");
                encryption(rights, format!("{path}.encryptionSecret"), repository.encryption_secret.as_ref(), own);
                verification(rights, &format!("{path}.backupVerifier"), repository.backup_verifier.as_ref(), (own, home));
            }
        }
    }
}

fn addon(rights: &mut Vec<Right>, path: &str, addon: Option<&AddonInfo>, own: &str, (purpose, known): (TaskPurpose, &Known<'_>)) {
    let Some(addon) = addon else { return };
    let template = addon.job_template.as_ref().filter(|template| **template != PodTemplateSpec::default());
    let tasks = addon.tasks.as_slice();
    // Manifests are read and made as a ServiceAccount, and pods run under one: the template's, or by silence `default`. Whoever may
    // create pods may be it. With other tasks it is asked again, even if the template stays.
    let is_pod = |task: &TaskReference| (known.may_be_pod)(purpose, addon, task);
    let needs_account = |task: &&TaskReference| task.name.as_deref().is_some_and(is_of_manifests) || is_pod(task);
    let with_account: Vec<&TaskReference> = tasks.iter().filter(needs_account).collect();
    let of_pods = tasks.iter().any(is_pod).then_some((&addon.name, &addon.container_runtime_settings));
    match template {
        Some(template) => rights.push(Right::pods(format!("{path}.jobTemplate"), own).with(&(template, with_account, of_pods))),
        None if !with_account.is_empty() => rights.push(Right::pods(format!("{path}.tasks"), own).with(&(with_account, of_pods))),
        None => {}
    }
    for (index, task) in tasks.iter().enumerate() {
        if let Some(volumes) = task.target_volumes.as_ref().filter(|volumes| !volumes.volume_claim_templates.is_empty()) {
            let path = format!("{path}.tasks[{index}].targetVolumes.volumeClaimTemplates");
            rights.push(Right::new(path, "create", ("", "persistentvolumeclaims"), own, "").with(&volumes.volume_claim_templates));
        }
    }
}

fn encryption(rights: &mut Vec<Right>, path: impl Into<String>, secret: Option<&ObjectReference>, own: &str) {
    if let Some(secret) = secret {
        rights.push(Right::secret(path, secret.namespace_or(own), &secret.name));
    }
}

/// Backups are tried out in claims of the namespace of what takes them. A verifier of that namespace was asked about when it was applied;
/// what one of another runs, it runs here.
fn verification(rights: &mut Vec<Right>, path: &str, verifier: Option<&ObjectReference>, (own, home): (&str, &str)) {
    let Some(verifier) = verifier else { return };
    rights.push(Right::new(path, "create", ("", "persistentvolumeclaims"), own, "").with(verifier));
    if verifier.namespace_or(home) != own {
        rights.push(Right::pods(path, own).with(verifier));
    }
}

fn elsewhere(rights: &mut Vec<Right>, path: &str, target: Option<&TypedObjectReference>, own: &str, verb: &'static str) {
    let Some(target) = target.filter(|target| target.namespace_or(own) != own) else { return };
    if *target == TypedObjectReference::not_applicable() {
        return;
    }
    let resource = plural(target.kind.as_deref().unwrap_or_default());
    let group = target.api_group.as_deref().unwrap_or_default();
    rights.push(Right::new(path, verb, (group, &resource), target.namespace_or(own), &target.name));
}

/// The resource of a kind, by the rule that all built-in workloads and KubeDB's kinds follow.
fn plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    match lower.as_str() {
        word if word.ends_with('s') || word.ends_with('x') => format!("{word}es"),
        word if word.ends_with('y') => format!("{}ies", &word[..word.len() - 1]),
        word => format!("{word}s"),
    }
}

#[cfg(test)]
#[path = "rights/tests.rs"]
mod tests;
