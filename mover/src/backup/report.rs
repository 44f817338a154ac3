//! What a backup did.

use holdfast_repository::{SnapshotId, Statistics};

/// How many paths a report names.
pub const NAMED_MAX: usize = 10;

/// A backup that was committed.
#[derive(Clone, Debug)]
pub struct BackupReport {
    /// Its snapshot.
    pub snapshot: SnapshotId,
    /// As in the request.
    pub sources: Vec<SourceReport>,
    /// Bytes given to the backend, packs and index.
    pub bytes_stored: u64,
    /// Entries that could not be read (wholly).
    pub unreadable_count: u64,
    /// The first of them, `path: reason`.
    pub unreadable_first: Vec<String>,
    /// Files that changed while they were read.
    pub changed_while_read_count: u64,
    /// The first of them.
    pub changed_first: Vec<String>,
    /// What is as it should be and worth saying: other mounts that were not entered, hard links that were kept apart.
    pub notes: Vec<String>,
    /// What it was compared with (the first source's).
    pub parent: Option<SnapshotId>,
    /// Why a parent that there was could not be used (wholly).
    pub parent_ignored: Option<String>,
}

/// One source of it.
#[derive(Clone, Debug)]
pub struct SourceReport {
    /// The path as its user knows it.
    pub path: Vec<u8>,
    /// Counts.
    pub statistics: Statistics,
    /// When its scan began and ended, milliseconds since 1970.
    pub started_unix_ms: i64,
    /// See `started_unix_ms`.
    pub ended_unix_ms: i64,
    /// What it was compared with.
    pub parent: Option<SnapshotId>,
}
