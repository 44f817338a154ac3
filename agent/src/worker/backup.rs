//! A backup task: volumes to repository.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use holdfast_mover::backup::{self, BackupError, BackupReport, BackupRequest, ChangeRule, Exclude, Limits, LookAgain, Parent, Source};
use holdfast_mover::catalog::RelPath;
use holdfast_mover::pattern::PatternSet;
use holdfast_mover::progress::Progress;
use holdfast_mover::scan::{RootIdentity, root_identity};
use holdfast_proto::v1::task_failure::Reason;
use holdfast_repository::{Statistics, Store};
use holdfast_proto::v1::{Assign, BackupResult, BackupTask, SourceResult, TaskFailure, VolumeSource};

use super::backend::Opened;
use super::link::Link;
use super::message::{Empty, from_worker};
use super::{engine, failure, progress};
use crate::volume;

/// Reading, hashing and compressing beyond this starve the node's applications.
const CPUS_MAX: usize = 4;
/// Longer than the link's own timeout for the question.
const LOOK_TIMEOUT: Duration = Duration::from_secs(40);

pub(super) async fn run(
    task: BackupTask,
    assign: &Assign,
    backend: &Opened,
    roots: Vec<OwnedFd>,
    link: &Arc<Link>,
) -> Result<BackupResult, TaskFailure> {
    let is_excluded = exclusion(&task)?;
    let sources = task.sources.iter().zip(roots).map(|(source, root)| open_source(source, root, link)).collect::<Result<_, _>>()?;
    let task_ref = assign.task.clone().unwrap_or_default();
    let (repository, store) = tokio::select! {
        opened = engine::open(task.repository, backend) => opened?,
        () = link.stop.stopped() => return Err(failure::stopped(link.stop.requested())),
    };
    let request = BackupRequest {
        sources,
        host: task.host,
        session: task.session,
        component: task_ref.component,
        is_excluded,
        parent: Parent::Auto,
        limits: limits(assign),
        extensions: task.labels.into_iter().map(|(name, value)| (name, value.into_bytes())).collect(),
        on_unreadable: None,
        on_released: Some(on_released(link)),
    };
    let progress = Arc::new(Progress::default());
    let report = tokio::select! {
        report = backup::run(&repository, request, Arc::clone(&progress), link.stop.clone()) => report.map_err(|error| failed(&error))?,
        never = progress::report(link, &progress) => match never {},
    };
    Ok(result(report, repository_bytes(store.as_ref()).await))
}

/// The snapshot is committed: a size that cannot be had does not make it fail.
pub(super) async fn repository_bytes(store: &dyn Store) -> u64 {
    match engine::packs(store).await {
        Ok((_, bytes)) => bytes,
        Err(error) => {
            tracing::warn!(%error, "the repository's size is not known");
            0
        }
    }
}

fn open_source(source: &VolumeSource, root: OwnedFd, link: &Arc<Link>) -> Result<Source, TaskFailure> {
    let access = source.volume.clone().unwrap_or_default();
    let name = volume::describe(&access);
    let opened = volume::open_inside(root.as_fd(), &source.path_in_volume, &name).map_err(|error| failure::volume(&error))?;
    let identity = root_identity(&opened).map_err(|errno| failure::failure(Reason::VolumeUnreadable, format!("{name}: {errno}"), true))?;
    Ok(Source {
        root: opened,
        path: source.container_path.clone().into_bytes(),
        pvc_uid: access.pvc_uid,
        path_in_volume: source.path_in_volume.clone().into_bytes(),
        change_rule: ChangeRule::Full,
        look_again: Some(look_again(link, identity)),
    })
}

/// The handle shows the same directory for ever; whether the kubelet still has the volume mounted, only the agent can see.
fn look_again(link: &Arc<Link>, identity: RootIdentity) -> Arc<LookAgain> {
    let (link, runtime) = (Arc::clone(link), tokio::runtime::Handle::current());
    Arc::new(move || {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let link = Arc::clone(&link);
        runtime.spawn(async move {
            // The asker waits longer than the question takes.
            let _ = sender.send(link.check_volumes().await);
        });
        match receiver.recv_timeout(LOOK_TIMEOUT) {
            Ok(Ok(())) => Ok(identity),
            Ok(Err(changed)) => Err(std::io::Error::other(changed)),
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        }
    })
}

