//! What a repository needs.

use holdfast_api::backup_storage::BackupStoragePhase;
use holdfast_api::condition::kinds::{repository as kinds, shared};
use holdfast_api::condition::{self, Condition};
use holdfast_api::{BackupStorage, phase};
use holdfast_api::repository::{RepositoryPhase, RepositoryStatus};
use holdfast_proto::v1;
use jiff::Timestamp;

use super::upkeep::Upkeep;
use super::{Observed, VIEWS, deletion, read_back, statistics, views};
use crate::action::Action;
use crate::dispatch::assign::storage_of;
use crate::dispatch::task::{Class, Outcome, TaskRequest, TaskView, Wanted, Work};
use crate::first_use;
use crate::object::Named;

/// What is to be done about a repository.
pub fn plan(observed: &Observed, now: Timestamp) -> Vec<Action> {
    let repository = &observed.repository;
    if repository.metadata.deletion_timestamp.is_some() {
        return deletion::plan(observed, now);
    }
    // Before anything is stored: what is to be wiped out must not be able to go unseen.
    if let Some(finalizer) = deletion::keep_finalizer(repository) {
        return vec![finalizer];
    }
    if repository.spec.paused == Some(true) {
        return paused(observed);
    }
    let mut status = repository.status.clone().unwrap_or_default();
    if first_use::directory_changed(repository) {
        return refuse(observed, status, now);
    }
    let mut events = Vec::new();
    let mut wanted = initialise(observed, &mut status, &mut events, now);
    let is_open = condition::is_true(&status.conditions, kinds::REPOSITORY_INITIALIZED);
    if let Ok(storage) = storage_of(repository, &name_of(repository)) {
        wanted.extend(read_back::plan(observed, storage, &mut status, &mut events, now));
    }
    let upkeep = if is_open { Upkeep::plan(observed, &mut status, now) } else { None };
    statistics::sum_up(&mut status, &observed.snapshots);
    let before = status.phase;
    status.phase = Some(phase::repository(&status));
    if before != status.phase && status.phase == Some(RepositoryPhase::Ready) {
        events.push(Action::normal("Ready", "the repository is open for backups"));
    }
    let (mut actions, events) = crate::read_back::before_status(events);
    actions.extend(Action::status(repository.status.as_ref(), &status));
    if let Some(upkeep) = upkeep {
        actions.extend(upkeep.patch());
        actions.extend(upkeep.actions);
        wanted.extend(upkeep.wanted);
    }
    actions.extend(events);
    actions.push(Action::Tasks(wanted));
    actions
}

/// Nothing is made, opened, written, forgotten or looked for; what its Snapshots say is still summed up, for those wait for it.
fn paused(observed: &Observed) -> Vec<Action> {
    at_rest(observed, observed.repository.status.clone().unwrap_or_default(), Vec::new())
}

/// Its directory is another one than that which it was opened in: nothing is done in either until it is changed back.
fn refuse(observed: &Observed, mut status: RepositoryStatus, now: Timestamp) -> Vec<Action> {
    let repository = &observed.repository;
    let mut events = Vec::new();
    if let Some(why) = first_use::elsewhere(repository) {
        first_use::keep_place(repository, &mut status.conditions, now);
        not_open(observed, &mut status, format!("spec.path: {why}"), &mut events, now);
    }
    status.phase = Some(phase::repository(&status));
    at_rest(observed, status, events)
}

/// What its Snapshots say is summed up, and nothing else is done.
fn at_rest(observed: &Observed, mut status: RepositoryStatus, events: Vec<Action>) -> Vec<Action> {
    statistics::sum_up(&mut status, &observed.snapshots);
    let mut actions: Vec<Action> = Action::status(observed.repository.status.as_ref(), &status).into_iter().collect();
    actions.extend(events);
    actions.push(Action::Tasks(Vec::new()));
    actions
}

