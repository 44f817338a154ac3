//! Stopping work on a volume: because nobody wants it any more, or because the volume is wanted elsewhere, at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio_util::sync::CancellationToken;

/// Why the work is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Nobody wants the result: stop and leave nothing behind.
    Cancel,
    /// The volume is needed: close every handle of it now, then save what has been read so far.
    Release,
}

/// Asks for a stop from any thread; clones share one state. The first request counts.
#[derive(Clone, Debug, Default)]
pub struct StopToken {
    reason: Arc<AtomicU8>,
    token: CancellationToken,
}

impl StopToken {
    /// A token that nobody has stopped.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for the stop.
    pub fn stop(&self, stop: Stop) {
        let reason = match stop {
            Stop::Cancel => 1,
            Stop::Release => 2,
        };
        // A second reason does not replace the first: the work has already begun to act on that.
        let _ = self.reason.compare_exchange(0, reason, Ordering::AcqRel, Ordering::Acquire);
        self.token.cancel();
    }

    /// What was asked, if anything. A plain load: cheap enough for the inside of a loop.
    pub fn requested(&self) -> Option<Stop> {
        match self.reason.load(Ordering::Acquire) {
            1 => Some(Stop::Cancel),
            2 => Some(Stop::Release),
            _ => None,
        }
    }

    /// Waits until a stop is asked for.
    pub async fn stopped(&self) {
        self.token.cancelled().await;
    }

    /// The same signal for code that only knows a cancellation token.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }
}
