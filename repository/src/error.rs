//! Errors, by what the caller can do about them. Each names the object it is about.

use std::sync::Arc;

use crate::id::BlobId;
use crate::store::StoreError;

/// Why stored things could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// Nothing accepted has this name: forgotten, fenced, never committed, or never indexed.
    #[error("{what} is not in the repository")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// The object is there and its content is not what was written.
    #[error("{object} is damaged: {reason}")]
    Damaged {
        /// Name of the object inside the repository.
        object: String,
        /// What does not fit.
        reason: String,
    },
    /// A newer Holdfast wrote this.
    #[error("{object} needs {needs}; this is Holdfast {}", env!("CARGO_PKG_VERSION"))]
    TooNew {
        /// Name of the object inside the repository.
        object: String,
        /// What can read it, for people.
        needs: String,
    },
    /// The store would not give it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ReadError {
    pub(crate) fn damaged(object: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Damaged { object: object.into(), reason: reason.into() }
    }

    /// What it is about.
    pub(crate) fn object(&self) -> &str {
        match self {
            Self::NotFound { what } => what,
            Self::Damaged { object, .. } | Self::TooNew { object, .. } => object,
            Self::Store(error) => error.object(),
        }
    }

    /// The object is missing from the store or was never there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::Store(StoreError::NotFound { .. }))
    }

    /// Another attempt at once may find the same thing: the stored bytes are wrong or gone, the store itself answers.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. }) || self.is_not_found()
    }
}

/// Why a repository could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    /// No `config` there.
    #[error("{location} is not a Holdfast repository (it has no holdfast/v1/config)")]
    NotARepository {
        /// The URL or path that was tried.
        location: String,
    },
    /// None of the repository's keys opens with this password.
    #[error("the password opens none of the {keys} keys of {location}")]
    WrongPassword {
        /// The URL or path that was tried.
        location: String,
        /// How many keys were tried.
        keys: usize,
    },
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::Read(error.into())
    }
}

/// Why a repository could not be made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum InitError {
    /// There is one already, and the password does not open it.
    #[error("{location} is a repository already, and the password does not open it")]
    Exists {
        /// The URL or path that was tried.
        location: String,
    },
    /// A repository is there that this version cannot use.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why something could not be stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// Reading what the write depends on failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store refused a write. `StoreError` says whether it is full, read-only, out of reach.
    #[error("could not store {}: {source}", source.object())]
    Store {
        /// The store's answer.
        source: StoreError,
    },
    /// The repository uses a feature that this version must know before it may write.
    #[error("writing to this repository needs {needs}; this is Holdfast {}", env!("CARGO_PKG_VERSION"))]
    TooNew {
        /// What can write to it, for people.
        needs: String,
    },
    /// A blob above the format's limit.
    #[error("a blob of {bytes} bytes is above the limit of {limit_bytes}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// An upload of this writer failed before; nothing more is taken.
    #[error("an earlier upload failed: {cause}")]
    Stopped {
        /// That failure.
        cause: Arc<WriteError>,
    },
    /// Prunes kept publishing while the writer took its lease, more often than the limit.
    #[error("no lease could be taken: a prune published each time (tried {attempts} times)")]
    NoLease {
        /// How often.
        attempts: u32,
    },
    /// The writer was closed: committed or abandoned.
    #[error("the writer is closed")]
    Closed,
    /// zstd or the cipher refused, which neither does for well-formed calls.
    #[error("internal: {what}")]
    Internal {
        /// What refused.
        what: String,
    },
}

impl WriteError {
    /// The failure that stopped the writer, if this only says that it was stopped.
    pub fn cause(&self) -> &Self {
        match self {
            Self::Stopped { cause } => cause.cause(),
            error => error,
        }
    }
}

impl From<StoreError> for WriteError {
    fn from(source: StoreError) -> Self {
        Self::Store { source }
    }
}

/// Why a snapshot was not committed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// Blobs that the snapshot needs are not stored (any more). The writer lives on, under a new lease if it had been
    /// fenced; add these blobs again and call `commit` again.
    #[error("{} of the snapshot's blobs are no longer stored and must be sent again", missing.len())]
    Gone {
        /// At most `CommitError::GONE_MAX` of them; `more` says that there are others.
        missing: Vec<BlobId>,
        /// There are others.
        more: bool,
    },
    /// Fenced again and again, more often than the limit.
    #[error("the backup was fenced {times} times; its uploads stay for the next one")]
    Fenced {
        /// How often.
        times: u32,
    },
    /// The refs were not sorted, or named a blob twice.
    #[error("internal: the refs are not strictly sorted at {blob}")]
    Unsorted {
        /// The first out of order.
        blob: BlobId,
    },
    /// Writing failed.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl CommitError {
    /// How many missing blobs one error names.
    pub const GONE_MAX: usize = 65_536;
}

impl From<StoreError> for CommitError {
    fn from(source: StoreError) -> Self {
        Self::Write(source.into())
    }
}

impl From<ReadError> for CommitError {
    fn from(error: ReadError) -> Self {
        Self::Write(error.into())
    }
}
