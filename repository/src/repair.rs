//! Repair: the records are made right again from what is stored. Nothing is deleted.
//!
//! The newest state that cannot be read is followed by one made from the last that can (`rescue`); index runs that cannot be read are
//! replaced by runs made from the packs' own lists (`index`); what is missing or rotten is published as bad, so that the next backup
//! that sees the data stores it again; what was bad and is good again is published as that. All of it under a lease and by the
//! protocol of a writer, so that backups and prunes may run meanwhile.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::blob::PackName;
use crate::check::{self, CheckOptions, CheckProgress, CheckReport, Looked, content};
use crate::core::Core;
use crate::error::{ReadError, WriteError};
use crate::id::{LeaseId, SnapshotId};
use crate::index::RunName;
use crate::lease::{Activity, Purpose};
use crate::reader::Reader;
use crate::state::{self, State};
use crate::view::{self, View};

mod index;
mod rescue;

pub(crate) use rescue::rescue;

/// How often prunes may pass the lease's number before repair gives up.
const RACES_MAX: u32 = 8;

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepairOptions {
    /// Only say what would be done.
    pub dry_run: bool,
    /// How deep to look first.
    pub look: CheckOptions,
    /// Forget the snapshots whose own object is lost: what only they needed is freed by a prune.
    pub forget_unreadable: bool,
    /// Who repairs, for the lease.
    pub host: String,
}

/// What was done, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepairReport {
    /// The states that could not be read, and the one published after them.
    pub rescued: Option<Rescued>,
    /// Index runs that cannot be read and are not used any more.
    pub runs_replaced: Vec<String>,
    /// Packs that no readable run listed, or not all of, and that the new runs list.
    pub packs_indexed: u64,
    /// Blobs in them that no readable run listed.
    pub blobs_indexed: u64,
    /// Packs that no readable run lists and that do not say what they hold either, with the reason.
    pub packs_unreadable: Vec<(String, String)>,
    /// Packs that are missing or rotten, as a whole or in part: writers store again what was in them.
    pub marked_bad: Vec<String>,
    /// Packs that were bad and are as they should be.
    pub good_again: Vec<String>,
    /// Snapshots whose own object is lost and that are forgotten now.
    pub forgotten: Vec<SnapshotId>,
    /// Such snapshots that are left.
    pub unreadable: Vec<SnapshotId>,
    /// What is wrong after it (before it, if nothing was to be done).
    pub left: CheckReport,
}

impl RepairReport {
    /// Whether anything was done, or would be.
    pub fn is_idle(&self) -> bool {
        let Self { rescued, runs_replaced, packs_indexed, marked_bad, good_again, forgotten, .. } = self;
        rescued.is_none() && runs_replaced.is_empty() && *packs_indexed == 0 && marked_bad.is_empty() && good_again.is_empty() && forgotten.is_empty()
    }
}

/// A state made in place of those that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rescued {
    /// Those, the newest first; at most sixteen.
    pub lost: Vec<String>,
    /// The one before them that it was made from.
    pub from: Option<String>,
    /// The one that was published.
    pub published: String,
    /// More than one was lost, so that every pack is condemned: backups send everything again until a prune takes back what is used.
    pub condemns_all: bool,
}

/// Everything that one publish is to say.
struct Findings {
    replaced: Vec<RunName>,
    runs: Vec<(RunName, u64)>,
    commits: Vec<(LeaseId, Vec<(RunName, u64)>)>,
    bad: crate::blobs::Bad,
    good_again: BTreeSet<PackName>,
    forget: Vec<SnapshotId>,
}

