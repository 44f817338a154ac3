//! How long to wait before the next dial: doubling, bounded, spread so that a thousand agents do not come back at once.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LAST: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Backoff {
    ceiling: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { ceiling: FIRST }
    }
}

impl Backoff {
    pub(super) fn reset(&mut self) {
        self.ceiling = FIRST;
    }

    /// Between half of the ceiling and all of it.
    pub(super) fn next_delay(&mut self) -> Duration {
        let ceiling = self.ceiling;
        self.ceiling = (ceiling * 2).min(LAST);
        let half = ceiling / 2;
        half + half.mul_f64(random_fraction())
    }
}

/// In 0..1. Spread needs no good randomness; where the kernel gives none, the middle does.
fn random_fraction() -> f64 {
    let mut bytes = [0_u8; 4];
    match rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::NONBLOCK) {
        Ok(4) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        _ => 0.5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_a_bound_and_starts_again() {
        let mut backoff = Backoff::default();
        assert!(backoff.next_delay() <= FIRST);
        let delays: Vec<Duration> = (0..20).map(|_| backoff.next_delay()).collect();
        assert!(delays.iter().all(|delay| *delay <= LAST));
        assert!(*delays.last().unwrap() >= LAST / 2);
        assert!(delays[10..].windows(2).any(|pair| pair[0] != pair[1]), "no spread");
        backoff.reset();
        assert!(backoff.next_delay() <= FIRST);
    }
}
