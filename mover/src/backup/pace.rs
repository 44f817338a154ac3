//! The limit of bytes read per second.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::context::{STOP_POLL, lock};

/// Time that may be made up for after a pause.
const BURST: Duration = Duration::from_millis(250);

/// Shared by all threads that read: each waits until what was read so far is within the limit.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: u64,
    paid_until: Mutex<Instant>,
}

impl Pace {
    /// 0: no limit.
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, paid_until: Mutex::new(Instant::now()) }
    }

    pub(super) fn spend(&self, bytes: u64, halted: impl Fn() -> bool) {
        if self.bytes_per_second == 0 {
            return;
        }
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let until = {
            let mut paid = lock(&self.paid_until);
            let earliest = Instant::now().checked_sub(BURST).unwrap_or_else(Instant::now);
            *paid = (*paid).max(earliest) + cost;
            *paid
        };
        while !halted() {
            match until.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => std::thread::sleep(left.min(STOP_POLL)),
                _ => return,
            }
        }
    }
}
