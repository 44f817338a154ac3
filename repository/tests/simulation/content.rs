//! What is backed up: blobs made of a seed, so that anybody can say what they must hold.

use std::sync::LazyLock;

use bytes::Bytes;
use holdfast_repository::BlobId;

/// Contents that hosts share, so that they meet each other's blobs.
pub(crate) const SEEDS: u64 = 12;

static CONTENTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| (0..SEEDS).map(make).collect());

/// The content of a seed: 20 to 400 bytes, half of it compressible.
pub(crate) fn content(seed: u64) -> &'static [u8] {
    &CONTENTS[usize::try_from(seed).unwrap()]
}

fn make(seed: u64) -> Vec<u8> {
    let chance = crate::chance::Chance::new(seed ^ 0x5eed);
    let length = 20 + chance.below(380);
    (0..length).map(|at| if at % 2 == 0 { b'a' } else { chance.next().to_le_bytes()[0] }).collect()
}

/// The simulation's catalog: pairs of seed and blob.
pub(crate) fn encode(entries: &[(u64, BlobId)]) -> Vec<u8> {
    entries.iter().flat_map(|(seed, blob)| seed.to_le_bytes().into_iter().chain(blob.0)).collect()
}

pub(crate) fn decode(catalog: &Bytes) -> Vec<(u64, BlobId)> {
    let entry = |bytes: &[u8]| (u64::from_le_bytes(bytes[..8].try_into().unwrap()), BlobId(bytes[8..].try_into().unwrap()));
    assert_eq!(catalog.len() % 40, 0);
    catalog.chunks_exact(40).map(entry).collect()
}
