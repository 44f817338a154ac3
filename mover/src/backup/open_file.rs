//! A regular file, opened to be read, and what its stat says before and after.

use std::io::IoSliceMut;
use std::num::NonZeroU64;
use std::ops::Range;

use rustix::fs::{Advice, OFlags, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags};

use super::change::{entry_of, is_unsettled};
use super::context::Context;
use super::job::ReadJob;
use crate::catalog::Entry;
use crate::progress;
use crate::scan::attributes::{Xattrs, xattrs_of_handle};
use crate::scan::{FileType, Handle, Stat};
use crate::syscall;

/// Why a file is not in the snapshot.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was removed or replaced after it was listed: nothing to protect any more.
    Gone,
    /// It is there and could not be read.
    Unreadable(String),
    /// Every thread is to end.
    Halted,
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        match error {
            Errno::CANCELED => Self::Halted,
            error => Self::Unreadable(error.to_string()),
        }
    }
}

/// How the kernel tells what of a file is in the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum CacheTells {
    /// It counts the pages.
    Count,
    /// By what would have to be waited for: an old kernel, or one that counts only for the owner.
    Wait,
    Nothing,
}

/// Where the kernel does not count what is cached, bytes at this distance stand for all.
const PROBE_STEP_BYTES: usize = 128 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) handle: Handle,
    /// Taken by the handle before the first byte was read.
    pub(super) before: Stat,
    xattrs: Xattrs,
    /// A block device: made of blocks, whatever is on it.
    pub(super) is_device: bool,
    /// Whether the kernel says what of it is in the page cache.
    tells_cached: bool,
    /// Its beginning was brought in by a look at it.
    peeked: Option<Range<u64>>,
}

impl OpenFile {
    pub(super) fn open(job: &ReadJob) -> Result<Self, Failure> {
        let handle = match job.found.parent.open(&job.found.name, OFlags::RDONLY) {
            Ok(handle) => handle,
            // The walk found a file there: now it is none, a link, or something mounted over it.
            Err(Errno::NOENT | Errno::LOOP | Errno::XDEV | Errno::NXIO | Errno::NOTDIR) => return Err(Failure::Gone),
            Err(error) => return Err(error.into()),
        };
        let before = handle.with(|fd| Stat::of_fd(fd))?;
        if before.file_type != FileType::File {
            return Err(Failure::Gone);
        }
        let xattrs = xattrs_of_handle(&handle);
        Ok(Self { handle, before, xattrs, is_device: false, tells_cached: false, peeked: None })
    }

    /// A block device, as a file of its size.
    pub(super) fn of_device(handle: Handle, before: Stat) -> Self {
        Self { handle, before, xattrs: Xattrs::default(), is_device: true, tells_cached: false, peeked: None }
    }

