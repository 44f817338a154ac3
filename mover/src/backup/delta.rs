//! A section of a large file that changed, compared with the parent's: what is the same keeps its extents, small changes are
//! gathered in blobs of their own, long ones are cut by content.

use std::collections::VecDeque;

use holdfast_repository::{BlobId, BlobKind, FINE_STEP_BYTES};

use super::basis::Blocks;
use super::large::{Part, SectionRead};
use super::open_file::{Failure, OpenFile};
use super::read_ahead::ReadAhead;
use super::worker::Worker;
use crate::catalog::Extent;
use crate::chunk::{READ_BYTES, ZERO_BLOCK_BYTES, is_zero};

/// A blob of changes is closed when it has reached this.
const BLOB_BYTES: usize = 1 << 20;
/// A change of so many bytes at one place is cut by content, so that what moved is found.
const RUN_BYTES_MAX: usize = 1 << 20;
/// Bytes that must be what they were before cutting by content ends again.
const SETTLED_BYTES: usize = 4 * FINE_STEP_BYTES;

/// Changes of several places, gathered. Each begins at a step, so that it is compared by its own steps next time.
#[derive(Debug, Default)]
pub(super) struct Changes {
    raw: Vec<u8>,
    /// Without the zeros behind the last change.
    used: usize,
    stored: Vec<BlobId>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.raw.is_empty() && self.stored.is_empty()
    }

    fn push(&mut self, bytes: &[u8]) -> Part {
        let offset = self.raw.len();
        self.raw.extend_from_slice(bytes);
        self.used = self.raw.len();
        self.raw.resize(self.used.next_multiple_of(FINE_STEP_BYTES), 0);
        Part::Change { number: self.stored.len(), offset: offset as u32, length: bytes.len() as u32 }
    }

    fn is_full(&self) -> bool {
        self.raw.len() >= BLOB_BYTES
    }

    /// The blobs of all changes since the last call, the open one stored too.
    pub(super) fn take(worker: &mut Worker<'_>) -> Result<Vec<BlobId>, Failure> {
        let stored = Self::store(worker);
        worker.changes.raw.clear();
        worker.changes.used = 0;
        let blobs = std::mem::take(&mut worker.changes.stored);
        stored.map(|()| blobs)
    }

    fn store(worker: &mut Worker<'_>) -> Result<(), Failure> {
        if worker.changes.used > 0 {
            let raw = &worker.changes.raw[..worker.changes.used];
            let stored = worker.context.store(BlobKind::Data, raw, &mut worker.scratch);
            let blob = stored.map_err(|error| worker.write_failed(error))?;
            worker.changes.stored.push(blob);
            worker.changes.raw.clear();
            worker.changes.used = 0;
        }
        Ok(())
    }
}

/// How the bytes that differ are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Gather,
    /// Cut by content; so many bytes in a row were what they were before.
    Cut { settled: usize },
}

/// See the module.
pub(super) struct DeltaSection<'s, 'w> {
    pub(super) worker: &'s mut Worker<'w>,
    file: &'s OpenFile,
    tracks: Vec<Blocks>,
    step: usize,
    mode: Mode,
    read: SectionRead,
    window: Vec<u8>,
    zeros: VecDeque<u64>,
    run: Vec<u8>,
    run_at: u64,
}

impl<'s, 'w> DeltaSection<'s, 'w> {
    /// `step`: as of [`ChunkStream::begin`](crate::chunk::ChunkStream::begin).
    pub(super) fn new(worker: &'s mut Worker<'w>, file: &'s OpenFile, tracks: Vec<Blocks>, step: usize) -> Self {
        let (window, run) = (std::mem::take(&mut worker.window), std::mem::take(&mut worker.run));
        let (read, zeros) = (SectionRead::default(), VecDeque::new());
        Self { worker, file, tracks, step, mode: Mode::Gather, read, window, zeros, run, run_at: 0 }
    }

    pub(super) fn read(mut self, from: u64, end: u64) -> Result<SectionRead, Failure> {
        self.window.clear();
        self.run.clear();
        let result = self.section(from, end);
        self.worker.window = std::mem::take(&mut self.window);
        self.worker.run = std::mem::take(&mut self.run);
        result.map(|()| self.read)
    }

    fn section(&mut self, from: u64, end: u64) -> Result<(), Failure> {
        let mut position = from;
        while position < end && !self.read.is_short {
            let Some((data, data_end)) = self.file.next_data(position, end)? else {
                let hole_end = self.file.size_now()?.clamp(position, end);
                self.empty(Extent::Hole { length: hole_end - position })?;
                self.read.is_short = hole_end < end;
                break;
            };
            self.empty(Extent::Hole { length: data - position })?;
            position = self.data(data, data_end)?;
        }
        self.end_run()?;
        self.end_cutting()
    }

    /// A run of data; returns where it came to.
    fn data(&mut self, from: u64, to: u64) -> Result<u64, Failure> {
        let (mut base, mut ahead) = (from, ReadAhead::default());
        loop {
            let (held, at) = (self.window.len(), base + self.window.len() as u64);
            let wanted = (READ_BYTES as u64 - at % READ_BYTES as u64).min(to - at) as usize;
            self.window.resize(held + wanted, 0);
            let length = ahead.read(self.file, self.worker.context, &mut self.window[held..], at, to)?;
            self.window.truncate(held + length);
            self.read.is_short |= length < wanted;
            let is_last = length < wanted || at + length as u64 == to;
            self.note_zeros(held, at);
            let used = self.compare(base, is_last)?;
            self.window.drain(..used);
            base += used as u64;
            if is_last {
                return Ok(base);
            }
        }
    }

