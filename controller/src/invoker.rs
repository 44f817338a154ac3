//! What takes backups, a BackupConfiguration or a BackupBatch: checked, its Repositories made, its sessions scheduled.
//!
//! One code for both kinds: a configuration is an invoker of one target (`either`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holdfast_api::reference::TypedObjectReference;
use holdfast_api::usage_policy::Namespace;
use holdfast_api::validation::{FieldErrors, backup_batch, backup_configuration, backup_configuration::Surroundings};
use holdfast_api::{
    BackupSession, BackupStorage, BackupVerificationSession, BackupVerifier, Repository, RestoreSession, RetentionPolicy, defaults,
};
use jiff::tz::TimeZone;

use crate::cache::By;
use crate::catalog::Catalog;
use crate::context::{Context, Subject};
use crate::holder::Purpose;
use crate::hooks::templates;
use crate::object::{Key, Named};
use crate::restore_session;
use crate::target::{self, Shape, Target};
pub use either::Invoker;

pub mod either;
pub mod jitter;
pub mod plan;
mod repositories;
pub mod schedule;
#[cfg(test)]
mod tests;
pub mod verifications;

/// On an invoker that a restore has paused: name and UID of the RestoreSession, and before them its namespace if that is another.
/// When it has ended or is gone, the invoker resumes by itself, so that nothing is left paused whatever happens to the restore.
pub const PAUSED_BY: &str = "holdfast.dev/paused-by";

/// An invoker and what concerns it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The invoker as it is.
    pub invoker: Invoker,
    /// The same with its defaults filled in.
    pub effective: Invoker,
    /// What is wrong with it.
    pub problem: Option<String>,
    /// Storages that it refers to, by their names.
    pub storages: BTreeMap<Named, Arc<BackupStorage>>,
    /// Retention policies that it refers to and that exist.
    pub policies: BTreeMap<Named, Arc<RetentionPolicy>>,
    /// Addons and Functions that exist.
    pub catalog: Catalog,
    /// Secrets that it refers to, and whether they exist.
    pub secrets: BTreeMap<Named, bool>,
    /// Its Repositories that exist.
    pub repositories: BTreeMap<String, Arc<Repository>>,
    /// Its targets, in its order.
    pub targets: Vec<Target>,
    /// Its sessions.
    pub sessions: Vec<Arc<BackupSession>>,
    /// Verifiers that it refers to and that exist.
    pub verifiers: BTreeMap<Named, Arc<BackupVerifier>>,
    /// Tries of what it has backed up.
    pub verifications: Vec<Arc<BackupVerificationSession>>,
    /// The newest good Snapshot of each session and repository whose time to be tried has come.
    pub newest: BTreeMap<String, String>,
    /// The restore that has paused it, if that still goes on.
    pub paused_by: Option<Arc<RestoreSession>>,
    /// Another restore of its target that goes on: it stays paused for that.
    pub next_pause: Option<Arc<RestoreSession>>,
    /// Zone of schedules that name none.
    pub time_zone: TimeZone,
}

/// Looks at one invoker and does what is to be done.
pub async fn reconcile(context: &Context, key: &Key) -> Result<(), kube::Error> {
    let Some(invoker) = Invoker::find(&context.caches, key) else {
        context.forget(key);
        return Ok(());
    };
    let subject = match &invoker {
        Invoker::Configuration(configuration) => Subject::of(key.kind, configuration.as_ref()),
        Invoker::Batch(batch) => Subject::of(key.kind, batch.as_ref()),
    };
    if context.is_behind(&subject) {
        return Ok(());
    }
    let observed = observe(context, invoker, key).await?;
    context.apply(&subject, plan::plan(&observed, context.clock.now())).await
}

async fn observe(context: &Context, invoker: Invoker, key: &Key) -> Result<Observed, kube::Error> {
    let caches = &context.caches;
    let namespace = key.namespace.as_str();
    let (effective, labels) = effective(context, &invoker, namespace).await?;
    let templates = templates::read(&context.client, templates_of(&effective, namespace)).await?;
    let (storages, policies) = (caches.storages.select(|_| true), caches.policies.select(|_| true));
    let repositories = repositories::concerned(caches, &effective, namespace);
    let (storage_refs, policy_refs): (Vec<_>, Vec<_>) =
        (storages.iter().map(AsRef::as_ref).collect(), policies.iter().map(AsRef::as_ref).collect());
    let template_refs: Vec<_> = templates.iter().collect();
    let repository_refs: Vec<_> = repositories.iter().map(AsRef::as_ref).collect();
    let surroundings = Surroundings {
        namespace: Namespace { name: namespace, labels: &labels },
        storages: &storage_refs,
        retention_policies: &policy_refs,
        hook_templates: &template_refs,
        repositories: &repository_refs,
    };
    let problem = validate(&effective, surroundings).err().map(|errors| errors.to_string());
    let targets = targets(context, &effective, key).await?;
    let mut secrets = BTreeMap::new();
    for name in secrets_of(&effective, namespace) {
        let found = context.secret_exists(&name).await?;
        secrets.insert(name, found);
    }
    let now = context.clock.now();
    Ok(Observed {
        verifiers: verifications::verifiers(caches, &effective),
        verifications: caches.verifications.of(By::Invoker, either::group_of(key)),
        newest: verifications::newest(caches, &effective, now),
        storages: storages.into_iter().map(|storage| (name_of(storage.as_ref()), storage)).collect(),
        policies: policies.into_iter().map(|policy| (name_of(policy.as_ref()), policy)).collect(),
        catalog: Catalog::concerning(caches, effective.sessions().iter().flat_map(|session| &session.targets).filter_map(|target| target.addon)),
        secrets,
        repositories: repositories
            .into_iter()
            .filter(|repository| repository.metadata.namespace.as_deref() == Some(namespace))
            .filter_map(|repository| Some((repository.metadata.name.clone()?, repository)))
            .collect(),
        sessions: caches.sessions.of(By::Invoker, either::group_of(key)),
        next_pause: next_pause(context, &invoker),
        paused_by: paused_by(context, &invoker),
        time_zone: context.time_zone.clone(),
        problem,
        targets,
        effective,
        invoker,
    })
}

