//! One host's clock over the run's virtual time: its wall clock is wrong by anything, its boot clock drifts a little.

use std::time::Duration;

use async_trait::async_trait;
use holdfast_repository::Clock;
use tokio::time::Instant;

#[derive(Debug)]
pub(crate) struct HostClock {
    start: Instant,
    wall_offset_ms: i64,
    boot_offset_ms: u64,
    /// Ticks of this host in 1,000 of the run's.
    rate_per_mille: u64,
}

impl HostClock {
    pub(crate) fn new(wall_offset_ms: i64, boot_offset_ms: u64, rate_per_mille: u64) -> Self {
        Self { start: Instant::now(), wall_offset_ms, boot_offset_ms, rate_per_mille }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap() * self.rate_per_mille / 1000
    }
}

#[async_trait]
impl Clock for HostClock {
    fn unix_ms(&self) -> i64 {
        1_790_000_000_000 + self.wall_offset_ms + i64::try_from(self.elapsed_ms()).unwrap()
    }

    fn boottime_ms(&self) -> u64 {
        self.boot_offset_ms + self.elapsed_ms()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration * 1000 / u32::try_from(self.rate_per_mille).unwrap()).await;
    }
}
