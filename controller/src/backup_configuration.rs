//! BackupConfiguration: checked, its Repositories made, its sessions scheduled.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_api::usage_policy::Namespace;
use holdfast_api::validation::backup_configuration::{Surroundings, validate};
use holdfast_api::{
    Addon, BackupConfiguration, BackupSession, BackupStorage, Repository, RestoreSession, RetentionPolicy, defaults,
};
use jiff::tz::TimeZone;

use crate::context::{Context, Subject};
use crate::object::{Key, Kind, Named};
use crate::target::{self, Target};

pub mod plan;
pub mod schedule;
#[cfg(test)]
mod tests;

/// On a configuration that a restore has paused: name and UID of the RestoreSession. When that has ended or is gone, the
/// configuration resumes by itself, so that nothing is left paused whatever happens to the restore.
pub const PAUSED_BY: &str = "holdfast.dev/paused-by";

/// A configuration and what concerns it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The configuration as it is.
    pub configuration: Arc<BackupConfiguration>,
    /// The same with its defaults filled in.
    pub effective: BackupConfiguration,
    /// What is wrong with it.
    pub problem: Option<String>,
    /// Storages that it refers to, by their names.
    pub storages: BTreeMap<Named, Arc<BackupStorage>>,
    /// Retention policies that it refers to and that exist.
    pub policies: BTreeMap<Named, Arc<RetentionPolicy>>,
    /// Addons that it refers to and that exist.
    pub addons: BTreeMap<String, Arc<Addon>>,
    /// Secrets that it refers to, and whether they exist.
    pub secrets: BTreeMap<Named, bool>,
    /// Its Repositories that exist.
    pub repositories: BTreeMap<String, Arc<Repository>>,
    /// Its target.
    pub target: Target,
    /// Its sessions.
    pub sessions: Vec<Arc<BackupSession>>,
    /// The restore that has paused it, if that still goes on.
    pub paused_by: Option<Arc<RestoreSession>>,
    /// Zone of schedules that name none.
    pub time_zone: TimeZone,
}

/// Looks at one configuration and does what is to be done.
pub async fn reconcile(context: &Context, key: &Key) -> Result<(), kube::Error> {
    let Some(configuration) = context.caches.configurations.get(&key.namespace, &key.name) else {
        context.forget(key);
        return Ok(());
    };
    let subject = Subject::of(Kind::BackupConfiguration, configuration.as_ref());
    if context.is_behind(&subject) {
        return Ok(());
    }
    let observed = observe(context, configuration, key).await?;
    context.apply(&subject, plan::plan(&observed, context.clock.now())).await
}

async fn observe(
    context: &Context,
    configuration: Arc<BackupConfiguration>,
    key: &Key,
) -> Result<Observed, kube::Error> {
    let caches = &context.caches;
    let namespace = key.namespace.as_str();
    let (effective, labels) = effective(context, &configuration, namespace).await?;
    let own = Namespace { name: namespace, labels: &labels };
    let (storages, policies) = (caches.storages.select(|_| true), caches.policies.select(|_| true));
    let repositories = caches.repositories.select(|_| true);
    let (storage_refs, policy_refs): (Vec<_>, Vec<_>) =
        (storages.iter().map(AsRef::as_ref).collect(), policies.iter().map(AsRef::as_ref).collect());
    let repository_refs: Vec<_> = repositories.iter().map(AsRef::as_ref).collect();
    let surroundings = Surroundings {
        namespace: own,
        storages: &storage_refs,
        retention_policies: &policy_refs,
        hook_templates: &[],
        repositories: &repository_refs,
    };
    let problem = validate(&effective, surroundings).err().map(|errors| errors.to_string());
    let reference = effective.spec.target.as_ref();
    let target = target::observe::target(&context.client, caches, namespace, reference, Some(&configuration)).await?;
    let theirs = reference.map_or(namespace, |target| target.namespace_or(namespace));
    context.waits(key, theirs, !target.exists());
    let mut secrets = BTreeMap::new();
    for name in secrets_of(&effective, namespace) {
        let found = context.secret_exists(&name).await?;
        secrets.insert(name, found);
    }
    Ok(Observed {
        storages: storages.into_iter().map(|storage| (name_of(storage.as_ref()), storage)).collect(),
        policies: policies.into_iter().map(|policy| (name_of(policy.as_ref()), policy)).collect(),
        addons: caches
            .addons
            .select(|_| true)
            .into_iter()
            .filter_map(|addon| Some((addon.metadata.name.clone()?, addon)))
            .collect(),
        secrets,
        repositories: repositories
            .into_iter()
            .filter(|repository| repository.metadata.namespace.as_deref() == Some(namespace))
            .filter_map(|repository| Some((repository.metadata.name.clone()?, repository)))
            .collect(),
        sessions: caches.sessions.select(|session| is_of(session, key)),
        paused_by: paused_by(context, &configuration, namespace),
        time_zone: context.time_zone.clone(),
        problem,
        target,
        effective,
        configuration,
    })
}

/// A configuration with its defaults filled in, and the labels of its namespace where those matter.
pub async fn effective(
    context: &Context,
    configuration: &BackupConfiguration,
    namespace: &str,
) -> Result<(BackupConfiguration, BTreeMap<String, String>), kube::Error> {
    let labels = if refers_elsewhere(configuration, namespace) {
        context.namespace_labels(namespace).await?
    } else {
        BTreeMap::new()
    };
    let (storages, policies) = (context.caches.storages.select(|_| true), context.caches.policies.select(|_| true));
    let (storages, policies): (Vec<_>, Vec<_>) =
        (storages.iter().map(AsRef::as_ref).collect(), policies.iter().map(AsRef::as_ref).collect());
    let mut effective = configuration.clone();
    defaults::backup_configuration(&mut effective, Namespace { name: namespace, labels: &labels }, &storages, &policies);
    Ok((effective, labels))
}

/// Whether a session is one of this configuration.
pub fn is_of(session: &BackupSession, configuration: &Key) -> bool {
    session.metadata.namespace.as_deref() == Some(&configuration.namespace)
        && session
            .spec
            .invoker
            .as_ref()
            .is_some_and(|invoker| invoker.kind == configuration.kind.as_str() && invoker.name == configuration.name)
}

fn paused_by(context: &Context, configuration: &BackupConfiguration, namespace: &str) -> Option<Arc<RestoreSession>> {
    let (name, uid) = configuration.metadata.annotations.as_ref()?.get(PAUSED_BY)?.split_once('/')?;
    let restore = context.caches.restores.get(namespace, name)?;
    let goes_on = !restore.status.as_ref().and_then(|status| status.phase).is_some_and(|phase| phase.is_terminal());
    (goes_on && restore.metadata.uid.as_deref() == Some(uid) && restore.metadata.deletion_timestamp.is_none())
        .then_some(restore)
}

fn refers_elsewhere(configuration: &BackupConfiguration, namespace: &str) -> bool {
    let backends = &configuration.spec.backends;
    // Without a backend the default is looked for, which may be another namespace's.
    backends.is_empty()
        || backends.iter().any(|backend| {
            let references = [&backend.storage_ref, &backend.retention_policy];
            backend.retention_policy.is_none()
                || references.into_iter().flatten().any(|reference| reference.namespace_or(namespace) != namespace)
        })
}

fn secrets_of(configuration: &BackupConfiguration, namespace: &str) -> Vec<Named> {
    let repositories = configuration.spec.sessions.iter().flat_map(|session| &session.repositories);
    let mut names: Vec<Named> = repositories
        .filter_map(|repository| repository.encryption_secret.as_ref())
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
