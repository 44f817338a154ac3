//! Where objects live: create-if-absent, read, list, delete. Names are paths below `holdfast/v1/`.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

mod address;
mod direct;
mod failure;
mod object;
mod patience;
mod probe;
mod ranges;

pub use address::{AddressError, S3Config, local, open_foreign_url, open_url, s3};
pub use object::ObjectStoreAdapter;
pub use patience::PatientConnector;
pub use probe::probe_conditional_create;

/// No object is larger; anything that is was not written by us and is not read into memory.
pub const OBJECT_BYTES_MAX: u64 = 64 << 20;

/// One listed object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectEntry {
    /// Its name below `holdfast/v1/`.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// Whatever keeps the objects. Every method may fail after it took effect: callers look before they try again.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Writes an object that must not exist yet, durably and whole or not at all. `AlreadyExists` may mean that an earlier
    /// try of the same call arrived: only the content tells.
    async fn create(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError>;
    /// A whole object of at most `OBJECT_BYTES_MAX`.
    async fn get(&self, name: &str) -> Result<Bytes, StoreError>;
    /// The bytes `range` of an object, all of them or an error.
    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError>;
    /// Its length.
    async fn head(&self, name: &str) -> Result<u64, StoreError>;
    /// Objects whose names begin with the folder `prefix` (no slash at its end), after the name `start_after`, in no promised order.
    fn list(&self, prefix: &str, start_after: Option<&str>) -> BoxStream<'_, Result<ObjectEntry, StoreError>>;
    /// Removes an object; it not being there is success.
    async fn delete(&self, name: &str) -> Result<(), StoreError>;
    /// Whether `create` is refused by the store itself when the object exists (otherwise it is looked for first, and a race remains).
    fn conditional(&self) -> bool;
    /// Records that the store does not refuse: found by the probe of `init`, kept in `config`.
    fn set_unconditional(&self) {}
    /// For people: URL or path, without credentials.
    fn location(&self) -> String;
}

/// What lies under a `StoreError`.
pub type Source = Arc<dyn std::error::Error + Send + Sync>;

/// Why the store did not do it, by what the caller can do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No such object.
    #[error("{object} does not exist")]
    NotFound {
        /// The object.
        object: String,
    },
    /// Create-if-absent found one.
    #[error("{object} exists already")]
    AlreadyExists {
        /// The object.
        object: String,
    },
    /// Credentials are missing, wrong, expired or too narrow.
    #[error("access to {object} was denied: {source}")]
    Denied {
        /// The object.
        object: String,
        /// The store's words.
        source: Source,
    },
    /// The store takes no writes.
    #[error("{object} could not be written, the store is read-only: {source}")]
    ReadOnly {
        /// The object.
        object: String,
        /// The store's words.
        source: Source,
    },
    /// No space or quota left.
    #[error("{object} could not be written, the store is full: {source}")]
    Full {
        /// The object.
        object: String,
        /// The store's words.
        source: Source,
    },
    /// The store does not know this kind of operation, such as a conditional create.
    #[error("{object}: the store cannot do this: {source}")]
    Unsupported {
        /// The object.
        object: String,
        /// The store's words.
        source: Source,
    },
    /// No answer, or no useful one, within the retries. The operation may have happened.
    #[error("{object}: the store could not be reached: {source}")]
    Unreachable {
        /// The object.
        object: String,
        /// The last failure.
        source: Source,
    },
    /// The answer contradicts itself: another length than asked for, an object above the limit.
    #[error("{object}: wrong answer from the store: {reason}")]
    Corrupt {
        /// The object.
        object: String,
        /// What is wrong.
        reason: String,
    },
}

impl StoreError {
    /// Which object it is about.
    pub fn object(&self) -> &str {
        match self {
            Self::NotFound { object }
            | Self::AlreadyExists { object }
            | Self::Denied { object, .. }
            | Self::ReadOnly { object, .. }
            | Self::Full { object, .. }
            | Self::Unsupported { object, .. }
            | Self::Unreachable { object, .. }
            | Self::Corrupt { object, .. } => object,
        }
    }

    /// The operation may have happened, and looking will tell.
    pub fn is_ambiguous(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Corrupt { .. })
    }

    /// The store can be read and will not take this write: a reader goes on without its lease.
    pub fn is_refused_write(&self) -> bool {
        matches!(self, Self::Denied { .. } | Self::ReadOnly { .. } | Self::Full { .. })
    }
}
