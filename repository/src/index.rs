//! The index: blob -> pack, offset, length, and where its fine hashes are.
//!
//! Stored as sorted runs. A small one is one sorted array in memory; a large one goes, where there is a directory to spill to, to a
//! spilled table with a filter in memory, about 1.5 bytes for a blob (see `table`), instead of 60.

use std::collections::{BTreeSet, HashMap};

use crate::blob::{BlobLocation, PackName};
use crate::codec::{Decoder, Encoder, Malformed};
use crate::error::ReadError;
use crate::id::{BlobId, LeaseId};
use crate::pack::PackInfo;
use crate::spill::{Sorter, Spill, SpillError};
use crate::state::{self, State};
use crate::view::spill_failed;

mod entry;
mod run;
mod table;
use entry::Entry;
use table::Table;
pub(crate) use run::{FinePlace, Run, RunEntry};

/// An index run: the `number`th that `lease` wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunName {
    /// Who wrote it.
    pub lease: LeaseId,
    /// Counts from 0.
    pub number: u32,
}

impl RunName {
    pub(crate) const BYTES: usize = state::LEASE_BYTES + 4;

    pub(crate) fn encode(&self, encoder: &mut Encoder) {
        state::encode_lease(&self.lease, encoder);
        encoder.u32(self.number);
    }

    /// From an object's name.
    pub(crate) fn parse(object_name: &str) -> Option<Self> {
        let (lease, number) = object_name.strip_prefix("index/")?.split_once('/')?;
        let name = Self { lease: lease.parse().ok()?, number: u32::from_str_radix(number, 16).ok()? };
        (name.to_string() == object_name).then_some(name)
    }

    pub(crate) fn decode(decoder: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self { lease: state::decode_lease(decoder)?, number: decoder.u32()? })
    }
}

impl std::fmt::Display for RunName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "index/{}/{:08x}", self.lease, self.number)
    }
}

/// More entries than this go to a table: 15 MB of memory.
const RESIDENT_ENTRIES_MAX: usize = 1 << 18;
fn resident_entries_max() -> usize {
    #[cfg(any(test, feature = "testing"))]
    if let Some(entries) = crate::testing::resident_entries() {
        return entries;
    }
    RESIDENT_ENTRIES_MAX
}

/// What sorting them may hold.
const SORT_BYTES: usize = 8 << 20;

#[derive(Debug, Clone, Copy)]
struct PackSlot {
    info: PackInfo,
    /// New snapshots may use its blobs.
    usable: bool,
}

/// Every blob that may be read, under one state.
#[derive(Debug, Default)]
pub(crate) struct Index {
    packs: Vec<PackSlot>,
    /// Numbers of the packs, in the order of their names.
    by_name: Vec<u32>,
    fine_blobs: Vec<BlobId>,
    bad_blobs: BTreeSet<(BlobId, PackName)>,
    entries: Entries,
}

/// Sorted by id, pack and offset; a copy stands once.
#[derive(Debug)]
enum Entries {
    Resident(Vec<Entry>),
    Spilled(Box<Table>),
}

impl Default for Entries {
    fn default() -> Self {
        Self::Resident(Vec::new())
    }
}

/// A copy of a blob.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'i> {
    pub(crate) location: BlobLocation,
    pub(crate) info: &'i PackInfo,
    pub(crate) fine: Option<FinePlace>,
}

/// Takes runs one after the other, so that no two need be in memory.
pub(crate) struct IndexBuilder<'s> {
    state: &'s State,
    spill: Spill,
    /// More entries than this go to a table.
    pub(crate) resident_max: usize,
    index: Index,
    slots: HashMap<PackName, u32>,
    entries: Vec<Entry>,
    sorter: Option<Sorter>,
}

impl<'s> IndexBuilder<'s> {
    /// Under `state`: what it dooms is left out. Rotten copies stay readable: as a last resort they may be better than nothing.
    pub(crate) fn new(state: &'s State, spill: Spill) -> Self {
        let index = Index { bad_blobs: state.bad_blobs.clone(), ..Index::default() };
        Self { state, spill, resident_max: resident_entries_max(), index, slots: HashMap::new(), entries: Vec::new(), sorter: None }
    }

    pub(crate) fn push(&mut self, run: &Run) -> Result<(), SpillError> {
        let fine_base = self.index.fine_blobs.len() as u32;
        self.index.fine_blobs.extend_from_slice(&run.fine_blobs);
        // A doomed pack has no slot, and its entries are dropped.
        let local: Vec<Option<u32>> = run.packs.iter().map(|info| self.slot(info)).collect();
        for entry in &run.entries {
            let Some(pack) = local[entry.pack as usize] else { continue };
            let entry = Entry::new(entry, pack, fine_base);
            match &mut self.sorter {
                None => self.entries.push(entry),
                Some(sorter) => entry.push_to(sorter)?,
            }
        }
        if self.sorter.is_none() && self.entries.len() > self.resident_max && self.spill.has_directory() {
            let mut sorter = self.spill.sorter(SORT_BYTES);
            std::mem::take(&mut self.entries).iter().try_for_each(|entry| entry.push_to(&mut sorter))?;
            self.sorter = Some(sorter);
        }
        Ok(())
    }

