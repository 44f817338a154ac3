//! What a configuration needs.

use std::time::Duration;

use holdfast_api::backup_configuration::{
    BackendReference, BackendStatus, BackupConfigurationStatus, InvokerPhase, RepositoryReference, RepositoryStatus,
    RetentionPolicyStatus, StorageStatus,
};
use holdfast_api::backup_storage::BackupStoragePhase;
use holdfast_api::backup_session::BackupSessionPhase;
use holdfast_api::condition::kinds::{
    backup_session as session_kinds, repository as repository_kinds, shared, snapshot as snapshot_kinds,
};
use holdfast_api::condition::{self, Condition};
use holdfast_api::deletion::{DeletionPolicy, RepositoryDeletionPolicy};
use holdfast_api::{BackupSession, labels};
use holdfast_api::phase;
use holdfast_api::reference::{ObjectReference, ResourceFoundStatus};
use holdfast_api::repository::{Repository, RepositoryPhase, RepositorySpec};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::json;

use super::{Observed, PAUSED_BY, schedule};
use crate::action::{Action, Created};
use crate::object::{Key, Kind, Named};
use crate::target::Shape;

/// What is missing is looked for again after this time where nothing announces it.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What is to be done about a configuration.
pub fn plan(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let configuration = &observed.configuration;
    if configuration.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    if let Some(resume) = resume(observed) {
        return vec![resume];
    }
    let old = configuration.status.clone().unwrap_or_default();
    let mut status = old.clone();
    let mut after = Vec::new();
    validate(observed, &mut status, now);
    if condition::is_false(&status.conditions, shared::VALIDATION_PASSED) {
        status.phase = Some(InvokerPhase::Invalid);
    } else {
        status.backends =
            observed.effective.spec.backends.iter().map(|backend| backend_status(observed, backend)).collect();
        status.dependencies = dependencies(observed);
        status.target_found = Some(observed.target.exists());
        after.extend(create_repositories(observed));
        after.extend(follow_policies(observed));
        show_held(observed, &mut status, now);
        status.repositories = repository_statuses(observed);
        schedule::ensure(observed, &mut status, now);
        status.phase = Some(phase::backup_configuration(&observed.effective.spec, &status));
        if status.phase == Some(InvokerPhase::Ready) {
            after.extend(schedule::trigger(observed, &mut status, now));
        } else {
            after.push(Action::Later(LOOK_AGAIN));
        }
    }
    announce(&old, &status, &mut after);
    // Sessions are created before the status says so: their names follow from the slot, so a repetition creates nothing.
    let (mut actions, later): (Vec<Action>, Vec<Action>) =
        after.into_iter().partition(|action| matches!(action, Action::Create(_)));
    actions.extend(Action::status(configuration.status.as_ref(), &status));
    actions.extend(later);
    actions
}

/// A restore paused this configuration and has ended, however it did.
fn resume(observed: &Observed) -> Option<Action> {
    let metadata = &observed.configuration.metadata;
    metadata.annotations.as_ref()?.get(PAUSED_BY)?;
    if observed.paused_by.is_some() {
        return None;
    }
    Some(Action::Patch {
        key: key_of(observed),
        resource_version: metadata.resource_version.clone(),
        patch: json!({"metadata": {"annotations": {PAUSED_BY: null}}, "spec": {"paused": false}}),
    })
}

fn key_of(observed: &Observed) -> Key {
    let metadata = &observed.configuration.metadata;
    Key::of(Kind::BackupConfiguration, metadata)
}

fn validate(observed: &Observed, status: &mut BackupConfigurationStatus, now: Timestamp) {
    let problem = observed.problem.clone().or_else(|| unsupported(observed));
    let condition = match problem {
        None => Condition::new(shared::VALIDATION_PASSED, true, shared::RESOURCE_VALIDATION_PASSED, "", now),
        Some(problem) => {
            Condition::new(shared::VALIDATION_PASSED, false, shared::RESOURCE_VALIDATION_FAILED, problem, now)
        }
    };
    condition::set(&mut status.conditions, condition.observed(observed.configuration.metadata.generation));
}

/// What KubeStash can and this version cannot.
fn unsupported(observed: &Observed) -> Option<String> {
    if let Shape::Unsupported(what) = &observed.target.shape {
        return Some(format!("spec.target: {what}"));
    }
    for (index, session) in observed.effective.spec.sessions.iter().enumerate() {
        if let Some(problem) = crate::work::unsupported_session(session, &observed.addons) {
            return Some(format!("spec.sessions[{index}]: {problem}"));
        }
    }
    None
}

