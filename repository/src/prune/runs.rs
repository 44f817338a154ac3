//! Index runs that a prune writes: of packs that it wrote, and of many small runs together.

use std::collections::{BTreeSet, HashMap};

use super::look::Look;
use super::{Prune, PruneError};
use crate::blob::PackName;
use crate::cache::CacheName;
use crate::core::{self, Created};
use crate::error::WriteError;
use crate::id::{BlobId, LeaseId};
use crate::index::{FinePlace, Run, RunEntry, RunName};
use crate::pack::{BLOBS_MAX, PackEntry, PackInfo};
use crate::sealed::ObjectKind;
use crate::store::StoreError;
use crate::view;

/// About 9 MB of a run, and three times that of memory while it is sealed. Few in tests, so that runs are closed there too.
const RUN_ENTRIES_MAX: usize = if cfg!(test) { 1000 } else { 150_000 };
// A pack goes into a run whole, so that no run is longer.
const _: () = assert!(cfg!(test) || BLOBS_MAX <= RUN_ENTRIES_MAX);
/// A run below this is small.
const SMALL_BYTES: u64 = 4 << 20;
/// So many small runs are better one: each is a request for every backup that has no cache.
const SMALL_MAX: usize = 24;

/// A run that stands in the store and that no state lists yet.
#[derive(Debug, Clone)]
pub(super) struct NewRun {
    pub(super) name: RunName,
    pub(super) object_bytes: u64,
    pub(super) packs: Vec<PackName>,
}

/// Runs in the place of others.
#[derive(Debug, Default)]
pub(super) struct Merged {
    pub(super) replaced: BTreeSet<RunName>,
    pub(super) runs: Vec<NewRun>,
}

/// A blob of a pack, and where its fine hashes are.
pub(super) type Listed = (PackEntry, Option<(BlobId, u32)>);

/// Writes runs under a name of this prune's own: no lease, since nothing depends on a run that no state lists, and the publish that
/// lists it proves that no floor has passed the name.
pub(super) struct RunWriter<'w> {
    core: &'w crate::core::Core,
    lease: LeaseId,
    run: Run,
    fine: HashMap<BlobId, u32>,
    pub(super) written: Vec<NewRun>,
}

impl<'w> RunWriter<'w> {
    /// By who saw state `seen`.
    pub(super) fn new(core: &'w crate::core::Core, seen: u64) -> Self {
        let lease = LeaseId { state: seen, random: core.environment.random() };
        Self { core, lease, run: Run::default(), fine: HashMap::new(), written: Vec::new() }
    }

    /// All that is listed of a pack, into one run: whoever uses one of its blobs depends on no second one, and if the run is lost the
    /// pack is in none, and a repair asks it.
    pub(super) async fn push(&mut self, info: &PackInfo, blobs: impl ExactSizeIterator<Item = Listed>) -> Result<(), PruneError> {
        if self.run.entries.len() + blobs.len() > RUN_ENTRIES_MAX {
            self.close().await?;
        }
        let pack = self.run.packs.len() as u32;
        self.run.packs.push(*info);
        for (blob, fine) in blobs {
            let fine = fine.map(|(fine_blob, offset)| {
                let next = self.run.fine_blobs.len() as u32;
                let slot = *self.fine.entry(fine_blob).or_insert(next);
                if slot == next {
                    self.run.fine_blobs.push(fine_blob);
                }
                FinePlace { blob: slot, offset }
            });
            self.run.entries.push(RunEntry { blob, pack, fine });
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<(), PruneError> {
        if self.run.entries.is_empty() {
            return Ok(());
        }
        let mut run = std::mem::take(&mut self.run);
        self.fine.clear();
        run.sort();
        let name = RunName { lease: self.lease, number: self.written.len() as u32 };
        let object_name = name.to_string();
        let object = self.core.seal(ObjectKind::IndexRun, &object_name, &run.encode())?;
        match core::create(self.core.store.as_ref(), &self.core.environment, &object_name, &object).await? {
            Created::Written => {}
            Created::Other(_) => {
                let reason = "someone else's bytes stand there".to_owned();
                return Err(WriteError::from(StoreError::Corrupt { object: object_name, reason }).into());
            }
        }
        self.core.keep_immutable(&CacheName::run(&name), &object);
        let packs = run.packs.iter().map(|pack| pack.name).collect();
        self.written.push(NewRun { name, object_bytes: object.len() as u64, packs });
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<Vec<NewRun>, PruneError> {
        self.close().await?;
        Ok(self.written)
    }
}

impl Prune<'_> {
    /// Many small live runs as few, and runs that mostly speak of doomed packs without those. `doomed` is what the next state dooms.
    pub(super) async fn merge_runs(&mut self, look: &Look, doomed: &BTreeSet<PackName>) -> Result<Merged, PruneError> {
        let lives = |run: &RunName| look.run_packs.get(run).is_none_or(|packs| packs.iter().any(|pack| !doomed.contains(pack)));
        let mostly_doomed = |run: &RunName| {
            let packs = look.run_packs.get(run).map_or(&[][..], Vec::as_slice);
            packs.iter().filter(|pack| doomed.contains(pack)).count() * 2 > packs.len()
        };
        // What lists only doomed packs leaves without being read.
        let living = look.state.runs.iter().filter(|(run, _)| lives(run));
        let small: BTreeSet<RunName> = living.clone().filter(|(_, bytes)| **bytes < SMALL_BYTES).map(|(run, _)| *run).collect();
        let mut replaced: BTreeSet<RunName> = living.filter(|(run, _)| mostly_doomed(run)).map(|(run, _)| *run).collect();
        if small.len() > SMALL_MAX {
            replaced.extend(small);
        }
        if replaced.len() < 2 {
            return Ok(Merged::default());
        }
        let mut writer = RunWriter::new(self.core, look.state.number);
        for name in &replaced {
            let (mut run, _) = view::read_run(self.core, name).await?;
            run.entries.sort_unstable_by_key(|entry| (entry.pack, entry.blob.offset));
            for blobs in run.entries.chunk_by(|one, next| one.pack == next.pack) {
                let info = &run.packs[blobs[0].pack as usize];
                let fine = |entry: &RunEntry| entry.fine.map(|place| (run.fine_blobs[place.blob as usize], place.offset));
                if !doomed.contains(&info.name) {
                    writer.push(info, blobs.iter().map(|entry| (entry.blob, fine(entry)))).await?;
                }
            }
        }
        self.report.runs_merged += replaced.len() as u64;
        Ok(Merged { replaced, runs: writer.finish().await? })
    }
}
