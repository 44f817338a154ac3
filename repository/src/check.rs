//! Check: is everything there that the repository's records say, and is it what was written?

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;

use crate::blobs::Bad;
use crate::error::ReadError;
use crate::id::SnapshotId;
use crate::reader::{self, Reader};

mod packs;
mod records;
mod snapshots;

/// How deep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckOptions {
    /// Read every pack's trailer and compare it with the index; open every small record.
    pub trailers: bool,
    /// Read and verify this share of the packs, in percent: 0 none, 100 every byte of each.
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
    /// Which snapshots need what is lost with it, as far as that could be found out.
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
    /// What is wrong, sorted by object; empty if all is well.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// Nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

/// What is wrong so far: problems by object, and the snapshots that suffer.
#[derive(Debug, Default)]
struct Findings(BTreeMap<String, (String, BTreeSet<SnapshotId>)>);

impl Findings {
    /// The first problem of an object is the one that is told.
    fn add(&mut self, object: impl Into<String>, problem: impl Into<String>) {
        self.0.entry(object.into()).or_insert_with(|| (problem.into(), BTreeSet::new()));
    }

    fn error(&mut self, name: &str, error: &ReadError) {
        match error {
            ReadError::Damaged { object, reason } => self.add(object, reason),
            error => self.add(name, error.to_string()),
        }
    }

    fn affects(&mut self, object: &str, problem: &str, snapshot: SnapshotId) {
        self.0.entry(object.to_owned()).or_insert_with(|| (problem.to_owned(), BTreeSet::new())).1.insert(snapshot);
    }

    fn into_report(self) -> Vec<Finding> {
        let finding = |(object, (problem, snapshots)): (String, (String, BTreeSet<_>))| Finding { object, problem, snapshots: snapshots.into_iter().collect() };
        self.0.into_iter().map(finding).collect()
    }
}

/// Damage becomes findings; only a store that does not answer is an error.
pub(crate) async fn run(reader: &Reader, options: CheckOptions, progress: &CheckProgress) -> Result<CheckReport, ReadError> {
    let view = reader.view();
    let mut findings = Findings::default();
    let mut bad = Bad::default();
    for (run, error) in &view.unreadable_runs {
        findings.error(&run.to_string(), error);
    }
    let mut report = CheckReport { packs: view.index.packs().count() as u64, blobs: view.index.blob_count(), ..CheckReport::default() };
    packs::check(reader, &view, options, progress, &mut findings, &mut bad).await?;
    if options.trailers || options.read_data_percent > 0 {
        records::check(reader.core(), &mut findings).await?;
    }
    report.snapshots = snapshots::check(reader, &view, &mut findings, &mut bad).await?;
    report.bytes_read = progress.bytes_read.load(std::sync::atomic::Ordering::Relaxed);
    if options.publish_bad && !bad.is_empty() {
        reader::publish_bad(reader.core(), &bad).await.map_err(reader::as_read_error)?;
    }
    report.findings = findings.into_report();
    Ok(report)
}
