//! A large file: read in sections, by as many workers as are free.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex};

use holdfast_repository::BlobId;

use super::basis::{Basis, Blocks, Placed};
use super::context::{CatalogSink, Context, STOP_POLL, lock};
use super::delta::{Changes, DeltaSection};
use super::open_file::{Failure, OpenFile};
use super::read_ahead::ReadAhead;
use super::worker::Worker;
use crate::catalog::{Entry, Extent, ExtentSpool};
use crate::chunk::{SAMPLE_BYTES, has_pages, may_have_pages};

/// Chunks end at the borders of sections, so that several workers can cut one file, and equal files are cut equally. An
/// insertion moves what follows against the borders, and costs two more chunks for each of them.
const SECTION_BYTES: u64 = 64 << 20;
/// Sections that may be ahead of the first one that is not done.
const AHEAD_MAX: u64 = 16;
/// Sections of one worker whose changes wait for a common blob.
const HELD_MAX: usize = 4;

/// A large file while it is read.
pub(super) struct LargeFile {
    file: OpenFile,
    /// Chunks end at multiples of it.
    step: usize,
    /// What the parent has of it. Sections are begun under this lock, so that it is gone through once and in order.
    basis: Mutex<Option<Basis>>,
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    next_claim: u64,
    next_done: u64,
    active: usize,
    done: BTreeMap<u64, (Vec<Extent>, bool)>,
    spool: ExtentSpool,
    /// A section came to the file's end before its own: the file shrank, and what comes later is not there any more.
    ended: bool,
    failure: Option<Failure>,
}

/// A section that was read.
#[derive(Debug, Default)]
pub(super) struct SectionRead {
    pub(super) parts: Vec<Part>,
    /// The file ended in it, before it should.
    pub(super) is_short: bool,
}

/// A piece of a section.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// In a blob that has an id.
    Known(Extent),
    /// In the `number`th blob of changes that its worker stores.
    Change { number: usize, offset: u32, length: u32 },
}

impl Part {
    fn extent(self, changes: &[BlobId]) -> Option<Extent> {
        match self {
            Self::Known(extent) => Some(extent),
            Self::Change { number, offset, length } => changes.get(number).map(|blob| Extent::Blob { blob: *blob, offset, length }),
        }
    }
}

/// What a worker may do next.
enum Claim {
    Section(u64, Vec<Vec<Placed>>),
    Wait,
    Over,
}

impl LargeFile {
    /// `basis`: what the parent has at its place.
    pub(super) fn new(mut file: OpenFile, basis: Option<&Entry>, context: &Context) -> Self {
        file.begin_large(SAMPLE_BYTES as u64);
        let basis = basis.map(|entry| Basis::new(context, entry, file.before.size));
        let step = if is_of_pages(&file) { context.shared.chunker.fine_step_bytes as usize } else { 1 };
        Self { file, step, basis: Mutex::new(basis), state: Mutex::new(State::default()), moved: Condvar::new() }
    }

    pub(super) fn open_file(&self) -> &OpenFile {
        &self.file
    }

    pub(super) fn sections(&self) -> u64 {
        self.file.before.size.div_ceil(SECTION_BYTES)
    }

    /// Reads sections until none is left to be begun. Called by the worker that has the job, and by those that help it.
    pub(super) fn work(&self, worker: &mut Worker<'_>) {
        let mut held: Vec<(u64, Result<SectionRead, Failure>)> = Vec::new();
        loop {
            match self.claim(worker) {
                Claim::Over => break,
                Claim::Wait if held.is_empty() => self.wait(),
                // Others may wait for these very sections.
                Claim::Wait => self.deliver(&mut held, worker),
                Claim::Section(section, placed) => {
                    let read = self.read_section(section, &placed, worker);
                    let failed = read.is_err();
                    held.push((section, read));
                    if failed || worker.changes.is_empty() || held.len() >= HELD_MAX {
                        self.deliver(&mut held, worker);
                    }
                }
            }
        }
        self.deliver(&mut held, worker);
    }

    fn range(&self, section: u64) -> std::ops::Range<u64> {
        let from = section * SECTION_BYTES;
        from..(from + SECTION_BYTES).min(self.file.before.size)
    }

    fn claim(&self, worker: &Worker<'_>) -> Claim {
        let mut basis = lock(&self.basis);
        let section = {
            let mut state = lock(&self.state);
            let over = state.failure.is_some() || state.ended || state.next_claim >= self.sections();
            if over || worker.context.halted() {
                return Claim::Over;
            }
            if state.next_claim >= state.next_done + AHEAD_MAX {
                return Claim::Wait;
            }
            state.next_claim += 1;
            state.active += 1;
            state.next_claim - 1
        };
        let tail_bytes = u64::from(worker.context.shared.chunker.min_bytes);
        let placed = basis.as_mut().map(|basis| basis.take(worker.context, &self.range(section), tail_bytes));
        Claim::Section(section, placed.unwrap_or_default())
    }