fn backend_status(observed: &Observed, backend: &BackendReference) -> BackendStatus {
    let namespace = &key_of(observed).namespace;
    let named = |reference: &ObjectReference| Named::new(reference.namespace_or(namespace), &reference.name);
    let storage = backend.storage_ref.as_ref().map(|reference| {
        let name = named(reference);
        let found = observed.storages.get(&name);
        let phase = found.and_then(|storage| storage.status.as_ref()).and_then(|status| status.phase);
        let reason = match (found, phase) {
            (None, _) => Some(format!("BackupStorage {name} does not exist")),
            (Some(_), Some(BackupStoragePhase::Ready)) => None,
            (Some(_), _) => Some(format!("BackupStorage {name} is not ready")),
        };
        StorageStatus {
            ref_: Some(reference.clone()),
            phase: Some(phase.unwrap_or(BackupStoragePhase::NotReady)),
            reason,
        }
    });
    let retention_policy = backend.retention_policy.as_ref().map(|reference| {
        let name = named(reference);
        let found = observed.policies.contains_key(&name);
        RetentionPolicyStatus {
            ref_: Some(reference.clone()),
            found: Some(found),
            reason: (!found).then(|| format!("RetentionPolicy {name} does not exist")),
        }
    });
    let ready = storage.as_ref().is_some_and(|storage| storage.phase == Some(BackupStoragePhase::Ready));
    BackendStatus { name: backend.name.clone(), ready: Some(ready), storage, retention_policy }
}

fn dependencies(observed: &Observed) -> Vec<ResourceFoundStatus> {
    let sessions = &observed.effective.spec.sessions;
    let mut names: Vec<&str> = sessions
        .iter()
        .filter_map(|session| session.addon.as_ref())
        .filter_map(|addon| addon.name.as_deref())
        .collect();
    names.sort_unstable();
    names.dedup();
    let addons = names.into_iter().map(|name| ResourceFoundStatus {
        api_group: Some("addons.kubestash.com".into()),
        kind: Some("Addon".into()),
        name: name.to_owned(),
        namespace: None,
        found: Some(observed.addons.contains_key(name)),
    });
    let secrets = observed.secrets.iter().map(|(name, found)| ResourceFoundStatus {
        api_group: None,
        kind: Some("Secret".into()),
        name: name.name.clone(),
        namespace: Some(name.namespace.clone()),
        found: Some(*found),
    });
    addons.chain(secrets).collect()
}

fn repository_references(observed: &Observed) -> impl Iterator<Item = &RepositoryReference> {
    let mut seen = std::collections::BTreeSet::new();
    let all = observed.effective.spec.sessions.iter().flat_map(|session| &session.repositories);
    all.filter(move |repository| seen.insert(repository.name.clone()))
}

fn create_repositories(observed: &Observed) -> Vec<Action> {
    let missing = repository_references(observed)
        .filter(|reference| reference.name.as_ref().is_some_and(|name| !observed.repositories.contains_key(name)));
    missing
        .filter_map(|reference| repository(observed, reference))
        .map(|repository| Action::Create(Box::new(Created::Repository(repository))))
        .collect()
}

