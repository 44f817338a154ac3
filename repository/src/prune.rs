//! Prune: packs that nothing uses are condemned, waited for, looked at again, doomed, and deleted.
//!
//! The order is the safety; `docs/format.md` §12 has it. It fails closed: what cannot be read in full stops it before anything is
//! published. Dying at any point harms nothing, and the next prune goes on from what the newest state says. Two at once are safe.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::blob::PackName;
use crate::core::Core;
use crate::error::{ReadError, WriteError};
use crate::id::{BlobId, LeaseId};
use crate::lease::{Activity, Purpose};
use crate::lock::locked;
use crate::mutation::left_out;
use crate::spill::SpillError;
use crate::state::{self, State};
use crate::store::StoreError;

mod doom;
mod inventory;
mod look;
mod mark;
mod opened;
mod rewrite;
mod runs;
mod sweep;
mod used;
mod wait;

use inventory::Inventory;
use look::Look;
use opened::Opened;
use wait::Watch;

/// How often other prunes may publish in between before this one gives up: they do the same work.
const RACES_MAX: u32 = 16;

/// What a prune may do.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// Condemn what one mark finds unused, not only what two did: an interrupted backup then sends again what it had sent. Shortens
    /// no wait for a lease.
    pub now: bool,
    /// Do not wait for leases: what they may use stays for the next prune.
    pub no_wait: bool,
    /// Only look.
    pub dry_run: bool,
    /// Whoever calls knows that nobody else writes: needed where the store cannot refuse to overwrite.
    pub writers_held: bool,
    /// A lease without a new heartbeat for so long, watched by this prune, is fenced.
    pub fence_time: Duration,
    /// Bytes that may be copied out of packs of which little is used. The rest of those stays for the next prune.
    pub repack_bytes_max: u64,
    /// What sorting may hold in memory, where the index is on disk.
    pub memory_bytes: usize,
    /// Who prunes, for the tombstones.
    pub host: String,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self {
            now: false,
            no_wait: false,
            dry_run: false,
            writers_held: false,
            fence_time: Duration::from_secs(600),
            repack_bytes_max: u64::MAX,
            memory_bytes: 16 << 20,
            host: String::new(),
        }
    }
}

/// How far; readable from another thread.
#[derive(Debug, Default)]
pub struct PruneProgress {
    /// Snapshots marked so far.
    pub snapshots_marked: AtomicU64,
    /// Objects to delete, as far as it is known.
    pub objects_due: AtomicU64,
    /// Objects deleted.
    pub objects_deleted: AtomicU64,
    waiting_for: Mutex<Vec<WaitingFor>>,
}

impl PruneProgress {
    /// The leases that it waits for at this moment.
    pub fn waiting_for(&self) -> Vec<WaitingFor> {
        locked(&self.waiting_for).clone()
    }
}

/// A lease that holds a prune up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingFor {
    /// The lease.
    pub lease: LeaseId,
    /// What it is for, as far as that can be read.
    pub purpose: Option<Purpose>,
    /// How long this prune has seen no new heartbeat of it.
    pub silent: Duration,
}

impl std::fmt::Display for WaitingFor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(purpose) = &self.purpose else { return write!(f, "a lease that cannot be read ({})", self.lease.short()) };
        let what = match purpose.activity {
            Activity::Backup => "a backup",
            Activity::Restore => "a restore",
            Activity::Check => "a check",
            Activity::Mount => "a mount",
            Activity::Browse => "a listing",
            Activity::Prune => "a prune",
        };
        write!(f, "{what} on {} ({})", purpose.host, self.lease.short())
    }
}

/// What a prune did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PruneReport {
    /// Snapshots whose blobs were marked.
    pub snapshots: u64,
    /// Packs that were there at the beginning, and their bytes.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Packs that this mark found unused for the first time: the next one may condemn them.
    pub packs_unused: u64,
    /// Their bytes.
    pub bytes_unused: u64,
    /// Packs that were condemned.
    pub packs_condemned: u64,
    /// Packs of which little was used, that were copied to new ones; with `dry_run`, that would be.
    pub packs_rewritten: u64,
    /// Bytes copied; with `dry_run`, to copy.
    pub bytes_rewritten: u64,
    /// Objects that the store did not let go: a lock, or keys without that right. They stay due.
    pub deletions_refused: u64,
    /// What it said to the first of them.
    pub refusal: Option<String>,
    /// Index runs that were put together with others.
    pub runs_merged: u64,
    /// Condemned packs that a later snapshot uses.
    pub packs_taken_back: u64,
    /// Packs that were doomed.
    pub packs_doomed: u64,
    /// Packs that snapshots need and that are missing, cut or known to be rotten: no better copy of something in them is left.
    pub packs_damaged: u64,
    /// Packs deleted.
    pub packs_deleted: u64,
    /// Their bytes.
    pub bytes_deleted: u64,
    /// Old leases, endings, index runs and states deleted.
    pub objects_deleted: u64,
    /// Packs condemned and not doomed yet: they stay until the leases that may use them have ended.
    pub packs_waiting: u64,
    /// Leases that were fenced.
    pub fenced: Vec<LeaseId>,
    /// With `no_wait`: the leases that the rest waits for.
    pub waiting_for: Vec<WaitingFor>,
}

