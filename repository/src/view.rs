//! What one newest state makes visible: the index of its runs, and of accepted commits that it does not list yet.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures::stream::{self, StreamExt};

use crate::blob::{PackClass, PackName};
use crate::cache::{Cache, CacheClass, CacheName};
use crate::core::Core;
use crate::error::ReadError;
use crate::id::LeaseId;
use crate::index::{Index, IndexBuilder, Run, RunName};
use crate::mutation::left_out;
use crate::sealed::ObjectKind;
use crate::snapshot::{SnapshotRecord, listing};
use crate::spill::{Spill, SpillError};
use crate::state::State;
use crate::store::StoreError;

/// Runs read at once: each may be some megabytes.
const RUNS_AT_ONCE: usize = 8;

#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) state: State,
    pub(crate) index: Index,
    /// Every lease with an object in `snapshots/` that the state accepts, or that it lists; commits and endings.
    pub(crate) candidates: Vec<LeaseId>,
    /// Commits that the state does not list, with their runs and these objects' lengths: the next publish takes them over.
    pub(crate) adopted: BTreeMap<LeaseId, Vec<(RunName, u64)>>,
    /// Runs whose blobs are unknown because they cannot be read: a backup sends those blobs again, a check names them.
    pub(crate) unreadable_runs: Vec<(RunName, ReadError)>,
    /// Commits that the state does not list, oldest first.
    pub(crate) unlisted: Vec<(LeaseId, SnapshotRecord)>,
    /// Unlisted commits that cannot be read: as above.
    pub(crate) unreadable_snapshots: Vec<(LeaseId, ReadError)>,
    /// For a writer: runs of leases that have not committed, not yet below the floor, with these objects' lengths. What an
    /// interrupted backup uploaded is used from there; the snapshot that uses it names the run, and so adopts it.
    pub(crate) resumed: BTreeMap<RunName, u64>,
    /// The packs of such runs, each with all of them that list it, whoever else does: none of them need list all of it.
    pub(crate) resumed_packs: HashMap<PackName, Vec<RunName>>,
    /// For a prune: the packs of each run that readers see.
    pub(crate) run_packs: BTreeMap<RunName, Vec<PackName>>,
}

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looker {
    /// Sees what is committed.
    Reader,
    /// Sees also what other writers uploaded and indexed without (yet) committing.
    Writer,
    /// Sees what a reader sees, and remembers which run lists which packs.
    Pruner,
}

/// A run that could be read, with its object's length.
type Loaded = (RunName, Result<(Run, u64), ReadError>);

/// Why a view could not be made.
enum LoadError {
    Read(ReadError),
    /// The directory to spill to failed: there is a view without it.
    Spill(SpillError),
}

impl From<ReadError> for LoadError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<SpillError> for LoadError {
    fn from(error: SpillError) -> Self {
        Self::Spill(error)
    }
}

/// What is being put together.
struct Loading<'a> {
    core: &'a Core,
    index: IndexBuilder<'a>,
    view: View,
    lengths: BTreeMap<RunName, u64>,
    looker: Looker,
}

impl View {
    /// Damage hides what is damaged and nothing else; a store that does not answer is an error. All of the index is in memory, and
    /// can be walked.
    pub(crate) async fn load(core: &Core, state: State, looker: Looker) -> Result<Self, ReadError> {
        Self::load_into(core, state, looker, Spill::nowhere(core.environment.clone())).await
    }

    /// The same with a large index on disk, if there is a directory to spill to: to look blobs up.
    pub(crate) async fn load_bounded(core: &Core, state: State, looker: Looker) -> Result<Self, ReadError> {
        let view = Self::load_into(core, state, looker, core.spill()).await?;
        if let Some(cache) = core.cache.get() {
            view.sweep(cache, looker);
        }
        Ok(view)
    }

    async fn load_into(core: &Core, state: State, looker: Looker, spill: Spill) -> Result<Self, ReadError> {
        match Self::try_load(core, &state, looker, spill).await {
            Ok(view) => Ok(Self { state, ..view }),
            Err(LoadError::Read(error)) => Err(error),
            Err(LoadError::Spill(error)) => {
                tracing::warn!(%error, "the index stays in memory");
                match Self::try_load(core, &state, looker, Spill::nowhere(core.environment.clone())).await {
                    Ok(view) => Ok(Self { state, ..view }),
                    Err(LoadError::Read(error)) => Err(error),
                    Err(LoadError::Spill(error)) => Err(spill_failed(error)),
                }
            }
        }
    }

    async fn try_load(core: &Core, state: &State, looker: Looker, spill: Spill) -> Result<Self, LoadError> {
        let (candidates, written) = futures::try_join!(listing::candidates(core, state), async {
            match looker {
                Looker::Reader | Looker::Pruner => Ok(Vec::new()),
                Looker::Writer => run_names(core, state.floor).await,
            }
        })?;
        let unlisted = listing::unlisted(core, state, &candidates).await?;
        let may_lack = looker == Looker::Reader && !unlisted.readable.is_empty();
        let behind = if may_lack { listing::behind(core, state, &candidates).await? } else { Vec::new() };
        let mut wanted: BTreeSet<RunName> = state.runs.keys().copied().collect();
        wanted.extend(unlisted.readable.iter().chain(&behind).flat_map(|(_, record)| record.runs.iter().copied()));

        let view = Self { candidates, unreadable_snapshots: unlisted.unreadable, ..Self::default() };
        let mut loading = Loading { core, index: IndexBuilder::new(state, spill), view, lengths: BTreeMap::new(), looker };
        loading.committed(&wanted).await?;
        loading.adopt(unlisted.readable);
        loading.resume(written.into_iter().filter(|name| !wanted.contains(name)).collect()).await?;
        let Loading { index, mut view, .. } = loading;
        view.index = index.finish()?;
        Ok(view)
    }

