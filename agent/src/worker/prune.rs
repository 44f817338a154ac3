//! A prune task: frees what no snapshot of a repository needs any more, while nobody waits.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use holdfast_proto::v1::{Assign, PruneResult, PruneTask, TaskFailure, TaskProgress};
use holdfast_repository::{PruneError, PruneOptions, PruneProgress, PruneReport, Repository};

use super::link::Link;
use super::{backend::Opened, engine, failure, progress};

/// Part of the task's memory that sorting may hold.
const SORT_PART: u64 = 6;
const SORT_BYTES_MIN: usize = 16 << 20;
const WAITING_MAX: usize = 10;

pub(super) async fn run(task: PruneTask, assign: &Assign, backend: &Opened, link: &Arc<Link>) -> Result<PruneResult, TaskFailure> {
    let (repository, _) = tokio::select! {
        opened = engine::open(task.repository, backend) => opened?,
        () = link.stop.stopped() => return Err(failure::cancelled()),
    };
    let who = assign.task.clone().unwrap_or_default();
    let options = PruneOptions {
        memory_bytes: usize::try_from(assign.memory_bytes / SORT_PART).unwrap_or(usize::MAX).max(SORT_BYTES_MIN),
        host: format!("{}/{}/{}", who.namespace, who.kind, who.name),
        ..PruneOptions::default()
    };
    let patience = Duration::from_millis(task.wait_ms);
    let report = match prune(&repository, &options, link, patience).await {
        // A backup that runs for days must not hold a slot for days: what it may use stays, the rest goes.
        Err(PruneError::Stopped) if link.stop.requested().is_none() => {
            let options = PruneOptions { no_wait: true, ..options };
            prune(&repository, &options, link, Duration::MAX).await
        }
        other => other,
    };
    report.map(result).map_err(|error| failure::prune(&error))
}

/// Until it has ended, the agent wants it to stop, or `patience` is over.
async fn prune(repository: &Repository, options: &PruneOptions, link: &Arc<Link>, patience: Duration) -> Result<PruneReport, PruneError> {
    let progress = PruneProgress::default();
    let stopped = async {
        tokio::select! {
            () = link.stop.stopped() => {}
            () = tokio::time::sleep(patience) => {}
        }
    };
    tokio::select! {
        report = repository.prune(options, &progress, stopped) => report,
        never = progress::tell(link, || shown(&progress)) => match never {},
    }
}

fn shown(progress: &PruneProgress) -> TaskProgress {
    let phase = if progress.waiting_for().is_empty() { "write" } else { "waiting" };
    TaskProgress {
        files_done: progress.snapshots_marked.load(Relaxed) + progress.objects_deleted.load(Relaxed),
        phase: phase.into(),
        ..TaskProgress::default()
    }
}

fn result(report: PruneReport) -> PruneResult {
    PruneResult {
        packs_before: report.packs,
        bytes_before: report.pack_bytes,
        packs_deleted: report.packs_deleted,
        bytes_deleted: report.bytes_deleted,
        objects_deleted: report.objects_deleted,
        packs_unused: report.packs_unused,
        bytes_unused: report.bytes_unused,
        packs_waiting: report.packs_waiting,
        waiting_for_first: report.waiting_for.iter().take(WAITING_MAX).map(ToString::to_string).collect(),
        bytes_rewritten: report.bytes_rewritten,
    }
}