    /// Notes the aligned blocks of zeros in what was read to `held`, which is at `at` of the file.
    fn note_zeros(&mut self, held: usize, at: u64) {
        let first = at.next_multiple_of(ZERO_BLOCK_BYTES as u64);
        let blocks = self.window.get(held + (first - at) as usize..).unwrap_or_default().chunks_exact(ZERO_BLOCK_BYTES);
        let zeros = (first..).step_by(ZERO_BLOCK_BYTES).zip(blocks).filter(|(_, block)| is_zero(block));
        self.zeros.extend(zeros.map(|(position, _)| position));
    }

    /// Goes through the window, which is at `base` of the file. Returns how far; a block that is not all there yet waits.
    fn compare(&mut self, base: u64, is_last: bool) -> Result<usize, Failure> {
        let end = base + self.window.len() as u64;
        let mut at = base;
        while at < end {
            if self.zeros.front() == Some(&at) {
                self.zeros.pop_front();
                self.empty(Extent::Zero { length: ZERO_BLOCK_BYTES as u64 })?;
                at += ZERO_BLOCK_BYTES as u64;
                continue;
            }
            let limit = self.zeros.front().copied().unwrap_or(end);
            let from = (at - base) as usize;
            let (mut found, mut waits) = (None, false);
            for track in &mut self.tracks {
                let Some(block) = track.at(at) else { continue };
                let block_end = at + u64::from(block.length);
                if block_end <= limit {
                    found = block.matches(self.worker.context, &self.window[from..from + block.length as usize]);
                } else {
                    waits |= limit == end && !is_last;
                }
                if found.is_some() {
                    break;
                }
            }
            if let Some(extent) = found {
                let to = from + extent.length() as usize;
                self.same(at, from..to, extent)?;
                at += extent.length();
            } else if waits {
                break;
            } else {
                let next = self.tracks.iter().filter_map(|track| track.after(at)).min().map_or(limit, |next| next.min(limit));
                self.changed(at, from..(next - base) as usize)?;
                at = next;
            }
            if self.worker.context.halted() {
                return Err(Failure::Halted);
            }
        }
        Ok((at - base) as usize)
    }

    fn same(&mut self, at: u64, bytes: std::ops::Range<usize>, extent: Extent) -> Result<(), Failure> {
        match self.mode {
            Mode::Gather => {
                self.end_run()?;
                self.read.parts.push(Part::Known(extent));
                Ok(())
            }
            Mode::Cut { settled } => {
                let settled = settled + bytes.len();
                self.cut(at, bytes)?;
                self.mode = Mode::Cut { settled };
                if settled >= SETTLED_BYTES { self.end_cutting() } else { Ok(()) }
            }
        }
    }

    fn changed(&mut self, at: u64, bytes: std::ops::Range<usize>) -> Result<(), Failure> {
        if let Mode::Cut { .. } = self.mode {
            self.mode = Mode::Cut { settled: 0 };
            return self.cut(at, bytes);
        }
        if self.run.is_empty() {
            self.run_at = at;
        }
        self.run.extend_from_slice(&self.window[bytes]);
        if self.run.len() >= RUN_BYTES_MAX {
            self.begin_cutting()?;
        }
        Ok(())
    }

    /// A hole or zeros.
    fn empty(&mut self, extent: Extent) -> Result<(), Failure> {
        match (self.mode, extent) {
            (_, extent) if extent.length() == 0 => Ok(()),
            (Mode::Cut { .. }, Extent::Zero { length }) => {
                self.worker.stream.zero(length);
                Ok(())
            }
            (Mode::Cut { .. }, extent) => {
                self.worker.stream.hole(extent.length());
                Ok(())
            }
            (Mode::Gather, extent) => {
                self.end_run()?;
                self.read.parts.push(Part::Known(extent));
                Ok(())
            }
        }
    }

    fn end_run(&mut self) -> Result<(), Failure> {
        if self.run.is_empty() {
            return Ok(());
        }
        let change = self.worker.changes.push(&self.run);
        self.read.parts.push(change);
        self.run.clear();
        if self.worker.changes.is_full() { Changes::store(self.worker) } else { Ok(()) }
    }

    fn begin_cutting(&mut self) -> Result<(), Failure> {
        self.worker.stream.begin(self.step);
        self.mode = Mode::Cut { settled: 0 };
        let run = std::mem::take(&mut self.run);
        let fed = self.feed(self.run_at, &run);
        self.run = run;
        self.run.clear();
        fed
    }

    fn cut(&mut self, at: u64, bytes: std::ops::Range<usize>) -> Result<(), Failure> {
        let window = std::mem::take(&mut self.window);
        let fed = self.feed(at, &window[bytes]);
        self.window = window;
        fed
    }

    fn feed(&mut self, at: u64, bytes: &[u8]) -> Result<(), Failure> {
        let mut fed = 0;
        while fed < bytes.len() {
            let position = at + fed as u64;
            let room = self.worker.stream.room(position, (bytes.len() - fed) as u64);
            let length = room.len();
            room.copy_from_slice(&bytes[fed..fed + length]);
            self.worker.stream.filled(position, length);
            self.store_chunks(false)?;
            fed += length;
        }
        Ok(())
    }

    fn end_cutting(&mut self) -> Result<(), Failure> {
        if let Mode::Cut { .. } = self.mode {
            self.store_chunks(true)?;
            self.mode = Mode::Gather;
        }
        Ok(())
    }

    fn store_chunks(&mut self, is_end: bool) -> Result<(), Failure> {
        let mut extents = Vec::new();
        self.worker.store_chunks(is_end, &mut extents)?;
        self.read.parts.extend(extents.into_iter().map(Part::Known));
        Ok(())
    }
}
