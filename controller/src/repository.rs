//! Repository: an agent makes or opens it; its status sums up what its Snapshots say.

use std::sync::Arc;

use holdfast_api::{BackupStorage, Repository, Snapshot};

use crate::backup_storage;
use crate::cache::By;
use crate::context::{Context, Subject};
use crate::dispatch::assign::storage_of;
use crate::dispatch::task::TaskView;
use crate::invoker::Invoker;
use crate::object::{Key, Kind, Named};
use crate::read_back::Page;
use maintenance::Pace;

pub mod deletion;
pub mod ledger;
pub mod maintenance;
pub mod plan;
mod read_back;
pub mod statistics;
#[cfg(test)]
mod tests;
mod upkeep;
pub mod views;

/// A repository and what concerns it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The repository.
    pub repository: Arc<Repository>,
    /// Its storage, if there is one.
    pub storage: Option<Arc<BackupStorage>>,
    /// Whether the storage lets this namespace use it.
    pub allowed: bool,
    /// All repositories of that storage, for its `metadata.yaml`.
    pub neighbours: Vec<Arc<Repository>>,
    /// Its snapshots.
    pub snapshots: Vec<Arc<Snapshot>>,
    /// Making or opening it.
    pub initialisation: Option<TaskView>,
    /// Writing its views.
    pub views: Option<TaskView>,
    /// Forgetting removed snapshots.
    pub forget: Option<TaskView>,
    /// Freeing space.
    pub prune: Option<TaskView>,
    /// Looking for damage.
    pub check: Option<TaskView>,
    /// Removing all of it.
    pub wipe: Option<TaskView>,
    /// The page of what was there before that it is at.
    pub page: Option<Page>,
    /// Whether a BackupConfiguration or BackupBatch of its namespace asks for it as it is: with its directory and its Secret.
    pub is_named: bool,
    /// A backup to it, a restore from it, or a view of it is with an agent.
    pub is_used: bool,
    /// Another Repository whose data is in the same place; looked for only when it matters.
    pub shared_with: Option<Named>,
    /// How often and how patiently.
    pub pace: Pace,
}

/// Component of the task that writes the repository's views.
pub const VIEWS: &str = "views";
/// Of the one that forgets snapshots.
pub const FORGET: &str = "forget";
/// Of the one that frees space.
pub const PRUNE: &str = "prune";
/// Of the one that looks for damage.
pub const CHECK: &str = "check";
/// Of the one that removes the repository.
pub const WIPE: &str = "wipe";

/// Looks at one repository and does what is to be done.
pub async fn reconcile(context: &Context, key: &Key) -> Result<(), kube::Error> {
    let Some(repository) = context.caches.repositories.get(&key.namespace, &key.name) else {
        context.forget(key);
        return Ok(());
    };
    let subject = Subject::of(Kind::Repository, repository.as_ref());
    if context.is_behind(&subject) {
        return Ok(());
    }
    let observed = observe(context, repository, &subject).await?;
    context.apply(&subject, plan::plan(&observed, context.clock.now())).await
}

async fn observe(context: &Context, repository: Arc<Repository>, subject: &Subject) -> Result<Observed, kube::Error> {
    let key = &subject.key;
    let name = storage_of(&repository, &Named::new(&key.namespace, &key.name)).ok();
    let storage = name.as_ref().and_then(|name| context.caches.storages.get(&name.namespace, &name.name));
    let allowed = match &storage {
        Some(storage) => backup_storage::allows(&context.client, &context.caches, storage, &key.namespace).await?,
        None => false,
    };
    let mut tasks = context.dispatcher.views(&subject.uid);
    let is_going = repository.metadata.deletion_timestamp.is_some();
    // All of a storage's, for its view; that is written when one comes and when one goes.
    let neighbours = match name {
        Some(name) if is_going || tasks.contains_key("") => context.caches.repositories.of(By::Storage, name),
        _ => Vec::new(),
    };
    let snapshots = context.caches.snapshots.of(By::Repository, Named::new(&key.namespace, &key.name));
    let shared_with = match (&repository.metadata.deletion_timestamp, &storage) {
        (Some(_), Some(storage)) => shared_with(context, &repository, storage),
        _ => None,
    };
    let is_named = crate::read_back::is_read_back(&repository.metadata) && is_named(context, &repository);
    // It holds up a deletion, and nothing else.
    let is_used = is_going && context.dispatcher.is_used(&Named::new(&key.namespace, &key.name), &views::directory(&repository));
    Ok(Observed {
        repository,
        storage,
        allowed,
        neighbours,
        snapshots,
        initialisation: tasks.remove(""),
        views: tasks.remove(VIEWS),
        forget: tasks.remove(FORGET),
        prune: tasks.remove(PRUNE),
        check: tasks.remove(CHECK),
        wipe: tasks.remove(WIPE),
        page: crate::read_back::page(&mut tasks),
        is_named,
        is_used,
        shared_with,
        pace: context.pace,
    })
}

/// Whether somebody who may write in its namespace means this Repository, and not only a view that whoever may write to the bucket wrote.
fn is_named(context: &Context, repository: &Repository) -> bool {
    let namespace = repository.metadata.namespace.as_deref().unwrap_or_default();
    let secret = repository.spec.encryption_secret.as_ref().map(|secret| secret.absolute(namespace));
    let directory = views::directory(repository);
    let asks = |invoker: &Invoker| {
        invoker.sessions().iter().flat_map(|session| session.repositories()).any(|(_, asked)| {
            asked.name == repository.metadata.name
                && asked.directory.as_deref().unwrap_or_default().trim_matches('/') == directory
                && asked.encryption_secret.as_ref().map(|secret| secret.absolute(namespace)) == secret
        })
    };
    let name = repository.metadata.name.as_deref().unwrap_or_default();
    Invoker::using(&context.caches, &Named::new(namespace, name)).iter().any(asks)
}

/// Another Repository, by whatever storage, whose data would go with this one's.
fn shared_with(context: &Context, repository: &Repository, storage: &BackupStorage) -> Option<Named> {
    let own = deletion::location(storage, &views::directory(repository))?;
    let others = context.caches.repositories.select(|other| other.metadata.uid != repository.metadata.uid);
    others.iter().find_map(|other| {
        let name = Named::new(other.metadata.namespace.clone()?, other.metadata.name.clone()?);
        let storage = storage_of(other, &name).ok()?;
        let storage = context.caches.storages.get(&storage.namespace, &storage.name)?;
        let theirs = deletion::location(&storage, &views::directory(other))?;
        (theirs == own || theirs.starts_with(&format!("{own}/holdfast/"))).then_some(name)
    })
}