fn validate(invoker: &Invoker, surroundings: Surroundings<'_>) -> Result<(), FieldErrors> {
    match invoker {
        Invoker::Configuration(configuration) => backup_configuration::validate(configuration, surroundings),
        Invoker::Batch(batch) => backup_batch::validate(batch, surroundings),
    }
}

/// Its targets; one that is missing, or does not consent, is waited for.
async fn targets(context: &Context, invoker: &Invoker, key: &Key) -> Result<Vec<Target>, kube::Error> {
    let namespace = key.namespace.as_str();
    let mut targets = Vec::new();
    let mut awaited = None;
    for (_, reference) in invoker.targets() {
        let target =
            target::observe::target(&context.client, &context.caches, namespace, reference, invoker.configuration(), Purpose::Backup).await?;
        if matches!(target.shape, Shape::Missing(_) | Shape::Unsupported(_)) {
            awaited.get_or_insert_with(|| reference.map_or(namespace, |target| target.namespace_or(namespace)));
        }
        targets.push(target);
    }
    context.waits(key, awaited.unwrap_or(namespace), awaited.is_some());
    Ok(targets)
}

/// An invoker with its defaults filled in, and the labels of its namespace where those matter.
pub async fn effective(
    context: &Context,
    invoker: &Invoker,
    namespace: &str,
) -> Result<(Invoker, BTreeMap<String, String>), kube::Error> {
    let labels = if refers_elsewhere(invoker, namespace) {
        context.namespace_labels(namespace).await?
    } else {
        BTreeMap::new()
    };
    let (storages, policies) = (context.caches.storages.select(|_| true), context.caches.policies.select(|_| true));
    let (storages, policies): (Vec<_>, Vec<_>) =
        (storages.iter().map(AsRef::as_ref).collect(), policies.iter().map(AsRef::as_ref).collect());
    let own = Namespace { name: namespace, labels: &labels };
    let effective = match invoker {
        Invoker::Configuration(configuration) => {
            let mut effective = configuration.as_ref().clone();
            defaults::backup_configuration(&mut effective, own, &storages, &policies);
            effective.into()
        }
        Invoker::Batch(batch) => {
            let mut effective = batch.as_ref().clone();
            defaults::backup_batch(&mut effective, own, &storages, &policies);
            effective.into()
        }
    };
    Ok((effective, labels))
}

fn paused_by(context: &Context, invoker: &Invoker) -> Option<Arc<RestoreSession>> {
    let (name, uid) = invoker.paused_by()?;
    let restore = context.caches.restores.get(&name.namespace, &name.name)?;
    (restore_session::goes_on(&restore) && restore.metadata.uid.as_deref() == Some(&*uid)).then_some(restore)
}

/// A restore that goes on and has this invoker among those that are paused for it; the first by name.
fn next_pause(context: &Context, invoker: &Invoker) -> Option<Arc<RestoreSession>> {
    invoker.paused_by()?;
    let own = invoker.key();
    let is_own = |paused: &TypedObjectReference| {
        paused.kind.as_deref() == Some(own.kind.as_str()) && paused.name == own.name && paused.namespace.as_deref() == Some(&*own.namespace)
    };
    let names_it = |restore: &RestoreSession| restore.status.as_ref().is_some_and(|status| status.paused_backups.iter().any(is_own));
    let found = context.caches.restores.select(|restore| restore_session::goes_on(restore) && names_it(restore));
    found.into_iter().min_by_key(|restore| (restore.metadata.namespace.clone(), restore.metadata.name.clone()))
}

fn refers_elsewhere(invoker: &Invoker, namespace: &str) -> bool {
    let backends = invoker.backends();
    // Without a backend the default is looked for, which may be another namespace's.
    backends.is_empty()
        || !templates_of(invoker, namespace).is_empty()
        || backends.iter().any(|backend| {
            let references = [&backend.storage_ref, &backend.retention_policy];
            backend.retention_policy.is_none()
                || references.into_iter().flatten().any(|reference| reference.namespace_or(namespace) != namespace)
        })
}

fn templates_of(invoker: &Invoker, namespace: &str) -> BTreeSet<Named> {
    let sessions = invoker.sessions();
    let hooks = sessions.iter().filter_map(|session| session.hooks);
    templates::named_elsewhere(hooks.flat_map(|hooks| hooks.pre_backup.iter().chain(&hooks.post_backup)), namespace)
}

fn secrets_of(invoker: &Invoker, namespace: &str) -> Vec<Named> {
    let sessions = invoker.sessions();
    let references = sessions.iter().flat_map(|session| session.repositories());
    let mut names: Vec<Named> = references
        .filter_map(|(_, reference)| reference.encryption_secret.as_ref())
        .filter(|secret| secret.namespace_or(namespace) == namespace)
        .map(|secret| Named::new(namespace, &secret.name))
        .collect();
    names.sort();
    names.dedup();
    names
}

fn name_of<K: kube::Resource>(object: &K) -> Named {
    Named::new(object.meta().namespace.clone().unwrap_or_default(), object.meta().name.clone().unwrap_or_default())
}
