//! What is backed up: blobs made of a seed, so that anybody can say what they must hold.

use bytes::Bytes;
use holdfast_repository::BlobId;

/// Contents that hosts share, so that they meet each other's blobs.
pub const SEEDS: u64 = 16;

/// The content of a seed: 100 bytes to 6 KB, half of it compressible.
pub fn content(seed: u64) -> Vec<u8> {
    let chance = crate::chance::Chance::new(seed ^ 0x5eed);
    let length = 100 + chance.below(6000);
    (0..length).map(|at| if at % 2 == 0 { b'a' } else { chance.next().to_le_bytes()[0] }).collect()
}

/// The simulation's catalog: pairs of seed and blob.
pub fn encode(entries: &[(u64, BlobId)]) -> Vec<u8> {
    entries.iter().flat_map(|(seed, blob)| seed.to_le_bytes().into_iter().chain(blob.0)).collect()
}

pub fn decode(catalog: &Bytes) -> Vec<(u64, BlobId)> {
    let entry = |bytes: &[u8]| (u64::from_le_bytes(bytes[..8].try_into().unwrap()), BlobId(bytes[8..].try_into().unwrap()));
    assert_eq!(catalog.len() % 40, 0);
    catalog.chunks_exact(40).map(entry).collect()
}
