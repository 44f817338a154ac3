//! Fine hashes: 16 KiB steps of one blob, so that a change in place costs its blocks and not its blob.

use crate::blob::FINE_STEP_BYTES;

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

fn truncated(hash: &blake3::Hash) -> FineHash {
    let mut fine = [0; 16];
    fine.copy_from_slice(&hash.as_bytes()[..16]);
    fine
}
