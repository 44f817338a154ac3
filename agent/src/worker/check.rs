//! A check task: is everything there, and is a part of it what was written? Nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use holdfast_proto::v1::{CheckResult, CheckTask, TaskFailure, TaskProgress};
use holdfast_repository::{CheckOptions, CheckProgress, NextPart};

use super::link::Link;
use super::{backend::Opened, engine, failure, progress};

const FINDINGS_MAX: usize = 20;
/// Of one finding: an object and what is wrong with it.
const FINDING_CHARACTERS_MAX: usize = 300;

pub(super) async fn run(task: CheckTask, backend: &Opened, link: &Arc<Link>) -> Result<CheckResult, TaskFailure> {
    let options = options(&task)?;
    let (repository, store) = tokio::select! {
        opened = engine::open(task.repository, backend) => opened?,
        () = link.stop.stopped() => return Err(failure::cancelled()),
    };
    let progress = CheckProgress::default();
    // Stopped, it still ends its lease: a prune need not wait for it.
    let checked = tokio::select! {
        checked = repository.check_until(options, &progress, link.stop.stopped()) => checked.map_err(|error| failure::read(&error))?,
        never = progress::tell(link, || shown(&progress)) => match never {},
    };
    let report = checked.ok_or_else(failure::cancelled)?;
    let (objects, repository_bytes) = engine::packs(store.as_ref()).await.map_err(|error| failure::store(&error))?;
    let findings = report.findings.iter().take(FINDINGS_MAX);
    Ok(CheckResult {
        intact: report.is_clean(),
        objects,
        bytes_read: report.bytes_read,
        repository_bytes,
        findings_first: findings.map(|finding| format!("{}: {}", finding.object, finding.problem).chars().take(FINDING_CHARACTERS_MAX).collect()).collect(),
        findings_count: report.findings.len() as u64,
        next: report.read_until.map(|id| id.to_string()).unwrap_or_default(),
    })
}

fn options(task: &CheckTask) -> Result<CheckOptions, TaskFailure> {
    if task.parts == 0 {
        let read_data_percent = u8::try_from(task.read_data_percent.min(100)).unwrap_or(100);
        return Ok(CheckOptions { trailers: read_data_percent > 0, read_data_percent, publish_bad: true, ..CheckOptions::default() });
    }
    let after = match task.after.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| failure::invalid(format!("a check goes on behind a pack, and {text:?} is none")))?),
    };
    // Without the trailers of all packs: that would be two requests for each, every day.
    Ok(CheckOptions { next_part: Some(NextPart { after, parts: task.parts }), publish_bad: true, ..CheckOptions::default() })
}

fn shown(progress: &CheckProgress) -> TaskProgress {
    TaskProgress {
        files_done: progress.packs_done.load(Relaxed),
        files_total: progress.packs_total.load(Relaxed),
        bytes_done: progress.bytes_read.load(Relaxed),
        phase: "read".into(),
        ..TaskProgress::default()
    }
}
