//! BackupStorage: an agent tries it out, and reads back what was in it; its status says whether it can be used, and what is in it.

use std::sync::Arc;

use holdfast_api::{BackupStorage, Repository, usage_policy, validation};

use crate::cache::By;
use crate::caches::Caches;
use crate::context::{Context, Subject};
use crate::dispatch::task::TaskView;
use crate::object::{Key, Kind, Named};
use crate::repository::maintenance::Pace;

mod deletion;
pub mod departure;
pub mod plan;
pub mod read_back;
#[cfg(test)]
mod tests;

/// A storage and what concerns it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The storage.
    pub storage: Arc<BackupStorage>,
    /// Repositories in it.
    pub repositories: Vec<Arc<Repository>>,
    /// What admission would have refused, where nobody asked it.
    pub problem: Option<String>,
    /// Its probe.
    pub probe: Option<TaskView>,
    /// Removing its view.
    pub views: Option<TaskView>,
    /// The page of what was there before that it is at.
    pub page: Option<crate::read_back::Page>,
    /// What that page has found.
    pub found: Vec<read_back::Found>,
    /// Whether something that was missed in it could be there now.
    pub could_be_there: bool,
    /// How patiently a deleted one waits.
    pub pace: Pace,
}

/// Component of the task that removes the storage's view.
pub const VIEWS: &str = "views";

/// Looks at one storage and does what is to be done.
pub async fn reconcile(context: &Context, key: &Key) -> Result<(), kube::Error> {
    let Some(storage) = context.caches.storages.get(&key.namespace, &key.name) else {
        context.forget(key);
        return departure::take_along(context, key).await;
    };
    context.departed.forget(key);
    let subject = Subject::of(Kind::BackupStorage, storage.as_ref());
    if context.is_behind(&subject) {
        return Ok(());
    }
    let name = Named::new(&key.namespace, &key.name);
    let repositories = context.caches.repositories.of(By::Storage, name);
    let mut tasks = context.dispatcher.views(&subject.uid);
    let (probe, views) = (tasks.remove(""), tasks.remove(VIEWS));
    let page = crate::read_back::page(&mut tasks);
    let found = read_back::look(context, &storage, page.as_ref()).await?;
    let could_be_there = read_back::could_be_there(context, &storage);
    let problem = problem(&context.caches, &storage);
    let observed = Observed { storage, repositories, problem, probe, views, page, found, could_be_there, pace: context.pace };
    context.apply(&subject, plan::plan(&observed, context.clock.now())).await
}

/// Of two that cannot both be, the older one is.
fn problem(caches: &Caches, storage: &BackupStorage) -> Option<String> {
    let age = |storage: &BackupStorage| {
        let metadata = &storage.metadata;
        (metadata.creation_timestamp.as_ref().map(|time| time.0), metadata.namespace.clone(), metadata.name.clone())
    };
    let older = caches.storages.select(|other| age(other) < age(storage));
    let older: Vec<&BackupStorage> = older.iter().map(AsRef::as_ref).collect();
    validation::backup_storage::validate(storage, &older).err().map(|errors| errors.to_string())
}

/// Whether a repository is in a storage.
pub fn is_in(repository: &Repository, storage: &Named) -> bool {
    let namespace = repository.metadata.namespace.as_deref().unwrap_or_default();
    repository.spec.storage_ref.as_ref().is_some_and(|reference| {
        reference.name == storage.name && reference.namespace_or(namespace) == storage.namespace
    })
}

/// Whether a storage's usage policy lets objects of a namespace refer to it.
pub async fn allows(client: &kube::Client, caches: &Caches, storage: &BackupStorage, namespace: &str) -> Result<bool, kube::Error> {
    let owner = storage.metadata.namespace.as_deref().unwrap_or_default();
    if owner == namespace {
        return Ok(true);
    }
    let Some(policy) = &storage.spec.usage_policy else { return Ok(false) };
    let labels = caches.namespace_labels(client, namespace).await?;
    Ok(policy.allows(owner, usage_policy::Namespace { name: namespace, labels: &labels }))
}
