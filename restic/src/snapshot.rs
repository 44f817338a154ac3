//! Snapshots: what was backed up, when, of whom, and the tree that it begins with.

use holdfast_repository::{BlobId, ReadError};
use serde::Deserialize;

use crate::id::{BlobDigits, SnapshotId};

pub(crate) const RAW_BYTES_MAX: usize = 4 << 20;

/// A snapshot.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its id.
    pub id: SnapshotId,
    /// When it was taken, in Unix milliseconds.
    pub time_ms: i64,
    /// The machine's name.
    pub hostname: String,
    /// What was backed up, as it was named.
    pub paths: Vec<String>,
    /// Marks that people gave it.
    pub tags: Vec<String>,
    pub(crate) tree: BlobId,
    /// Regular files, and the sum of their sizes, where it says so; 0 where it does not.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// All snapshots of a repository, the oldest first.
#[derive(Debug, Default)]
pub struct Snapshots {
    /// Those that can be read.
    pub readable: Vec<Snapshot>,
    /// The others, by name.
    pub unreadable: Vec<(SnapshotId, ReadError)>,
}

#[derive(Deserialize)]
struct Stored {
    time: String,
    tree: BlobDigits,
    paths: Option<Vec<String>>,
    #[serde(default)]
    hostname: String,
    tags: Option<Vec<String>>,
    summary: Option<Summary>,
}

#[derive(Deserialize)]
struct Summary {
    #[serde(default)]
    total_files_processed: u64,
    #[serde(default)]
    total_bytes_processed: u64,
}

pub(crate) fn parse(id: SnapshotId, raw: &[u8]) -> Result<Snapshot, &'static str> {
    let stored: Stored = serde_json::from_slice(raw).map_err(|_| "it is no snapshot")?;
    let time: jiff::Timestamp = stored.time.parse().map_err(|_| "its time is none")?;
    let (files, bytes) = stored.summary.map_or((0, 0), |summary| (summary.total_files_processed, summary.total_bytes_processed));
    Ok(Snapshot {
        id,
        time_ms: time.as_millisecond(),
        hostname: stored.hostname,
        paths: stored.paths.unwrap_or_default(),
        tags: stored.tags.unwrap_or_default(),
        tree: stored.tree.0,
        files,
        bytes,
    })
}
