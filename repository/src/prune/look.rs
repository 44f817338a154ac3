//! What one look at a state's snapshots and index says of each pack: what must stay of it.
//!
//! A blob that is used needs one copy. Which one is chosen here, and a pack that holds no chosen copy can go: as long as no pack that
//! holds one goes in the same publish, every used blob keeps a copy.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::inventory::Inventory;
use super::used::{Bits, InOrder, Used};
use super::opened::{self, Opened};
use super::{PruneError, PruneProgress, RACES_MAX, mark};
use crate::blob::{BlobKind, BlobLocation, PackClass, PackName};
use crate::blobs::Blobs;
use crate::cache::{CacheClass, CacheName};
use crate::core::Core;
use crate::error::WriteError;
use crate::id::{BlobId, LeaseId};
use crate::index::{Found, Index, RunName};
use crate::mutation::left_out;
use crate::state::{self, State};
use crate::view::{Looker, View};

/// What the index says of one pack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PackUse {
    /// Stored bytes of all blobs that it lists.
    pub(super) listed_bytes: u64,
    /// Of the chosen copies in it.
    pub(super) live_bytes: u64,
    pub(super) live_blobs: u64,
    /// Of a chosen copy that is known to be rotten no better one is left.
    pub(super) is_rotten: bool,
}

impl PackUse {
    pub(super) fn dead_bytes(&self) -> u64 {
        self.listed_bytes - self.live_bytes
    }
}

/// Which copies were chosen: by their places in the order of the index, and the fine-hash blobs by name.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    places: Bits,
    fine: HashMap<BlobId, (PackName, u32)>,
}

impl Chosen {
    /// Of the copy at this place of the index.
    pub(super) fn has(&self, place: usize, id: &BlobId, at: &BlobLocation) -> bool {
        self.places.has(place) || self.fine.get(id) == Some(&(at.pack, at.offset))
    }
}

pub(super) struct Look {
    /// What was looked at: a later state of this prune's own may stand here, whose packs and commits are these.
    pub(super) state: State,
    /// Names in `snapshots/` that the state accepts, sorted: commits and endings.
    pub(super) candidates: Vec<LeaseId>,
    /// Forgotten commits that were looked at too, and the condemned packs that these need.
    pub(super) opened: Opened,
    pub(super) held: BTreeSet<PackName>,
    pub(super) snapshots: u64,
    /// Accepted commits that the state does not list, with their runs.
    pub(super) adopted: BTreeMap<LeaseId, Vec<(RunName, u64)>>,
    /// The packs of each run of a commit or of the state.
    pub(super) run_packs: BTreeMap<RunName, Vec<PackName>>,
    pub(super) packs: HashMap<PackName, PackUse>,
    /// For copying; gone as soon as nothing is to be copied any more.
    pub(super) view: Option<(Arc<View>, Chosen)>,
}

impl Look {
    /// Marks, and joins what is marked with the index. Whatever cannot be read is an error, unless another prune has just published:
    /// then it may be what that one took away. What no run lists is looked for once more: a list of snapshots is no single moment,
    /// and may have passed the place of one that later ones in it use.
    pub(super) async fn take(core: &Arc<Core>, opened: &Opened, inventory: &mut Inventory, memory_bytes: usize, progress: &PruneProgress) -> Result<Self, PruneError> {
        for race in 0..RACES_MAX {
            let state = state::newest(core).await?;
            if let Some(needs) = state.features.missing_to_write() {
                return Err(PruneError::Write(WriteError::TooNew { needs }));
            }
            let seen_epoch = state.prune_epoch;
            match Self::under(core, state, opened, inventory, memory_bytes, progress).await {
                Err(PruneError::Unlisted { .. }) if race == 0 => {}
                Err(PruneError::Unreadable(_) | PruneError::Unlisted { .. }) if state::newest(core).await?.prune_epoch != seen_epoch => {}
                look => return look,
            }
        }
        Err(PruneError::Races)
    }

    async fn under(core: &Arc<Core>, state: State, opened: &Opened, inventory: &mut Inventory, memory_bytes: usize, progress: &PruneProgress) -> Result<Self, PruneError> {
        let view = View::load_bounded(core, state, Looker::Pruner).await?;
        let unreadable = view.unreadable_runs.first().map(|(_, error)| error).or(view.unreadable_snapshots.first().map(|(_, error)| error));
        if let Some(error) = unreadable.filter(|_| !left_out!(FailClosed)) {
            return Err(PruneError::Unreadable(error.clone()));
        }
        let later: Vec<PackName> = view.index.packs().map(|info| info.name).filter(|pack| !inventory.has(pack)).collect();
        inventory.ask_for(core, &later).await?;

        let blobs = Blobs::new(Arc::clone(core), view);
        let view = blobs.view();
        let used = Used::of(&view.index, &core.spill(), memory_bytes);
        let marked = mark::mark(core, &blobs, &view, used, progress).await?;
        let held = opened::held(core, &blobs, &view, opened).await?;
        let join = Join { view: &view, inventory, packs: HashMap::new(), chosen: Chosen::default(), fine: HashSet::new() };
        let (packs, chosen) = join.run(marked.used.finish()?)?;
        let View { state, candidates, adopted, run_packs, .. } = view.as_ref();
        let (state, candidates, adopted, run_packs) = (state.clone(), candidates.clone(), adopted.clone(), run_packs.clone());
        Ok(Self { state, candidates, opened: opened.clone(), held, snapshots: marked.commits, adopted, run_packs, packs, view: Some((view, chosen)) })
    }

