//! CLOCK_BOOTTIME: goes on while the machine sleeps, so a grant also lapses during a suspend. One clock for every
//! process of the machine, so a deadline may be handed from the agent to its worker.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since boot.
pub(crate) fn boottime_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000)
}

/// What is left until `deadline_ms`.
pub(crate) fn until(deadline_ms: u64) -> Duration {
    Duration::from_millis(deadline_ms.saturating_sub(boottime_ms()))
}
