//! The Repositories that were in a storage before: read once, when it is first Ready, when its backend is another one, and when somebody
//! asks. What is in the way of one stays in the status; what a person can clear away there is tried again when it is gone.

use std::collections::BTreeSet;
use std::sync::Arc;

use holdfast_api::backup_storage::{BackupStorageStatus, RepositoryInfo};
use holdfast_api::condition::kinds::{backup_storage as kinds, read_back as reasons};
use holdfast_api::condition::{self, Condition};
use holdfast_api::{BackupStorage, Repository};
use holdfast_proto::v1;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::plan::name_of;
use super::{Observed, is_in};
use crate::action::{Action, Created};
use crate::context::Context;
use crate::dispatch::task::{Outcome, TaskView, Wanted, Work};
use crate::events::first_of;
use crate::object::{Key, Kind, Named};
use crate::read_back::{self, ASKED, Failed, NAMED_MAX, Page, REPOSITORIES_MAX, Turn};
use crate::repository::deletion::location;
use crate::repository::views;

/// Why one is not there, where somebody can mend that.
const NO_NAMESPACE: &str = "its namespace does not exist";
const TAKEN: &str = "a Repository of that name is elsewhere";
/// Those that are remembered.
const MISSING_MAX: usize = 1000;

/// What a view tells of, and what is in its way.
#[derive(Clone, Debug)]
pub struct Found {
    /// The directory.
    pub directory: String,
    /// The Repository, or why there is none.
    pub repository: Result<Repository, String>,
    /// What is in the way.
    pub ground: Ground,
}

/// What is in a Repository's way.
#[derive(Clone, Debug, PartialEq)]
pub enum Ground {
    /// Nothing.
    Free,
    /// Its namespace is missing.
    NoNamespace,
    /// The storage's usagePolicy.
    NotAllowed,
    /// It is there already.
    There(Arc<Repository>),
    /// Another one has its name.
    Taken,
}

/// Looks at what a page has found.
pub(super) async fn look(context: &Context, storage: &BackupStorage, page: Option<&Page>) -> Result<Vec<Found>, kube::Error> {
    let Some(Page { view: TaskView::Finished { outcome, .. }, .. }) = page else { return Ok(Vec::new()) };
    let Outcome::ReadBack(result) = outcome.as_ref() else { return Ok(Vec::new()) };
    let name = name_of(storage);
    let mut found = Vec::new();
    let mut refused = BTreeSet::new();
    for view in &result.views {
        let repository = read_back::repository::from_view(view, &name);
        let directory = read_back::repository::directory(view).to_owned();
        let ground = match &repository {
            Ok(repository) => ground(context, storage, &name, repository, &mut refused).await?,
            Err(_) => Ground::Free,
        };
        found.push(Found { directory, repository, ground });
    }
    Ok(found)
}

async fn ground(
    context: &Context,
    storage: &BackupStorage,
    name: &Named,
    repository: &Repository,
    refused: &mut BTreeSet<String>,
) -> Result<Ground, kube::Error> {
    let key = Key::of(Kind::Repository, &repository.metadata);
    if context.caches.namespaces.get("", &key.namespace).is_none() {
        return Ok(Ground::NoNamespace);
    }
    if refused.contains(&key.namespace) || !super::allows(&context.client, &context.caches, storage, &key.namespace).await? {
        refused.insert(key.namespace);
        return Ok(Ground::NotAllowed);
    }
    Ok(match context.caches.repositories.get(&key.namespace, &key.name) {
        None => Ground::Free,
        Some(known) if is_in(&known, name) && views::directory(&known) == views::directory(repository) => Ground::There(known),
        Some(_) => Ground::Taken,
    })
}

/// Those that were missed for want of a namespace, or of their name, and would not be now.
pub(super) fn could_be_there(context: &Context, storage: &BackupStorage) -> bool {
    let listed = storage.status.iter().flat_map(|status| &status.repositories);
    listed.filter(|info| info.error.is_some()).any(|info| {
        let (namespace, name) = (info.namespace.as_deref().unwrap_or_default(), info.name.as_deref().unwrap_or_default());
        match info.error.as_deref() {
            Some(NO_NAMESPACE) => context.caches.namespaces.get("", namespace).is_some(),
            Some(TAKEN) => context.caches.repositories.get(namespace, name).is_none(),
            _ => false,
        }
    })
}

/// Whether a storage waits for a namespace.
pub fn waits_for(storage: &BackupStorage, namespace: &str) -> bool {
    let listed = storage.status.iter().flat_map(|status| &status.repositories);
    listed.into_iter().any(|info| info.namespace.as_deref() == Some(namespace) && info.error.as_deref() == Some(NO_NAMESPACE))
}

