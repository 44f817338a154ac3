//! Check: is everything there that the repository's records say, and is it what was written?

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::ReadError;
use crate::id::{BlobId, PackId, SnapshotId};
use crate::reader::{self, Reader};
use crate::state::State;

pub(crate) mod content;
mod findings;
pub(crate) mod packs;
mod records;
pub(crate) mod snapshots;
pub(crate) mod trailers;

pub(crate) use findings::{Findings, reason};

/// How deep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CheckOptions {
    /// Read every pack's trailer and compare it with the index; open every small record.
    pub trailers: bool,
    /// Read and verify this share of the packs, in percent: 0 none, 100 every byte of each. A share is another one each time.
    pub read_data_percent: u8,
    /// Read and verify the next part of all packs instead, so that in time each of them is.
    pub next_part: Option<NextPart>,
    /// Publish what is found rotten or missing, so that the next backup that sees the data heals it.
    pub publish_bad: bool,
}

/// A part of the packs, in the order of their ids, behind the part before. Ids are random: a round meets all packs that are there while it
/// lasts, wherever newer ones come to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextPart {
    /// Where the part before ended; none to begin a round.
    pub after: Option<PackId>,
    /// In how many parts a round is read, by their bytes. One has at least one pack.
    pub parts: u32,
}

impl CheckOptions {
    fn reads_data(&self) -> bool {
        self.read_data_percent > 0 || self.next_part.is_some()
    }
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
    /// Name of the object; `index` for what no readable run lists.
    pub object: String,
    /// What is wrong with it.
    pub problem: String,
    /// How many blobs that snapshots need are lost with it.
    pub lost_blobs: u64,
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
    /// Bytes of all packs that are there.
    pub pack_bytes: u64,
    /// Where the next part begins; none if this was the last one of its round.
    pub read_until: Option<PackId>,
    /// What is wrong, sorted by object; empty if all is well.
    pub findings: Vec<Finding>,
    /// Objects that are damaged and that nothing depends on: old records, packs known to be bad whose blobs are stored elsewhere.
    pub leftovers: Vec<Finding>,
    /// Blobs that snapshots need and of which no good copy is left; not all of them if `lost_more`.
    pub lost: BTreeSet<BlobId>,
    /// More are lost than `lost` has.
    pub lost_more: bool,
}

impl CheckReport {
    /// Nothing is wrong that matters.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// The snapshots that something is lost of.
    pub fn affected(&self) -> BTreeSet<SnapshotId> {
        self.findings.iter().flat_map(|finding| finding.snapshots.iter().copied()).collect()
    }
}

/// Damage becomes findings; only a store that does not answer is an error.
pub(crate) async fn run(reader: &Reader, options: CheckOptions, progress: &CheckProgress) -> Result<CheckReport, ReadError> {
    let looked = look(reader, options, progress).await?;
    let mut known = State::clone(&reader.view().state);
    let bad = &looked.findings.bad;
    // Without a lease the store takes no writes, or none of this version.
    if options.publish_bad && !bad.is_empty() && reader.lease().is_some() {
        reader::publish_bad(reader.core(), bad).await.map_err(reader::as_read_error)?;
        bad.add_to(&mut known);
    }
    Ok(looked.into_report(&known))
}

/// What one look found.
pub(crate) struct Looked {
    /// Without the findings.
    pub(crate) report: CheckReport,
    pub(crate) findings: Findings,
    /// Accepted by name, and cannot be read.
    pub(crate) unreadable: Vec<(SnapshotId, ReadError)>,
}

impl Looked {
    /// Under a state that says of every bad copy found that it is bad.
    pub(crate) fn into_report(self, known: &State) -> CheckReport {
        let Self { mut report, findings, .. } = self;
        report.lost.clone_from(&findings.lost);
        report.lost_more = findings.lost_more;
        (report.findings, report.leftovers) = findings.into_findings(known);
        report
    }
}

/// Publishes nothing.
pub(crate) async fn look(reader: &Reader, options: CheckOptions, progress: &CheckProgress) -> Result<Looked, ReadError> {
    let view = reader.view();
    let mut findings = Findings::default();
    if let Some(error) = reader.state_damage() {
        let problem = format!("{}; it is the newest, and state {} was used instead", reason(error), view.state.number);
        findings.damaged(error.object(), problem);
    }
    for (run, error) in &view.unreadable_runs {
        findings.damaged(&run.to_string(), reason(error));
    }
    let mut report = CheckReport { packs: view.index.packs().count() as u64, blobs: view.index.blob_count(), ..CheckReport::default() };
    // Part by part every day: not every small record each time, too. Those that matter are read with the view.
    let deep = options.trailers || options.read_data_percent > 0;
    let (present, snapshots, records) =
        futures::try_join!(packs::lengths(reader.core()), snapshots::all(reader, &view), records::look(reader.core(), &view, deep))?;
    records.into_iter().for_each(|record| record.report(&view, &mut findings));
    (report.pack_bytes, report.read_until) = packs::check(reader, &view, present, options, progress, &mut findings).await?;
    view.index.intact()?;
    // What a prune took away since the view was made is not missing: what needs it is stored elsewhere by now, or was forgotten.
    let (view, snapshots) = if !findings.bad.packs.is_empty() {
        let view = reader.refresh().await?;
        findings.without_packs(|pack| view.index.pack(pack).is_none());
        let snapshots = snapshots::all(reader, &view).await?;
        (view, snapshots)
    } else {
        (view, snapshots)
    };
    report.snapshots = (snapshots.readable.len() + snapshots.unreadable.len()) as u64;
    snapshots::check(reader, &view, &snapshots, &mut findings).await?;
    view.index.intact()?;
    // What was missing may have had the reader look again.
    reader.view().index.intact()?;
    report.bytes_read = progress.bytes_read.load(Ordering::Relaxed);
    Ok(Looked { report, findings, unreadable: snapshots.unreadable })
}

#[cfg(test)]
mod tests;
