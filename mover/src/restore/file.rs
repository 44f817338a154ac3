//! One file while it is restored: written to by several threads, finished by the last of them.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::directory::Directory;
use crate::catalog::Entry;

/// A file, without its extents: those are spread over windows and blobs.
pub(super) struct FileTask {
    pub(super) directory: Arc<Directory>,
    pub(super) entry: Entry,
    /// Writes to come, and one more while they are still being planned.
    open_ends: AtomicU64,
    failed: AtomicBool,
    state: Mutex<FileState>,
}

/// What the threads that write to it share.
#[derive(Default)]
pub(super) struct FileState {
    pub(super) fd: Option<Arc<OwnedFd>>,
    /// Device and inode, once it was made.
    pub(super) identity: Option<(u64, u64)>,
    /// It was not there before: if it cannot be completed it is removed, so that nobody takes it for whole.
    pub(super) is_new: bool,
}

impl FileTask {
    pub(super) fn new(directory: Arc<Directory>, entry: Entry) -> Self {
        Self { directory, entry, open_ends: AtomicU64::new(1), failed: AtomicBool::new(false), state: Mutex::default() }
    }

    pub(super) fn name(&self) -> &[u8] {
        self.entry.path.name().unwrap_or_default()
    }

    pub(super) fn expect_write(&self) {
        self.open_ends.fetch_add(1, Ordering::Relaxed);
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

    pub(super) fn state(&self) -> std::sync::MutexGuard<'_, FileState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
