//! The index: blob -> pack, offset, length, and where its fine hashes are.
//!
//! Stored as sorted runs; in memory one sorted array of fixed entries, searched without allocating. (Mapped runs and a filter
//! can take its place behind `Index`'s methods: the stored entries are fixed-size and sorted for that.)

use std::collections::HashMap;

use crate::blob::{BlobKind, BlobLocation, Encoding, PackName};
use crate::codec::{Decoder, Encoder, Malformed};
use crate::id::{BlobId, LeaseId};
use crate::pack::PackInfo;
use crate::state::{self, State};

mod run;
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

/// `u32::MAX` in `fine` means none.
const NO_FINE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Entry {
    id: BlobId,
    pack: u32,
    offset: u32,
    stored_bytes: u32,
    raw_bytes: u32,
    fine: u32,
    fine_offset: u32,
    kind: BlobKind,
    encoding: Encoding,
}

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
    fine_blobs: Vec<BlobId>,
    /// Sorted by id; copies of a blob in several packs stand side by side, usable ones first.
    entries: Vec<Entry>,
}

/// A copy of a blob.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'i> {
    pub(crate) location: BlobLocation,
    pub(crate) info: &'i PackInfo,
    pub(crate) fine: Option<FinePlace>,
}

impl Index {
    /// From `runs`, without what `state` says is doomed. Rotten copies stay readable: as a last resort they may be better than nothing.
    pub(crate) fn build(runs: &[Run], state: &State) -> Self {
        let mut index = Self::default();
        let mut slots = HashMap::new();
        index.entries.reserve_exact(runs.iter().map(|run| run.entries.len()).sum());
        for run in runs {
            index.append(run, state, &mut slots);
        }
        let packs = &index.packs;
        let usable = |entry: &Entry| {
            let slot = &packs[entry.pack as usize];
            slot.usable && !state.bad_blobs.contains(&(entry.id, slot.info.name))
        };
        index.entries.sort_unstable_by_key(|entry| (entry.id, !usable(entry), entry.pack, entry.offset));
        index.entries.dedup_by_key(|entry| (entry.id, entry.pack, entry.offset));
        index
    }

    fn append(&mut self, run: &Run, state: &State, slots: &mut HashMap<PackName, u32>) {
        let fine_base = self.fine_blobs.len() as u32;
        self.fine_blobs.extend_from_slice(&run.fine_blobs);
        // A doomed pack has no slot, and its entries are dropped.
        let local: Vec<Option<u32>> = run
            .packs
            .iter()
            .map(|info| {
                if state.doomed.contains(&info.name) {
                    return None;
                }
                let next = self.packs.len() as u32;
                let slot = *slots.entry(info.name).or_insert(next);
                if slot == next {
                    self.packs.push(PackSlot { info: *info, usable: state.usable(&info.name) });
                }
                Some(slot)
            })
            .collect();
        for entry in &run.entries {
            if let Some(pack) = local[entry.pack as usize] {
                self.entries.push(Entry {
                    id: entry.blob.id,
                    pack,
                    offset: entry.blob.offset,
                    stored_bytes: entry.blob.stored_bytes,
                    raw_bytes: entry.blob.raw_bytes,
                    fine: entry.fine.map_or(NO_FINE, |place| fine_base + place.blob),
                    fine_offset: entry.fine.map_or(0, |place| place.offset),
                    kind: entry.blob.kind,
                    encoding: entry.blob.encoding,
                });
            }
        }
    }

    fn copies(&self, id: &BlobId) -> &[Entry] {
        let from = self.entries.partition_point(|entry| entry.id < *id);
        let count = self.entries[from..].iter().take_while(|entry| entry.id == *id).count();
        &self.entries[from..from + count]
    }

    fn found(&self, entry: &Entry) -> Found<'_> {
        let info = &self.packs[entry.pack as usize].info;
        let location = BlobLocation {
            pack: info.name,
            offset: entry.offset,
            stored_bytes: entry.stored_bytes,
            raw_bytes: entry.raw_bytes,
            kind: entry.kind,
            encoding: entry.encoding,
        };
        let fine = (entry.fine != NO_FINE).then_some(FinePlace { blob: entry.fine, offset: entry.fine_offset });
        Found { location, info, fine }
    }

    /// All copies, the usable ones first.
    pub(crate) fn find(&self, id: &BlobId) -> impl Iterator<Item = Found<'_>> {
        self.copies(id).iter().map(|entry| self.found(entry))
    }

    /// A copy that a new snapshot may use: what `Blobs::usable` asks, for the tests here.
    #[cfg(test)]
    pub(crate) fn usable(&self, id: &BlobId, state: &State) -> Option<BlobLocation> {
        // Usable ones stand first, so the first one decides.
        let entry = self.copies(id).first()?;
        let slot = &self.packs[entry.pack as usize];
        let usable = slot.usable && !state.bad_blobs.contains(&(*id, slot.info.name));
        usable.then(|| self.found(entry).location)
    }

    pub(crate) fn fine_blob(&self, place: FinePlace) -> Option<&BlobId> {
        self.fine_blobs.get(place.blob as usize)
    }

    pub(crate) fn packs(&self) -> impl Iterator<Item = &PackInfo> {
        self.packs.iter().map(|slot| &slot.info)
    }

    pub(crate) fn pack(&self, name: &PackName) -> Option<&PackInfo> {
        self.packs().find(|info| info.name == *name)
    }

    pub(crate) fn blob_count(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Every copy of every blob, by id.
    pub(crate) fn all(&self) -> impl Iterator<Item = (BlobId, Found<'_>)> {
        self.entries.iter().map(|entry| (entry.id, self.found(entry)))
    }
}

#[cfg(test)]
mod tests;
