//! A large index: sorted segments in a spill file; in memory a filter, and each segment's first id.
//!
//! A blob that is not there costs a look at the filter (1 % pass it in vain), one that is there one segment of 30 KiB, read and
//! opened, unless it is among those used last.

use std::sync::{Arc, Mutex};

use super::entry::{ENTRY_BYTES, Entry, KEY_BYTES};
use crate::id::BlobId;
use crate::lock::locked;
use crate::spill::{Sorter, Spill, SpillError, SpillFile, SpillPlace};

/// Few in tests, so that their small indexes have many segments, and read them again.
const SEGMENT_ENTRIES: usize = if cfg!(test) { 8 } else { 512 };
/// Segments kept open, 30 KiB each. A power of two: which slot a segment takes is its number's last bits.
const OPEN_SEGMENTS: usize = if cfg!(test) { 2 } else { 64 };
const FILTER_BITS_PER_ENTRY: u64 = 10;
const FILTER_PROBES: u64 = 7;

type Segment = Arc<Vec<u8>>;

#[derive(Debug)]
pub(super) struct Table {
    file: SpillFile,
    /// First id of each segment, and where it is. Copies of one blob are never in two segments.
    segments: Vec<(BlobId, SpillPlace)>,
    filter: Filter,
    entries: u64,
    open: Mutex<Vec<Option<(usize, Segment)>>>,
    /// The first read that failed: what is asked for after it may be said to be absent and is not.
    failure: Mutex<Option<SpillError>>,
}

impl Table {
    pub(super) fn build(spill: &Spill, sorter: Sorter) -> Result<Self, SpillError> {
        let filter = Filter::for_entries(sorter.records());
        let mut table = Self {
            file: spill.file()?,
            segments: Vec::new(),
            filter,
            entries: 0,
            open: Mutex::new(vec![None; OPEN_SEGMENTS]),
            failure: Mutex::default(),
        };
        let mut sorted = sorter.finish()?;
        let mut segment = Vec::with_capacity(SEGMENT_ENTRIES * ENTRY_BYTES);
        let mut last: Option<Vec<u8>> = None;
        while let Some((key, value)) = sorted.next()? {
            if last.as_ref() == Some(&key) {
                continue;
            }
            let same_blob = last.as_ref().is_some_and(|last| last[..32] == key[..32]);
            if !same_blob {
                table.filter.insert(&key);
                if segment.len() >= SEGMENT_ENTRIES * ENTRY_BYTES {
                    table.append(&mut segment)?;
                }
            }
            segment.extend_from_slice(&key);
            segment.extend_from_slice(&value);
            table.entries += 1;
            last = Some(key);
        }
        table.append(&mut segment)?;
        Ok(table)
    }

    fn append(&mut self, segment: &mut Vec<u8>) -> Result<(), SpillError> {
        let Some(first) = segment.get(..ENTRY_BYTES).and_then(Entry::decode) else { return Ok(()) };
        let place = self.file.append(segment)?;
        self.segments.push((first.id, place));
        segment.clear();
        Ok(())
    }

    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    pub(super) fn failure(&self) -> Option<SpillError> {
        locked(&self.failure).clone()
    }

    pub(super) fn copies(&self, id: &BlobId) -> Vec<Entry> {
        if !self.filter.may_contain(&id.0) {
            return Vec::new();
        }
        let Some(number) = self.segments.partition_point(|(first, _)| first <= id).checked_sub(1) else { return Vec::new() };
        let Some(segment) = self.segment(number) else { return Vec::new() };
        let entries = segment.as_chunks::<ENTRY_BYTES>().0;
        let from = entries.partition_point(|entry| entry[..32] < id.0[..]);
        entries[from..].iter().take_while(|entry| entry[..32] == id.0).filter_map(|entry| Entry::decode(entry)).collect()
    }

    fn segment(&self, number: usize) -> Option<Segment> {
        let slot = number & (OPEN_SEGMENTS - 1);
        if let Some((open, segment)) = &locked(&self.open)[slot]
            && *open == number
        {
            return Some(Arc::clone(segment));
        }
        let segment = self.read(number)?;
        locked(&self.open)[slot] = Some((number, Arc::clone(&segment)));
        Some(segment)
    }

    fn read(&self, number: usize) -> Option<Segment> {
        let (_, place) = self.segments.get(number)?;
        let mut plain = Vec::new();
        match self.file.read(place, &mut plain) {
            Ok(()) => Some(Arc::new(plain)),
            Err(error) => {
                let mut failure = locked(&self.failure);
                if failure.is_none() {
                    tracing::error!(%error, "the index cannot be read back; its blobs count as absent");
                    *failure = Some(error);
                }
                None
            }
        }
    }

    /// In order; ends at a segment that cannot be read, which `failure` tells.
    pub(super) fn all(&self) -> impl Iterator<Item = Entry> {
        (0..self.segments.len()).map_while(|number| self.read(number)).flat_map(|segment| {
            let entries: Vec<Entry> = segment.as_chunks::<ENTRY_BYTES>().0.iter().filter_map(|entry| Entry::decode(entry)).collect();
            entries
        })
    }
}

/// A Bloom filter over ids, which are hashes already.
#[derive(Debug)]
struct Filter {
    words: Vec<u64>,
}

impl Filter {
    fn for_entries(entries: u64) -> Self {
        let words = (entries * FILTER_BITS_PER_ENTRY).div_ceil(64).max(1);
        Self { words: vec![0; words as usize] }
    }

    fn bits(&self, id: &[u8]) -> impl Iterator<Item = (usize, u64)> + use<> {
        let part = |from: usize| id.get(from..from + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
        let (first, step) = (part(8), part(16) | 1);
        let bits = self.words.len() as u64 * 64;
        (0..FILTER_PROBES).map(move |probe| {
            let bit = first.wrapping_add(probe.wrapping_mul(step)) % bits;
            ((bit / 64) as usize, 1 << (bit % 64))
        })
    }

    fn insert(&mut self, key: &[u8]) {
        debug_assert_eq!(key.len(), KEY_BYTES);
        for (word, bit) in self.bits(key) {
            self.words[word] |= bit;
        }
    }

    fn may_contain(&self, id: &[u8]) -> bool {
        self.bits(id).all(|(word, bit)| self.words[word] & bit != 0)
    }
}
