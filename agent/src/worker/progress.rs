//! How far a task is, as progress messages, once a second.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use holdfast_mover::progress::Progress;
use holdfast_proto::v1::TaskProgress;

use super::link::Link;
use super::message::from_worker;

const INTERVAL: Duration = Duration::from_secs(1);

/// Tells what `look` sees, once a second, so that the task is not taken for stuck. How long it has taken is added.
pub(super) async fn tell(link: &Link, mut look: impl FnMut() -> TaskProgress) -> Infallible {
    let started = Instant::now();
    loop {
        tokio::time::sleep(INTERVAL).await;
        let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        link.send(from_worker::Kind::Progress(TaskProgress { elapsed_ms, ..look() })).await;
    }
}

/// Tells the mover's counters, with the pace of the last second.
pub(super) async fn report(link: &Link, progress: &Arc<Progress>) -> Infallible {
    let mut last_done = 0;
    let look = || {
        let mut now = snapshot(progress);
        now.bytes_per_second = now.bytes_done.saturating_sub(last_done);
        last_done = now.bytes_done;
        now
    };
    tell(link, look).await
}

fn snapshot(progress: &Progress) -> TaskProgress {
    TaskProgress {
        task: None,
        files_done: progress.files_done.load(Relaxed),
        files_total: progress.files_total.load(Relaxed),
        bytes_done: progress.bytes_done.load(Relaxed),
        bytes_total: progress.bytes_total.load(Relaxed),
        bytes_stored: progress.bytes_stored.load(Relaxed),
        bytes_per_second: 0,
        elapsed_ms: 0,
        phase: progress.phase().as_str().to_owned(),
    }
}
