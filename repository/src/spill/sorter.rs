//! External sort: sorted runs on disk, merged.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::{Spill, SpillError, SpillFile, SpillPlace};

/// One append of a run, about: what one run of a merge holds in memory.
const SEGMENT_BYTES: usize = 64 << 10;
/// Runs merged at once: more are merged to one first, so a merge holds at most this many segments.
pub(super) const FAN_IN: usize = 64;
/// What a record costs in memory beside its bytes.
const RECORD_OVERHEAD_BYTES: usize = size_of::<Place>();
const LENGTHS_BYTES: usize = 8;

/// A key and a value, as spilled.
type Record = (Vec<u8>, Vec<u8>);

/// Where a pushed record stands in the arena.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: usize,
    key_bytes: u32,
    value_bytes: u32,
}

#[derive(Debug)]
pub(super) struct Run {
    file: Arc<SpillFile>,
    segments: std::vec::IntoIter<SpillPlace>,
    plain: Vec<u8>,
    position: usize,
}

/// Takes records in any order; gives them back by key, equal keys in the order in which they came.
#[derive(Debug)]
pub struct Sorter {
    spill: Spill,
    memory_bytes: usize,
    arena: Vec<u8>,
    places: Vec<Place>,
    pub(super) runs: Vec<Run>,
    records: u64,
}

impl Sorter {
    pub(super) fn new(spill: Spill, memory_bytes: usize) -> Self {
        Self { spill, memory_bytes, arena: Vec::new(), places: Vec::new(), runs: Vec::new(), records: 0 }
    }

    /// Adds a record; may write a run.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), SpillError> {
        let bytes = key.len() + value.len();
        if bytes > super::PLAIN_BYTES_MAX / 2 {
            return Err(SpillError::TooLarge { bytes });
        }
        let held = self.arena.len() + self.places.len() * RECORD_OVERHEAD_BYTES;
        if held + bytes + RECORD_OVERHEAD_BYTES > self.memory_bytes && !self.places.is_empty() {
            self.write_run()?;
        }
        self.places.push(Place { offset: self.arena.len(), key_bytes: key.len() as u32, value_bytes: value.len() as u32 });
        self.arena.extend_from_slice(key);
        self.arena.extend_from_slice(value);
        self.records += 1;
        Ok(())
    }

    /// How many were pushed.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// All of them, sorted. Nothing touches the disk if they fitted into memory.
    pub fn finish(mut self) -> Result<Sorted, SpillError> {
        if self.runs.is_empty() {
            self.sort();
            return Ok(Sorted { source: Source::Memory { arena: self.arena, places: self.places.into_iter() } });
        }
        if !self.places.is_empty() {
            self.write_run()?;
        }
        Ok(Sorted { source: Source::Disk(Merge::begin(self.runs)?) })
    }

    fn sort(&mut self) {
        let arena = &self.arena;
        self.places.sort_by(|a, b| key_of(arena, a).cmp(key_of(arena, b)));
    }

    fn write_run(&mut self) -> Result<(), SpillError> {
        self.sort();
        let mut run = RunWriter::begin(&self.spill)?;
        for place in &self.places {
            run.push(key_of(&self.arena, place), value_of(&self.arena, place))?;
        }
        self.places.clear();
        self.arena.clear();
        self.runs.push(run.finish()?);
        if self.runs.len() >= FAN_IN {
            self.merge_runs()?;
        }
        Ok(())
    }

    /// One run of all: their order among equal keys is the runs' order, and the merged one stays the first.
    fn merge_runs(&mut self) -> Result<(), SpillError> {
        let mut merge = Merge::begin(std::mem::take(&mut self.runs))?;
        let mut run = RunWriter::begin(&self.spill)?;
        while let Some((key, value)) = merge.next()? {
            run.push(&key, &value)?;
        }
        self.runs.push(run.finish()?);
        Ok(())
    }
}

fn key_of<'a>(arena: &'a [u8], place: &Place) -> &'a [u8] {
    &arena[place.offset..place.offset + place.key_bytes as usize]
}

