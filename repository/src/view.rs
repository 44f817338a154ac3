//! What one newest state makes visible: the index of its runs, and of accepted commits that it does not list yet.

use std::collections::BTreeMap;

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
}

/// A run that could be read, with its object's length.
type Loaded = (RunName, Result<(Run, u64), ReadError>);

impl View {
    /// Damage hides what is damaged and nothing else; a store that does not answer is an error.
    pub(crate) async fn load(core: &Core, state: State) -> Result<Self, ReadError> {
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
        view.index = Index::build(&runs, &state);
        view.state = state;
        Ok(view)
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
