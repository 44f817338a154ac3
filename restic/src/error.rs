//! Why a repository is not opened, by what the caller can do about it.

use holdfast_repository::ReadError;

/// Why a repository of restic's could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    /// No `config` there.
    #[error("{location} is no repository of restic's (it has no config)")]
    NotARepository {
        /// The URL or path that was tried.
        location: String,
    },
    /// None of its keys opens with this password.
    #[error("the password opens none of the {keys} keys of {location}")]
    WrongPassword {
        /// The URL or path that was tried.
        location: String,
        /// How many were tried.
        keys: usize,
    },
    /// A newer restic wrote it.
    #[error("{location} is a repository of version {version}; versions 1 and 2 can be read")]
    TooNew {
        /// The URL or path.
        location: String,
        /// What it says.
        version: u32,
    },
    /// Its index is more than the memory allowed holds.
    #[error("{location} lists more than the {blobs_max} blobs that {memory_bytes} bytes of memory hold; give it more memory")]
    TooLarge {
        /// The URL or path.
        location: String,
        /// How many would do.
        blobs_max: usize,
        /// Of how much.
        memory_bytes: usize,
    },
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
}

pub(crate) fn damaged(object: impl Into<String>, reason: impl Into<String>) -> ReadError {
    ReadError::Damaged { object: object.into(), reason: reason.into() }
}
