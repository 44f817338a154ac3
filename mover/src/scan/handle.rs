//! Handles of a volume that can be taken back.
//!
//! A backup must let go of its volume within seconds, also while its threads hang in an upload. So no thread owns a handle of
//! the volume: it borrows it for one system call, and whoever must let go closes them all between the calls.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};

/// How long a system call that is under way is waited for: a dead network file system may hold one for ever.
const CLOSE_WAIT: Duration = Duration::from_secs(4);
const CLOSE_POLL: Duration = Duration::from_millis(5);

type Slot = Arc<RwLock<Option<OwnedFd>>>;

/// All handles of one backup's volumes.
#[derive(Clone, Debug, Default)]
pub struct VolumeHandles {
    registry: Arc<Registry>,
}

#[derive(Debug, Default)]
struct Registry {
    open: Mutex<Open>,
    count: AtomicUsize,
    inside: AtomicUsize,
    next_id: AtomicU64,
}

#[derive(Debug, Default)]
struct Open {
    revoked: bool,
    slots: HashMap<u64, Slot>,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Open> {
        // The map is whole after every statement that changes it, so a panic elsewhere does not spoil it.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One handle; closed when dropped, or when the volume is let go.
#[derive(Debug)]
pub struct Handle {
    id: u64,
    slot: Slot,
    registry: Arc<Registry>,
}

impl VolumeHandles {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.registry.count.load(Ordering::Relaxed)
    }

    /// True once [`close_all`](Self::close_all) was called.
    pub fn are_revoked(&self) -> bool {
        self.registry.lock().revoked
    }

    /// Takes a handle in. After [`close_all`](Self::close_all) it is closed at once.
    pub fn adopt(&self, fd: OwnedFd) -> Handle {
        let id = self.registry.next_id.fetch_add(1, Ordering::Relaxed);
        let slot: Slot = Arc::new(RwLock::new(Some(fd)));
        let mut open = self.registry.lock();
        if open.revoked {
            take(&slot);
        } else {
            open.slots.insert(id, Arc::clone(&slot));
        }
        drop(open);
        self.registry.count.fetch_add(1, Ordering::Relaxed);
        Handle { id, slot, registry: Arc::clone(&self.registry) }
    }

    /// Closes every handle, and every later one, and waits until no thread has its working directory there. False if a system
    /// call did not come back in time; its handle is closed when it does.
    pub fn close_all(&self) -> bool {
        let mut open = self.registry.lock();
        open.revoked = true;
        let mut slots: Vec<Slot> = open.slots.drain().map(|(_, slot)| slot).collect();
        drop(open);
        let started = Instant::now();
        loop {
            slots.retain(|slot| match slot.try_write() {
                Ok(mut fd) => {
                    *fd = None;
                    false
                }
                Err(_) => true,
            });
            if slots.is_empty() && self.registry.inside.load(Ordering::Acquire) == 0 {
                return true;
            }
            if started.elapsed() > CLOSE_WAIT {
                return false;
            }
            std::thread::sleep(CLOSE_POLL);
        }
    }
}

fn take(slot: &Slot) -> Option<OwnedFd> {
    slot.write().unwrap_or_else(PoisonError::into_inner).take()
}

impl Handle {
    /// Runs a system call with the handle; `ECANCELED` once the volume was let go.
    pub fn with<T>(&self, call: impl FnOnce(BorrowedFd<'_>) -> Result<T>) -> Result<T> {
        let fd = self.slot.read().unwrap_or_else(PoisonError::into_inner);
        match &*fd {
            Some(fd) => call(fd.as_fd()),
            None => Err(Errno::CANCELED),
        }
    }

    /// Opens `name` below this directory: never through a symbolic link, never on another mount (`EXDEV`).
    pub fn open(&self, name: &[u8], flags: OFlags) -> Result<Self> {
        let fd = self.with(|directory| open_beneath(directory, name, flags))?;
        Ok(VolumeHandles { registry: Arc::clone(&self.registry) }.adopt(fd))
    }
}

/// A thread has its working directory in the volume while this lives: it holds the volume as a handle does.
#[derive(Debug)]
pub(super) struct Inside(Arc<Registry>);

impl Inside {
    pub(super) fn of(handle: &Handle) -> Self {
        handle.registry.inside.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(&handle.registry))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.registry.lock().slots.remove(&self.id);
        self.registry.count.fetch_sub(1, Ordering::Relaxed);
        drop(take(&self.slot));
    }
}

/// `O_NOATIME` is for the owner and the privileged only; without it, reading changes times that nobody compares.
fn open_beneath(directory: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    // NONBLOCK and NOCTTY: the name may by now be a pipe or a terminal.
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    match rustix::fs::openat2(directory, name, flags | OFlags::NOATIME, Mode::empty(), resolve) {
        Err(Errno::PERM) => rustix::fs::openat2(directory, name, flags, Mode::empty(), resolve),
        other => other,
    }
}