fn on_released(link: &Arc<Link>) -> Box<dyn FnOnce() + Send> {
    let (link, runtime) = (Arc::clone(link), tokio::runtime::Handle::current());
    Box::new(move || {
        runtime.spawn(async move { link.send(from_worker::Kind::Released(Empty {})).await });
    })
}

/// Patterns are over container paths, so each source's own path stands in front.
fn exclusion(task: &BackupTask) -> Result<Option<Arc<Exclude>>, TaskFailure> {
    let patterns = PatternSet::parse(&task.excludes).map_err(|error| failure::invalid(error.to_string()))?;
    if patterns.is_empty() {
        return Ok(None);
    }
    let names = |path: &str| path.split('/').filter(|name| !name.is_empty()).map(|name| name.as_bytes().to_vec()).collect();
    let bases: Vec<Vec<Vec<u8>>> = task.sources.iter().map(|source| names(&source.container_path)).collect();
    Ok(Some(Arc::new(move |source: usize, path: &RelPath, _is_directory: bool| {
        let base = bases.get(source).map_or(&[][..], Vec::as_slice);
        let path: Vec<&[u8]> = base.iter().map(Vec::as_slice).chain(path.components()).collect();
        patterns.matches(&path)
    })))
}

pub(super) fn limits(assign: &Assign) -> Limits {
    let default = Limits::default();
    Limits {
        memory_bytes: if assign.memory_bytes == 0 { default.memory_bytes } else { assign.memory_bytes },
        cpus: default.cpus.min(CPUS_MAX),
        bandwidth_bytes_per_second: assign.bandwidth_bytes_per_second,
        ..default
    }
}

/// What was read of one source, and when.
pub(super) fn source_result(path: &[u8], statistics: &Statistics, unix_ms: std::ops::Range<i64>) -> SourceResult {
    SourceResult {
        container_path: String::from_utf8_lossy(path).into_owned(),
        files: statistics.files,
        directories: statistics.directories,
        bytes: statistics.bytes,
        bytes_read: statistics.bytes_read,
        bytes_added: statistics.bytes_stored,
        started_unix_ms: unix_ms.start,
        ended_unix_ms: unix_ms.end,
        files_read: statistics.files_read,
    }
}

pub(super) fn result(report: BackupReport, repository_bytes: u64) -> BackupResult {
    let sources = report.sources.into_iter().map(|source| source_result(&source.path, &source.statistics, source.started_unix_ms..source.ended_unix_ms));
    BackupResult {
        snapshot_id: report.snapshot.to_string(),
        sources: sources.collect(),
        bytes_stored: report.bytes_stored,
        repository_bytes,
        unreadable_count: report.unreadable_count,
        unreadable_first: report.unreadable_first,
        parent_id: report.parent.map(|parent| parent.to_string()).unwrap_or_default(),
        parent_ignored: report.parent_ignored.unwrap_or_default(),
        changed_while_read_count: report.changed_while_read_count,
    }
}

pub(super) fn failed(error: &BackupError) -> TaskFailure {
    let message = failure::chain(error);
    match error {
        BackupError::Cancelled => failure::failure(Reason::Cancelled, message, false),
        BackupError::Released => failure::failure(Reason::Released, message, true),
        BackupError::VolumeUnreadable { .. } => failure::failure(Reason::VolumeUnreadable, message, true),
        BackupError::VolumeChanged { .. } => failure::failure(Reason::VolumeChanged, message, true),
        BackupError::InvalidRequest(_) => failure::invalid(message),
        BackupError::Read(error) => failure::read(error),
        BackupError::Write(error) => failure::write(error),
        BackupError::Commit(error) => failure::commit(error),
        BackupError::Internal(_) => failure::failure(Reason::Internal, message, true),
    }
}