/// Why a prune stopped. What it had published until then stands, and harms nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PruneError {
    /// Something that tells what is used cannot be read: nothing is deleted on a guess.
    #[error("nothing is pruned while this cannot be read: {0}")]
    Unreadable(ReadError),
    /// A snapshot needs a blob that no index run lists: the index is incomplete, so what looks unused may not be.
    #[error("nothing is pruned: a snapshot needs blob {blob}, and no index run lists it")]
    Unlisted {
        /// The blob.
        blob: BlobId,
    },
    /// The store cannot refuse to overwrite, so a fence could lose against a commit and nobody would know.
    #[error("this store cannot refuse to overwrite an object, so a prune is safe only while nobody else writes")]
    WritersNotHeld,
    /// Others kept publishing.
    #[error("{RACES_MAX} times another prune published in between; it does the same work")]
    Races,
    /// It was asked to stop.
    #[error("stopped")]
    Stopped,
    /// Reading failed.
    #[error(transparent)]
    Read(ReadError),
    /// Writing failed.
    #[error(transparent)]
    Write(WriteError),
    /// Sorting failed.
    #[error(transparent)]
    Spill(#[from] SpillError),
}

impl From<ReadError> for PruneError {
    fn from(error: ReadError) -> Self {
        if error.is_damage() || matches!(error, ReadError::TooNew { .. }) { Self::Unreadable(error) } else { Self::Read(error) }
    }
}

impl From<StoreError> for PruneError {
    fn from(error: StoreError) -> Self {
        Self::Read(error.into())
    }
}

impl From<WriteError> for PruneError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Read(error) => error.into(),
            error => Self::Write(error),
        }
    }
}

/// One prune at work.
struct Prune<'p> {
    core: &'p Arc<Core>,
    options: &'p PruneOptions,
    progress: &'p PruneProgress,
    report: PruneReport,
    inventory: Inventory,
    /// Packs that the store did not let go: asked for once in one prune.
    refused: BTreeSet<PackName>,
}

pub(crate) async fn run(core: &Arc<Core>, options: &PruneOptions, progress: &PruneProgress) -> Result<PruneReport, PruneError> {
    let (mut prune, begun) = Prune::begin(core, options, progress).await?;
    let (mut look, goal) = prune.condemn(&begun).await?;
    if !options.dry_run {
        if let Some(goal) = goal {
            prune.reclaim(&mut look, goal).await?;
        }
        prune.sweep(&look).await?;
    }
    Ok(prune.report)
}

impl<'p> Prune<'p> {
    /// Looks which packs there are, and deletes what a prune that died left doomed.
    async fn begin(core: &'p Arc<Core>, options: &'p PruneOptions, progress: &'p PruneProgress) -> Result<(Self, State), PruneError> {
        if let Some(needs) = core.config.features.missing_to_write() {
            return Err(PruneError::Write(WriteError::TooNew { needs }));
        }
        if !core.config.conditional_create && !options.writers_held && !options.dry_run {
            return Err(PruneError::WritersNotHeld);
        }
        // First what the leases name: a state that was there then must be there now, or what it said is lost.
        let named = state::named_by_leases(core).await?;
        // Before anything else is listed: what an earlier mark found unused is that only if it was published before this prune began.
        let begun = state::newest(core).await?;
        if let Some(lost) = named.filter(|named| *named > begun.number) {
            let reason = format!("it is missing: work was begun under it, and the newest state left is {}", begun.number);
            return Err(PruneError::Unreadable(ReadError::damaged(state::object_name(lost), reason)));
        }
        if begun.number == 0 && !options.dry_run {
            state::ensure_first(core).await?;
        }
        let inventory = Inventory::list(core).await?;
        let mut prune = Self { core, options, progress, report: PruneReport::default(), inventory, refused: BTreeSet::new() };
        prune.report.packs = prune.inventory.packs().count() as u64;
        prune.report.pack_bytes = prune.inventory.packs().map(|(_, bytes)| bytes).sum();
        if !options.dry_run {
            prune.delete_doomed(&begun).await?;
        }
        Ok((prune, begun))
    }

