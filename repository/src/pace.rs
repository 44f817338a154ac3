//! A limit of bytes per second, by an injected clock.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::environment::Clock;
use crate::lock::locked;

/// Time that may be made up for after a pause.
const BURST: Duration = Duration::from_millis(250);

/// Shared by all who move bytes: each waits until what was moved so far is within the limit.
pub struct Pace {
    bytes_per_second: u64,
    clock: Arc<dyn Clock>,
    paid_until: Mutex<Duration>,
}

impl std::fmt::Debug for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pace").field("bytes_per_second", &self.bytes_per_second).finish_non_exhaustive()
    }
}

impl Pace {
    /// 0: no limit.
    pub fn new(bytes_per_second: u64, clock: Arc<dyn Clock>) -> Self {
        let now = Duration::from_millis(clock.boottime_ms());
        Self { bytes_per_second, clock, paid_until: Mutex::new(now) }
    }

    /// Counts `bytes`, and says how long to wait until they are within the limit.
    fn debt(&self, bytes: u64) -> Duration {
        if self.bytes_per_second == 0 {
            return Duration::ZERO;
        }
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let now = Duration::from_millis(self.clock.boottime_ms());
        let mut paid = locked(&self.paid_until);
        *paid = (*paid).max(now.saturating_sub(BURST)) + cost;
        paid.saturating_sub(now)
    }

    /// Counts `bytes`, and waits until they are within the limit; `None` if there is nothing to wait for.
    pub fn spend(&self, bytes: u64) -> Option<impl Future<Output = ()> + '_> {
        let debt = self.debt(bytes);
        (!debt.is_zero()).then(|| self.clock.sleep(debt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::StandingClock;

    #[test]
    fn the_rate_holds_whatever_the_pieces() {
        for piece in [1_000, 64_000, 3_000_000] {
            let clock = Arc::new(StandingClock::at(0));
            clock.advance(60_000);
            let pace = Pace::new(1_000_000, Arc::clone(&clock) as Arc<dyn Clock>);
            let (mut moved, mut waited_ms) = (0, 0);
            while moved < 30_000_000 {
                moved += piece;
                let wait = pace.debt(piece).as_millis() as u32;
                clock.advance(wait);
                waited_ms += wait;
            }
            assert!((29_000..=30_500).contains(&waited_ms), "30 MB at 1 MB/s in pieces of {piece}: {waited_ms} ms");
        }
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let clock = Arc::new(StandingClock::at(0));
        let pace = Pace::new(1_000_000, Arc::clone(&clock) as Arc<dyn Clock>);
        clock.advance(3_600_000);
        assert_eq!(pace.debt(200_000), Duration::ZERO, "a quarter of a second at once");
        assert_eq!(pace.debt(1_050_000), Duration::from_secs(1));
        assert_eq!(pace.debt(1_000_000), Duration::from_secs(2), "another thread waits for its turn");
        assert!(Pace::new(0, clock).spend(u64::MAX).is_none(), "no limit");
    }
}
