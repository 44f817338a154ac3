//! Progress is bytes and files, not time: a worker that moves none for too long is stuck.

use std::time::{Duration, Instant};

use holdfast_proto::v1::TaskProgress;

#[derive(Debug)]
pub(super) struct Stall {
    timeout: Option<Duration>,
    seen: (u64, u64, u64, String),
    moved: Instant,
}

impl Stall {
    /// 0 means that it may take as long as it likes.
    pub(super) fn new(timeout_ms: u64, now: Instant) -> Self {
        let timeout = (timeout_ms > 0).then(|| Duration::from_millis(timeout_ms));
        Self { timeout, seen: Default::default(), moved: now }
    }

    pub(super) fn observe(&mut self, progress: &TaskProgress, now: Instant) {
        let seen = (progress.files_done, progress.bytes_done, progress.bytes_stored, progress.phase.clone());
        // Waiting in line is not being stuck.
        if seen != self.seen || progress.phase == "waiting" {
            self.seen = seen;
            self.moved = now;
        }
    }

    pub(super) fn stuck(&self, now: Instant) -> Option<Duration> {
        self.timeout.filter(|timeout| now.duration_since(self.moved) >= *timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_byte_or_file_counts_and_waiting_never_does() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut stall = Stall::new(10_000, start);
        let mut progress = TaskProgress { phase: "read".into(), bytes_done: 1, ..TaskProgress::default() };
        stall.observe(&progress, at(1));
        stall.observe(&progress, at(9));
        assert_eq!(stall.stuck(at(10)), None);
        assert_eq!(stall.stuck(at(11)), Some(Duration::from_secs(10)));
        progress.bytes_stored = 1;
        stall.observe(&progress, at(11));
        assert_eq!(stall.stuck(at(20)), None);
        progress.phase = "waiting".into();
        stall.observe(&progress, at(20));
        stall.observe(&progress, at(100));
        assert_eq!(stall.stuck(at(105)), None);
    }

    #[test]
    fn without_a_limit_nothing_is_stuck() {
        let start = Instant::now();
        assert_eq!(Stall::new(0, start).stuck(start + Duration::from_secs(1_000_000)), None);
    }
}