/// None if it was stopped; its lease is ended either way.
pub(crate) async fn run(
    core: &Arc<Core>,
    options: &RepairOptions,
    progress: &CheckProgress,
    stopped: impl Future<Output = ()>,
) -> Result<Option<RepairReport>, WriteError> {
    let mut stopped = std::pin::pin!(stopped);
    if let Some(needs) = core.config.features.missing_to_write() {
        return Err(WriteError::TooNew { needs });
    }
    let mut report = RepairReport { rescued: rescue(core, options.dry_run).await?, ..RepairReport::default() };
    for _ in 0..RACES_MAX {
        let reader = Reader::begin(Arc::clone(core), purpose(options)).await?;
        let done = tokio::select! {
            biased;
            () = &mut stopped => None,
            done = attempt(&reader, options, progress, &mut report) => Some(done),
        };
        // What it found bad is published with the rest, or not at all.
        reader.end().await?;
        let Some(done) = done else { return Ok(None) };
        if done? {
            if !options.dry_run && !report.is_idle() {
                report.left = look_again(core, options).await?;
            }
            return Ok(Some(report));
        }
    }
    Err(WriteError::NoLease { attempts: RACES_MAX })
}

fn purpose(options: &RepairOptions) -> Purpose {
    Purpose { session: "repair".to_owned(), ..Purpose::new(Activity::Check, options.host.clone()) }
}

/// Shallow: what was found deeper is in the state by now.
async fn look_again(core: &Arc<Core>, options: &RepairOptions) -> Result<CheckReport, WriteError> {
    let reader = Reader::begin(Arc::clone(core), purpose(options)).await?;
    let state = State::clone(&reader.view().state);
    let looked = check::look(&reader, CheckOptions::default(), &CheckProgress::default()).await;
    reader.end().await?;
    Ok(looked?.into_report(&state))
}

/// False if a prune has given this lease up meanwhile: then everything must be looked at again under a new one.
async fn attempt(reader: &Reader, options: &RepairOptions, progress: &CheckProgress, report: &mut RepairReport) -> Result<bool, WriteError> {
    let view = reader.view();
    let looked = check::look(reader, options.look, progress).await?;
    let replaced = still_unreadable(reader.core(), &view).await?;
    let is_incomplete = !replaced.is_empty() || looked.findings.names("index");
    let rebuilt = if is_incomplete { index::rebuild(reader, &view, options.dry_run).await? } else { index::Rebuilt::default() };
    let good_again = good_again(reader, &view, &looked).await?;
    let (forget, unreadable) = unreadable(&looked, options.forget_unreadable);

    report.runs_replaced = replaced.iter().map(ToString::to_string).collect();
    report.packs_indexed = rebuilt.packs;
    report.blobs_indexed = rebuilt.blobs;
    report.packs_unreadable = rebuilt.unreadable;
    report.marked_bad = newly_bad(&looked, &view.state);
    report.good_again = good_again.iter().map(ToString::to_string).collect();
    report.forgotten.clone_from(&forget);
    report.unreadable = unreadable;
    let bad = looked.findings.bad.clone();
    let mut known = State::clone(&view.state);
    bad.add_to(&mut known);
    report.left = looked.into_report(&known);
    if options.dry_run {
        return Ok(true);
    }
    let commits = commits(reader.core(), &view, &replaced).await?;
    publish(reader, Findings { replaced, runs: rebuilt.runs, commits, bad, good_again, forget }).await
}

/// One failed read may be the way's fault: a run is given up after two.
async fn still_unreadable(core: &Core, view: &View) -> Result<Vec<RunName>, ReadError> {
    let mut lost = Vec::new();
    for (run, error) in &view.unreadable_runs {
        // One that a newer version wrote is not lost.
        if !error.is_damage() {
            continue;
        }
        match view::read_run(core, run).await {
            Err(error) if error.is_damage() => lost.push(*run),
            Err(error @ ReadError::Store(_)) => return Err(error),
            _ => {}
        }
    }
    Ok(lost)
}

