//! One file while it is restored: written to by several threads, finished by the last of them.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::direct::{self, Direct};
use super::directory::Directory;
use super::edges::Edges;
use crate::catalog::{Entry, Extent};

/// A file, without its extents: those are spread over windows and blobs.
pub(super) struct FileTask {
    pub(super) directory: Arc<Directory>,
    pub(super) entry: Entry,
    /// All its content is one piece: it is made, written and finished in one go.
    pub(super) is_one_piece: bool,
    /// Writes to come, and one more while they are still being planned.
    open_ends: AtomicU64,
    failed: AtomicBool,
    /// Its content is not what stood there.
    changed: AtomicBool,
    state: Mutex<FileState>,
}

/// What the threads that write to it share.
#[derive(Default)]
pub(super) struct FileState {
    pub(super) fd: Option<Arc<OwnedFd>>,
    /// The same file again, to be written to past the page cache.
    pub(super) direct: Direct,
    /// What waits for the rest of its block.
    pub(super) edges: Edges,
    /// Device and inode, once it was made or found.
    pub(super) identity: Option<(u64, u64)>,
    pub(super) origin: Origin,
    /// What will be written and has no blocks yet, of a large file.
    pub(super) unallocated: Vec<Range<u64>>,
}

/// Where the file comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Origin {
    /// Nobody has looked.
    #[default]
    Unknown,
    /// Nothing that could be used stands there.
    Absent,
    /// This restore made it: if it cannot be completed it is removed, so that nobody takes it for whole.
    Made,
    /// This restore made it, and it is finished.
    Whole,
    /// It stood there: only what differs is written.
    Standing,
    /// It stood there, its size and time are right, and the request says that this is enough.
    Trusted,
}

impl FileTask {
    /// `extents` are those that the entry has itself.
    pub(super) fn new(directory: Arc<Directory>, entry: Entry, extents: &[Extent]) -> Self {
        let is_one_piece = entry.size == 0 || matches!(extents, [Extent::Blob { length, .. }] if u64::from(*length) == entry.size);
        Self {
            directory,
            entry,
            is_one_piece,
            open_ends: AtomicU64::new(1),
            failed: AtomicBool::new(false),
            changed: AtomicBool::new(false),
            state: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &[u8] {
        self.entry.path.name().unwrap_or_default()
    }

    pub(super) fn expect_write(&self) {
        self.open_ends.fetch_add(1, Ordering::Relaxed);
    }

    /// Something will be written there. Ranges come in their order.
    pub(super) fn expect_content(&self, offset: u64, length: u64) {
        if self.entry.size < direct::FILE_BYTES_MIN {
            return;
        }
        let (unallocated, end) = (&mut self.state().unallocated, offset.saturating_add(length));
        match unallocated.last_mut() {
            Some(last) if last.end == offset => last.end = end,
            _ => unallocated.push(offset..end),
        }
    }

    /// One write is done, or all are planned. True: that was the last, and the caller finishes the file.
    pub(super) fn end_one(&self) -> bool {
        self.open_ends.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// True the first time: the reason that is reported is the first.
    pub(super) fn fail(&self) -> bool {
        !self.failed.swap(true, Ordering::AcqRel)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    pub(super) fn change(&self) {
        self.changed.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_changed(&self) -> bool {
        self.changed.load(Ordering::Relaxed)
    }

    pub(super) fn state(&self) -> std::sync::MutexGuard<'_, FileState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
