//! Check: is everything there that the repository's records say, and is it what was written?

use std::sync::atomic::AtomicU64;

use crate::id::SnapshotId;

/// How deep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckOptions {
    /// Read every pack's trailer and compare it with the index.
    pub trailers: bool,
    /// Read and verify this share of the packs, in percent: 0 none, 100 every blob's id.
    pub read_data_percent: u8,
    /// Publish what is found rotten or missing, so that the next backup that sees the data heals it.
    pub publish_bad: bool,
}

/// How far; readable from another thread.
#[derive(Debug, Default)]
pub struct CheckProgress {
    /// Packs looked at.
    pub packs_done: AtomicU64,
    /// Packs in all.
    pub packs_total: AtomicU64,
    /// Bytes read.
    pub bytes_read: AtomicU64,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Name of the object.
    pub object: String,
    /// What is wrong with it.
    pub problem: String,
    /// Which snapshots need it, as far as that could be found out.
    pub snapshots: Vec<SnapshotId>,
}

/// What was looked at and found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CheckReport {
    /// Accepted snapshots.
    pub snapshots: u64,
    /// Packs in the index.
    pub packs: u64,
    /// Blobs in the index.
    pub blobs: u64,
    /// Bytes read and verified.
    pub bytes_read: u64,
    /// What is wrong; empty if all is well.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// Nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

pub(crate) async fn run(_reader: &crate::reader::Reader, _options: CheckOptions, _progress: &CheckProgress) -> Result<CheckReport, crate::error::ReadError> {
    unimplemented!()
}
