//! What a storage needs.

use std::time::Duration;

use holdfast_api::backup_storage::{BackupStorage, BackupStorageStatus, Provider, RepositoryInfo};
use holdfast_api::condition::kinds::{backup_storage as kinds, shared};
use holdfast_api::condition::{self, Condition};
use holdfast_api::repository::{Repository, RepositoryPhase};
use holdfast_api::{phase, size};
use jiff::{SignedDuration, Timestamp};

use super::{Observed, deletion, read_back};
use crate::action::Action;
use crate::dispatch::assign::provider;
use crate::dispatch::task::{Class, NotStarted, Outcome, TaskRequest, TaskView, Wanted, Work};
use crate::first_use;
use crate::object::Named;

/// Repositories that are listed in the status: an object must not grow without bound.
const REPOSITORIES_MAX: usize = 1000;
/// An agent that is on its way deserves this long before its absence is a condition.
const AGENT_GRACE: SignedDuration = SignedDuration::from_secs(10);
/// How often one that cannot be beside another is looked at again.
const PROBLEM_PAUSE: Duration = Duration::from_secs(30);

/// What is to be done about a storage.
pub fn plan(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let storage = &observed.storage;
    if storage.metadata.deletion_timestamp.is_some() {
        return deletion::plan(observed, now);
    }
    if let Some(finalizer) = deletion::keep_finalizer(storage) {
        return vec![finalizer];
    }
    let mut status = storage.status.clone().unwrap_or_default();
    let mut actions = Vec::new();
    let wanted = match (first_use::moved(storage), &observed.problem) {
        (Some(why), _) => {
            first_use::keep_backend(storage, &mut status.conditions, now);
            fail(storage, &mut status, why, &mut actions, now);
            Vec::new()
        }
        (None, Some(problem)) => {
            fail(storage, &mut status, problem.clone(), &mut actions, now);
            actions.push(Action::Later(PROBLEM_PAUSE));
            Vec::new()
        }
        (None, None) => {
            let mut wanted = probe(observed, &mut status, &mut actions, now);
            wanted.extend(read_back::plan(observed, &mut status, &mut actions, now));
            wanted
        }
    };
    list_repositories(&mut status, &observed.repositories);
    let before = status.phase;
    status.phase = Some(phase::backup_storage(&status));
    if before != status.phase && status.phase == Some(holdfast_api::backup_storage::BackupStoragePhase::Ready) {
        actions.push(Action::normal("Ready", "an agent wrote, listed and removed an object in this storage"));
    }
    let (mut all, rest) = crate::read_back::before_status(actions);
    all.extend(Action::status(storage.status.as_ref(), &status));
    all.extend(rest);
    all.push(Action::Tasks(wanted));
    all
}

/// The probe: what its result says, and whether it is wanted (again).
fn probe(
    observed: &Observed,
    status: &mut BackupStorageStatus,
    actions: &mut Vec<Action>,
    now: Timestamp,
) -> Vec<Wanted> {
    let storage = &observed.storage;
    let name = name_of(storage);
    if let Err(reason) = provider(&name, storage.spec.storage.as_ref()) {
        fail(storage, status, reason.to_string(), actions, now);
        return Vec::new();
    }
    let generation = storage.metadata.generation;
    let known = condition::get(&status.conditions, kinds::BACKEND_INITIALIZED);
    let settled = known.is_some_and(|known| known.status == "True" && known.observed_generation == generation);
    let mut again_after = None;
    match &observed.probe {
        Some(TaskView::Finished { attempt, outcome, .. }) => match outcome.as_ref() {
            Outcome::Initialised(result) => {
                let message = if result.conditional_create {
                    "the backend was probed by an agent"
                } else {
                    "the backend was probed by an agent; it does not refuse a second create of one name"
                };
                succeed(storage, status, message, now);
                return Vec::new();
            }
            other => {
                let (message, _) = other.problem();
                if let Outcome::NotStarted(NotStarted::Secret(reason)) = other {
                    let condition = Condition::new(
                        kinds::BACKEND_SECRET_FOUND,
                        false,
                        kinds::BACKEND_SECRET_NOT_AVAILABLE,
                        reason,
                        now,
                    );
                    condition::set(&mut status.conditions, condition.observed(generation));
                }
                fail(storage, status, message, actions, now);
                again_after = Some(*attempt);
            }
        },
        Some(TaskView::Waiting(why)) if known.is_none() => {
            let created = storage.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
            let left = AGENT_GRACE - now.duration_since(created);
            if left <= SignedDuration::ZERO {
                fail(storage, status, why.clone(), actions, now);
            } else {
                actions.push(Action::Later(left.unsigned_abs()));
            }
        }
        _ => {}
    }
    if settled && observed.probe.is_none() {
        // From before this was written down.
        if !status.repositories.is_empty() && !condition::has(&status.conditions, shared::SPEC_KEPT) {
            first_use::keep_backend(storage, &mut status.conditions, now);
        }
        return Vec::new();
    }
    vec![Wanted::Task(Box::new(TaskRequest {
        component: String::new(),
        class: Class::Service,
        node: None,
        storage: name.clone(),
        group: name.namespace.clone(),
        persisted: None,
        again_after,
        pod_uids: Vec::new(),
        work: Work::Probe { storage: name },
    }))]
}