    /// Until something moved; the caller looks again.
    fn wait(&self) {
        drop(self.moved.wait_timeout(lock(&self.state), STOP_POLL));
    }

    /// Hands over what was read, once the changes in it are stored.
    fn deliver(&self, held: &mut Vec<(u64, Result<SectionRead, Failure>)>, worker: &mut Worker<'_>) {
        if held.is_empty() {
            return;
        }
        let (changes, failed) = match Changes::take(worker) {
            Ok(changes) => (changes, None),
            Err(failure) => (Vec::new(), Some(failure)),
        };
        let mut state = lock(&self.state);
        if let Some(failure) = failed {
            state.failure.get_or_insert(failure);
        }
        for (section, read) in held.drain(..) {
            state.active -= 1;
            let delivered = read.and_then(|read| state.add(section, read, &changes, worker));
            if let Err(failure) = delivered {
                state.failure.get_or_insert(failure);
            }
        }
        drop(state);
        self.moved.notify_all();
    }

    /// Waits for the sections that others have begun. Each of them ends: what it waits for looks at the stop too.
    pub(super) fn wait_for_helpers(&self) {
        let mut state = lock(&self.state);
        while state.active > 0 {
            state = match self.moved.wait_timeout(state, STOP_POLL) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// The file's extents, when all sections are done.
    pub(super) fn take_spool(&self) -> Result<ExtentSpool, Failure> {
        let mut state = lock(&self.state);
        match state.failure.take() {
            Some(failure) => Err(failure),
            None if state.ended || state.next_done == self.sections() => Ok(std::mem::take(&mut state.spool)),
            None => Err(Failure::Halted),
        }
    }

    fn read_section(&self, section: u64, placed: &[Vec<Placed>], worker: &mut Worker<'_>) -> Result<SectionRead, Failure> {
        let range = self.range(section);
        let tracks: Vec<_> = placed.iter().map(|placed| Blocks::of(worker.context, placed)).filter(|blocks| !blocks.is_empty()).collect();
        worker.stream.begin(self.step);
        if !tracks.is_empty() {
            return DeltaSection::new(worker, &self.file, tracks, self.step).read(range.start, range.end);
        }
        let (mut position, end, mut is_short) = (range.start, range.end, false);
        let mut extents = Vec::new();
        while position < end && !is_short {
            let Some((from, to)) = self.file.next_data(position, end)? else {
                let hole_end = self.file.size_now()?.clamp(position, end);
                worker.stream.hole(hole_end - position);
                is_short = hole_end < end;
                break;
            };
            worker.stream.hole(from - position);
            (position, is_short) = self.read_data(from, to, worker, &mut extents)?;
        }
        worker.store_chunks(true, &mut extents)?;
        Ok(SectionRead { parts: extents.into_iter().map(Part::Known).collect(), is_short })
    }

    /// Returns where it came to, and whether the file ended there.
    fn read_data(&self, from: u64, to: u64, worker: &mut Worker<'_>, extents: &mut Vec<Extent>) -> Result<(u64, bool), Failure> {
        let (mut position, mut ahead) = (from, ReadAhead::default());
        while position < to {
            let context = worker.context;
            let room = worker.stream.room(position, to - position);
            let (wanted, length) = (room.len(), ahead.read(&self.file, context, room, position, to)?);
            worker.stream.filled(position, length);
            worker.store_chunks(false, extents)?;
            position += length as u64;
            if length < wanted {
                return Ok((position, true));
            }
        }
        Ok((position, false))
    }
}

/// By a look at its beginning. What is stored is read again: this decides nothing but where chunks end.
fn is_of_pages(file: &OpenFile) -> bool {
    if file.is_device || !may_have_pages(file.before.size) {
        return file.is_device;
    }
    let mut sample = vec![0; SAMPLE_BYTES];
    let length = file.peek(&mut sample);
    has_pages(&sample[..length])
}

impl State {
    fn add(&mut self, section: u64, read: SectionRead, changes: &[BlobId], worker: &mut Worker<'_>) -> Result<(), Failure> {
        let extents: Option<Vec<_>> = read.parts.into_iter().map(|part| part.extent(changes)).collect();
        // Without its blob a change cannot be named; why it was not stored was said before.
        self.done.insert(section, (extents.ok_or(Failure::Halted)?, read.is_short));
        self.join_done(worker)
    }

    /// Adds the sections that are next in the file's order.
    fn join_done(&mut self, worker: &mut Worker<'_>) -> Result<(), Failure> {
        while !self.ended
            && let Some((extents, is_short)) = self.done.remove(&self.next_done)
        {
            self.next_done += 1;
            self.ended = is_short;
            lock(&worker.context.shared.refs).extents(&extents);
            let mut sink = CatalogSink { context: worker.context, scratch: &mut worker.scratch };
            for extent in extents {
                if let Err(error) = self.spool.push(extent, &mut sink) {
                    return Err(worker.write_failed(error));
                }
            }
        }
        Ok(())
    }
}
