//! The content of files: written where the file is new, compared and corrected where it stood already.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use holdfast_repository::{BLOB_RAW_BYTES_MAX, BlobId};
use rustix::io::Errno;

use super::attributes::{Set, Standing, set_on_handle};
use super::direct::Direct;
use super::file::{FileState, FileTask, Origin};
use super::gate::{Failure, Halted};
use super::place;
use super::source::{Decoder, Fetched};
use super::standing;
use super::window::{BlobWork, Piece};
use super::worker::{Leftover, Unread, Worker};

/// Between two looks at the grant at most this much is written.
const BATCH_BYTES: usize = 1 << 20;
/// Files that wait for their other parts stay open up to this many; beyond, they are opened again.
pub(super) const OPEN_FILES_MAX: usize = 256;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

impl Worker {
    /// Looks which blobs the target has already, all of each: read and hashed there, they need not be fetched. The others.
    pub(super) fn look(&mut self, blobs: Vec<BlobWork>) -> Result<Leftover, Halted> {
        let mut wanted = Vec::new();
        for work in blobs {
            if self.stands(&work)? {
                for piece in &work.pieces {
                    crate::progress::add(&self.shared.progress.bytes_done, piece.length.into());
                    self.end_one(&piece.file)?;
                }
            } else {
                wanted.push(work);
            }
        }
        Ok(Leftover { wanted, ..Leftover::default() })
    }

    fn stands(&mut self, work: &BlobWork) -> Result<bool, Halted> {
        self.shared.gate.pass()?;
        let mut trusted = 0;
        for piece in &work.pieces {
            match self.find_standing(&piece.file)? {
                Origin::Trusted => trusted += 1,
                Origin::Standing => {}
                Origin::Unknown | Origin::Absent | Origin::Made | Origin::Whole => return Ok(false),
            }
        }
        Ok(trusted == work.pieces.len() || self.has_all_of(work).unwrap_or(false))
    }

    /// Puts the blob together from what stands in the target. None, or false: that is another one.
    fn has_all_of(&mut self, work: &BlobWork) -> Option<bool> {
        let raw_bytes = work.location.raw_bytes() as usize;
        if raw_bytes > BLOB_RAW_BYTES_MAX {
            return None;
        }
        let mut pieces: Vec<&Piece> = work.pieces.iter().collect();
        pieces.sort_unstable_by_key(|piece| (piece.blob_offset, piece.length));
        let mut raw = std::mem::take(&mut self.there);
        raw.clear();
        let mut again = Vec::new();
        let found = pieces.into_iter().try_for_each(|piece| {
            let start = piece.blob_offset as usize;
            let end = start.checked_add(piece.length as usize).filter(|end| *end <= raw_bytes)?;
            let (fd, _) = self.open_file(&piece.file).ok()?;
            if end <= raw.len() {
                // Another file has the same bytes.
                again.resize(end - start, 0);
                let read = standing::read_at(&fd, &mut again, piece.file_offset).ok()?;
                return (read == again.len() && again == raw[start..end]).then_some(());
            }
            if start != raw.len() {
                return None;
            }
            raw.resize(end, 0);
            let read = standing::read_at(&fd, &mut raw[start..], piece.file_offset).ok()?;
            (read == end - start).then_some(())
        });
        let is_it = found.is_some() && raw.len() == raw_bytes && self.shared.archive.is_blob(&work.id, &work.location, &raw);
        self.there = raw;
        Some(is_it)
    }

    /// Opens what stands at the file's place, if that can be used. Its handle stays in the file's state.
    fn find_standing(&mut self, file: &Arc<FileTask>) -> Result<Origin, Halted> {
        let mut state = file.state();
        if state.origin != Origin::Unknown || file.has_failed() {
            return Ok(state.origin);
        }
        state.origin = Origin::Absent;
        let Ok(at) = self.open(&file.directory) else { return Ok(Origin::Absent) };
        if let Ok(Some(opened)) = place::open_standing(at, file.name()) {
            match self.take_standing(file, &mut state, &opened) {
                Ok(()) => drop(self.keep(&mut state, opened.fd)),
                Err(Failure::Halted) => return Err(Halted),
                Err(Failure::Entry(what)) => self.fail(file, what),
            }
        }
        Ok(state.origin)
    }