    /// Reads until `room` is full or the file ends.
    pub(super) fn read(&self, context: &Context, room: &mut [u8], position: u64) -> Result<usize, Failure> {
        let mut filled = 0;
        while filled < room.len() {
            if context.halted() {
                return Err(Failure::Halted);
            }
            match self.handle.with(|fd| rustix::io::pread(fd, &mut room[filled..], position + filled as u64)) {
                Ok(0) => break,
                Ok(length) => {
                    filled += length;
                    context.count_read(length as u64);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(filled)
    }

    /// The same for a small file in one piece. What nobody had in the page cache does not stay there.
    pub(super) fn read_small(&self, context: &Context, room: &mut [u8], position: u64) -> Result<usize, Failure> {
        let range = position..position + room.len() as u64;
        match context.cache_tells() {
            CacheTells::Count => match self.count_cached(&range) {
                Ok(pages) => {
                    let length = self.read(context, room, position)?;
                    if pages == 0 {
                        self.drop_cached(&range);
                    }
                    return Ok(length);
                }
                Err(Errno::CANCELED) => return Err(Failure::Halted),
                Err(_) => context.cache_tells_only(CacheTells::Wait),
            },
            CacheTells::Wait => {}
            CacheTells::Nothing => return self.read(context, room, position),
        }
        // Gives what is there, and does not wait for the rest. A fast disk may have it there at once: then it stays in the cache.
        let read = self.handle.with(|fd| rustix::io::preadv2(fd, &mut [IoSliceMut::new(room)], position, ReadWriteFlags::NOWAIT));
        let at_hand = match read {
            Ok(length) => length,
            Err(Errno::AGAIN) => 0,
            Err(Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => {
                context.cache_tells_only(CacheTells::Nothing);
                return self.read(context, room, position);
            }
            // Told as an error of the reading, if it is one.
            Err(_) => return self.read(context, room, position),
        };
        context.count_read(at_hand as u64);
        if at_hand == room.len() {
            return Ok(at_hand);
        }
        let length = at_hand + self.read(context, &mut room[at_hand..], position + at_hand as u64)?;
        if at_hand == 0 {
            self.drop_cached(&range);
        }
        Ok(length)
    }

    /// Its first bytes, only to be looked at: not counted as read. Nothing if they cannot be had.
    pub(super) fn peek(&self, room: &mut [u8]) -> usize {
        self.handle.with(|fd| rustix::io::pread(fd, room, 0)).unwrap_or(0)
    }

    /// Before anything of a large file is read, the first `peeked` bytes of it by a look: from here on the page cache gets only what is asked for.
    pub(super) fn begin_large(&mut self, peeked: u64) {
        // First, or the question itself would bring in what follows.
        let advised = self.handle.with(|fd| rustix::fs::fadvise(fd, 0, None, Advice::Random));
        match self.look_for_cached(&(0..peeked)) {
            Ok(cached) => {
                self.tells_cached = advised.is_ok();
                self.peeked = (!cached).then_some(0..peeked);
            }
            // The cache is left to the kernel.
            Err(_) => {
                self.tells_cached = false;
                let _ = self.handle.with(|fd| rustix::fs::fadvise(fd, 0, None, Advice::Normal));
            }
        }
    }

    /// False: nothing is known of the page cache, and nothing dropped from it.
    pub(super) fn tells_cached(&self) -> bool {
        self.tells_cached
    }

    /// True if any of it was in the page cache before it was read.
    pub(super) fn is_cached(&self, range: &Range<u64>) -> bool {
        let from = match &self.peeked {
            Some(peeked) if peeked.contains(&range.start) => peeked.end.min(range.end),
            _ => range.start,
        };
        self.look_for_cached(&(from..range.end)).unwrap_or(true)
    }

    fn look_for_cached(&self, range: &Range<u64>) -> Result<bool, Errno> {
        if let Ok(pages) = self.count_cached(range) {
            return Ok(pages > 0);
        }
        // An old kernel, or one that tells only the owner: here and there a byte that would have to be waited for.
        for at in range.clone().step_by(PROBE_STEP_BYTES) {
            let probe = self.handle.with(|fd| rustix::io::preadv2(fd, &mut [IoSliceMut::new(&mut [0])], at, ReadWriteFlags::NOWAIT));
            match probe {
                Ok(length) if length > 0 => return Ok(true),
                Ok(_) | Err(Errno::AGAIN) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    fn count_cached(&self, range: &Range<u64>) -> Result<u64, Errno> {
        // The kernel takes a length of 0 for all that follows.
        let length = range.end.saturating_sub(range.start);
        if length == 0 { Ok(0) } else { self.handle.with(|fd| syscall::cached_pages(fd, range.start, length)) }
    }

    /// Advice only: what fails here shows when it is read.
    pub(super) fn will_need(&self, range: &Range<u64>) {
        let _ = self.advise(range, Advice::WillNeed);
    }

    pub(super) fn drop_cached(&self, range: &Range<u64>) {
        let _ = self.advise(range, Advice::DontNeed);
    }

    fn advise(&self, range: &Range<u64>, advice: Advice) -> Result<(), Errno> {
        let length = NonZeroU64::new(range.end.saturating_sub(range.start));
        length.map_or(Ok(()), |length| self.handle.with(|fd| rustix::fs::fadvise(fd, range.start, Some(length), advice)))
    }

    /// The next byte range with data in `from..end`: `None` if there is only a hole. On file systems that cannot tell, all is data.
    pub(super) fn next_data(&self, from: u64, end: u64) -> Result<Option<(u64, u64)>, Failure> {
        let start = match self.handle.with(|fd| rustix::fs::seek(fd, SeekFrom::Data(from))) {
            Ok(start) => start,
            Err(Errno::NXIO) => return Ok(None),
            Err(Errno::CANCELED) => return Err(Failure::Halted),
            Err(_) => return Ok(Some((from, end))),
        };
        if start >= end {
            return Ok(None);
        }
        let hole = match self.handle.with(|fd| rustix::fs::seek(fd, SeekFrom::Hole(start))) {
            Ok(hole) => hole.min(end),
            Err(Errno::CANCELED) => return Err(Failure::Halted),
            Err(_) => end,
        };
        Ok(Some((start, hole)))
    }

    /// Bytes that it has now.
    pub(super) fn size_now(&self) -> Result<u64, Failure> {
        Ok(self.handle.with(|fd| Stat::of_fd(fd))?.size)
    }

    /// Its entry, still without its extents, of which there are `length` bytes. Looks whether it changed since it was opened: what was
    /// read may then be a mixture of before and after, which is said, and mended by the next backup.
    pub(super) fn entry(&self, job: &ReadJob, context: &Context, length: u64) -> Result<Entry, Failure> {
        let after = self.handle.with(|fd| Stat::of_fd(fd))?;
        let mut entry = entry_of(job.found.path.clone(), &self.before, job.device);
        entry.size = length;
        entry.xattrs = self.xattrs.list.clone();
        if let Some(reason) = &self.xattrs.missing {
            entry.flags.xattrs_incomplete = true;
            context.unreadable(&entry.path, reason);
        }
        // A server may still say what it said before of a file that somebody has cut.
        let is_short = length < self.before.size;
        let changed = is_short || !after.is_same_state(&self.before);
        if is_short {
            context.changed(&entry.path, &format!("it ended after {length} of {} bytes", self.before.size));
        } else if changed {
            context.changed(&entry.path, "it changed while it was read");
        }
        entry.flags.read_next_time = changed || is_unsettled(&after, context.settled_before);
        progress::add(&context.counters.files_read, 1);
        Ok(entry)
    }
}
