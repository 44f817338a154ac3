//! Fine hashes: 16 KiB steps of one blob, so that a change in place costs its blocks and not its blob.
//!
//! Many blobs' fine hashes stand in one fine-hash blob, in the order in which their blobs were added. Each record names its blob,
//! so that the index can be built again from packs.

use crate::blob::FINE_STEP_BYTES;
use crate::codec::{Decoder, Encoder, Malformed};
use crate::id::BlobId;

/// One step's keyed hash.
pub type FineHash = [u8; 16];

/// The hashes of a blob's steps, from its start; the last step may be short.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FineHashes(pub Vec<FineHash>);

impl FineHashes {
    pub(crate) fn of(key: &[u8; 32], raw: &[u8]) -> Self {
        Self(raw.chunks(FINE_STEP_BYTES).map(|step| truncated(&blake3::keyed_hash(key, step))).collect())
    }
}

/// The hash of one step.
pub(crate) fn of_step(key: &[u8; 32], step: &[u8]) -> FineHash {
    truncated(&blake3::keyed_hash(key, step))
}

fn truncated(hash: &blake3::Hash) -> FineHash {
    let mut fine = [0; 16];
    fine.copy_from_slice(&hash.as_bytes()[..16]);
    fine
}

/// A fine-hash blob is closed when it has reached this.
const BATCH_BYTES: usize = 256 << 10;

/// A fine-hash blob while it fills.
#[derive(Debug, Default)]
pub(crate) struct FineBatch {
    content: Vec<u8>,
}

impl FineBatch {
    /// The record's offset.
    pub(crate) fn push(&mut self, id: &BlobId, raw_bytes: u32, hashes: &FineHashes) -> u32 {
        assert_eq!(hashes.0.len(), steps(raw_bytes), "fine hashes of another buffer");
        let offset = self.content.len() as u32;
        let mut record = Encoder::new();
        record.fixed(&id.0);
        record.u32(raw_bytes);
        self.content.extend_from_slice(&record.finish());
        self.content.extend_from_slice(hashes.0.as_flattened());
        offset
    }

    pub(crate) fn is_full(&self) -> bool {
        self.content.len() >= BATCH_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.content.is_empty()
    }

    pub(crate) fn into_content(self) -> Vec<u8> {
        self.content
    }
}

fn steps(raw_bytes: u32) -> usize {
    (raw_bytes as usize).div_ceil(FINE_STEP_BYTES)
}

/// The record at `offset` of a fine-hash blob, which must be that of `id`.
pub(crate) fn record_at(content: &[u8], offset: u32, id: &BlobId) -> Result<FineHashes, Malformed> {
    let mut decoder = Decoder::new(content.get(offset as usize..).ok_or(Malformed("fine hashes beyond their blob"))?);
    if decoder.fixed::<32>()? != id.0 {
        return Err(Malformed("fine hashes of another blob"));
    }
    let raw_bytes = decoder.u32()?;
    let hashes = decoder.slice(steps(raw_bytes) * size_of::<FineHash>())?;
    Ok(FineHashes(hashes.as_chunks().0.to_vec()))
}

/// Fine-hash blobs read last: neighbours in a file are neighbours in them, but several threads read at once, and a file that
/// changed often has its parts in many.
#[derive(Debug, Default)]
pub(crate) struct FineCache {
    /// The one used last stands last.
    blobs: Vec<(BlobId, bytes::Bytes)>,
}

/// Of about 256 KiB each.
const CACHED_MAX: usize = 16;

impl FineCache {
    pub(crate) fn get(&mut self, blob: &BlobId) -> Option<bytes::Bytes> {
        let at = self.blobs.iter().position(|(cached, _)| cached == blob)?;
        let found = self.blobs.remove(at);
        let raw = found.1.clone();
        self.blobs.push(found);
        Some(raw)
    }

    pub(crate) fn put(&mut self, blob: BlobId, raw: bytes::Bytes) {
        if self.blobs.iter().all(|(cached, _)| *cached != blob) {
            if self.blobs.len() >= CACHED_MAX {
                self.blobs.remove(0);
            }
            self.blobs.push((blob, raw));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_blob_finds_its_own() {
        let mut batch = FineBatch::default();
        let blobs: Vec<_> = [0, 1, FINE_STEP_BYTES, FINE_STEP_BYTES + 1, 100_000]
            .into_iter()
            .enumerate()
            .map(|(place, bytes)| {
                let raw = vec![place as u8; bytes];
                let (id, hashes) = (BlobId([place as u8; 32]), FineHashes::of(&[9; 32], &raw));
                let offset = batch.push(&id, bytes as u32, &hashes);
                (id, offset, hashes)
            })
            .collect();
        let content = batch.into_content();
        for (id, offset, hashes) in &blobs {
            assert_eq!(record_at(&content, *offset, id).as_ref(), Ok(hashes));
        }
        assert_eq!(blobs[3].2.0.len(), 2);
        assert!(record_at(&content, blobs[1].1, &blobs[2].0).is_err(), "another's");
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>, offset: u32) {
            let _ = record_at(&bytes, offset, &BlobId([0; 32]));
            let _ = record_at(&bytes, offset % 64, &BlobId([0; 32]));
        }
    }
}