/// Making or opening it, then its views: it is initialised when both are done.
fn initialise(
    observed: &Observed,
    status: &mut RepositoryStatus,
    events: &mut Vec<Action>,
    now: Timestamp,
) -> Vec<Wanted> {
    let known = condition::get(&status.conditions, kinds::REPOSITORY_INITIALIZED);
    let generation = observed.repository.metadata.generation;
    let place = deletion::place(&observed.repository);
    let done = known.is_some_and(|known| {
        known.status == "True" && known.observed_generation == generation && known.message.as_deref() == Some(&place)
    });
    if done && observed.initialisation.is_none() && observed.views.is_none() {
        return Vec::new();
    }
    let Some((name, storage)) = usable_storage(observed, status, events, now) else { return Vec::new() };
    let mut again_after = None;
    // A view must not make us store a key under a namespace's password where whoever wrote the view can read it: what was read back is
    // opened; to make it is for those who ask for it by a BackupConfiguration.
    let read_back_only = crate::read_back::is_read_back(&observed.repository.metadata) && !observed.is_named;
    // Its storage may have another name now; that is no reason to make it a second time.
    let elsewhere = first_use::elsewhere(&observed.repository);
    let only_existing = read_back_only || elsewhere.is_some();
    if let Some(why) = elsewhere.filter(|_| was_open(observed)) {
        first_use::keep_place(&observed.repository, &mut status.conditions, now);
        not_open(observed, status, format!("spec.storageRef: {why}"), events, now);
    }
    match &observed.initialisation {
        // Its view is what it came from; and to write the list of all beside each of thousands would be most of the work.
        Some(TaskView::Finished { outcome, .. })
            if matches!(outcome.as_ref(), Outcome::Initialised(_)) && crate::read_back::is_read_back(&observed.repository.metadata) =>
        {
            initialised(observed, status, now);
            return Vec::new();
        }
        Some(TaskView::Finished { outcome, .. }) if matches!(outcome.as_ref(), Outcome::Initialised(_)) => {
            return write_views(observed, name, storage, status, events, now);
        }
        Some(TaskView::Finished { outcome, .. }) if read_back_only && is_none_yet(outcome) => {
            let message = "no repository of Holdfast is there yet: a BackupConfiguration that names this Repository, its directory and its Secret makes one";
            fail(observed, status, message.into(), events, now);
            read_back::begin(status, now);
            // Until somebody does; that wakes it.
            return vec![Wanted::Keep(String::new())];
        }
        Some(TaskView::Finished { attempt, outcome, .. }) => {
            fail(observed, status, outcome.problem().0, events, now);
            again_after = Some(*attempt);
        }
        Some(TaskView::Waiting(_) | TaskView::Running { .. }) | None => {}
    }
    let work = Work::Initialise { repository: name.clone(), only_existing };
    vec![task("", &storage, &name, again_after, work)]
}

fn is_none_yet(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(failure) if failure.reason() == v1::task_failure::Reason::NotARepository)
}

fn was_open(observed: &Observed) -> bool {
    observed.repository.status.as_ref().is_some_and(|status| condition::is_true(&status.conditions, kinds::REPOSITORY_INITIALIZED))
}

