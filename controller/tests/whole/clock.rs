//! A wall clock that can be set forward: what takes minutes is seen at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use holdfast_controller::clock::{Clock, SystemClock};
use jiff::Timestamp;

/// The machine's clocks, the wall clock ahead by as many seconds; clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ahead(Arc<AtomicU64>);

impl Ahead {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_secs(), Ordering::Relaxed);
    }
}

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now() + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }

    fn boottime_ms(&self) -> u64 {
        SystemClock.boottime_ms()
    }
}
