//! What an invoker needs.

use std::time::Duration;

use holdfast_api::BackupSession;
use holdfast_api::backup_batch::BackupBatchStatus;
use holdfast_api::backup_configuration::{
    BackendReference, BackendStatus, InvokerPhase, RetentionPolicyStatus, StorageStatus,
};
use holdfast_api::backup_session::BackupSessionPhase;
use holdfast_api::backup_storage::BackupStoragePhase;
use holdfast_api::condition::kinds::{backup_session as session_kinds, shared, snapshot as snapshot_kinds};
use holdfast_api::condition::{self, Condition};
use holdfast_api::reference::{ObjectReference, ResourceFoundStatus, TypedObjectReference};
use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::json;

use super::verifications::Tries;
use super::{Observed, PAUSED_BY, either, repositories, schedule};
use crate::action::Action;
use crate::object::Named;
use crate::target::Shape;
use crate::work;

/// What is missing is looked for again after this time where nothing announces it.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What was refused is looked at again after this time: most of what heals it is announced.
const REFUSED_AGAIN: Duration = Duration::from_secs(60);

/// What is to be done about an invoker.
pub fn plan(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let invoker = &observed.invoker;
    if invoker.metadata().deletion_timestamp.is_some() {
        return Vec::new();
    }
    if let Some(resume) = resume(observed) {
        let told = match &observed.next_pause {
            Some(restore) => Action::normal("StaysPaused", format!("another restore of its target goes on: {}", restore.name_any())),
            None => Action::normal("Resumed", "the restore that paused it has ended"),
        };
        return vec![resume, told];
    }
    let old = invoker.status();
    let mut status = old.clone();
    let mut after = Vec::new();
    let mut tries = Tries::of(invoker.metadata());
    validate(observed, &mut status, now);
    if condition::is_false(&status.conditions, shared::VALIDATION_PASSED) {
        status.phase = Some(InvokerPhase::Invalid);
        // A Repository in its directory may go, a namespace's labels may change: not all of that is announced to it.
        after.push(Action::Later(REFUSED_AGAIN));
    } else {
        status.backends = observed.effective.backends().iter().map(|backend| backend_status(observed, backend)).collect();
        status.dependencies = dependencies(observed);
        status.targets = targets(observed);
        after.extend(repositories::create(observed));
        after.extend(repositories::follow_policies(observed));
        show_held(observed, &mut status, now);
        status.repositories = repositories::statuses(observed);
        schedule::ensure(observed, &mut status, now);
        after.extend(tries.ensure(observed, &mut status, now));
        status.phase = Some(observed.effective.verdict(&status));
        if status.phase == Some(InvokerPhase::Ready) {
            after.extend(schedule::trigger(observed, &mut status, now));
        } else {
            after.push(Action::Later(LOOK_AGAIN));
        }
        // Also of an application that is gone: its backups are what brings it back.
        after.extend(tries.trigger(observed, now));
    }
    announce(observed, &old, &status, &mut after);
    // Sessions are created before the status says so: their names follow from the slot, so a repetition creates nothing.
    let (mut actions, later): (Vec<Action>, Vec<Action>) =
        after.into_iter().partition(|action| matches!(action, Action::Create(_)));
    actions.extend(tries.write(&observed.invoker));
    actions.extend(invoker.write(status));
    actions.extend(later);
    actions
}

/// A restore paused this invoker and has ended, however it did.
fn resume(observed: &Observed) -> Option<Action> {
    let metadata = observed.invoker.metadata();
    metadata.annotations.as_ref()?.get(PAUSED_BY)?;
    if observed.paused_by.is_some() {
        return None;
    }
    let patch = match &observed.next_pause {
        Some(restore) => json!({"metadata": {"annotations": {PAUSED_BY: observed.invoker.mark_of(restore)}}}),
        None => json!({"metadata": {"annotations": {PAUSED_BY: null}}, "spec": {"paused": false}}),
    };
    Some(Action::Patch { key: observed.invoker.key(), resource_version: metadata.resource_version.clone(), patch })
}

fn validate(observed: &Observed, status: &mut BackupBatchStatus, now: Timestamp) {
    let problem = observed.problem.clone().or_else(|| unsupported(observed));
    let condition = match problem {
        None => Condition::new(shared::VALIDATION_PASSED, true, shared::RESOURCE_VALIDATION_PASSED, "", now),
        Some(problem) => {
            Condition::new(shared::VALIDATION_PASSED, false, shared::RESOURCE_VALIDATION_FAILED, problem, now)
        }
    };
    condition::set(&mut status.conditions, condition.observed(observed.invoker.metadata().generation));
}

