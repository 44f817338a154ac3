//! A restore's right to write, inside the worker: a reading of CLOCK_BOOTTIME that the agent moves forward.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use holdfast_mover::stop::Stop;
use tokio::sync::Notify;

use super::link::Link;
use super::message::{Empty, Grant, from_worker};
use crate::clock;

/// A write call that began in time may still be in the kernel; nothing of this process outlives the grant by more.
const STRAGGLER: Duration = Duration::from_secs(2);
/// How long the first grant may take. A restore that never began has lost nothing.
const FIRST_GRANT_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct GrantState {
    until_ms: AtomicU64,
    refused: Mutex<String>,
    changed: Notify,
}

impl GrantState {
    /// Asked before each write, from any thread.
    pub(crate) fn may_write(&self) -> bool {
        clock::boottime_ms() < self.until_ms.load(Ordering::Acquire)
    }

    pub(crate) fn answered(&self, grant: &Grant) {
        if grant.refused.is_empty() {
            self.until_ms.fetch_max(grant.until_boottime_ms, Ordering::AcqRel);
        } else {
            self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&grant.refused);
        }
        self.changed.notify_waiters();
    }

    fn refusal(&self) -> Option<String> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        (!refused.is_empty()).then(|| refused.clone())
    }
}

/// Waits for the first grant. Err(why there is none).
pub(crate) async fn first(link: &Link) -> Result<(), String> {
    link.send(from_worker::Kind::WantGrant(Empty {})).await;
    let granted = async {
        loop {
            let changed = link.grant.changed.notified();
            if link.grant.may_write() {
                return Ok(());
            }
            if let Some(reason) = link.grant.refusal() {
                return Err(format!("the controller refused the right to write: {reason}"));
            }
            changed.await;
        }
    };
    tokio::select! {
        granted = granted => granted,
        () = link.stop.stopped() => Err("stopped before anything was written".into()),
        () = tokio::time::sleep(FIRST_GRANT_TIMEOUT) => Err("the controller gave no right to write in time".into()),
    }
}

/// Stops the restore when the grant lapses, and ends the process if it does not stop. Returns only through the latter.
pub(crate) async fn watch(link: &Link) {
    while link.grant.may_write() {
        tokio::time::sleep(clock::until(link.grant.until_ms.load(Ordering::Acquire))).await;
    }
    link.stop.stop(Stop::Cancel);
    tokio::time::sleep(STRAGGLER).await;
    tracing::error!("the right to write lapsed and a write did not end: the worker ends");
    std::process::abort();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(offset_ms: i64) -> Grant {
        Grant { until_boottime_ms: clock::boottime_ms().saturating_add_signed(offset_ms), refused: String::new() }
    }

    #[test]
    fn nothing_may_be_written_without_or_after_a_grant() {
        let state = GrantState::default();
        assert!(!state.may_write());
        state.answered(&until(60));
        assert!(state.may_write());
        std::thread::sleep(Duration::from_millis(80));
        assert!(!state.may_write());
    }

    #[test]
    fn a_late_answer_never_shortens_a_newer_grant() {
        let state = GrantState::default();
        state.answered(&until(60_000));
        state.answered(&until(-10));
        assert!(state.may_write());
    }

    #[tokio::test]
    async fn a_refusal_is_told() {
        let link = Link::new();
        link.grant.answered(&Grant { until_boottime_ms: 0, refused: "not the leader".into() });
        assert!(first(&link).await.unwrap_err().contains("not the leader"));
    }
}
