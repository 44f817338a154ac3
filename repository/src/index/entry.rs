//! One copy of a blob, as the index keeps it.

use super::run::{FinePlace, RunEntry};
use crate::blob::{BlobKind, BlobLocation, Encoding, PackName};
use crate::id::BlobId;
use crate::spill::{Sorter, SpillError};

/// In `fine` it means none.
const NO_FINE: u32 = u32::MAX;
/// Id, pack and offset, big-endian: the bytes sort as the entries do.
pub(super) const KEY_BYTES: usize = 32 + 4 + 4;
const VALUE_BYTES: usize = 4 * 4 + 2;
/// One entry of a table.
pub(super) const ENTRY_BYTES: usize = KEY_BYTES + VALUE_BYTES;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: BlobId,
    /// Which of the index's packs.
    pub(super) pack: u32,
    offset: u32,
    stored_bytes: u32,
    raw_bytes: u32,
    fine: u32,
    fine_offset: u32,
    kind: BlobKind,
    encoding: Encoding,
}

impl Entry {
    /// Of a run whose fine-hash blobs begin at `fine_base` in the index.
    pub(super) fn new(entry: &RunEntry, pack: u32, fine_base: u32) -> Self {
        Self {
            id: entry.blob.id,
            pack,
            offset: entry.blob.offset,
            stored_bytes: entry.blob.stored_bytes,
            raw_bytes: entry.blob.raw_bytes,
            fine: entry.fine.map_or(NO_FINE, |place| fine_base + place.blob),
            fine_offset: entry.fine.map_or(0, |place| place.offset),
            kind: entry.blob.kind,
            encoding: entry.blob.encoding,
        }
    }

    pub(super) fn order(&self) -> (BlobId, u32, u32) {
        (self.id, self.pack, self.offset)
    }

    pub(super) fn location(&self, pack: PackName) -> BlobLocation {
        BlobLocation {
            pack,
            offset: self.offset,
            stored_bytes: self.stored_bytes,
            raw_bytes: self.raw_bytes,
            kind: self.kind,
            encoding: self.encoding,
        }
    }

    pub(super) fn fine_place(&self) -> Option<FinePlace> {
        (self.fine != NO_FINE).then_some(FinePlace { blob: self.fine, offset: self.fine_offset })
    }

    pub(super) fn push_to(&self, sorter: &mut Sorter) -> Result<(), SpillError> {
        let mut key = [0; KEY_BYTES];
        key[..32].copy_from_slice(&self.id.0);
        key[32..36].copy_from_slice(&self.pack.to_be_bytes());
        key[36..].copy_from_slice(&self.offset.to_be_bytes());
        let mut value = [0; VALUE_BYTES];
        for (place, field) in value.chunks_exact_mut(4).zip([self.stored_bytes, self.raw_bytes, self.fine, self.fine_offset]) {
            place.copy_from_slice(&field.to_le_bytes());
        }
        value[16] = self.kind as u8;
        value[17] = self.encoding as u8;
        sorter.push(&key, &value)
    }

    /// From key and value, one behind the other. `None` cannot be: spilled bytes come back as they were.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (key, value) = bytes.split_at_checked(KEY_BYTES)?;
        let big = |from: usize| Some(u32::from_be_bytes(key.get(from..from + 4)?.try_into().ok()?));
        let little = |from: usize| Some(u32::from_le_bytes(value.get(from..from + 4)?.try_into().ok()?));
        Some(Self {
            id: BlobId(key[..32].try_into().ok()?),
            pack: big(32)?,
            offset: big(36)?,
            stored_bytes: little(0)?,
            raw_bytes: little(4)?,
            fine: little(8)?,
            fine_offset: little(12)?,
            kind: BlobKind::from_u8(*value.get(16)?)?,
            encoding: Encoding::from_u8(*value.get(17)?)?,
        })
    }
}
