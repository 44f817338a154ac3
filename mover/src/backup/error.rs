//! Why a backup did not become a snapshot, by what the caller can do.

use holdfast_repository::{CommitError, ReadError, WriteError};

use crate::stop::Stop;

/// Nothing was committed. What was uploaded stays for the next backup to find.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// As asked.
    #[error("the backup was cancelled")]
    Cancelled,
    /// The volume was let go; run it again where the volume is.
    #[error("the volume was let go for its application")]
    Released,
    /// The root, or everything below it, could not be read.
    #[error("{path} could not be read: {reason}")]
    VolumeUnreadable {
        /// The source's path.
        path: String,
        /// Why.
        reason: String,
    },
    /// The volume was unmounted or replaced during the scan: what was read may be of another one.
    #[error("the volume at {path} was replaced or unmounted during the scan")]
    VolumeChanged {
        /// The source's path.
        path: String,
    },
    /// No source, or a limit that nothing fits in.
    #[error("the request is not valid: {0}")]
    InvalidRequest(&'static str),
    /// The repository could not be read.
    #[error("the repository could not be read: {0}")]
    Read(#[from] ReadError),
    /// The repository could not be written.
    #[error("the repository could not be written: {0}")]
    Write(#[from] WriteError),
    /// The snapshot could not be committed.
    #[error("the snapshot could not be committed: {0}")]
    Commit(#[from] CommitError),
    /// A thread could not be started, or ended without a word.
    #[error("internal: {0}")]
    Internal(String),
}

impl From<Stop> for BackupError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Cancel => Self::Cancelled,
            Stop::Release => Self::Released,
        }
    }
}
