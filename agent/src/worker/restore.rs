//! A restore task: repository to volumes. Nothing is written without a right from the controller, nor after its end.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use holdfast_mover::pattern::PatternSet;
use holdfast_mover::progress::Progress;
use holdfast_mover::restore::{self, RestoreError, RestoreLimits, RestoreReport, RestoreRequest, Severity, Stored, Target};
use holdfast_mover::stop::Stop;
use holdfast_proto::v1::task_failure::Reason;
use holdfast_proto::v1::{Assign, RestoreResult, RestoreTarget, RestoreTask, TaskFailure};
use holdfast_repository::Repository;

use super::backend::Opened;
use super::link::Link;
use super::message::{Empty, from_worker};
#[cfg(feature = "restic")]
use super::restic;
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
    let targets = task.targets.iter().zip(roots).map(|(target, root)| open_target(target, root)).collect::<Result<_, _>>()?;
    let may_write = Arc::clone(link);
    let mut request = RestoreRequest {
        targets,
        include: patterns(&task.include)?,
        exclude: patterns(&task.exclude)?,
        may_write: Arc::new(move || may_write.grant.may_write()),
        device_nodes: task.same_namespace,
        rules: restore::Rules::default(),
        sync: true,
        limits: limits(assign),
        observer: None,
    };
    let origin = tokio::select! {
        opened = open(task, assign, backend) => opened?,
        () = link.stop.stopped() => return Err(failure::stopped(link.stop.requested())),
    };
    request.limits = origin.leaves(request.limits);
    grant::first(link).await.map_err(|reason| match link.stop.requested() {
        Some(stop) => failure::stopped(Some(stop)),
        None => failure::failure(Reason::GrantLapsed, reason, true),
    })?;
    let ran = Box::pin(write(&origin, request, link)).await;
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

/// Where it comes from.
enum Origin {
    /// A repository of ours, and its snapshot.
    Own(Box<Repository>, Stored),
    #[cfg(feature = "restic")]
    Restic(Box<holdfast_restic::SnapshotSource>),
}

impl Origin {
    /// What of the memory its index leaves for the restore.
    fn leaves(&self, limits: RestoreLimits) -> RestoreLimits {
        match self {
            Self::Own(..) => limits,
            #[cfg(feature = "restic")]
            Self::Restic(source) => RestoreLimits { memory_bytes: source.memory_left(limits.memory_bytes), ..limits },
        }
    }
}

async fn open(task: RestoreTask, assign: &Assign, backend: &Opened) -> Result<Origin, TaskFailure> {
    if task.restic.is_some() {
        #[cfg(feature = "restic")]
        return restic::open(task, backend, limits(assign).memory_bytes).await.map(|source| Origin::Restic(Box::new(source)));
        #[cfg(not(feature = "restic"))]
        return Err(failure::invalid("this agent was built without what reads restic's repositories".into()));
    }
    let snapshot = engine::snapshot_id(&task.snapshot_id)?;
    let (repository, _store) = engine::open(task.repository, backend).await?;
    let task_ref = assign.task.clone().unwrap_or_default();
    let stored = Stored { snapshot, host: task_ref.namespace, session: task_ref.name, component: task_ref.component };
    Ok(Origin::Own(Box::new(repository), stored))
}

async fn write(origin: &Origin, request: RestoreRequest, link: &Arc<Link>) -> Result<RestoreReport, TaskFailure> {
    let progress = Arc::new(Progress::default());
    let watched = tokio::spawn({
        let link = Arc::clone(link);
        async move { grant::watch(&link).await }
    });
    let run = async {
        match origin {
            Origin::Own(repository, stored) => restore::run(repository, stored, request, &progress, &link.stop).await,
            #[cfg(feature = "restic")]
            Origin::Restic(source) => restore::run_from(source.as_ref(), request, &progress, &link.stop).await,
        }
    };
    let ran = tokio::select! {
        ran = run => ran,
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
        summary: String::new(),
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
