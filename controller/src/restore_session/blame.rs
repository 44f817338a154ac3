//! Whether a restore that fails says anything of the backup: what is damaged does, a volume that is full does not.

use holdfast_api::condition::kinds::restore_session as kinds;
use holdfast_api::condition::{self, Condition};
use holdfast_api::restore_session::RestoreSessionStatus;
use holdfast_proto::v1::task_failure::Reason;
use jiff::Timestamp;

use crate::dispatch::task::Outcome;

/// Failures of a pass that tell nothing of the backup.
#[derive(Debug, Default)]
pub(super) struct Blame(Vec<String>);

impl Blame {
    /// An attempt failed, and there is no other.
    pub(super) fn ended(&mut self, outcome: &Outcome, message: &str) {
        let tells_nothing = match outcome {
            Outcome::Failed(failure) => is_elsewhere(failure.reason()),
            Outcome::NotStarted(_) => true,
            _ => false,
        };
        if tells_nothing {
            self.elsewhere(message);
        }
    }

    /// Something failed that is not the backup's fault.
    pub(super) fn elsewhere(&mut self, message: &str) {
        self.0.push(message.to_owned());
    }

    /// Says so, unless anything else failed too.
    pub(super) fn note(&self, status: &mut RestoreSessionStatus, now: Timestamp) {
        let Some(message) = self.0.first() else { return };
        let mut errors = status.components.values().filter_map(|component| component.error.as_ref());
        if errors.all(|error| self.0.contains(error)) {
            let condition = Condition::new(kinds::BACKUP_AT_FAULT, false, kinds::FAILED_ELSEWHERE, message, now);
            condition::set(&mut status.conditions, condition);
        }
    }
}

/// What nobody can place, such as a worker that crashes, counts against the backup: nobody could restore it.
fn is_elsewhere(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Cancelled
            | Reason::Released
            | Reason::VolumeNotFound
            | Reason::VolumeChanged
            | Reason::VolumeUnreadable
            | Reason::BackendUnreachable
            | Reason::BackendDenied
            | Reason::BackendFull
            | Reason::TargetFull
            | Reason::TargetUnwritable
            | Reason::GrantLapsed
            | Reason::Stalled
            | Reason::InvalidTask
            | Reason::Fenced
    )
}
