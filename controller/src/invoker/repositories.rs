//! Repositories of an invoker: made for each target of each session, and kept as the invoker says.

use std::collections::BTreeSet;
use std::sync::Arc;

use holdfast_api::backup_configuration::{RepositoryReference, RepositoryStatus};
use holdfast_api::condition;
use holdfast_api::condition::kinds::repository as kinds;
use holdfast_api::deletion::{DeletionPolicy, RepositoryDeletionPolicy};
use holdfast_api::labels;
use holdfast_api::reference::{ObjectReference, TypedObjectReference};
use holdfast_api::repository::{Repository, RepositoryPhase, RepositorySpec};
use serde_json::json;

use super::{Invoker, Observed, verifications};
use crate::action::{Action, Created};
use crate::cache::By;
use crate::caches::{Caches, shape::place};
use crate::object::{Key, Kind, Named};

/// Each repository once, with its application.
fn references(observed: &Observed) -> Vec<(TypedObjectReference, &RepositoryReference)> {
    let namespace = observed.invoker.key().namespace;
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    for session in observed.effective.sessions() {
        for (target, reference) in session.repositories() {
            if seen.insert(reference.name.as_deref()) {
                all.push((target.application(&namespace), reference));
            }
        }
    }
    all
}

/// The Repositories that matter to an invoker: those that it names, and whatever is where these are or would be.
pub(super) fn concerned(caches: &Caches, invoker: &Invoker, namespace: &str) -> Vec<Arc<Repository>> {
    let mut found: Vec<Arc<Repository>> = Vec::new();
    for session in invoker.sessions() {
        for (_, reference) in session.repositories() {
            let named = reference.name.as_ref().and_then(|name| caches.repositories.get(namespace, name));
            let storage = invoker.backend_of(reference).and_then(|backend| backend.storage_ref.as_ref());
            let neighbours = storage.into_iter().flat_map(|storage| {
                let storage = Named::new(storage.namespace_or(namespace), &storage.name);
                caches.repositories.of(By::Place, place(&storage, reference.directory.as_deref().unwrap_or_default()))
            });
            for repository in named.into_iter().chain(neighbours) {
                if !found.iter().any(|known| known.metadata.uid == repository.metadata.uid) {
                    found.push(repository);
                }
            }
        }
    }
    found
}

/// Makes those that are missing.
pub(super) fn create(observed: &Observed) -> Vec<Action> {
    let missing = references(observed)
        .into_iter()
        .filter(|(_, reference)| reference.name.as_ref().is_some_and(|name| !observed.repositories.contains_key(name)));
    missing
        .filter_map(|(application, reference)| repository(observed, application, reference))
        .map(|repository| Action::Create(Box::new(Created::Repository(repository))))
        .collect()
}

fn repository(
    observed: &Observed,
    application: TypedObjectReference,
    reference: &RepositoryReference,
) -> Option<Repository> {
    let key = observed.invoker.key();
    let storage = observed.effective.backend_of(reference)?.storage_ref.as_ref()?;
    let name = Named::new(storage.namespace_or(&key.namespace), &storage.name);
    // A storage that is being wiped out would never be done.
    if observed.storages.get(&name).is_some_and(|storage| storage.metadata.deletion_timestamp.is_some()) {
        return None;
    }
    let mut repository = Repository::new(
        reference.name.as_deref()?,
        RepositorySpec {
            app_ref: Some(application),
            storage_ref: Some(ObjectReference {
                name: storage.name.clone(),
                namespace: Some(storage.namespace_or(&key.namespace).to_owned()),
            }),
            path: reference.directory.clone(),
            deletion_policy: wanted_policy(reference.deletion_policy),
            encryption_secret: reference.encryption_secret.clone(),
            paused: None,
        },
    );
    repository.metadata.namespace = Some(key.namespace.clone());
    repository.metadata.labels = Some(labels::of_invoker(key.kind.as_str(), &key.namespace, &key.name));
    // Only what the user asked for goes with the invoker: losing it would lose sight of the backups.
    if goes_along(reference.deletion_policy) {
        repository.metadata.owner_references = Some(vec![observed.invoker.owner_reference()]);
    }
    Some(repository)
}

/// Whether a Repository goes with its invoker.
fn goes_along(policy: Option<RepositoryDeletionPolicy>) -> bool {
    matches!(policy, Some(RepositoryDeletionPolicy::Delete | RepositoryDeletionPolicy::WipeOut))
}

fn wanted_policy(policy: Option<RepositoryDeletionPolicy>) -> Option<DeletionPolicy> {
    (policy == Some(RepositoryDeletionPolicy::WipeOut)).then_some(DeletionPolicy::WipeOut)
}

/// Repositories that this invoker made, where it says otherwise now than it did then.
pub(super) fn follow_policies(observed: &Observed) -> Vec<Action> {
    let key = observed.invoker.key();
    let made_by = labels::of_invoker(key.kind.as_str(), &key.namespace, &key.name);
    let mut actions = Vec::new();
    let references = references(observed);
    for (_, reference) in references.iter().filter(|(_, reference)| reference.deletion_policy.is_some()) {
        let Some(found) = reference.name.as_ref().and_then(|name| observed.repositories.get(name)) else { continue };
        let known = found.metadata.labels.clone().unwrap_or_default();
        if found.metadata.deletion_timestamp.is_some() || made_by.iter().any(|(label, value)| known.get(label) != Some(value)) {
            continue;
        }
        let owner = observed.invoker.owner_reference();
        let mut owners = found.metadata.owner_references.clone().unwrap_or_default();
        let is_owned = owners.iter().any(|known| known.uid == owner.uid);
        let is_wiped = found.spec.deletion_policy == Some(DeletionPolicy::WipeOut);
        let policy = wanted_policy(reference.deletion_policy);
        if is_owned == goes_along(reference.deletion_policy) && is_wiped == policy.is_some() {
            continue;
        }
        owners.retain(|known| known.uid != owner.uid);
        if goes_along(reference.deletion_policy) {
            owners.push(owner);
        }
        actions.push(Action::Patch {
            key: Key::new(Kind::Repository, &key.namespace, reference.name.clone().unwrap_or_default()),
            resource_version: found.metadata.resource_version.clone(),
            patch: json!({
                "metadata": {"ownerReferences": owners},
                "spec": {"deletionPolicy": policy.unwrap_or(DeletionPolicy::Delete)},
            }),
        });
    }
    actions
}

/// How they stand.
pub(super) fn statuses(observed: &Observed) -> Vec<RepositoryStatus> {
    let references = references(observed);
    let statuses = references.iter().filter_map(|(_, reference)| {
        let name = reference.name.as_ref()?;
        let status = observed.repositories.get(name).and_then(|repository| repository.status.as_ref());
        let phase = status.and_then(|status| status.phase).unwrap_or(RepositoryPhase::NotReady);
        let reason = status
            .and_then(|status| condition::get(&status.conditions, kinds::REPOSITORY_INITIALIZED))
            .filter(|_| phase == RepositoryPhase::NotReady)
            .and_then(|condition| condition.message.clone());
        let verification_configured = verifications::is_configured(observed, name);
        Some(RepositoryStatus { name: Some(name.clone()), phase: Some(phase), reason, verification_configured })
    });
    statuses.collect()
}
