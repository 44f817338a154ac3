//! What one newest state makes visible: the index of its runs, and of accepted commits that it does not list yet.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures::stream::StreamExt;

use crate::blob::PackName;
use crate::core::Core;
use crate::error::ReadError;
use crate::id::LeaseId;
use crate::index::{Index, Run, RunName};
use crate::sealed::ObjectKind;
use crate::snapshot::listing;
use crate::state::State;

#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) state: State,
    pub(crate) index: Index,
    /// Commits that the state does not list, with their runs and these objects' lengths: the next publish takes them over.
    pub(crate) adopted: BTreeMap<LeaseId, Vec<(RunName, u64)>>,
    /// Runs whose blobs are unknown because they cannot be read: a backup sends those blobs again, a check names them.
    pub(crate) unreadable_runs: Vec<(RunName, ReadError)>,
    /// Unlisted commits that cannot be read: as above.
    pub(crate) unreadable_snapshots: Vec<(LeaseId, ReadError)>,
    /// For a writer: runs of leases that have not committed, not yet below the floor, with these objects' lengths. What an
    /// interrupted backup uploaded is used from there; the snapshot that uses it names the run, and so adopts it.
    pub(crate) resumed: BTreeMap<RunName, u64>,
    /// Packs that only such a run lists.
    pub(crate) resumed_packs: HashMap<PackName, RunName>,
}

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looker {
    /// Sees what is committed.
    Reader,
    /// Sees also what other writers uploaded and indexed without (yet) committing.
    Writer,
}

/// A run that could be read, with its object's length.
type Loaded = (RunName, Result<(Run, u64), ReadError>);

impl View {
    /// Damage hides what is damaged and nothing else; a store that does not answer is an error.
    pub(crate) async fn load(core: &Core, state: State, looker: Looker) -> Result<Self, ReadError> {
        let unlisted = listing::unlisted(core, &state).await?;
        let mut wanted: Vec<RunName> = state.runs.keys().copied().collect();
        wanted.extend(unlisted.readable.iter().flat_map(|(_, record)| record.runs.iter().copied()));
        wanted.sort_unstable();
        wanted.dedup();

        let loaded = listing::read_each(wanted.into_iter().map(|name| load_run(core, name))).await?;
        let mut view = Self { unreadable_snapshots: unlisted.unreadable, ..Self::default() };
        let mut runs = Vec::with_capacity(loaded.len());
        let mut lengths = BTreeMap::new();
        for (name, run) in loaded {
            match run {
                Ok((run, object_bytes)) => {
                    lengths.insert(name, object_bytes);
                    runs.push(run);
                }
                Err(error) => {
                    tracing::warn!(run = %name, %error, "index run cannot be read; its blobs count as absent");
                    view.unreadable_runs.push((name, error));
                }
            }
        }
        for (id, error) in &view.unreadable_snapshots {
            tracing::warn!(snapshot = %id, %error, "snapshot cannot be read; its index runs count as absent");
        }
        for (id, record) in unlisted.readable {
            // One whose runs cannot all be read is not taken over: listing it would hide that.
            let runs: Option<Vec<_>> = record.runs.iter().map(|run| lengths.get(run).map(|bytes| (*run, *bytes))).collect();
            if let Some(runs) = runs {
                view.adopted.insert(id, runs);
            }
        }
        if looker == Looker::Writer {
            let known = lengths.keys().copied().collect();
            view.resume(core, &state, known, &mut runs).await?;
        }
        view.index = Index::build(&runs, &state);
        view.state = state;
        Ok(view)
    }

    /// A run of a lease below the floor is void unless the state lists it: its packs may be gone. At or above the floor, a pack that
    /// is gone is still in the doomed list, because it was condemned by a state at or above that lease's number.
    async fn resume(&mut self, core: &Core, state: &State, known: BTreeSet<RunName>, runs: &mut Vec<Run>) -> Result<(), ReadError> {
        let mut wanted = Vec::new();
        let mut names = core.store.list("index", None);
        while let Some(entry) = names.next().await {
            if let Some(name) = RunName::parse(&entry?.name).filter(|name| name.lease.state >= state.floor && !known.contains(name)) {
                wanted.push(name);
            }
        }
        drop(names);
        wanted.sort_unstable();
        let listed: BTreeSet<PackName> = runs.iter().flat_map(|run| run.packs.iter().map(|pack| pack.name)).collect();
        for (name, run) in listing::read_each(wanted.into_iter().map(|name| load_run(core, name))).await? {
            // Nobody's snapshot depends on it: damaged, it is as if it had never been.
            let Ok((run, object_bytes)) = run else { continue };
            for pack in run.packs.iter().filter(|pack| !listed.contains(&pack.name)) {
                self.resumed_packs.entry(pack.name).or_insert(name);
            }
            self.resumed.insert(name, object_bytes);
            runs.push(run);
        }
        Ok(())
    }
}

/// Errors inside are damage of this run; errors outside are the store's.
async fn load_run(core: &Core, name: RunName) -> Result<Loaded, ReadError> {
    match read_run(core, &name).await {
        Ok(run) => Ok((name, Ok(run))),
        Err(error) if error.is_damage() => Ok((name, Err(error))),
        Err(error) => Err(error),
    }
}

pub(crate) async fn read_run(core: &Core, name: &RunName) -> Result<(Run, u64), ReadError> {
    let object_name = name.to_string();
    let object = core.store.get(&object_name).await?;
    let content = crate::sealed::open(&core.keys, ObjectKind::IndexRun, &object_name, &object)?;
    let run = Run::decode(&content).map_err(|error| ReadError::damaged(object_name, error.to_string()))?;
    Ok((run, object.len() as u64))
}
