//! The tasks that need a repository and no volume.

use std::sync::Arc;

use futures::StreamExt as _;
use holdfast_proto::v1::task_failure::Reason;
use holdfast_proto::v1::{InitRepository, InitResult, RepositoryAccess, TaskFailure};
use holdfast_repository::store::probe_conditional_create;
use holdfast_repository::{Environment, Repository, SecretBytes, SnapshotId, Store, StoreError};

use super::backend::Opened;
use super::failure;

/// A directory below the prefix that is no repository's.
const PROBE_DIRECTORY: &str = ".holdfast-probe";

/// Can objects be written, refused, listed and removed below the storage's prefix?
pub(super) async fn probe(backend: &Opened) -> Result<InitResult, TaskFailure> {
    let store = backend.repository(PROBE_DIRECTORY)?;
    let conditional_create = probe_conditional_create(store.as_ref(), &Environment::system())
        .await
        .map_err(|error| failure::probe(backend.location(), &error))?;
    let mut listed = store.list("probe", None);
    while let Some(entry) = listed.next().await {
        entry.map_err(|error| failure::probe(backend.location(), &error))?;
    }
    Ok(InitResult { created: false, repository_id: String::new(), conditional_create })
}

pub(super) async fn init(task: InitRepository, backend: &Opened) -> Result<InitResult, TaskFailure> {
    if task.only_existing {
        let (repository, _) = open(task.repository, backend).await?;
        let (repository_id, conditional_create) = (repository.id().to_string(), repository.conditional_create());
        return Ok(InitResult { created: false, repository_id, conditional_create });
    }
    let (store, password) = access(task.repository, backend)?;
    let report = Repository::init(store, &password, Environment::system()).await.map_err(|error| failure::init(&error))?;
    Ok(InitResult {
        created: report.created,
        repository_id: report.repository.id().to_string(),
        conditional_create: report.conditional_create,
    })
}

/// Opens the task's repository. The password leaves the message and is wiped after use.
pub(super) async fn open(repository: Option<RepositoryAccess>, backend: &Opened) -> Result<(Repository, Arc<dyn Store>), TaskFailure> {
    let (store, password) = access(repository, backend)?;
    let repository = Repository::open(Arc::clone(&store), &password, Environment::system())
        .await
        .map_err(|error| failure::open(&error))?;
    backend.use_cache(&repository);
    Ok((repository, store))
}

/// The snapshot that a task names.
pub(super) fn snapshot_id(text: &str) -> Result<SnapshotId, TaskFailure> {
    text.parse().map_err(|_| failure::failure(Reason::SnapshotNotFound, format!("{text:?} is the id of no snapshot"), false))
}

fn access(repository: Option<RepositoryAccess>, backend: &Opened) -> Result<(Arc<dyn Store>, SecretBytes), TaskFailure> {
    let mut repository = repository.ok_or_else(|| failure::invalid("the task names no repository".into()))?;
    let password = SecretBytes::password(std::mem::take(&mut repository.password));
    repository.wipe();
    Ok((backend.repository(&repository.directory)?, password))
}

/// How many packs there are, and their bytes.
pub(super) async fn packs(store: &dyn Store) -> Result<(u64, u64), StoreError> {
    let mut listed = store.list("packs", None);
    let (mut objects, mut bytes) = (0_u64, 0_u64);
    while let Some(entry) = listed.next().await {
        objects += 1;
        bytes += entry?.bytes;
    }
    Ok((objects, bytes))
}
