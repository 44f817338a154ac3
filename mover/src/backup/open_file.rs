//! A regular file, opened to be read, and what its stat says before and after.

use rustix::fs::{OFlags, SeekFrom};
use rustix::io::Errno;

use super::change::{entry_of, is_unsettled};
use super::context::Context;
use super::job::ReadJob;
use crate::catalog::Entry;
use crate::progress;
use crate::scan::attributes::{Xattrs, xattrs_of_handle};
use crate::scan::{FileType, Handle, Stat};

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

/// See the module.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) handle: Handle,
    /// Taken by the handle before the first byte was read.
    pub(super) before: Stat,
    xattrs: Xattrs,
    /// A block device: made of blocks, whatever is on it.
    pub(super) is_device: bool,
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
        Ok(Self { handle, before, xattrs, is_device: false })
    }

    /// A block device, as a file of its size.
    pub(super) fn of_device(handle: Handle, before: Stat) -> Self {
        Self { handle, before, xattrs: Xattrs::default(), is_device: true }
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

    /// Its first bytes, only to be looked at: not counted as read. Nothing if they cannot be had.
    pub(super) fn peek(&self, room: &mut [u8]) -> usize {
        self.handle.with(|fd| rustix::io::pread(fd, room, 0)).unwrap_or(0)
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

    /// Its entry, still without content. Looks whether it changed since it was opened: what was read may then be a mixture of
    /// before and after, which is said, and mended by the next backup.
    pub(super) fn entry(&self, job: &ReadJob, context: &Context) -> Result<Entry, Failure> {
        let after = self.handle.with(|fd| Stat::of_fd(fd))?;
        let mut entry = entry_of(job.found.path.clone(), &self.before, job.device);
        entry.xattrs = self.xattrs.list.clone();
        if let Some(reason) = &self.xattrs.missing {
            entry.flags.xattrs_incomplete = true;
            context.unreadable(&entry.path, reason);
        }
        let changed = !after.is_same_state(&self.before);
        if changed {
            context.changed(&entry.path, "it changed while it was read");
        }
        entry.flags.read_next_time = changed || is_unsettled(&after, context.settled_before);
        progress::add(&context.counters.files_read, 1);
        Ok(entry)
    }
}