fn succeed(storage: &BackupStorage, status: &mut BackupStorageStatus, message: &str, now: Timestamp) {
    let generation = storage.metadata.generation;
    let initialized =
        Condition::new(kinds::BACKEND_INITIALIZED, true, kinds::BACKEND_INITIALIZATION_SUCCEEDED, message, now);
    condition::set(&mut status.conditions, initialized.observed(generation));
    first_use::keep_backend(storage, &mut status.conditions, now);
    let provider = storage.spec.storage.as_ref().and_then(|backend| backend.provider.as_deref());
    if provider.and_then(Provider::parse) == Some(Provider::Local) {
        condition::remove(&mut status.conditions, kinds::BACKEND_SECRET_FOUND);
    } else {
        let secret = Condition::new(kinds::BACKEND_SECRET_FOUND, true, kinds::BACKEND_SECRET_AVAILABLE, "", now);
        condition::set(&mut status.conditions, secret.observed(generation));
    }
}

fn fail(
    storage: &BackupStorage,
    status: &mut BackupStorageStatus,
    message: String,
    actions: &mut Vec<Action>,
    now: Timestamp,
) {
    let failed =
        Condition::new(kinds::BACKEND_INITIALIZED, false, kinds::BACKEND_INITIALIZATION_FAILED, message.clone(), now);
    if condition::set(&mut status.conditions, failed.observed(storage.metadata.generation)) {
        actions.push(Action::warning("NotReady", message));
    }
}

fn list_repositories(status: &mut BackupStorageStatus, repositories: &[std::sync::Arc<Repository>]) {
    let mut listed: Vec<RepositoryInfo> = repositories.iter().map(|repository| info(repository)).collect();
    // Those that were found in the storage and could not be brought back stay beside them.
    listed.extend(status.repositories.drain(..).filter(|info| info.error.is_some()));
    listed.sort_by(|left, right| (&left.namespace, &left.name, &left.path).cmp(&(&right.namespace, &right.name, &right.path)));
    status.total_size = size::sum(listed.iter().filter(|info| info.size.is_some()).map(|info| info.size.as_deref()));
    listed.truncate(REPOSITORIES_MAX);
    status.repositories = listed;
}

fn info(repository: &Repository) -> RepositoryInfo {
    let status = repository.status.as_ref();
    let ready = status.and_then(|status| status.phase) == Some(RepositoryPhase::Ready);
    RepositoryInfo {
        name: repository.metadata.name.clone(),
        namespace: repository.metadata.namespace.clone(),
        path: repository.spec.path.clone(),
        size: status.and_then(|status| status.size.clone()),
        synced: Some(ready),
        error: None,
    }
}

pub(super) fn name_of(storage: &BackupStorage) -> Named {
    Named::new(
        storage.metadata.namespace.clone().unwrap_or_default(),
        storage.metadata.name.clone().unwrap_or_default(),
    )
}