    fn slot(&mut self, info: &PackInfo) -> Option<u32> {
        if self.state.doomed.contains(&info.name) {
            return None;
        }
        let next = self.index.packs.len() as u32;
        let slot = *self.slots.entry(info.name).or_insert(next);
        if slot == next {
            self.index.packs.push(PackSlot { info: *info, usable: self.state.usable(&info.name) });
        }
        Some(slot)
    }

    pub(crate) fn finish(self) -> Result<Index, SpillError> {
        let Self { spill, mut index, mut entries, sorter, .. } = self;
        index.by_name = (0..index.packs.len() as u32).collect();
        index.by_name.sort_unstable_by_key(|&number| index.packs[number as usize].info.name);
        index.entries = match sorter {
            Some(sorter) => Entries::Spilled(Box::new(Table::build(&spill, sorter)?)),
            None => {
                entries.sort_unstable_by_key(Entry::order);
                entries.dedup_by_key(|entry| entry.order());
                entries.shrink_to_fit();
                Entries::Resident(entries)
            }
        };
        Ok(index)
    }
}

impl Index {
    fn copies(&self, id: &BlobId) -> Vec<Entry> {
        match &self.entries {
            Entries::Spilled(table) => table.copies(id),
            Entries::Resident(entries) => {
                let from = entries.partition_point(|entry| entry.id < *id);
                entries[from..].iter().take_while(|entry| entry.id == *id).copied().collect()
            }
        }
    }

    /// Whether all of it is in memory.
    pub(crate) fn is_resident(&self) -> bool {
        matches!(self.entries, Entries::Resident(_))
    }

    /// Which in `all` the first copy of the blob is. Only of an index in memory: none is in one on disk, as far as this tells.
    pub(crate) fn place(&self, id: &BlobId) -> Option<usize> {
        let Entries::Resident(entries) = &self.entries else { return None };
        let place = entries.partition_point(|entry| entry.id < *id);
        entries.get(place).is_some_and(|entry| entry.id == *id).then_some(place)
    }

    fn found(&self, entry: &Entry) -> Found<'_> {
        let info = &self.packs[entry.pack as usize].info;
        Found { location: entry.location(info.name), info, fine: entry.fine_place() }
    }

    fn is_usable(&self, entry: &Entry) -> bool {
        let slot = &self.packs[entry.pack as usize];
        slot.usable && !self.bad_blobs.contains(&(entry.id, slot.info.name))
    }

    /// All copies, the usable ones first.
    pub(crate) fn find(&self, id: &BlobId) -> impl Iterator<Item = Found<'_>> {
        let mut copies = self.copies(id);
        if copies.len() > 1 {
            copies.sort_by_key(|entry| !self.is_usable(entry));
        }
        copies.into_iter().map(|entry| self.found(&entry))
    }

    /// A copy that a new snapshot may use: what `Blobs::usable` asks, for the tests here.
    #[cfg(test)]
    pub(crate) fn usable(&self, id: &BlobId) -> Option<BlobLocation> {
        self.copies(id).iter().find(|entry| self.is_usable(entry)).map(|entry| self.found(entry).location)
    }

    /// Why blobs may be missing that the runs list: the spilled table could not be read.
    pub(crate) fn failure(&self) -> Option<SpillError> {
        match &self.entries {
            Entries::Spilled(table) => table.failure(),
            Entries::Resident(_) => None,
        }
    }

    /// An error if any of it could not be read back: what looks absent may be there, and what was not compared with it is not right for that.
    pub(crate) fn intact(&self) -> Result<(), ReadError> {
        self.failure().map_or(Ok(()), |error| Err(spill_failed(error)))
    }

    pub(crate) fn fine_blob(&self, place: FinePlace) -> Option<&BlobId> {
        self.fine_blobs.get(place.blob as usize)
    }

    pub(crate) fn packs(&self) -> impl Iterator<Item = &PackInfo> {
        self.packs.iter().map(|slot| &slot.info)
    }

    pub(crate) fn pack(&self, name: &PackName) -> Option<&PackInfo> {
        let place = self.by_name.binary_search_by_key(name, |&number| self.packs[number as usize].info.name).ok()?;
        Some(&self.packs[self.by_name[place] as usize].info)
    }

    pub(crate) fn blob_count(&self) -> u64 {
        match &self.entries {
            Entries::Resident(entries) => entries.len() as u64,
            Entries::Spilled(table) => table.entries(),
        }
    }

    /// Every copy of every blob, by id. Look at `failure` after it.
    pub(crate) fn all(&self) -> impl Iterator<Item = (BlobId, Found<'_>)> {
        let (resident, spilled) = match &self.entries {
            Entries::Resident(entries) => (Some(entries.iter().copied()), None),
            Entries::Spilled(table) => (None, Some(table.all())),
        };
        resident.into_iter().flatten().chain(spilled.into_iter().flatten()).map(|entry| (entry.id, self.found(&entry)))
    }
}

#[cfg(test)]
mod tests;
