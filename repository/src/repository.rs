//! A repository: made, opened, asked.

use std::sync::Arc;

use crate::blob::ChunkerParameters;
use crate::check::{CheckOptions, CheckProgress, CheckReport};
use crate::environment::Environment;
use crate::error::{InitError, OpenError, ReadError, WriteError};
use crate::id::{RepositoryId, SnapshotId};
use crate::lease::Purpose;
use crate::reader::Reader;
use crate::secret::SecretBytes;
use crate::snapshot::SnapshotRecord;
use crate::store::Store;
use crate::writer::{Writer, WriterOptions};

/// An open repository; clones share it.
#[derive(Clone, Debug)]
pub struct Repository {}

/// What `init` did.
#[derive(Debug)]
pub struct InitReport {
    /// The repository, open.
    pub repository: Repository,
    /// False if there was one already, and the password opens it.
    pub created: bool,
    /// Whether the store refuses to overwrite: without that, prune needs the controller.
    pub conditional_create: bool,
}

/// The snapshots that readers accept.
#[derive(Debug, Default)]
pub struct Snapshots {
    /// Oldest first, by end time.
    pub readable: Vec<(SnapshotId, SnapshotRecord)>,
    /// Accepted by name, not readable: named beside, never hidden.
    pub unreadable: Vec<(SnapshotId, ReadError)>,
}

impl Repository {
    /// Makes a repository, or finds that there is one that the password opens.
    pub async fn init(_store: Arc<dyn Store>, _password: &SecretBytes, _environment: Environment) -> Result<InitReport, InitError> {
        unimplemented!()
    }

    /// Opens.
    pub async fn open(_store: Arc<dyn Store>, _password: &SecretBytes, _environment: Environment) -> Result<Self, OpenError> {
        unimplemented!()
    }

    /// Its id.
    pub fn id(&self) -> RepositoryId {
        unimplemented!()
    }

    /// How to cut.
    pub fn chunker(&self) -> ChunkerParameters {
        unimplemented!()
    }

    /// Everything that readers accept now.
    pub async fn snapshots(&self) -> Result<Snapshots, ReadError> {
        unimplemented!()
    }

    /// One accepted snapshot.
    pub async fn snapshot(&self, _id: &SnapshotId) -> Result<SnapshotRecord, ReadError> {
        unimplemented!()
    }

    /// Takes a lease to write under.
    pub async fn begin(&self, purpose: Purpose) -> Result<Writer, WriteError> {
        self.begin_with(purpose, WriterOptions::default()).await
    }

    /// Takes a lease to write under, with other bounds than the default.
    pub async fn begin_with(&self, _purpose: Purpose, _options: WriterOptions) -> Result<Writer, WriteError> {
        unimplemented!()
    }

    /// Takes a lease to read under.
    pub async fn reader(&self, _purpose: Purpose) -> Result<Reader, ReadError> {
        unimplemented!()
    }

    /// Looks for what is missing or wrong.
    pub async fn check(&self, _options: CheckOptions, _progress: &CheckProgress) -> Result<CheckReport, ReadError> {
        unimplemented!()
    }
}
