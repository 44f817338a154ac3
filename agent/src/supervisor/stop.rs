//! Why a worker was told to stop, until when it may take, and what its end then means.

use std::time::{Duration, Instant};

use holdfast_proto::v1::TaskFailure;
use holdfast_proto::v1::task_failure::Reason;

use crate::worker::failure::failure;

/// Handles must be closed within 5 s of a release; the kill must still fit in.
pub(super) const RELEASE_TIMEOUT: Duration = Duration::from_secs(4);
/// After the handles are closed: what was read so far may be made durable.
pub(super) const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(60);
/// A cancelled backup ends its lease, if the backend answers.
pub(super) const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);
/// The worker ends itself at that time too.
pub(super) const GRANT_STRAGGLER: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Cancelled(String),
    Released(String),
    Stalled(Duration),
    GrantLapsed,
}

impl Cause {
    pub(super) fn timeout(&self) -> Duration {
        match self {
            Self::Cancelled(_) | Self::Stalled(_) => CANCEL_TIMEOUT,
            Self::Released(_) => RELEASE_TIMEOUT,
            Self::GrantLapsed => GRANT_STRAGGLER,
        }
    }

    pub(super) fn failure(&self) -> TaskFailure {
        match self {
            Self::Cancelled(why) => failure(Reason::Cancelled, format!("stopped as asked: {why}"), false),
            Self::Released(why) => failure(Reason::Released, format!("the volume was let go: {why}"), true),
            Self::Stalled(timeout) => {
                failure(Reason::Stalled, format!("nothing was read, written or sent for {} s", timeout.as_secs()), true)
            }
            Self::GrantLapsed => failure(Reason::GrantLapsed, "the controller's right to write ran out and was not renewed", true),
        }
    }
}

#[derive(Debug)]
pub(super) struct Stop {
    pub(super) cause: Cause,
    pub(super) kill_at: Instant,
    pub(super) released: bool,
}

impl Stop {
    pub(super) fn new(cause: Cause, now: Instant) -> Self {
        let kill_at = now + cause.timeout();
        Self { cause, kill_at, released: false }
    }

    /// A second reason never gives more time. A release after a cancel still wants the handles closed in its own time.
    pub(super) fn also(&mut self, cause: &Cause, now: Instant) {
        if !self.released {
            self.kill_at = self.kill_at.min(now + cause.timeout());
        }
    }

    /// The handles are closed; only the checkpoint is left.
    pub(super) fn let_go(&mut self, now: Instant) {
        self.released = true;
        if matches!(self.cause, Cause::Released(_)) {
            self.kill_at = now + CHECKPOINT_TIMEOUT;
        }
    }
}