    /// Step 2: publishes what this mark found. Then: what it saw, and up to which state leases must have ended before all that is
    /// condemned can go; none if nothing is.
    async fn condemn(&mut self, begun: &State) -> Result<(Look, Option<u64>), PruneError> {
        for race in 0..RACES_MAX {
            let mut look = Look::take(self.core, &Opened::new(), &mut self.inventory, self.options.memory_bytes, self.progress).await?;
            let Marks { unused, condemned } = self.marks(&look, begun);
            self.count(&look, &unused, &condemned);
            // What was copied and then lost the race is not copied again: the next prune finds more time.
            let partly = if race == 0 { self.worth_rewriting(&look) } else { BTreeMap::new() };
            if self.options.dry_run {
                self.report.packs_rewritten = partly.len() as u64;
                self.report.bytes_rewritten = partly.values().map(|used| used.live_bytes).sum();
                return Ok((look, None));
            }
            let rewritten = self.rewrite(&mut look, &partly).await?;
            let is_known = unused == look.state.unused && condemned.is_empty() && rewritten.from.is_empty() && rewritten.bad.is_subset(&look.state.bad_blobs);
            let wanted = !is_known || self.is_worth_raising_the_floor(&look.state);
            if !wanted {
                let goal = look.state.condemned.values().copied().max();
                return Ok((look, goal));
            }
            let moved = AtomicBool::new(false);
            let published = state::publish_after(self.core, look.state.clone(), |current| {
                // Commits and forgets may come in between: what is condemned is looked at again in any case.
                if !look.holds_for(current) {
                    moved.store(true, Ordering::Relaxed);
                    return None;
                }
                let mut next = current.clone();
                next.prune_epoch += u64::from(!left_out!(Epoch));
                next.unused.clone_from(&unused);
                next.condemned.extend(condemned.keys().chain(&rewritten.from).map(|pack| (*pack, current.number + 1)));
                next.runs.extend(rewritten.runs.iter().map(|run| (run.name, run.object_bytes)));
                next.bad_blobs.extend(&rewritten.bad);
                Some(next)
            })
            .await?;
            if !moved.load(Ordering::Relaxed) {
                let goal = published.number;
                look.state = published;
                self.moved(&mut look, rewritten);
                return Ok((look, Some(goal)));
            }
        }
        Err(PruneError::Races)
    }

    /// Steps 3 to 5: up to `goal`, or without waiting as far as leases have ended.
    async fn reclaim(&mut self, look: &mut Look, goal: u64) -> Result<(), PruneError> {
        let mut watch = Watch::default();
        let mut covered = self.covered(goal, look.state.floor, &mut watch).await?;
        if covered < goal {
            // What no living lease can use need not wait for any.
            self.doom(look, covered, goal, &mut watch).await?;
        }
        // A higher floor alone is not worth a wait.
        let is_worth_waiting = !self.options.no_wait && !look.state.condemned.is_empty();
        while covered < goal && is_worth_waiting {
            self.pause(&mut watch).await;
            covered = self.covered(goal, look.state.floor, &mut watch).await?;
        }
        if covered == goal {
            self.doom(look, goal, goal, &mut watch).await?;
        }
        locked(&self.progress.waiting_for).clear();
        if !look.state.condemned.is_empty() {
            self.report.waiting_for = watch.waiting_for();
        }
        Ok(())
    }

    /// Step 6.
    async fn sweep(&mut self, look: &Look) -> Result<(), PruneError> {
        let newest = state::newest(self.core).await?;
        self.delete_doomed(&newest).await?;
        self.delete_old(&newest).await?;
        self.report.packs_waiting = newest.condemned.len() as u64;
        look.sweep_cache(self.core, &newest);
        Ok(())
    }

    /// Two marks condemn; `now`, one.
    fn marks(&self, look: &Look, begun: &State) -> Marks {
        let mut marks = Marks::default();
        for (pack, bytes) in look.unneeded(&self.inventory) {
            if look.state.condemned.contains_key(&pack) || look.state.doomed.contains(&pack) {
                continue;
            }
            if self.options.now || begun.unused.contains_key(&pack) {
                marks.condemned.insert(pack, bytes);
            } else {
                marks.unused.insert(pack, look.state.unused.get(&pack).copied().unwrap_or(look.state.number));
            }
        }
        marks
    }

    fn count(&mut self, look: &Look, unused: &BTreeMap<PackName, u64>, condemned: &BTreeMap<PackName, u64>) {
        self.report.snapshots = look.snapshots;
        self.report.packs_unused = unused.len() as u64;
        self.report.bytes_unused = unused.keys().map(|pack| self.inventory.bytes(pack)).sum();
        self.report.packs_condemned = condemned.len() as u64;
        self.report.packs_damaged = look.packs.values().filter(|pack| pack.is_rotten).count() as u64;
    }
}

#[derive(Debug, Default)]
struct Marks {
    /// With the state that was seen.
    unused: BTreeMap<PackName, u64>,
    /// With their bytes.
    condemned: BTreeMap<PackName, u64>,
}

impl PruneProgress {
    fn deleted(&self) {
        self.objects_deleted.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