/// What is wanted of what was there before; the status says how far that is.
pub(super) fn plan(observed: &Observed, status: &mut BackupStorageStatus, actions: &mut Vec<Action>, now: Timestamp) -> Vec<Wanted> {
    let storage = &observed.storage;
    let place = location(storage, "").unwrap_or_default();
    let is_open = condition::is_true(&status.conditions, kinds::BACKEND_INITIALIZED);
    if !is_open {
        return observed.page.iter().map(read_back::keep).collect();
    }
    if observed.page.is_none() && is_due(observed, status, &place, now) {
        status.repositories.retain(|info| info.error.is_none());
        let begun = Condition::new(kinds::REPOSITORIES_READ_BACK, false, reasons::RUNNING, place.clone(), now);
        condition::set(&mut status.conditions, begun);
    }
    if !condition::is_false(&status.conditions, kinds::REPOSITORIES_READ_BACK) {
        return Vec::new();
    }
    let name = name_of(storage);
    let want = |after: &str, again_after| {
        let work = Work::ReadRepositories { storage: name.clone(), after: after.to_owned() };
        vec![read_back::want(after, again_after, name.clone(), name.namespace.clone(), work)]
    };
    let Some(page) = &observed.page else { return want("", None) };
    let result = match read_back::turn(page) {
        Turn::Read(result) => result,
        Turn::Under(wanted) => return vec![wanted],
        Turn::Again(Failed { attempt, message, event }) => {
            actions.extend(event);
            condition::set(&mut status.conditions, Condition::new(kinds::REPOSITORIES_READ_BACK, false, reasons::FAILED, message, now));
            return want(&page.after, Some(attempt));
        }
    };
    actions.extend(bring_back(observed, status));
    actions.extend(damaged(result, status));
    let is_too_much = observed.repositories.len() >= REPOSITORIES_MAX;
    if is_too_much {
        actions.push(Action::warning("TooManyToReadBack", format!("{REPOSITORIES_MAX} Repositories are there; no more are read back")));
    }
    if !result.next.is_empty() && !is_too_much {
        return want(&result.next, None);
    }
    // Where: another backend is read anew.
    let done = Condition::new(kinds::REPOSITORIES_READ_BACK, true, reasons::SUCCEEDED, place, now);
    condition::set(&mut status.conditions, done.observed(storage.metadata.generation));
    Vec::new()
}

fn is_due(observed: &Observed, status: &BackupStorageStatus, place: &str, now: Timestamp) -> bool {
    let storage = &observed.storage;
    let asked = read_back::asked(&storage.metadata, now);
    let Some(known) = condition::get(&status.conditions, kinds::REPOSITORIES_READ_BACK) else {
        // A storage from before this was there is left as people know it, until they ask.
        let was_open = storage.status.as_ref().is_some_and(|status| condition::is_true(&status.conditions, kinds::BACKEND_INITIALIZED));
        return !was_open || asked.is_some();
    };
    if known.status != "True" {
        return false;
    }
    let Time(done) = known.last_transition_time;
    let is_missed = status.repositories.iter().any(|info| info.error.is_some());
    asked.is_some_and(|asked| asked > done)
        || known.message.as_deref() != Some(place)
        || observed.could_be_there
        || (is_missed && known.observed_generation != storage.metadata.generation)
}

/// The Repositories of a page that can be; why the others cannot is remembered.
fn bring_back(observed: &Observed, status: &mut BackupStorageStatus) -> Vec<Action> {
    let mut actions = Vec::new();
    let (mut made, mut missed) = (Vec::new(), Vec::new());
    let asked = observed.storage.metadata.annotations.as_ref().and_then(|all| all.get(ASKED));
    for found in &observed.found {
        let why = match (&found.repository, &found.ground) {
            // It may quote the view.
            (Err(why), _) => &read_back::shown(why),
            (Ok(repository), Ground::Free) => {
                made.push(Key::of(Kind::Repository, &repository.metadata));
                actions.push(Action::BringBack { object: Box::new(Created::Repository(repository.clone())), status: None });
                continue;
            }
            (Ok(_), Ground::There(known)) => {
                actions.extend(ask(known, asked));
                continue;
            }
            (Ok(_), Ground::NoNamespace) => NO_NAMESPACE,
            (Ok(_), Ground::NotAllowed) => "the storage's usagePolicy does not allow its namespace",
            (Ok(_), Ground::Taken) => TAKEN,
        };
        let metadata = found.repository.as_ref().map(|repository| repository.metadata.clone()).unwrap_or_default();
        let directory = read_back::shown(&found.directory);
        missed.push(format!("{directory} ({why})"));
        remember(
            status,
            RepositoryInfo {
                name: metadata.name,
                namespace: metadata.namespace,
                path: Some(format!("/{directory}")),
                size: None,
                synced: Some(false),
                error: Some(why.to_owned()),
            },
        );
    }
    let made: Vec<String> = made.iter().map(|key| format!("{}/{}", key.namespace, key.name)).collect();
    for (names, warning) in [(made, false), (missed, true)] {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if names.is_empty() {
            continue;
        }
        let message = first_of(&names, NAMED_MAX);
        actions.push(if warning { Action::warning("RepositoriesNotReadBack", message) } else { Action::normal("RepositoriesReadBack", message) });
    }
    actions
}

/// What the storage was asked, its Repositories are asked, too.
fn ask(known: &Repository, asked: Option<&String>) -> Option<Action> {
    let asked = asked?;
    let same = known.metadata.annotations.as_ref().and_then(|all| all.get(ASKED)) == Some(asked);
    (!same).then(|| Action::Patch {
        key: Key::of(Kind::Repository, &known.metadata),
        resource_version: None,
        patch: json!({"metadata": {"annotations": {ASKED: asked}}}),
    })
}

fn damaged(result: &v1::ReadBackResult, status: &mut BackupStorageStatus) -> Option<Action> {
    for text in result.damaged_first.iter().take(NAMED_MAX) {
        let (path, why) = text.split_once(": ").unwrap_or((text, "damaged"));
        let (path, why) = (format!("/{}", read_back::shown(path)), read_back::shown(why));
        remember(status, RepositoryInfo { path: Some(path), synced: Some(false), error: Some(why), ..RepositoryInfo::default() });
    }
    let message = read_back::damage(result)?;
    Some(Action::warning("ViewsDamaged", message))
}

fn remember(status: &mut BackupStorageStatus, info: RepositoryInfo) {
    if status.repositories.iter().filter(|info| info.error.is_some()).count() < MISSING_MAX {
        status.repositories.push(info);
    }
}
