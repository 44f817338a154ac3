//! Fine hashes: 16 KiB steps of one blob, so that a change in place costs its blocks and not its blob. They are nodes of the tree of
//! hashes that the blob's id is the root of: what one has to compute for the id anyway.
//!
//! Many blobs' fine hashes stand in one fine-hash blob, in the order in which their blobs were added. Each record names its blob,
//! so that the index can be built again from packs.

use blake3::Hasher;
use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::blob::FINE_STEP_BYTES;
use crate::codec::{Decoder, Encoder, Malformed};
use crate::id::BlobId;

/// One step's node, cut to half its length.
pub type FineHash = [u8; 16];

/// The hashes of a blob's steps, from its start; the last step may be short.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FineHashes(pub Vec<FineHash>);

/// The id of a data blob, which is the root of its BLAKE3 tree (section 2.1 of its paper), and what stands in that tree over each step: both
/// for one look at the bytes.
pub(crate) fn identify(key: &[u8; 32], raw: &[u8]) -> (BlobId, FineHashes) {
    if raw.len() <= FINE_STEP_BYTES {
        let mut hasher = Hasher::new_keyed(key);
        hasher.update(raw);
        // Nothing has no tree.
        let step = (!raw.is_empty()).then(|| truncated(&hasher.finalize_non_root()));
        return (BlobId(*hasher.finalize().as_bytes()), FineHashes(step.into_iter().collect()));
    }
    let steps = raw.chunks(FINE_STEP_BYTES).zip((0..).step_by(FINE_STEP_BYTES));
    let nodes: Vec<ChainingValue> = steps.map(|(step, offset)| node(key, offset, step)).collect();
    let (left, right) = nodes.split_at(left_half(nodes.len()));
    let root = merge_subtrees_root(&above(key, left), &above(key, right), Mode::KeyedHash(key));
    (BlobId(*root.as_bytes()), FineHashes(nodes.iter().map(truncated).collect()))
}

/// The fine hash of one step, which begins at `offset` of its blob: a multiple of the steps' length.
pub(crate) fn of_step(key: &[u8; 32], offset: u32, step: &[u8]) -> FineHash {
    truncated(&node(key, offset.into(), step))
}

fn node(key: &[u8; 32], offset: u64, step: &[u8]) -> ChainingValue {
    Hasher::new_keyed(key).set_input_offset(offset).update(step).finalize_non_root()
}

/// The node above these, of which there is one at least.
fn above(key: &[u8; 32], nodes: &[ChainingValue]) -> ChainingValue {
    match nodes {
        [node] => *node,
        nodes => {
            let (left, right) = nodes.split_at(left_half(nodes.len()));
            merge_subtrees_non_root(&above(key, left), &above(key, right), Mode::KeyedHash(key))
        }
    }
}

/// The left half of a tree is full: the largest power of two that leaves something for the right one.
fn left_half(nodes: usize) -> usize {
    nodes.next_power_of_two() / 2
}

fn truncated(node: &ChainingValue) -> FineHash {
    let mut fine = [0; 16];
    fine.copy_from_slice(&node[..16]);
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
                let (id, hashes) = (BlobId([place as u8; 32]), identify(&[9; 32], &raw).1);
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

    #[test]
    fn the_id_is_the_hash_of_all_and_each_step_is_found_by_itself() {
        let (key, all) = ([9; 32], (0..40 * FINE_STEP_BYTES).map(|at| (at * 31 % 251) as u8).collect::<Vec<_>>());
        let around = |bytes: usize| [bytes.saturating_sub(1), bytes, bytes + 1];
        let lengths = [0, 1, 1024, 5000].into_iter().chain((1..=39).flat_map(|steps| around(steps * FINE_STEP_BYTES)));
        for raw in lengths.map(|length| &all[..length]) {
            let (id, hashes) = identify(&key, raw);
            assert_eq!(id.0, *blake3::keyed_hash(&key, raw).as_bytes(), "{} bytes", raw.len());
            assert_eq!(hashes.0.len(), raw.len().div_ceil(FINE_STEP_BYTES));
            for (place, step) in raw.chunks(FINE_STEP_BYTES).enumerate() {
                assert_eq!(of_step(&key, (place * FINE_STEP_BYTES) as u32, step), hashes.0[place], "step {place} of {} bytes", raw.len());
            }
        }
    }

    #[test]
    fn a_step_that_changed_has_another_hash_and_the_others_have_not() {
        let (key, mut raw) = ([9; 32], vec![7; 5 * FINE_STEP_BYTES + 100]);
        let before = identify(&key, &raw).1;
        raw[2 * FINE_STEP_BYTES + 5] ^= 1;
        let after = identify(&key, &raw).1;
        let changed: Vec<_> = (0..6).filter(|step| before.0[*step] != after.0[*step]).collect();
        assert_eq!(changed, [2]);
        assert_ne!(identify(&[8; 32], &raw).1.0[0], after.0[0], "another key");
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>, offset: u32) {
            let _ = record_at(&bytes, offset, &BlobId([0; 32]));
            let _ = record_at(&bytes, offset % 64, &BlobId([0; 32]));
        }
    }
}