/// What KubeStash can and this version cannot.
fn unsupported(observed: &Observed) -> Option<String> {
    for ((path, reference), target) in observed.effective.targets().iter().zip(&observed.targets) {
        if let Shape::Unsupported(what) = &target.shape
            && needs_target(observed, *reference)
        {
            return Some(format!("{path}: {what}"));
        }
    }
    for (index, session) in observed.effective.sessions().iter().enumerate() {
        for target in &session.targets {
            if let Some(problem) = work::unsupported_backup(target.addon, &observed.catalog) {
                return Some(format!("spec.sessions[{index}]{}: {problem}", target.path));
            }
        }
    }
    None
}

/// Whether a target is looked at: for manifests of the cluster and for pods it is not.
fn needs_target(observed: &Observed, reference: Option<&TypedObjectReference>) -> bool {
    let sessions = observed.effective.sessions();
    let mut theirs = sessions.iter().flat_map(|session| &session.targets).filter(|target| target.app_ref == reference);
    theirs.any(|target| work::backup(target.addon, &observed.catalog).map_or(true, |job| job.reads_target()))
}

fn targets(observed: &Observed) -> Vec<ResourceFoundStatus> {
    let namespace = observed.invoker.key().namespace;
    let all = observed.effective.targets();
    let seen = all.iter().zip(&observed.targets);
    seen.map(|((_, reference), target)| either::found(*reference, &namespace, target.exists())).collect()
}

fn backend_status(observed: &Observed, backend: &BackendReference) -> BackendStatus {
    let namespace = observed.invoker.key().namespace;
    let named = |reference: &ObjectReference| Named::new(reference.namespace_or(&namespace), &reference.name);
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
    let sessions = observed.effective.sessions();
    let mut names: Vec<&str> = sessions
        .iter()
        .flat_map(|session| &session.targets)
        .filter_map(|target| target.addon)
        .filter_map(|addon| addon.name.as_deref())
        .collect();
    names.sort_unstable();
    names.dedup();
    let addons = names.into_iter().map(|name| ResourceFoundStatus {
        api_group: Some("addons.kubestash.com".into()),
        kind: Some("Addon".into()),
        name: name.to_owned(),
        namespace: None,
        found: Some(observed.catalog.addons.contains_key(name)),
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

/// What the newest session of each name holds back stands here as well: this is the object that people look at, and where they release it.
fn show_held(observed: &Observed, status: &mut BackupBatchStatus, now: Timestamp) {
    let created = |session: &BackupSession| session.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let sessions = observed.effective.sessions();
    let messages = sessions.iter().filter_map(|spec| {
        let ended = observed.sessions.iter().filter(|session| {
            let phase = session.status.as_ref().and_then(|status| status.phase);
            session.spec.session.as_deref() == spec.name
                && matches!(phase, Some(BackupSessionPhase::Succeeded | BackupSessionPhase::Failed))
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

fn announce(observed: &Observed, old: &BackupBatchStatus, new: &BackupBatchStatus, actions: &mut Vec<Action>) {
    if old.phase == new.phase {
        return;
    }
    actions.push(match new.phase {
        Some(InvokerPhase::Ready) => Action::normal("Ready", "targets and backends are there, sessions are scheduled"),
        Some(InvokerPhase::Invalid) => {
            let condition = condition::get(&new.conditions, shared::VALIDATION_PASSED);
            Action::warning("Invalid", condition.and_then(|condition| condition.message.clone()).unwrap_or_default())
        }
        _ => Action::normal("NotReady", missing(observed, new)),
    });
}

/// The first thing that keeps an invoker from being ready.
fn missing(observed: &Observed, status: &BackupBatchStatus) -> String {
    let backends = status.backends.iter().filter_map(|backend| backend.storage.as_ref()?.reason.clone());
    let targets = observed.targets.iter().filter_map(|target| match &target.shape {
        Shape::Missing(what) => Some(what.clone()),
        _ => None,
    });
    let first = backends.chain(targets).next();
    first.unwrap_or_else(|| "not everything that it refers to is ready".into())
}
