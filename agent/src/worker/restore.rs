//! A restore task: repository to volumes. Nothing is written without a right from the controller, nor after its end.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use holdfast_mover::pattern::PatternSet;
use holdfast_mover::progress::Progress;
use holdfast_mover::restore::{self, RestoreError, RestoreLimits, RestoreReport, RestoreRequest, Severity, Target};
use holdfast_mover::stop::Stop;
use holdfast_proto::v1::task_failure::Reason;
use holdfast_proto::v1::{Assign, RestoreResult, RestoreTarget, RestoreTask, TaskFailure};
use holdfast_repository::SnapshotId;

use super::backend::Opened;
use super::link::Link;
use super::message::{Empty, from_worker};
use super::{engine, failure, grant, progress};
use crate::volume;

/// How many issues a result names.
const NAMED_MAX: usize = 10;

pub(super) async fn run(
    task: RestoreTask,
    assign: &Assign,
    backend: &Opened,
    roots: Vec<OwnedFd>,
    link: &Arc<Link>,
) -> Result<RestoreResult, TaskFailure> {
    let snapshot: SnapshotId = task.snapshot_id.parse().map_err(|_| {
        failure::failure(Reason::SnapshotNotFound, format!("{:?} is the id of no snapshot", task.snapshot_id), false)
    })?;
    let targets = task.targets.iter().zip(roots).map(|(target, root)| open_target(target, root)).collect::<Result<_, _>>()?;
    let task_ref = assign.task.clone().unwrap_or_default();
    let may_write = Arc::clone(link);
    let request = RestoreRequest {
        snapshot,
        targets,
        include: patterns(&task.include)?,
        exclude: patterns(&task.exclude)?,
        may_write: Arc::new(move || may_write.grant.may_write()),
        device_nodes: task.same_namespace,
        rules: restore::Rules::default(),
        sync: true,
        limits: limits(assign),
        observer: None,
        host: task_ref.namespace,
        session: task_ref.name,
        component: task_ref.component,
    };
    let (repository, _store) = tokio::select! {
        opened = engine::open(task.repository, backend) => opened?,
        () = link.stop.stopped() => return Err(failure::stopped(link.stop.requested())),
    };
    grant::first(link).await.map_err(|reason| match link.stop.requested() {
        Some(stop) => failure::stopped(Some(stop)),
        None => failure::failure(Reason::GrantLapsed, reason, true),
    })?;
    let ran = Box::pin(write(&repository, request, link)).await;
    if link.stop.requested() == Some(Stop::Release) {
        // The restore ended with every handle of its targets closed.
        link.send(from_worker::Kind::Released(Empty {})).await;
    }
    let report = ran?;
    link.check_volumes().await.map_err(|changed| {
        failure::failure(Reason::VolumeChanged, format!("the volume was replaced or unmounted during the restore: {changed}"), true)
    })?;
    Ok(result(&report))
}

async fn write(repository: &holdfast_repository::Repository, request: RestoreRequest, link: &Arc<Link>) -> Result<RestoreReport, TaskFailure> {
    let progress = Arc::new(Progress::default());
    let watched = tokio::spawn({
        let link = Arc::clone(link);
        async move { grant::watch(&link).await }
    });
    let ran = tokio::select! {
        ran = restore::run(repository, request, &progress, &link.stop) => ran,
        never = progress::report(link, &progress) => match never {},
    };
    // Nothing is written any more: the end of the right ends nothing.
    let lapsed = !link.grant.may_write();
    watched.abort();
    ran.map_err(|error| failed(&error, lapsed))
}

fn open_target(target: &RestoreTarget, root: OwnedFd) -> Result<Target, TaskFailure> {
    let access = target.volume.clone().unwrap_or_default();
    let name = volume::describe(&access);
    let root = volume::open_inside(root.as_fd(), &target.path_in_volume, &name).map_err(|error| failure::volume(&error))?;
    Ok(Target { snapshot_path: target.snapshot_path.clone().into_bytes(), root })
}

fn patterns(patterns: &[String]) -> Result<PatternSet, TaskFailure> {
    PatternSet::parse(patterns).map_err(|error| failure::invalid(error.to_string()))
}

fn limits(assign: &Assign) -> RestoreLimits {
    let standard = RestoreLimits::standard();
    let memory_bytes = usize::try_from(assign.memory_bytes).ok().filter(|bytes| *bytes > 0).unwrap_or(standard.memory_bytes);
    RestoreLimits { memory_bytes, ..standard }
}

fn result(report: &RestoreReport) -> RestoreResult {
    let named = |failures: bool| {
        let of_kind = report.issues.iter().filter(move |issue| (issue.severity == Severity::Failed) == failures);
        of_kind.take(NAMED_MAX).map(ToString::to_string).collect()
    };
    RestoreResult {
        files: report.targets.iter().map(|target| target.files).sum(),
        directories: report.targets.iter().map(|target| target.directories).sum(),
        bytes: report.targets.iter().map(|target| target.bytes).sum(),
        failed_count: report.failed,
        failed_first: named(true),
        warnings_first: named(false),
        warnings_count: report.warnings,
    }
}

fn failed(error: &RestoreError, lapsed: bool) -> TaskFailure {
    let message = failure::chain(error);
    match error {
        RestoreError::GrantLapsed => failure::failure(Reason::GrantLapsed, message, true),
        // The watch stops the restore when the right ends.
        RestoreError::Stopped(_) if lapsed => failure::failure(Reason::GrantLapsed, message, true),
        RestoreError::Stopped(stop) => failure::stopped(Some(*stop)),
        RestoreError::TargetFull { .. } => failure::failure(Reason::TargetFull, message, true),
        RestoreError::TargetReadOnly { .. } | RestoreError::Target { .. } => failure::failure(Reason::TargetUnwritable, message, true),
        RestoreError::NoSuchSource { .. } => failure::failure(Reason::SnapshotNotFound, message, false),
        RestoreError::BadCatalog { .. } => failure::failure(Reason::RepositoryDamaged, message, false),
        RestoreError::Repository(error) if error.is_not_found() => failure::failure(Reason::SnapshotNotFound, message, false),
        RestoreError::Repository(error) => failure::read(error),
    }
}