    fn take_standing(&self, file: &FileTask, state: &mut FileState, opened: &place::Opened) -> Result<(), Failure> {
        let (stat, entry) = (&opened.stat, &file.entry);
        let has_size = u64::try_from(stat.st_size) == Ok(entry.size);
        let has_time = (stat.st_mtime, stat.st_mtime_nsec) == (entry.mtime.secs, u64::from(entry.mtime.nanos));
        state.identity = Some(place::identity(stat));
        state.origin = if has_size && has_time && self.shared.policy.rules.trust_times { Origin::Trusted } else { Origin::Standing };
        if !has_size {
            self.shared.gate.pass()?;
            file.change();
            rustix::fs::ftruncate(&opened.fd, entry.size).map_err(|errno| self.shared.gate.refused(&entry.path, "cut it to its size", errno))?;
        }
        Ok(())
    }

    pub(super) fn take_blobs(&mut self, fetched: &Fetched, blobs: Vec<BlobWork>, decoder: &mut dyn Decoder) -> Result<Leftover, Halted> {
        let mut unread = Vec::new();
        for BlobWork { id, location, pieces } in blobs {
            match decoder.decode(fetched, &id, &location) {
                Ok(raw) => self.write_pieces(raw, &pieces)?,
                Err(error) => unread.push(Unread { id, reason: error.to_string(), pieces }),
            }
        }
        Ok(Leftover { unread, ..Leftover::default() })
    }

