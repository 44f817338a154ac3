//! The tasks that need a repository and no volume.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use holdfast_proto::v1::{CheckResult, CheckTask, InitRepository, InitResult, RepositoryAccess, TaskFailure, TaskProgress};
use holdfast_repository::store::probe_conditional_create;
use holdfast_repository::{CheckOptions, CheckProgress, Environment, Repository, SecretBytes, Store, StoreError};

use super::backend::Opened;
use super::failure;
use super::link::Link;
use super::message::from_worker;

/// A directory below the prefix that is no repository's.
const PROBE_DIRECTORY: &str = ".holdfast-probe";
const FINDINGS_MAX: usize = 20;
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

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
    Ok((repository, store))
}

fn access(repository: Option<RepositoryAccess>, backend: &Opened) -> Result<(Arc<dyn Store>, SecretBytes), TaskFailure> {
    let mut repository = repository.ok_or_else(|| failure::invalid("the task names no repository".into()))?;
    let password = SecretBytes::password(std::mem::take(&mut repository.password));
    repository.wipe();
    Ok((backend.repository(&repository.directory)?, password))
}

pub(super) async fn check(task: CheckTask, backend: &Opened, link: &Arc<Link>) -> Result<CheckResult, TaskFailure> {
    let (repository, store) = open(task.repository, backend).await?;
    let read_data_percent = u8::try_from(task.read_data_percent.min(100)).unwrap_or(100);
    let options = CheckOptions { trailers: read_data_percent > 0, read_data_percent, publish_bad: true };
    let progress = CheckProgress::default();
    let report = tokio::select! {
        report = repository.check(options, &progress) => report.map_err(|error| failure::read(&error))?,
        () = report_check(link, &progress) => return Err(failure::cancelled()),
    };
    let (objects, repository_bytes) = packs(store.as_ref()).await.map_err(|error| failure::store(&error))?;
    let findings_first = report
        .findings
        .iter()
        .take(FINDINGS_MAX)
        .map(|finding| format!("{}: {}", finding.object, finding.problem))
        .collect();
    Ok(CheckResult {
        intact: report.is_clean(),
        objects,
        bytes_read: report.bytes_read,
        repository_bytes,
        findings_first,
        findings_count: report.findings.len() as u64,
    })
}

async fn report_check(link: &Link, progress: &CheckProgress) {
    use std::sync::atomic::Ordering::Relaxed;
    let started = Instant::now();
    loop {
        tokio::time::sleep(PROGRESS_INTERVAL).await;
        let now = TaskProgress {
            files_done: progress.packs_done.load(Relaxed),
            files_total: progress.packs_total.load(Relaxed),
            bytes_done: progress.bytes_read.load(Relaxed),
            elapsed_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            phase: "read".into(),
            ..TaskProgress::default()
        };
        link.send(from_worker::Kind::Progress(now)).await;
    }
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
