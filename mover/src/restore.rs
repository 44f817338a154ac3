//! Repository to volume. A snapshot is read as a list of wishes from somebody who may be an enemy: nothing outside the target
//! is written, whatever the catalog says and whoever changes the target meanwhile.
//!
//! The catalog is read in windows of bounded size (`planner`, `window`). Of each window: directories and special files are
//! made; blobs of which the target has all are found there by their id and left alone (`content`, `standing`); what else the
//! files need is fetched, each range of a pack once, and written by a few threads (`worker`); then links; then the attributes of
//! those directories that are complete, deepest first. A window begins while the one before it ends.
//!
//! Run again after it was killed, a restore goes on: no name is used but the final ones, what is right already is not written
//! again, and the time of a file is set when all else of it is. What was called restored was synced before; what a crash of the machine
//! cut off was not, so that then only content tells, and no time (`Rules::trust_times`).

mod attributes;
mod content;
mod direct;
mod directory;
mod edges;
mod file;
mod flusher;
mod gate;
mod issue;
mod large;
mod place;
mod planner;
mod pool;
mod preview;
mod private_directory;
mod rules;
mod run;
mod selection;
pub mod source;
mod standing;
mod turns;
mod window;
mod worker;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use holdfast_repository::{BlobId, ReadError, Repository, SnapshotId};

pub use gate::Grant;
pub use issue::{ISSUES_NAMED_MAX, Issue, Observer, Severity};
pub use preview::{Action, Preview, PreviewRequest, preview};
pub use rules::{IdMap, IdMapError, Owners, Rules};
pub use source::Source;

use crate::pattern::PatternSet;
use crate::progress::Progress;
use crate::stop::{Stop, StopToken};

/// What is to be restored, where to, and how far that may go.
pub struct RestoreRequest {
    /// One for each of its sources that is wanted.
    pub targets: Vec<Target>,
    /// Only what these match; empty: everything.
    pub include: PatternSet,
    /// Nothing that these match.
    pub exclude: PatternSet,
    /// Asked before every batch of writes (1 MiB at most). Once false, nothing more is written.
    pub may_write: Grant,
    /// Device nodes, set-id bits of files, and file capabilities come back too.
    pub device_nodes: bool,
    /// Whose the entries become, and which extended attributes come back.
    pub rules: Rules,
    /// The restore ends well only when all is on the disk. Without, the system writes it when it sees fit.
    pub sync: bool,
    /// Memory and threads.
    pub limits: RestoreLimits,
    /// Hears of every issue; the report names only the first ones.
    pub observer: Option<Observer>,
}

/// A snapshot of ours, and for whom its lease is taken.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Who restores.
    pub host: String,
    /// The RestoreSession, or empty.
    pub session: String,
    /// The component, or empty.
    pub component: String,
}

/// One source of the snapshot, and the directory that becomes it.
#[derive(Debug)]
pub struct Target {
    /// The source's path as the snapshot has it.
    pub snapshot_path: Vec<u8>,
    /// The directory; `O_PATH` is enough. Nothing above it or beside it is ever touched.
    pub root: OwnedFd,
}

/// Bounds of one restore.
#[derive(Clone, Copy, Debug)]
pub struct RestoreLimits {
    /// What the process should take at most, in bytes.
    pub memory_bytes: usize,
    /// Threads that decode and write.
    pub threads: usize,
}

impl RestoreLimits {
    /// 100 MiB, and a thread for each processor, two at least (one may wait for the disk).
    pub fn standard() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self { memory_bytes: 100 << 20, threads: processors.clamp(2, 8) }
    }
}

/// What a restore did.
#[derive(Clone, Debug, Default)]
pub struct RestoreReport {
    /// One for each target, in the order of the request.
    pub targets: Vec<TargetReport>,
    /// Bytes fetched from the repository.
    pub bytes_read: u64,
    /// Bytes of content written: where something stood already, only what differed.
    pub bytes_written: u64,
    /// Entries and attributes that are not as they were and should be.
    pub failed: u64,
    /// What the target cannot hold, or was left out on purpose.
    pub warnings: u64,
    /// The first `ISSUES_NAMED_MAX` of both, failures first.
    pub issues: Vec<Issue>,
    /// Blobs that are missing or rotten.
    pub bad_blobs: Vec<BlobId>,
    /// Parts of the catalog that cannot be read: each is one of the failures, however many entries it had.
    pub lost_parts: u64,
    /// Index runs that cannot be read: what is missing may be listed there, and is found again by a repair.
    pub unreadable_runs: Vec<String>,
}

/// What was restored into one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetReport {
    /// The source's path in the snapshot.
    pub snapshot_path: Vec<u8>,
    /// Regular files, each counted once.
    pub files: u64,
    /// Directories, the root included.
    pub directories: u64,
    /// Symlinks, pipes, sockets, devices.
    pub others: u64,
    /// Further names of files and others.
    pub links: u64,
    /// Sum of the sizes of the files.
    pub bytes: u64,
    /// Those of the files that stood there as they should, and were left untouched.
    pub files_unchanged: u64,
    /// Entries that are not their recorded owner's, because the rules say so.
    pub owners_left: u64,
}

impl RestoreReport {
    /// Everything wanted is there as it was. If not, the restore has failed, whatever else it did.
    pub fn is_complete(&self) -> bool {
        self.failed == 0
    }
}

/// Why a restore ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The grant is over: another attempt may be writing.
    #[error("the grant to write has lapsed; nothing more was written")]
    GrantLapsed,
    /// Asked to stop.
    #[error("the restore was stopped ({0:?}); the target is incomplete")]
    Stopped(Stop),
    /// No space or quota left.
    #[error("the target is full ({reason}) at {path}; make room and restore again")]
    TargetFull {
        /// The entry that did not fit.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// The target takes no writes.
    #[error("the target is read-only (at {path})")]
    TargetReadOnly {
        /// The entry that was refused.
        path: String,
    },
    /// The target, or this process, cannot do it.
    #[error("the target failed: {reason}")]
    Target {
        /// What happened.
        reason: String,
    },
    /// The snapshot has no such source.
    #[error("the snapshot has no path {wanted:?}; it has {present}")]
    NoSuchSource {
        /// What was asked for.
        wanted: String,
        /// What there is.
        present: String,
    },
    /// Authentic, and yet not from an honest backup: nothing of it is believed any more.
    #[error("the catalog of {source_path} is refused at {path}: {reason}")]
    BadCatalog {
        /// The source.
        source_path: String,
        /// The entry.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The repository cannot be read.
    #[error(transparent)]
    Repository(#[from] ReadError),
}

/// Restores. Ends with every handle of the targets closed, and, if it ends well and the request says so, with the targets
/// synced to disk.
pub async fn run(
    repository: &Repository,
    stored: &Stored,
    request: RestoreRequest,
    progress: &Arc<Progress>,
    stop: &StopToken,
) -> Result<RestoreReport, RestoreError> {
    Box::pin(run::run(repository, stored, request, progress, stop)).await
}

/// The same from a snapshot that another tool has written.
pub async fn run_from(source: &dyn Source, request: RestoreRequest, progress: &Arc<Progress>, stop: &StopToken) -> Result<RestoreReport, RestoreError> {
    Box::pin(run::run_from(source, request, progress, stop)).await
}
