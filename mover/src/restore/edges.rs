//! Blocks that two pieces share, where both are written past the page cache: one is written when nothing of it is missing any more.
//!
//! Writing each piece's end through the cache would cost more than the ends: such a write waits until no other write to the file is under
//! way, and lets none begin meanwhile. Four threads then wrote half of what the disk takes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Blocks of all files that wait for their other piece, in bytes. What comes beyond that is written through the cache.
const BYTES_MAX: usize = 4 << 20;

/// Counts what all files' edges hold.
#[derive(Debug, Default)]
pub(super) struct EdgeMemory(AtomicUsize);

impl EdgeMemory {
    fn take(&self, bytes: usize) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| Some(held + bytes).filter(|held| *held <= BYTES_MAX)).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// One file's, by where the block begins.
#[derive(Debug, Default)]
pub(super) struct Edges(BTreeMap<u64, Edge>);

#[derive(Debug)]
struct Edge {
    bytes: Box<[u8]>,
    /// In no order; pieces of a file never overlap.
    there: Vec<Range<usize>>,
}

/// What became of a piece's end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It waits for the rest of its block.
    Kept,
    /// It was the rest: where the block begins, and all of it.
    Whole(u64, Box<[u8]>),
    /// There is no room: it is to be written as it is.
    Refused,
}

impl Edges {
    /// `bytes` at `offset` of the file: within one block of `block_bytes`, and not all of it.
    pub(super) fn add(&mut self, memory: &EdgeMemory, block_bytes: usize, offset: u64, bytes: &[u8]) -> Added {
        let block = offset / block_bytes as u64 * block_bytes as u64;
        let range = (offset - block) as usize..(offset - block) as usize + bytes.len();
        let mut place = match self.0.entry(block) {
            Entry::Occupied(place) => place,
            Entry::Vacant(_) if !memory.take(block_bytes) => return Added::Refused,
            Entry::Vacant(place) => place.insert_entry(Edge { bytes: vec![0; block_bytes].into(), there: Vec::new() }),
        };
        let edge = place.get_mut();
        edge.bytes[range.clone()].copy_from_slice(bytes);
        edge.there.push(range);
        if edge.there.iter().map(ExactSizeIterator::len).sum::<usize>() < block_bytes {
            return Added::Kept;
        }
        memory.give_back(block_bytes);
        Added::Whole(block, place.remove().bytes)
    }

    /// What still waits when the file is complete: its end, and what holes lie beside.
    pub(super) fn take_rest(&mut self, memory: &EdgeMemory) -> Vec<(u64, Vec<u8>)> {
        let edges = std::mem::take(&mut self.0);
        memory.give_back(edges.values().map(|edge| edge.bytes.len()).sum());
        let pieces = |(block, edge): (u64, Edge)| {
            let piece = |range: Range<usize>| (block + range.start as u64, edge.bytes[range].to_vec());
            edge.there.iter().cloned().map(piece).collect::<Vec<_>>()
        };
        edges.into_iter().flat_map(pieces).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_whole_when_all_its_pieces_came() {
        let (memory, mut edges) = (EdgeMemory::default(), Edges::default());
        assert_eq!(edges.add(&memory, 8, 21, &[1, 2, 3]), Added::Kept);
        assert_eq!(edges.add(&memory, 8, 40, &[9]), Added::Kept);
        assert_eq!(edges.add(&memory, 8, 16, &[4; 2]), Added::Kept);
        assert_eq!(memory.0.load(Ordering::Relaxed), 16);
        assert_eq!(edges.add(&memory, 8, 18, &[5; 3]), Added::Whole(16, [4, 4, 5, 5, 5, 1, 2, 3].into()));
        assert_eq!(edges.add(&memory, 8, 46, &[7, 8]), Added::Kept);
        assert_eq!(edges.take_rest(&memory), [(40, vec![9]), (46, vec![7, 8])], "only what came");
        assert_eq!((memory.0.load(Ordering::Relaxed), edges.take_rest(&memory)), (0, vec![]));
    }

    #[test]
    fn beyond_the_limit_no_block_is_begun_and_what_waits_is_completed() {
        let (memory, mut edges) = (EdgeMemory::default(), Edges::default());
        let block_bytes = 64 << 10;
        for number in 0..BYTES_MAX as u64 / block_bytes as u64 {
            assert_eq!(edges.add(&memory, block_bytes, number * block_bytes as u64, &[1]), Added::Kept);
        }
        assert_eq!(edges.add(&memory, block_bytes, 1 << 40, &[1]), Added::Refused);
        assert!(matches!(edges.add(&memory, block_bytes, 1, &vec![2; block_bytes - 1]), Added::Whole(0, _)));
        assert_eq!(edges.add(&memory, block_bytes, 1 << 40, &[1]), Added::Kept);
    }
}
