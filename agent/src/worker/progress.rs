//! The mover's counters as progress messages, once a second.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use holdfast_mover::progress::Progress;
use holdfast_proto::v1::TaskProgress;

use super::link::Link;
use super::message::from_worker;

const INTERVAL: Duration = Duration::from_secs(1);

/// Reports until dropped.
pub(super) async fn report(link: &Link, progress: &Arc<Progress>) {
    let started = Instant::now();
    let mut last_done = 0;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let mut now = snapshot(progress, started);
        now.bytes_per_second = now.bytes_done.saturating_sub(last_done);
        last_done = now.bytes_done;
        link.send(from_worker::Kind::Progress(now)).await;
    }
}

fn snapshot(progress: &Progress, started: Instant) -> TaskProgress {
    TaskProgress {
        task: None,
        files_done: progress.files_done.load(Relaxed),
        files_total: progress.files_total.load(Relaxed),
        bytes_done: progress.bytes_done.load(Relaxed),
        bytes_total: progress.bytes_total.load(Relaxed),
        bytes_stored: progress.bytes_stored.load(Relaxed),
        bytes_per_second: 0,
        elapsed_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        phase: progress.phase().as_str().to_owned(),
    }
}
