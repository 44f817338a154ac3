//! Whether a restore that fails says anything of the backup: what is damaged does, a volume that is full does not.

use holdfast_api::condition::kinds::restore_session as kinds;
use holdfast_api::condition::{self, Condition};
use holdfast_proto::v1::task_failure::Reason;
use jiff::Timestamp;

use crate::dispatch::task::Outcome;

/// What the failures of a pass have in common.
#[derive(Debug, Default)]
pub(super) struct Blame {
    elsewhere: Option<String>,
    is_backups: bool,
}

impl Blame {
    /// An attempt failed, and there is no other.
    pub(super) fn ended(&mut self, outcome: &Outcome, message: &str) {
        match outcome {
            Outcome::Failed(failure) if !is_elsewhere(failure.reason()) => self.is_backups = true,
            Outcome::Failed(_) | Outcome::NotStarted(_) => self.elsewhere(message),
            _ => self.is_backups = true,
        }
    }

    /// Something failed that is not the backup's fault.
    pub(super) fn elsewhere(&mut self, message: &str) {
        self.elsewhere.get_or_insert_with(|| message.to_owned());
    }

    /// Says so, unless anything else failed too.
    pub(super) fn note(&self, conditions: &mut Vec<Condition>, now: Timestamp) {
        if let Some(message) = self.elsewhere.as_ref().filter(|_| !self.is_backups) {
            condition::set(conditions, Condition::new(kinds::BACKUP_AT_FAULT, false, kinds::FAILED_ELSEWHERE, message, now));
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
