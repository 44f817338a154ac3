//! A large file: read in sections, by as many workers as are free.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex};

use super::context::{CatalogSink, STOP_POLL, lock};
use super::open_file::{Failure, OpenFile};
use super::worker::Worker;
use crate::catalog::{Extent, ExtentSpool};

/// Chunks end at the borders of sections, so that several workers can cut one file, and equal files are cut equally. An
/// insertion moves what follows against the borders, and costs two more chunks for each of them.
const SECTION_BYTES: u64 = 64 << 20;
/// Sections that may be ahead of the first one that is not done.
const AHEAD_MAX: u64 = 16;

/// A large file while it is read.
#[derive(Debug)]
pub(super) struct LargeFile {
    file: OpenFile,
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    next_claim: u64,
    next_done: u64,
    active: usize,
    done: BTreeMap<u64, SectionRead>,
    spool: ExtentSpool,
    /// A section came to the file's end before its own: the file shrank, and what comes later is not there any more.
    ended: bool,
    failure: Option<Failure>,
}

#[derive(Debug, Default)]
struct SectionRead {
    extents: Vec<Extent>,
    is_short: bool,
}

impl LargeFile {
    pub(super) fn new(file: OpenFile) -> Self {
        Self { file, state: Mutex::new(State::default()), moved: Condvar::new() }
    }

    pub(super) fn open_file(&self) -> &OpenFile {
        &self.file
    }

    pub(super) fn sections(&self) -> u64 {
        self.file.before.size.div_ceil(SECTION_BYTES)
    }

    /// Reads sections until none is left to be begun. Called by the worker that has the job, and by those that help it.
    pub(super) fn work(&self, worker: &mut Worker<'_>) {
        while let Some(section) = self.claim(worker) {
            let read = self.read_section(section, worker);
            self.deliver(section, read, worker);
        }
    }

    fn claim(&self, worker: &Worker<'_>) -> Option<u64> {
        let mut state = lock(&self.state);
        loop {
            let over = state.failure.is_some() || state.ended || state.next_claim >= self.sections();
            if over || worker.context.halted() {
                return None;
            }
            if state.next_claim < state.next_done + AHEAD_MAX {
                state.next_claim += 1;
                state.active += 1;
                return Some(state.next_claim - 1);
            }
            state = match self.moved.wait_timeout(state, STOP_POLL) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn deliver(&self, section: u64, read: Result<SectionRead, Failure>, worker: &mut Worker<'_>) {
        let mut state = lock(&self.state);
        state.active -= 1;
        match read {
            Ok(read) => {
                state.done.insert(section, read);
                if let Err(failure) = state.join_done(worker) {
                    state.failure.get_or_insert(failure);
                }
            }
            Err(failure) => drop(state.failure.get_or_insert(failure)),
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

    fn read_section(&self, section: u64, worker: &mut Worker<'_>) -> Result<SectionRead, Failure> {
        worker.stream.clear();
        let mut read = SectionRead::default();
        let mut position = section * SECTION_BYTES;
        let end = (position + SECTION_BYTES).min(self.file.before.size);
        while position < end && !read.is_short {
            let Some((from, to)) = self.file.next_data(position, end)? else {
                let hole_end = self.file.size_now()?.clamp(position, end);
                worker.stream.hole(hole_end - position);
                read.is_short = hole_end < end;
                break;
            };
            worker.stream.hole(from - position);
            position = self.read_data(from, to, worker, &mut read)?;
        }
        worker.store_chunks(true, &mut read.extents)?;
        Ok(read)
    }

    /// Returns where it came to.
    fn read_data(&self, from: u64, to: u64, worker: &mut Worker<'_>, read: &mut SectionRead) -> Result<u64, Failure> {
        let mut position = from;
        while position < to {
            let context = worker.context;
            let room = worker.stream.room(position, to - position);
            let (wanted, length) = (room.len(), self.file.read(context, room, position)?);
            worker.stream.filled(position, length);
            worker.store_chunks(false, &mut read.extents)?;
            position += length as u64;
            if length < wanted {
                read.is_short = true;
                break;
            }
        }
        Ok(position)
    }
}

impl State {
    /// Adds the sections that are next in the file's order.
    fn join_done(&mut self, worker: &mut Worker<'_>) -> Result<(), Failure> {
        while !self.ended
            && let Some(read) = self.done.remove(&self.next_done)
        {
            self.next_done += 1;
            self.ended = read.is_short;
            lock(&worker.context.shared.refs).extents(&read.extents);
            let mut sink = CatalogSink { context: worker.context, scratch: &mut worker.scratch };
            for extent in read.extents {
                if let Err(error) = self.spool.push(extent, &mut sink) {
                    return Err(worker.write_failed(error));
                }
            }
        }
        Ok(())
    }
}
