//! How a task failed, in the words of the contract. A message names the object and what to do, never a secret.

use holdfast_mover::stop::Stop;
use holdfast_proto::v1::task_failure::Reason;
use holdfast_proto::v1::{TaskFailure, TaskFinished, task_finished};
use holdfast_repository::{CommitError, InitError, OpenError, PruneError, ReadError, StoreError, WriteError};

use super::message::from_worker;
use crate::sandbox::SandboxError;
use crate::volume::VolumeError;

/// Longer texts are cut: a message goes into a condition and an event.
const MESSAGE_BYTES_MAX: usize = 2048;

pub(crate) fn failure(reason: Reason, message: impl Into<String>, retry_may_help: bool) -> TaskFailure {
    let mut message: String = message.into();
    if message.len() > MESSAGE_BYTES_MAX {
        let cut = (0..=MESSAGE_BYTES_MAX).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
        message.truncate(cut);
    }
    TaskFailure { reason: reason.into(), message, retry_may_help }
}

pub(crate) fn invalid(message: String) -> TaskFailure {
    failure(Reason::InvalidTask, message, false)
}

pub(crate) fn volume_not_found(message: String) -> TaskFailure {
    failure(Reason::VolumeNotFound, message, true)
}

pub(super) fn cancelled() -> TaskFailure {
    failure(Reason::Cancelled, "stopped as asked", false)
}

/// A worker that was told to stop before it had anything to let go of.
pub(super) fn stopped(stop: Option<Stop>) -> TaskFailure {
    match stop {
        Some(Stop::Release) => failure(Reason::Released, "the volume was let go for its application", true),
        Some(Stop::Cancel) | None => cancelled(),
    }
}

pub(super) fn finished(failure: TaskFailure) -> from_worker::Kind {
    from_worker::Kind::Finished(Box::new(outcome(task_finished::Outcome::Failure(failure))))
}

/// The rest of the message is the agent's to fill in.
pub(crate) fn outcome(outcome: task_finished::Outcome) -> TaskFinished {
    TaskFinished { task: None, elapsed_ms: 0, outcome: Some(outcome) }
}

pub(super) fn volume(error: &VolumeError) -> TaskFailure {
    let reason = match error {
        VolumeError::NotFound(..) => Reason::VolumeNotFound,
        VolumeError::Refused(..) => Reason::InvalidTask,
        VolumeError::System { .. } => Reason::VolumeUnreadable,
    };
    failure(reason, error.to_string(), !matches!(error, VolumeError::Refused(..)))
}

pub(super) fn sandbox(error: &SandboxError) -> TaskFailure {
    match error {
        SandboxError::Volume(error) => volume(error),
        other => failure(Reason::Internal, other.to_string(), false),
    }
}

pub(super) fn hardening(errno: rustix::io::Errno) -> TaskFailure {
    failure(Reason::Internal, format!("the worker cannot be hardened: {errno}"), true)
}

pub(super) fn store(error: &StoreError) -> TaskFailure {
    let (reason, retry) = match error {
        StoreError::Denied { .. } | StoreError::ReadOnly { .. } | StoreError::Unsupported { .. } => (Reason::BackendDenied, false),
        StoreError::Full { .. } => (Reason::BackendFull, true),
        StoreError::Unreachable { .. } => (Reason::BackendUnreachable, true),
        StoreError::NotFound { .. } | StoreError::Corrupt { .. } => (Reason::RepositoryDamaged, false),
        StoreError::AlreadyExists { .. } => (Reason::Internal, true),
    };
    failure(reason, chain(error), retry)
}

/// A store that refuses the probe: nothing is damaged yet.
pub(super) fn probe(location: &str, error: &StoreError) -> TaskFailure {
    let mut answer = store(error);
    if answer.reason() == Reason::RepositoryDamaged {
        answer.set_reason(Reason::BackendUnreachable);
    }
    answer.message = format!("{location}: {}", answer.message);
    answer
}

pub(super) fn view(path: &object_store::path::Path, error: &object_store::Error) -> TaskFailure {
    use object_store::Error;
    let message = format!("{path}: {}", chain(error));
    match error {
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => failure(Reason::BackendDenied, message, false),
        _ => failure(Reason::BackendUnreachable, message, true),
    }
}

pub(super) fn read(error: &ReadError) -> TaskFailure {
    match error {
        ReadError::NotFound { .. } | ReadError::Damaged { .. } => failure(Reason::RepositoryDamaged, chain(error), false),
        ReadError::TooNew { .. } => failure(Reason::RepositoryTooNew, chain(error), false),
        ReadError::Store(error) => store(error),
    }
}

pub(super) fn open(error: &OpenError) -> TaskFailure {
    match error {
        OpenError::NotARepository { .. } => failure(Reason::NotARepository, chain(error), false),
        OpenError::WrongPassword { .. } => failure(Reason::WrongPassword, chain(error), false),
        OpenError::Read(error) => read(error),
    }
}

pub(super) fn init(error: &InitError) -> TaskFailure {
    match error {
        InitError::Exists { .. } => failure(Reason::WrongPassword, chain(error), false),
        InitError::Open(error) => open(error),
        InitError::Store(error) => store(error),
    }
}

pub(super) fn write(error: &WriteError) -> TaskFailure {
    match error {
        WriteError::Read(error) => read(error),
        WriteError::Store { source } => store(source),
        WriteError::TooNew { .. } => failure(Reason::RepositoryTooNew, chain(error), false),
        WriteError::Stopped { cause } => write(cause),
        WriteError::NoLease { .. } => failure(Reason::Fenced, chain(error), true),
        WriteError::TooLarge { .. } | WriteError::Closed | WriteError::Internal { .. } => {
            failure(Reason::Internal, chain(error), false)
        }
    }
}

pub(super) fn commit(error: &CommitError) -> TaskFailure {
    match error {
        CommitError::Write(error) => write(error),
        CommitError::Fenced { .. } | CommitError::Gone { .. } => failure(Reason::Fenced, chain(error), true),
        CommitError::Unsorted { .. } => failure(Reason::Internal, chain(error), false),
    }
}

pub(super) fn prune(error: &PruneError) -> TaskFailure {
    match error {
        PruneError::Unreadable(_) | PruneError::Unlisted { .. } => failure(Reason::RepositoryDamaged, chain(error), false),
        PruneError::WritersNotHeld => failure(Reason::BackendDenied, chain(error), false),
        PruneError::Stopped => cancelled(),
        PruneError::Read(error) => read(error),
        PruneError::Write(error) => write(error),
        PruneError::Races | PruneError::Spill(_) => failure(Reason::Internal, chain(error), true),
    }
}

/// The error and what it came from, each once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_cut_at_a_character() {
        let failure = failure(Reason::Internal, "ä".repeat(2000), false);
        assert_eq!(failure.message.len(), MESSAGE_BYTES_MAX);
    }

    #[test]
    fn a_denied_store_is_not_tried_again_and_a_lost_one_is() {
        let source: holdfast_repository::store::Source = std::sync::Arc::new(std::io::Error::other("403"));
        let denied = StoreError::Denied { object: "config".into(), source: source.clone() };
        let lost = StoreError::Unreachable { object: "config".into(), source };
        assert_eq!(open(&OpenError::from(denied)).reason(), Reason::BackendDenied);
        assert!(write(&WriteError::from(lost)).retry_may_help);
    }
}
