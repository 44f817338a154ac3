//! One stored run: the packs it speaks of, the fine-hash blobs, and the blobs, sorted by id.

use crate::blob::{BLOB_RAW_BYTES_MAX, BlobKind, Encoding};
use crate::codec::{Decoder, Encoder, Malformed};
use crate::id::BlobId;
use crate::pack::{PackEntry, PackInfo, SALT_BYTES};
use crate::state;

const VERSION: u8 = 1;
/// The key field of a pack's header is a salt; see `pack`.
const KEY_DERIVED: u8 = 0;
const ENTRY_BYTES: usize = 32 + 1 + 1 + 6 * 4;
/// Class, id, length, key mode, length of the key field.
const PACK_BYTES_MIN: usize = 17 + 1 + 1 + 1;
const NO_FINE: u32 = u32::MAX;

/// Where a blob's fine hashes are: at `offset` in the raw bytes of the `blob`th fine-hash blob of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FinePlace {
    pub(crate) blob: u32,
    pub(crate) offset: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunEntry {
    pub(crate) blob: PackEntry,
    /// Which of the run's packs.
    pub(crate) pack: u32,
    pub(crate) fine: Option<FinePlace>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Run {
    pub(crate) packs: Vec<PackInfo>,
    pub(crate) fine_blobs: Vec<BlobId>,
    pub(crate) entries: Vec<RunEntry>,
}

impl Run {
    /// Sorts, so that what is stored can be searched as it lies.
    pub(crate) fn sort(&mut self) {
        self.entries.sort_unstable_by_key(|entry| (entry.blob.id, entry.pack, entry.blob.offset));
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.u8(VERSION);
        encoder.count(self.packs.len());
        for pack in &self.packs {
            state::encode_pack(&pack.name, &mut encoder);
            encoder.varint(pack.object_bytes);
            encoder.u8(KEY_DERIVED);
            encoder.bytes(&pack.salt);
        }
        encoder.count(self.fine_blobs.len());
        for blob in &self.fine_blobs {
            encoder.fixed(&blob.0);
        }
        encoder.count(self.entries.len());
        for entry in &self.entries {
            encode_entry(entry, &mut encoder);
        }
        encoder.finish()
    }

    pub(crate) fn decode(content: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(content);
        if decoder.u8()? != VERSION {
            return Err(Malformed("unknown run version"));
        }
        let mut run = Self::default();
        for _ in 0..decoder.count(PACK_BYTES_MIN)? {
            run.packs.push(decode_pack(&mut decoder)?);
        }
        for _ in 0..decoder.count(32)? {
            run.fine_blobs.push(BlobId(decoder.fixed()?));
        }
        let count = decoder.count(ENTRY_BYTES)?;
        run.entries.reserve_exact(count);
        for _ in 0..count {
            let entry = decode_entry(&mut decoder)?;
            run.check(&entry)?;
            run.entries.push(entry);
        }
        decoder.end()?;
        if run.entries.windows(2).any(|pair| pair[0].blob.id > pair[1].blob.id) {
            return Err(Malformed("a run that is not sorted"));
        }
        Ok(run)
    }

    /// Every pack in both, each with half of its blobs: as prunes once merged runs, and as whoever lists what one of the two lacks does.
    #[cfg(test)]
    pub(crate) fn halves(&self) -> [Self; 2] {
        [0, 1].map(|half| {
            let mut seen = std::collections::HashMap::new();
            let mut is_in = |entry: &RunEntry| {
                let count: &mut usize = seen.entry(entry.pack).or_default();
                *count += 1;
                *count % 2 == half
            };
            Self { entries: self.entries.iter().filter(|entry| is_in(entry)).copied().collect(), ..self.clone() }
        })
    }

    fn check(&self, entry: &RunEntry) -> Result<(), Malformed> {
        let pack = self.packs.get(entry.pack as usize).ok_or(Malformed("a blob in no pack of the run"))?;
        let end = u64::from(entry.blob.offset) + u64::from(entry.blob.stored_bytes);
        if end > pack.object_bytes {
            return Err(Malformed("a blob beyond its pack"));
        }
        if entry.blob.kind.class() != pack.name.class {
            return Err(Malformed("a blob in a pack of another class"));
        }
        if entry.fine.is_some_and(|place| place.blob as usize >= self.fine_blobs.len()) {
            return Err(Malformed("fine hashes in no blob of the run"));
        }
        Ok(())
    }
}

fn decode_pack(decoder: &mut Decoder<'_>) -> Result<PackInfo, Malformed> {
    let name = state::decode_pack(decoder)?;
    let object_bytes = decoder.varint()?;
    let mode = decoder.u8()?;
    let field = decoder.bytes()?;
    match <[u8; SALT_BYTES]>::try_from(field) {
        Ok(salt) if mode == KEY_DERIVED => Ok(PackInfo { name, object_bytes, salt }),
        _ => Err(Malformed("unknown key mode")),
    }
}

fn encode_entry(entry: &RunEntry, encoder: &mut Encoder) {
    encoder.fixed(&entry.blob.id.0);
    encoder.u8(entry.blob.kind as u8);
    encoder.u8(entry.blob.encoding as u8);
    encoder.u32(entry.pack);
    encoder.u32(entry.blob.offset);
    encoder.u32(entry.blob.stored_bytes);
    encoder.u32(entry.blob.raw_bytes);
    encoder.u32(entry.fine.map_or(NO_FINE, |place| place.blob));
    encoder.u32(entry.fine.map_or(0, |place| place.offset));
}

fn decode_entry(decoder: &mut Decoder<'_>) -> Result<RunEntry, Malformed> {
    let id = BlobId(decoder.fixed()?);
    let kind = BlobKind::from_u8(decoder.u8()?).ok_or(Malformed("unknown blob kind"))?;
    let encoding = Encoding::from_u8(decoder.u8()?).ok_or(Malformed("unknown encoding"))?;
    let pack = decoder.u32()?;
    let blob = PackEntry { id, kind, encoding, offset: decoder.u32()?, stored_bytes: decoder.u32()?, raw_bytes: decoder.u32()? };
    if blob.raw_bytes as usize > BLOB_RAW_BYTES_MAX {
        return Err(Malformed("a blob above the limit"));
    }
    let (fine, fine_offset) = (decoder.u32()?, decoder.u32()?);
    let fine = (fine != NO_FINE).then_some(FinePlace { blob: fine, offset: fine_offset });
    Ok(RunEntry { blob, pack, fine })
}
