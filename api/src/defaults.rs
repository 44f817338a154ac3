//! What KubeStash's webhooks fill in; filling in twice changes nothing.

use crate::backup_batch::BackupBatch;
use crate::backup_blueprint::BackupBlueprint;
use crate::backup_configuration::{BackendReference, BackupConfiguration};
use crate::backup_storage::BackupStorage;
use crate::hook_template::HookTemplate;
use crate::reference::ObjectReference;
use crate::retention_policy::{FailedSnapshotsKeepPolicy, RetentionPolicy};
use crate::usage_policy::{AllowedNamespaces, FromNamespaces, Namespace, UsagePolicy};

/// How many failed snapshots stay when a policy does not say.
const FAILED_SNAPSHOTS_KEPT: i32 = 1;

/// Fills in a storage: its usage policy, and no slash at the end of what is put in front of a name.
pub fn backup_storage(storage: &mut BackupStorage) {
    fill_usage_policy(&mut storage.spec.usage_policy);
    let Some(backend) = &mut storage.spec.storage else {
        return;
    };
    if let Some(s3) = &mut backend.s3 {
        for text in [&mut s3.bucket, &mut s3.endpoint, &mut s3.prefix] {
            trim_slash(text);
        }
    }
    if let Some(gcs) = &mut backend.gcs {
        for text in [&mut gcs.bucket, &mut gcs.prefix] {
            trim_slash(text);
        }
    }
    if let Some(azure) = &mut backend.azure {
        trim_slash(&mut azure.prefix);
    }
}

/// Fills in a policy: its usage policy, and that one failed snapshot stays.
pub fn retention_policy(policy: &mut RetentionPolicy) {
    fill_usage_policy(&mut policy.spec.usage_policy);
    let failed = policy
        .spec
        .failed_snapshots
        .get_or_insert_with(FailedSnapshotsKeepPolicy::default);
    failed.last.get_or_insert(FAILED_SNAPSHOTS_KEPT);
}

/// Fills in a blueprint: its usage policy.
pub fn backup_blueprint(blueprint: &mut BackupBlueprint) {
    fill_usage_policy(&mut blueprint.spec.usage_policy);
}

/// Fills in a hook's template: its usage policy.
pub fn hook_template(template: &mut HookTemplate) {
    fill_usage_policy(&mut template.spec.usage_policy);
}

/// Fills in a batch in `namespace`, as a configuration.
pub fn backup_batch(
    batch: &mut BackupBatch,
    namespace: Namespace<'_>,
    storages: &[&BackupStorage],
    policies: &[&RetentionPolicy],
) {
    fill_backends(&mut batch.spec.backends, namespace, storages, policies);
}

/// Fills in a configuration in `namespace`: the default storage if it names none, the default policy where none is named.
pub fn backup_configuration(
    configuration: &mut BackupConfiguration,
    namespace: Namespace<'_>,
    storages: &[&BackupStorage],
    policies: &[&RetentionPolicy],
) {
    fill_backends(
        &mut configuration.spec.backends,
        namespace,
        storages,
        policies,
    );
}

fn fill_backends(
    backends: &mut Vec<BackendReference>,
    namespace: Namespace<'_>,
    storages: &[&BackupStorage],
    policies: &[&RetentionPolicy],
) {
    if backends.is_empty()
        && let Some(storage) = default_storage(namespace, storages)
    {
        backends.push(BackendReference {
            storage_ref: Some(reference(storage)),
            ..BackendReference::default()
        });
    }
    let policy = default_retention_policy(namespace, policies);
    for backend in backends
        .iter_mut()
        .filter(|backend| backend.retention_policy.is_none())
    {
        backend.retention_policy = policy.map(reference);
    }
}

/// The storage that objects in `namespace` use when they name none.
pub fn default_storage<'a>(
    namespace: Namespace<'_>,
    storages: &[&'a BackupStorage],
) -> Option<&'a BackupStorage> {
    let defaults = storages
        .iter()
        .copied()
        .filter(|storage| storage.spec.default == Some(true));
    nearest(namespace, defaults, |storage| {
        storage.spec.usage_policy.as_ref()
    })
}

/// The retention policy that objects in `namespace` use when they name none.
pub fn default_retention_policy<'a>(
    namespace: Namespace<'_>,
    policies: &[&'a RetentionPolicy],
) -> Option<&'a RetentionPolicy> {
    let defaults = policies
        .iter()
        .copied()
        .filter(|policy| policy.spec.default == Some(true));
    nearest(namespace, defaults, |policy| {
        policy.spec.usage_policy.as_ref()
    })
}

/// The default that is closest: one for its own namespace only, then one for chosen namespaces, then one for all;
/// among equals one of the same namespace, then the first by name, so that the choice never wavers.
fn nearest<'a, K: kube::Resource>(
    namespace: Namespace<'_>,
    candidates: impl Iterator<Item = &'a K>,
    policy: impl Fn(&K) -> Option<&UsagePolicy>,
) -> Option<&'a K> {
    let same_namespace = UsagePolicy::same_namespace();
    candidates
        .filter_map(|candidate| {
            let policy = policy(candidate).unwrap_or(&same_namespace);
            let owner = candidate.meta().namespace.as_deref()?;
            let distance = match policy
                .allowed_namespaces
                .as_ref()?
                .from
                .unwrap_or(FromNamespaces::Same)
            {
                FromNamespaces::Same => 0,
                FromNamespaces::Selector => 1,
                FromNamespaces::All => 2,
            };
            let rank = (
                distance,
                owner != namespace.name,
                owner,
                candidate.meta().name.as_deref(),
            );
            policy.allows(owner, namespace).then_some((rank, candidate))
        })
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, candidate)| candidate)
}

fn reference<K: kube::Resource>(object: &K) -> ObjectReference {
    ObjectReference {
        name: object.meta().name.clone().unwrap_or_default(),
        namespace: object.meta().namespace.clone(),
    }
}

fn fill_usage_policy(policy: &mut Option<UsagePolicy>) {
    let policy = policy.get_or_insert_with(UsagePolicy::default);
    let allowed = policy
        .allowed_namespaces
        .get_or_insert_with(AllowedNamespaces::default);
    allowed.from.get_or_insert(FromNamespaces::Same);
}

fn trim_slash(text: &mut Option<String>) {
    if let Some(text) = text
        && text.ends_with('/')
    {
        text.pop();
    }
}

#[cfg(test)]
mod tests;