    pub(super) fn write_pieces(&mut self, raw: &[u8], pieces: &[Piece]) -> Result<(), Halted> {
        for piece in pieces {
            let start = piece.blob_offset as usize;
            match start.checked_add(piece.length as usize).and_then(|end| raw.get(start..end)) {
                Some(bytes) => self.write(&piece.file, piece.file_offset, Content::Bytes(bytes))?,
                None => {
                    self.fail(&piece.file, "the catalog wants more of a blob than there is".into());
                    self.end_one(&piece.file)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn give_up(&mut self, id: &BlobId, reason: &str, pieces: &[Piece]) -> Result<(), Halted> {
        self.shared.bad_blobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(*id);
        for piece in pieces {
            self.fail(&piece.file, format!("part of its content cannot be had: blob {id}: {reason}"));
            self.end_one(&piece.file)?;
        }
        Ok(())
    }

    pub(super) fn write(&mut self, file: &Arc<FileTask>, offset: u64, content: Content<'_>) -> Result<(), Halted> {
        if !file.has_failed() {
            let written = match content {
                Content::Bytes(bytes) if file.is_one_piece && file.state().identity.is_none() => self.make_whole(file, bytes),
                Content::Hole(_) if file.directory.is_new() => Ok(()),
                content => self.try_write(file, offset, content),
            };
            match written {
                Ok(()) => {}
                Err(Failure::Halted) => return Err(Halted),
                Err(Failure::Entry(what)) => self.fail(file, what),
            }
        }
        crate::progress::add(&self.shared.progress.bytes_done, content.length());
        self.end_one(file)
    }

    /// What most files are: not there, and one piece. Made, written and finished by one handle, in five calls.
    fn make_whole(&mut self, file: &Arc<FileTask>, bytes: &[u8]) -> Result<(), Failure> {
        let shared = Arc::clone(&self.shared);
        shared.gate.pass()?;
        let entry = &file.entry;
        let mode = shared.policy.first_mode(entry);
        let at = self.open(&file.directory)?;
        let may_inherit = file.directory.inherits(at);
        let fd = match place::create_file(at, file.name(), mode) {
            Err(Errno::EXIST) => return self.try_write(file, 0, Content::Bytes(bytes)),
            created => created.map_err(|errno| shared.gate.refused(&entry.path, "make it", errno))?,
        };
        file.state().origin = Origin::Made;
        self.write_new(file, &fd, 0, Content::Bytes(bytes))?;
        self.finish(file, &fd, &shared.policy.fresh(mode, may_inherit))?;
        file.state().origin = Origin::Whole;
        Ok(())
    }

    fn try_write(&mut self, file: &Arc<FileTask>, offset: u64, content: Content<'_>) -> Result<(), Failure> {
        let (fd, origin) = self.open_file(file)?;
        match (origin, content) {
            (Origin::Trusted, _) | (Origin::Made, Content::Hole(_)) => Ok(()),
            (Origin::Standing, content) => self.correct(file, &fd, offset, content),
            (_, content) => {
                self.allocate(file, &fd)?;
                self.write_new(file, &fd, offset, content)
            }
        }
    }

    pub(super) fn write_cached(&self, file: &FileTask, fd: &OwnedFd, offset: u64, content: Content<'_>) -> Result<(), Failure> {
        let mut done = 0;
        while done < content.length() {
            self.shared.gate.pass()?;
            let batch = content.batch(done);
            standing::write_all(fd, batch, offset + done).map_err(|errno| self.refused(file, "write it", errno))?;
            done += batch.len() as u64;
            self.shared.wrote(batch.len() as u64);
        }
        Ok(())
    }

    /// Brings a range of a file that stood there to this content, and writes no more than it must.
    fn correct(&mut self, file: &FileTask, fd: &OwnedFd, offset: u64, content: Content<'_>) -> Result<(), Failure> {
        if let Content::Hole(length) = content {
            self.shared.gate.pass()?;
            match standing::punch(fd, offset, length) {
                Ok(punched) => {
                    if punched {
                        file.change();
                    }
                    return Ok(());
                }
                // This file system has no holes: zeros read the same.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
                Err(errno) => return Err(self.refused(file, "make a hole in it", errno)),
            }
        }
        // Zeros were written, so they have blocks.
        if matches!(content, Content::Zeros(_)) && !standing::is_all_data(fd, offset, content.length()) {
            file.change();
            return self.write_new(file, fd, offset, content);
        }
        let mut done = 0;
        while done < content.length() {
            self.shared.gate.pass()?;
            let batch = content.batch(done);
            let written = standing::write_differing(fd, batch, offset + done, &mut self.there);
            let written = written.map_err(|errno| self.refused(file, "write it", errno))?;
            if written > 0 {
                file.change();
                self.shared.wrote(written);
            }
            done += batch.len() as u64;
        }
        Ok(())
    }

    /// The file's handle: kept while not too many are.
    fn open_file(&mut self, file: &Arc<FileTask>) -> Result<(Arc<OwnedFd>, Origin), Failure> {
        let mut state = file.state();
        if let Some(fd) = &state.fd {
            return Ok((Arc::clone(fd), state.origin));
        }
        let shared = Arc::clone(&self.shared);
        shared.gate.pass()?;
        let refused = |errno| shared.gate.refused(&file.entry.path, "make it", errno);
        let at = self.open(&file.directory)?;
        let fd = match state.identity {
            Some(identity) => place::reopen_file(at, file.name(), identity).map_err(refused)?,
            None => {
                let opened = place::open_file(at, file.name()).map_err(refused)?;
                if opened.is_new {
                    (state.identity, state.origin) = (Some(place::identity(&opened.stat)), Origin::Made);
                    if file.entry.size > 0 && !file.is_one_piece {
                        rustix::fs::ftruncate(&opened.fd, file.entry.size).map_err(refused)?;
                    }
                } else {
                    self.take_standing(file, &mut state, &opened)?;
                }
                opened.fd
            }
        };
        Ok((self.keep(&mut state, fd), state.origin))
    }

    fn keep(&self, state: &mut FileState, fd: OwnedFd) -> Arc<OwnedFd> {
        let fd = Arc::new(fd);
        if self.shared.open_files.load(Ordering::Relaxed) < OPEN_FILES_MAX {
            self.shared.open_files.fetch_add(1, Ordering::Relaxed);
            state.fd = Some(Arc::clone(&fd));
        }
        fd
    }

    /// One write of a file less to come; after the last, the file is finished.
    pub(super) fn end_one(&mut self, file: &Arc<FileTask>) -> Result<(), Halted> {
        if !file.end_one() {
            return Ok(());
        }
        crate::progress::add(&self.shared.progress.files_done, 1);
        let finished = match if file.has_failed() { Ok(()) } else { self.finish_file(file) } {
            Err(Failure::Entry(what)) => {
                self.fail(file, what);
                self.discard(file)
            }
            Ok(()) if file.has_failed() => self.discard(file),
            other => other,
        };
        let mut state = file.state();
        // Of one that failed.
        drop(state.edges.take_rest(&self.shared.edge_memory));
        let closed = usize::from(state.fd.take().is_some()) + usize::from(matches!(std::mem::take(&mut state.direct), Direct::Handle(_)));
        drop(state);
        self.shared.open_files.fetch_sub(closed, Ordering::Relaxed);
        self.settle(&file.directory, &file.entry.path, finished)
    }

    fn finish_file(&mut self, file: &Arc<FileTask>) -> Result<(), Failure> {
        if file.state().origin == Origin::Whole {
            return Ok(());
        }
        let (fd, origin) = self.open_file(file)?;
        self.shared.gate.pass()?;
        self.write_edges(file, &fd)?;
        let may_have_xattrs = origin != Origin::Made || {
            let at = self.open(&file.directory)?;
            file.directory.inherits(at)
        };
        let stat = rustix::fs::fstat(&*fd).map_err(|errno| self.refused(file, "look at it", errno))?;
        self.finish(file, &fd, &Standing::of(&stat, may_have_xattrs))
    }

    fn finish(&self, file: &FileTask, fd: &OwnedFd, standing: &Standing) -> Result<(), Failure> {
        let shared = &self.shared;
        let Set { notes, changed, owner_left } = set_on_handle(fd.as_fd(), &file.entry, &shared.policy, standing)
            .map_err(|errno| self.refused(file, "set its attributes", errno))?;
        self.report_notes(&file.directory, &file.entry.path, notes);
        let counts = &shared.counts[file.directory.target.index];
        counts.files.fetch_add(1, Ordering::Relaxed);
        counts.bytes.fetch_add(file.entry.size, Ordering::Relaxed);
        counts.owners_left.fetch_add(owner_left.into(), Ordering::Relaxed);
        if !changed && !file.has_changed() {
            counts.unchanged.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// A file that is not whole does not stay under its name, unless something stood there before.
    fn discard(&mut self, file: &Arc<FileTask>) -> Result<(), Failure> {
        if file.state().origin != Origin::Made {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        shared.gate.pass()?;
        let at = self.open(&file.directory)?;
        match place::remove(at, file.name()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(shared.gate.refused(&file.entry.path, "remove what was written of it", errno)),
        }
    }

    pub(super) fn refused(&self, file: &FileTask, doing: &str, errno: Errno) -> Failure {
        self.shared.gate.refused(&file.entry.path, doing, errno)
    }
}

/// What a write puts into a file.
#[derive(Clone, Copy)]
pub(super) enum Content<'a> {
    Bytes(&'a [u8]),
    /// Zeros that somebody wrote.
    Zeros(u64),
    /// Nothing was ever written there.
    Hole(u64),
}

impl<'a> Content<'a> {
    /// A part of it.
    pub(super) fn range(&self, start: u64, length: u64) -> Self {
        match self {
            Self::Bytes(bytes) => {
                let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                Self::Bytes(&bytes[place(start)..place(start.saturating_add(length))])
            }
            Self::Zeros(_) => Self::Zeros(length),
            Self::Hole(_) => Self::Hole(length),
        }
    }

    /// What is not all zeros.
    pub(super) fn bytes(&self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(length) | Self::Hole(length) => *length,
        }
    }

    /// The next bytes to write after `done`; not empty while `done` is less than the length.
    pub(super) fn batch(&self, done: u64) -> &[u8] {
        match self {
            Self::Bytes(bytes) => {
                let start = usize::try_from(done).unwrap_or(bytes.len()).min(bytes.len());
                &bytes[start..bytes.len().min(start + BATCH_BYTES)]
            }
            Self::Zeros(length) | Self::Hole(length) => {
                let left = usize::try_from(length - done).unwrap_or(usize::MAX);
                &ZEROS[..left.min(ZEROS.len())]
            }
        }
    }
}
