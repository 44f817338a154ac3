//! The gate that every write passes: it shuts when the grant lapses, when the restore is stopped, or when the target fails.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;

use super::RestoreError;
use crate::stop::StopToken;

/// Asks whether this restore may still write. Called before every batch of writes, so it must be cheap and must not block.
pub type Grant = Arc<dyn Fn() -> bool + Send + Sync>;

/// The gate is shut; why, the gate knows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Halted;

/// Why one entry was not restored, or why nothing more is.
#[derive(Debug)]
pub(super) enum Failure {
    Halted,
    Entry(String),
}

impl From<Halted> for Failure {
    fn from(_: Halted) -> Self {
        Self::Halted
    }
}

pub(super) struct Gate {
    grant: Grant,
    stop: StopToken,
    shut: AtomicBool,
    cause: Mutex<Option<RestoreError>>,
}

impl Gate {
    pub(super) fn new(grant: Grant, stop: StopToken) -> Self {
        Self { grant, stop, shut: AtomicBool::new(false), cause: Mutex::new(None) }
    }

    /// Before each batch of writes. Once shut it stays so, even if a grant should come again.
    pub(super) fn pass(&self) -> Result<(), Halted> {
        if self.shut.load(Ordering::Acquire) {
            return Err(Halted);
        }
        if let Some(stop) = self.stop.requested() {
            return Err(self.shut(RestoreError::Stopped(stop)));
        }
        if !(self.grant)() {
            return Err(self.shut(RestoreError::GrantLapsed));
        }
        Ok(())
    }

    /// Shuts it; the first cause stays.
    pub(super) fn shut(&self, cause: RestoreError) -> Halted {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(cause);
        self.shut.store(true, Ordering::Release);
        Halted
    }

    /// Waits until a stop is asked for.
    pub(super) async fn stopped(&self) {
        self.stop.stopped().await;
    }

    /// Why it was shut.
    pub(super) fn take_cause(&self) -> Option<RestoreError> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Sorts a refusal of the target: some mean that no other entry would fare better.
    pub(super) fn refused(&self, path: impl std::fmt::Display, doing: &str, errno: Errno) -> Failure {
        let path = path.to_string();
        match errno {
            Errno::NOSPC | Errno::DQUOT => self.shut(RestoreError::TargetFull { path, reason: errno.to_string() }).into(),
            Errno::ROFS => self.shut(RestoreError::TargetReadOnly { path }).into(),
            Errno::NOTEMPTY => Failure::Entry("a directory that is not empty stands in its place; move it away and restore again".into()),
            Errno::XDEV => Failure::Entry("another file system is mounted in its place".into()),
            _ => Failure::Entry(format!("could not {doing}: {errno}")),
        }
    }
}