    pub(super) fn needs(&self, pack: &PackName) -> bool {
        self.held.contains(pack) || self.packs.get(pack).is_some_and(|pack| pack.live_blobs > 0)
    }

    /// Packs without a chosen copy: stored and listed, stored only, or listed only.
    pub(super) fn unneeded<'l>(&'l self, inventory: &'l Inventory) -> impl Iterator<Item = (PackName, u64)> + 'l {
        let stored = inventory.packs().map(|(pack, bytes)| (*pack, bytes));
        let missing = self.packs.keys().filter(|pack| !inventory.has(pack)).map(|pack| (*pack, 0));
        stored.chain(missing).filter(|(pack, _)| !self.needs(pack))
    }

    /// What the repository no longer has leaves the cache: the next one to look would take it out too, but may never come.
    pub(super) fn sweep_cache(&self, core: &Core, newest: &State) {
        let Some(cache) = core.cache.get() else { return };
        let gone: HashSet<_> = newest.doomed.iter().filter(|pack| pack.class == PackClass::Meta).map(|pack| pack.id).collect();
        cache.sweep(CacheClass::Blobs, |file| CacheName::pack_of(file).is_some_and(|pack| !gone.contains(&pack)));
    }
}

/// Which copy is worth keeping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Good,
    /// It would be taken back.
    Condemned,
    Rotten,
    /// Or of a length that no pack of its name has.
    Missing,
}

/// The used blobs beside the index, both sorted by id.
struct Join<'j> {
    view: &'j View,
    inventory: &'j Inventory,
    packs: HashMap<PackName, PackUse>,
    chosen: Chosen,
    /// Fine-hash blobs of live data blobs: no refs name them.
    fine: HashSet<BlobId>,
}

impl Join<'_> {
    fn run(mut self, mut used: InOrder<'_>) -> Result<(HashMap<PackName, PackUse>, Chosen), PruneError> {
        let index: &Index = &self.view.index;
        for info in index.packs() {
            self.packs.insert(info.name, PackUse::default());
        }
        let mut copies: Vec<(usize, Found<'_>)> = Vec::new();
        let mut all = index.all().enumerate().peekable();
        while let Some((place, (id, found))) = all.next() {
            copies.push((place, found));
            if all.peek().is_some_and(|(_, (next, _))| *next == id) {
                continue;
            }
            let is_used = used.has(&id, copies[0].0)?;
            self.blob(&id, &copies, is_used);
            copies.clear();
        }
        self.fine_blobs();
        // Behind the last look into the index: what could not be read back there looks unused.
        index.intact()?;
        used.end()?;
        Ok((self.packs, self.chosen))
    }

    fn blob(&mut self, id: &BlobId, copies: &[(usize, Found<'_>)], is_used: bool) {
        for (_, found) in copies {
            self.packs.entry(found.location.pack).or_default().listed_bytes += u64::from(found.location.stored_bytes);
        }
        if !is_used {
            return;
        }
        if let Some((place, chosen)) = copies.iter().min_by_key(|(_, found)| self.rank(id, found)) {
            self.choose(chosen, self.rank(id, chosen));
            self.chosen.places.set(*place);
            self.fine.extend(chosen.fine.and_then(|place| self.view.index.fine_blob(place)));
        }
    }

    fn choose(&mut self, found: &Found<'_>, rank: Rank) {
        let pack = self.packs.entry(found.location.pack).or_default();
        pack.live_bytes += u64::from(found.location.stored_bytes);
        pack.live_blobs += 1;
        pack.is_rotten |= rank >= Rank::Rotten;
    }

    /// Among equals the first in the index is chosen.
    fn rank(&self, id: &BlobId, found: &Found<'_>) -> Rank {
        let (state, pack) = (&self.view.state, found.location.pack);
        if self.inventory.bytes(&pack) != found.info.object_bytes {
            Rank::Missing
        } else if state.bad_packs.contains(&pack) || state.bad_blobs.contains(&(*id, pack)) {
            Rank::Rotten
        } else if state.condemned.contains_key(&pack) {
            Rank::Condemned
        } else {
            Rank::Good
        }
    }

    /// Of these a loss costs bytes in a later backup, nothing else.
    fn fine_blobs(&mut self) {
        let view = self.view;
        for id in std::mem::take(&mut self.fine) {
            let copies = view.index.find(&id).filter(|found| found.location.kind == BlobKind::FineHashes);
            if let Some(chosen) = copies.min_by_key(|found| self.rank(&id, found)) {
                self.choose(&chosen, self.rank(&id, &chosen));
                self.chosen.fine.insert(id, (chosen.location.pack, chosen.location.offset));
            }
        }
    }
}