    /// What the repository no longer has leaves the cache.
    fn sweep(&self, cache: &Cache, looker: Looker) {
        if looker == Looker::Writer {
            // A reader does not know the runs that have not been committed.
            let adopted = self.adopted.values().flatten().map(|(run, _)| run);
            let runs: BTreeSet<CacheName> = self.state.runs.keys().chain(self.resumed.keys()).chain(adopted).map(CacheName::run).collect();
            cache.sweep(CacheClass::Index, |file| runs.contains(&CacheName::new(CacheClass::Index, file)));
        }
        let snapshots: BTreeSet<String> = self.candidates.iter().map(ToString::to_string).collect();
        cache.sweep(CacheClass::Snapshots, |file| snapshots.contains(file));
        let lives = |id| self.index.pack(&PackName { class: PackClass::Meta, id }).is_some();
        cache.sweep(CacheClass::Blobs, |file| CacheName::pack_of(file).is_some_and(lives));
    }
}

impl Loading<'_> {
    /// The runs that readers see. Each is put into the index as it comes.
    async fn committed(&mut self, wanted: &BTreeSet<RunName>) -> Result<(), LoadError> {
        let core = self.core;
        let names: Vec<RunName> = wanted.iter().copied().collect();
        let mut reads = stream::iter(names.into_iter().map(|name| load_run(core, name))).buffered(RUNS_AT_ONCE);
        while let Some(loaded) = reads.next().await {
            match loaded? {
                (name, Ok((run, object_bytes))) => {
                    self.lengths.insert(name, object_bytes);
                    if self.looker == Looker::Pruner {
                        self.view.run_packs.insert(name, run.packs.iter().map(|pack| pack.name).collect());
                    }
                    self.index.push(&run)?;
                }
                (name, Err(error)) => {
                    tracing::warn!(run = %name, %error, "index run cannot be read; its blobs count as absent");
                    self.view.unreadable_runs.push((name, error));
                }
            }
        }
        Ok(())
    }

    fn adopt(&mut self, unlisted: Vec<(LeaseId, SnapshotRecord)>) {
        for (id, error) in &self.view.unreadable_snapshots {
            tracing::warn!(snapshot = %id, %error, "snapshot cannot be read; its index runs count as absent");
        }
        for (id, record) in &unlisted {
            // One whose runs cannot all be read is not taken over: listing it would hide that.
            let runs: Option<Vec<_>> = record.runs.iter().map(|run| self.lengths.get(run).map(|bytes| (*run, *bytes))).collect();
            if let Some(runs) = runs {
                self.view.adopted.insert(*id, runs);
            }
        }
        self.view.unlisted = unlisted;
    }

    /// Runs of uncommitted leases.
    async fn resume(&mut self, wanted: Vec<RunName>) -> Result<(), LoadError> {
        let core = self.core;
        let mut reads = stream::iter(wanted.into_iter().map(|name| load_run(core, name))).buffered(RUNS_AT_ONCE);
        while let Some(loaded) = reads.next().await {
            // Nobody's snapshot depends on it: damaged, it is as if it had never been.
            let (name, Ok((run, object_bytes))) = loaded? else { continue };
            for pack in &run.packs {
                self.view.resumed_packs.entry(pack.name).or_default().push(name);
            }
            self.view.resumed.insert(name, object_bytes);
            self.index.push(&run)?;
        }
        Ok(())
    }
}

/// Every run that is not void by its name, in order. A run of a lease below the floor is void unless the state lists it: its packs may
/// be gone. At or above the floor, a pack that is gone is still in the doomed list, because it was condemned by a state at or above
/// that lease's number.
pub(crate) async fn run_names(core: &Core, floor: u64) -> Result<Vec<RunName>, ReadError> {
    let mut found = Vec::new();
    let mut names = core.store.list("index", None);
    while let Some(entry) = names.next().await {
        found.extend(RunName::parse(&entry?.name).filter(|name| name.lease.state >= floor || left_out!(ResumedAboveFloor)));
    }
    found.sort_unstable();
    Ok(found)
}

/// What a failed directory to spill to is to a reader: not damage, and worth another try.
pub(crate) fn spill_failed(error: SpillError) -> ReadError {
    StoreError::Unreachable { object: "index".to_owned(), source: Arc::new(error) }.into()
}

/// Errors inside are damage of this run; errors outside are the store's.
async fn load_run(core: &Core, name: RunName) -> Result<Loaded, ReadError> {
    match read_run(core, &name).await {
        Ok(run) => Ok((name, Ok(run))),
        Err(error) if error.is_damage() => Ok((name, Err(error))),
        Err(error) => Err(error),
    }
}

/// A run, maybe from the cache, and its object's length.
pub(crate) async fn read_run(core: &Core, name: &RunName) -> Result<(Run, u64), ReadError> {
    let object_name = name.to_string();
    let (content, object_bytes) = core.read_immutable(ObjectKind::IndexRun, &object_name, &CacheName::run(name)).await?;
    let run = Run::decode(&content).map_err(|error| ReadError::damaged(object_name, error.to_string()))?;
    Ok((run, object_bytes))
}
