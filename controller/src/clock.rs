//! Time, injected: the wall clock for what people read, the boot clock for every safety rule.

use std::sync::Arc;

use jiff::Timestamp;

/// Where the controller reads the time.
pub trait Clock: Send + Sync {
    /// The wall clock: for schedules and for display, never for safety.
    fn now(&self) -> Timestamp;

    /// Milliseconds since some fixed point, suspended time included: a machine that slept must not believe
    /// that its leadership or a grant is still young.
    fn boottime_ms(&self) -> u64;
}

/// A shared clock.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clocks.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn boottime_ms(&self) -> u64 {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        u64::try_from(time.tv_sec).unwrap_or(0) * 1000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000
    }
}

#[cfg(test)]
pub(crate) mod manual {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{Clock, Timestamp};

    /// A clock that stands still.
    #[derive(Debug, Default)]
    pub(crate) struct ManualClock(AtomicU64);

    impl Clock for ManualClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_millisecond(1_790_000_000_000 + self.0.load(Ordering::SeqCst) as i64).unwrap()
        }

        fn boottime_ms(&self) -> u64 {
            1_000_000 + self.0.load(Ordering::SeqCst)
        }
    }
}