fn repository(observed: &Observed, reference: &RepositoryReference) -> Option<Repository> {
    let key = key_of(observed);
    let spec = &observed.effective.spec;
    let backend = spec.backend_of(reference)?;
    let storage = backend.storage_ref.as_ref()?;
    let name = Named::new(storage.namespace_or(&key.namespace), &storage.name);
    // A storage that is being wiped out would never be done.
    if observed.storages.get(&name).is_some_and(|storage| storage.metadata.deletion_timestamp.is_some()) {
        return None;
    }
    let mut repository = Repository::new(
        reference.name.as_deref()?,
        RepositorySpec {
            app_ref: Some(spec.app_ref(&key.namespace)),
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
    // Only what the user asked for goes with the configuration: losing it would lose sight of the backups.
    if goes_along(reference.deletion_policy) {
        repository.metadata.owner_references = Some(vec![owner_reference(observed)]);
    }
    Some(repository)
}

/// Whether a Repository goes with its configuration.
fn goes_along(policy: Option<RepositoryDeletionPolicy>) -> bool {
    matches!(policy, Some(RepositoryDeletionPolicy::Delete | RepositoryDeletionPolicy::WipeOut))
}

fn wanted_policy(policy: Option<RepositoryDeletionPolicy>) -> Option<DeletionPolicy> {
    (policy == Some(RepositoryDeletionPolicy::WipeOut)).then_some(DeletionPolicy::WipeOut)
}

/// Repositories that this configuration made, where it says otherwise now than it did then.
fn follow_policies(observed: &Observed) -> Vec<Action> {
    let key = key_of(observed);
    let made_by = labels::of_invoker(key.kind.as_str(), &key.namespace, &key.name);
    let mut actions = Vec::new();
    for reference in repository_references(observed).filter(|reference| reference.deletion_policy.is_some()) {
        let Some(found) = reference.name.as_ref().and_then(|name| observed.repositories.get(name)) else { continue };
        let known = found.metadata.labels.clone().unwrap_or_default();
        if found.metadata.deletion_timestamp.is_some() || made_by.iter().any(|(label, value)| known.get(label) != Some(value)) {
            continue;
        }
        let owner = owner_reference(observed);
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

/// The configuration as the owner of what it creates.
pub(super) fn owner_reference(observed: &Observed) -> OwnerReference {
    let metadata = &observed.configuration.metadata;
    OwnerReference {
        api_version: holdfast_api::BackupConfiguration::API_VERSION.into(),
        kind: holdfast_api::BackupConfiguration::KIND.into(),
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(false),
    }
}

fn repository_statuses(observed: &Observed) -> Vec<RepositoryStatus> {
    let statuses = repository_references(observed).filter_map(|reference| {
        let name = reference.name.as_ref()?;
        let status = observed.repositories.get(name).and_then(|repository| repository.status.as_ref());
        let phase = status.and_then(|status| status.phase).unwrap_or(RepositoryPhase::NotReady);
        let reason = status
            .and_then(|status| condition::get(&status.conditions, repository_kinds::REPOSITORY_INITIALIZED))
            .filter(|_| phase == RepositoryPhase::NotReady)
            .and_then(|condition| condition.message.clone());
        Some(RepositoryStatus { name: Some(name.clone()), phase: Some(phase), reason, verification_configured: None })
    });
    statuses.collect()
}

/// What the newest session of each name holds back stands here as well: this is the object that people look at, and where they release it.
fn show_held(observed: &Observed, status: &mut BackupConfigurationStatus, now: Timestamp) {
    let created = |session: &BackupSession| session.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let messages = observed.effective.spec.sessions.iter().filter_map(|spec| {
        let ended = observed.sessions.iter().filter(|session| {
            let phase = session.status.as_ref().and_then(|status| status.phase);
            session.spec.session == spec.name && matches!(phase, Some(BackupSessionPhase::Succeeded | BackupSessionPhase::Failed))
        });
        let newest = ended.max_by_key(|session| created(session))?;
        let held = condition::get(&newest.status.as_ref()?.conditions, session_kinds::SNAPSHOTS_HELD)?;
        held.message.clone()
    });
    let messages: Vec<String> = messages.collect();
    if messages.is_empty() {
        condition::remove(&mut status.conditions, session_kinds::SNAPSHOTS_HELD);
        return;
    }
    let held = Condition::new(session_kinds::SNAPSHOTS_HELD, true, snapshot_kinds::VOLUME_SHRANK, messages.join("; "), now);
    condition::set(&mut status.conditions, held);
}

fn announce(old: &BackupConfigurationStatus, new: &BackupConfigurationStatus, actions: &mut Vec<Action>) {
    if old.phase == new.phase {
        return;
    }
    let first_false = new
        .backends
        .iter()
        .filter_map(|backend| backend.storage.as_ref()?.reason.clone())
        .chain((new.target_found == Some(false)).then(|| "the target does not exist".to_owned()))
        .next();
    actions.push(match new.phase {
        Some(InvokerPhase::Ready) => Action::normal("Ready", "target and backends are there, sessions are scheduled"),
        Some(InvokerPhase::Invalid) => {
            let condition = condition::get(&new.conditions, shared::VALIDATION_PASSED);
            Action::warning("Invalid", condition.and_then(|condition| condition.message.clone()).unwrap_or_default())
        }
        _ => Action::normal(
            "NotReady",
            first_false.unwrap_or_else(|| "not everything that it refers to is ready".into()),
        ),
    });
}