fn name_of(repository: &holdfast_api::Repository) -> Named {
    let metadata = &repository.metadata;
    Named::new(metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

fn initialised(observed: &Observed, status: &mut RepositoryStatus, now: Timestamp) {
    if !was_open(observed) {
        read_back::begin(status, now);
    }
    // Where: the right to remove it later is that it was opened there.
    let place = deletion::place(&observed.repository);
    let condition = Condition::new(kinds::REPOSITORY_INITIALIZED, true, kinds::REPOSITORY_INITIALIZATION_SUCCEEDED, place, now);
    condition::set(&mut status.conditions, condition.observed(observed.repository.metadata.generation));
    condition::remove(&mut status.conditions, shared::SPEC_KEPT);
}

fn write_views(
    observed: &Observed,
    name: Named,
    storage: Named,
    status: &mut RepositoryStatus,
    events: &mut Vec<Action>,
    now: Timestamp,
) -> Vec<Wanted> {
    let mut again_after = None;
    match &observed.views {
        Some(TaskView::Finished { outcome, .. }) if matches!(outcome.as_ref(), Outcome::Views(_)) => {
            initialised(observed, status, now);
            return Vec::new();
        }
        Some(TaskView::Finished { attempt, outcome, .. }) => {
            fail(observed, status, outcome.problem().0, events, now);
            again_after = Some(*attempt);
        }
        Some(TaskView::Running { .. }) => return vec![Wanted::Keep(String::new()), Wanted::Keep(VIEWS.into())],
        _ => {}
    }
    let put = [views::metadata(&observed.neighbours, now), views::repository(&observed.repository)];
    let work = Work::Views { storage: storage.clone(), put: put.into_iter().flatten().collect(), remove: Vec::new() };
    vec![Wanted::Keep(String::new()), task(VIEWS, &storage, &name, again_after, work)]
}

/// The storage, if it can be used; what is in the way becomes the condition.
fn usable_storage(
    observed: &Observed,
    status: &mut RepositoryStatus,
    events: &mut Vec<Action>,
    now: Timestamp,
) -> Option<(Named, Named)> {
    let name = name_of(&observed.repository);
    let reference = match storage_of(&observed.repository, &name) {
        Ok(reference) => reference,
        Err(reason) => {
            fail(observed, status, reason.to_string(), events, now);
            return None;
        }
    };
    let Some(storage) = &observed.storage else {
        fail(observed, status, format!("BackupStorage {reference} does not exist"), events, now);
        return None;
    };
    if !observed.allowed {
        let message =
            format!("the usagePolicy of BackupStorage {reference} does not allow namespace {}", name.namespace);
        fail(observed, status, message, events, now);
        return None;
    }
    match storage.status.as_ref().and_then(|status| status.phase) {
        Some(BackupStoragePhase::Ready) => Some((name, reference)),
        Some(BackupStoragePhase::NotReady) if is_known_to_be_bad(storage) => {
            fail(observed, status, format!("BackupStorage {reference} is not ready"), events, now);
            None
        }
        // Not tried yet: nothing to say.
        Some(BackupStoragePhase::NotReady) | None => None,
    }
}

fn is_known_to_be_bad(storage: &BackupStorage) -> bool {
    storage.status.iter().flat_map(|status| &status.conditions).any(|condition| condition.status == "False")
}

fn fail(observed: &Observed, status: &mut RepositoryStatus, message: String, events: &mut Vec<Action>, now: Timestamp) {
    // A repository that was opened stays one while its storage is away: backups say for themselves what fails.
    if condition::is_true(&status.conditions, kinds::REPOSITORY_INITIALIZED) && observed.initialisation.is_none() {
        return;
    }
    first_use::keep_place(&observed.repository, &mut status.conditions, now);
    not_open(observed, status, message, events, now);
}

fn not_open(observed: &Observed, status: &mut RepositoryStatus, message: String, events: &mut Vec<Action>, now: Timestamp) {
    let condition = Condition::new(
        kinds::REPOSITORY_INITIALIZED,
        false,
        kinds::REPOSITORY_INITIALIZATION_FAILED,
        message.clone(),
        now,
    );
    if condition::set(&mut status.conditions, condition.observed(observed.repository.metadata.generation)) {
        events.push(Action::warning("NotReady", message));
    }
}

fn task(component: &str, storage: &Named, repository: &Named, again_after: Option<u32>, work: Work) -> Wanted {
    Wanted::Task(Box::new(TaskRequest {
        component: component.to_owned(),
        class: Class::Service,
        node: None,
        storage: storage.clone(),
        group: repository.namespace.clone(),
        persisted: None,
        again_after,
        pod_uids: Vec::new(),
        work,
    }))
}