fn value_of<'a>(arena: &'a [u8], place: &Place) -> &'a [u8] {
    let from = place.offset + place.key_bytes as usize;
    &arena[from..from + place.value_bytes as usize]
}

struct RunWriter {
    file: SpillFile,
    segments: Vec<SpillPlace>,
    segment: Vec<u8>,
}

impl RunWriter {
    fn begin(spill: &Spill) -> Result<Self, SpillError> {
        Ok(Self { file: spill.file()?, segments: Vec::new(), segment: Vec::with_capacity(SEGMENT_BYTES) })
    }

    fn push(&mut self, key: &[u8], value: &[u8]) -> Result<(), SpillError> {
        self.segment.extend_from_slice(&(key.len() as u32).to_le_bytes());
        self.segment.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.segment.extend_from_slice(key);
        self.segment.extend_from_slice(value);
        if self.segment.len() >= SEGMENT_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SpillError> {
        if !self.segment.is_empty() {
            self.segments.push(self.file.append(&self.segment)?);
            self.segment.clear();
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Run, SpillError> {
        self.flush()?;
        Ok(Run { file: Arc::new(self.file), segments: self.segments.into_iter(), plain: Vec::new(), position: 0 })
    }
}

impl Run {
    fn next(&mut self) -> Result<Option<Record>, SpillError> {
        while self.position >= self.plain.len() {
            let Some(place) = self.segments.next() else { return Ok(None) };
            self.file.read(&place, &mut self.plain)?;
            self.position = 0;
        }
        let (key_bytes, value_bytes) = (self.length(0)?, self.length(4)?);
        let from = self.position + LENGTHS_BYTES;
        let key = self.plain.get(from..from + key_bytes).ok_or(SpillError::Changed)?.to_vec();
        let value = self.plain.get(from + key_bytes..from + key_bytes + value_bytes).ok_or(SpillError::Changed)?.to_vec();
        self.position = from + key_bytes + value_bytes;
        Ok(Some((key, value)))
    }

    fn length(&self, at: usize) -> Result<usize, SpillError> {
        let from = self.position + at;
        let bytes = self.plain.get(from..from + 4).and_then(|bytes| bytes.try_into().ok()).ok_or(SpillError::Changed)?;
        Ok(u32::from_le_bytes(bytes) as usize)
    }
}

/// The next record of one run; the least of the heap is the next of all.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    record: Record,
    run: usize,
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        self.record.0.cmp(&other.record.0).then(self.run.cmp(&other.run))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Debug)]
struct Merge {
    runs: Vec<Run>,
    heads: BinaryHeap<Reverse<Head>>,
}

impl Merge {
    fn begin(mut runs: Vec<Run>) -> Result<Self, SpillError> {
        let mut heads = BinaryHeap::with_capacity(runs.len());
        for (run, source) in runs.iter_mut().enumerate() {
            if let Some(record) = source.next()? {
                heads.push(Reverse(Head { record, run }));
            }
        }
        Ok(Self { runs, heads })
    }

    fn next(&mut self) -> Result<Option<Record>, SpillError> {
        let Some(Reverse(Head { record, run })) = self.heads.pop() else { return Ok(None) };
        if let Some(record) = self.runs[run].next()? {
            self.heads.push(Reverse(Head { record, run }));
        }
        Ok(Some(record))
    }
}

/// Records in the order of their keys, read once.
#[derive(Debug)]
pub struct Sorted {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Memory { arena: Vec<u8>, places: std::vec::IntoIter<Place> },
    Disk(Merge),
}

impl Sorted {
    /// The next key and value; `None` behind the last.
    #[expect(clippy::should_implement_trait, reason = "an iterator of results would go on after an error")]
    pub fn next(&mut self) -> Result<Option<(Vec<u8>, Vec<u8>)>, SpillError> {
        match &mut self.source {
            Source::Disk(merge) => merge.next(),
            Source::Memory { arena, places } => Ok(places.next().map(|place| (key_of(arena, &place).to_vec(), value_of(arena, &place).to_vec()))),
        }
    }
}