/// Packs that an earlier check found bad, and that every byte of is right: somebody brought them back.
async fn good_again(reader: &Reader, view: &View, looked: &Looked) -> Result<BTreeSet<PackName>, ReadError> {
    let state = &view.state;
    let suspects: BTreeSet<PackName> = state.bad_packs.iter().copied().chain(state.bad_blobs.iter().map(|(_, pack)| *pack)).collect();
    let now = &looked.findings.bad;
    let mut good = BTreeSet::new();
    for pack in suspects.iter().filter(|pack| !now.packs.contains(pack) && !now.blobs.iter().any(|(_, bad)| bad == *pack)) {
        if let Some(info) = view.index.pack(pack)
            && content::is_whole(reader, *info).await?
        {
            good.insert(*pack);
        }
    }
    Ok(good)
}

/// To forget, and to leave. What a newer version wrote is not lost.
fn unreadable(looked: &Looked, forget: bool) -> (Vec<SnapshotId>, Vec<SnapshotId>) {
    let (lost, newer): (Vec<_>, Vec<_>) = looked.unreadable.iter().partition(|(_, error)| error.is_damage());
    let ids = |snapshots: Vec<&(SnapshotId, ReadError)>| snapshots.into_iter().map(|(id, _)| *id).collect::<Vec<_>>();
    if forget { (ids(lost), ids(newer)) } else { (Vec::new(), looked.unreadable.iter().map(|(id, _)| *id).collect()) }
}

fn newly_bad(looked: &Looked, state: &State) -> Vec<String> {
    let bad = &looked.findings.bad;
    let packs = bad.packs.difference(&state.bad_packs).copied();
    let of_blobs = bad.blobs.difference(&state.bad_blobs).map(|(_, pack)| *pack);
    packs.chain(of_blobs).collect::<BTreeSet<_>>().iter().map(ToString::to_string).collect()
}

/// Commits that no state lists, with the runs of theirs that can be read: the lost ones are replaced. Listed, they cannot make readers
/// look for those runs again.
async fn commits(core: &Core, view: &View, replaced: &[RunName]) -> Result<Vec<(LeaseId, Vec<(RunName, u64)>)>, ReadError> {
    let mut commits: Vec<_> = view.adopted.iter().map(|(commit, runs)| (*commit, runs.clone())).collect();
    for (commit, record) in view.unlisted.iter().filter(|(commit, _)| !view.adopted.contains_key(commit)) {
        let unreadable = |run: &RunName| view.unreadable_runs.iter().any(|(name, _)| name == run);
        if record.runs.iter().any(|run| unreadable(run) && !replaced.contains(run)) {
            continue;
        }
        let mut runs = Vec::new();
        for run in record.runs.iter().filter(|run| !unreadable(run)) {
            runs.push((*run, core.store.head(&run.to_string()).await?));
        }
        commits.push((*commit, runs));
    }
    Ok(commits)
}

async fn publish(reader: &Reader, findings: Findings) -> Result<bool, WriteError> {
    let Some(lease) = reader.lease() else {
        if let Some(needs) = reader.core().missing_to_write(&reader.view().state) {
            return Err(WriteError::TooNew { needs });
        }
        return Err(ReadError::damaged("state", "no lease could be taken, so nothing can be published").into());
    };
    let given_up = AtomicBool::new(false);
    state::publish(reader.core(), |current| {
        // The floor has passed this lease: what a prune condemned since may be gone, and the new runs may list it.
        given_up.store(current.floor > lease.state, Ordering::Relaxed);
        if current.floor > lease.state {
            return None;
        }
        let next = findings.change(current);
        (next != *current).then_some(next)
    })
    .await?;
    Ok(!given_up.load(Ordering::Relaxed))
}

impl Findings {
    fn change(&self, current: &State) -> State {
        let mut next = current.clone();
        for run in &self.replaced {
            next.runs.remove(run);
        }
        next.runs.extend(self.runs.iter().copied());
        for (commit, runs) in &self.commits {
            next.list(commit, runs);
        }
        self.bad.add_to(&mut next);
        next.bad_packs.retain(|pack| !self.good_again.contains(pack));
        next.bad_blobs.retain(|(_, pack)| !self.good_again.contains(pack));
        for id in self.forget.iter().filter(|id| current.accepts(id)) {
            next.forget(id);
        }
        next
    }
}

#[cfg(test)]
mod tests;
