//! Directories of the target, reached by handles only: no symlink, no mount and no `..` is ever crossed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use holdfast_repository::past_cache;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{RestoreError, Target};
use crate::catalog::RelPath;

/// A path longer than `PATH_MAX` is walked in pieces of at most this.
const PIECE_BYTES_MAX: usize = 3_500;

/// Nothing outside the target can be reached with these, whoever swaps directories for symlinks meanwhile.
pub(super) const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS).union(ResolveFlags::NO_XDEV);

/// One target: the directory that a source is restored into.
#[derive(Debug)]
pub(super) struct TargetRoot {
    /// Which target of the request.
    pub(super) index: usize,
    /// The source's path in the snapshot.
    pub(super) source: Vec<u8>,
    pub(super) root: OwnedFd,
    /// The root again, opened at the start: a sync by way of it hears of every error of the file system since then.
    pub(super) sync: OwnedFd,
    /// Large files are written past its page cache.
    pub(super) is_direct: bool,
}

impl TargetRoot {
    pub(super) fn open(index: usize, target: Target) -> Result<Self, RestoreError> {
        let sync = open_to_sync(&target.root)?;
        let is_direct = past_cache::is_quick(&sync).unwrap_or(false);
        Ok(Self { index, source: target.snapshot_path, root: target.root, sync, is_direct })
    }

    /// Another handle to sync by. The kernel tells each handle of an error once: who shares one may find that another has heard it.
    pub(super) fn open_to_sync(&self) -> Result<OwnedFd, RestoreError> {
        open_to_sync(&self.root)
    }
}

fn open_to_sync(root: &OwnedFd) -> Result<OwnedFd, RestoreError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(root, c".", flags, Mode::empty());
    opened.map_err(|errno| RestoreError::Target { reason: format!("its root cannot be opened: {errno}") })
}

/// A directory below a target's root, or the root itself.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) target: Arc<TargetRoot>,
    pub(super) path: RelPath,
    parent: Option<Arc<Directory>>,
    /// It could not be made: nothing below it can be.
    failed: AtomicBool,
    /// This restore made it: nothing stands in it yet.
    is_new: AtomicBool,
    /// Whether what is made in it gets an ACL by itself: `UNKNOWN`, `INHERITS` or `PLAIN`.
    inherits: AtomicU8,
}

const UNKNOWN: u8 = 0;
const INHERITS: u8 = 1;
const PLAIN: u8 = 2;

impl Directory {
    pub(super) fn root(target: Arc<TargetRoot>) -> Arc<Self> {
        Arc::new(Self::at(target, RelPath::root(), None))
    }

    /// The directory at `path`, which is in this one.
    pub(super) fn child(self: &Arc<Self>, path: RelPath) -> Arc<Self> {
        Arc::new(Self::at(Arc::clone(&self.target), path, Some(Arc::clone(self))))
    }

    fn at(target: Arc<TargetRoot>, path: RelPath, parent: Option<Arc<Self>>) -> Self {
        Self { target, path, parent, failed: AtomicBool::new(false), is_new: AtomicBool::new(false), inherits: AtomicU8::new(UNKNOWN) }
    }

    pub(super) fn parent(&self) -> Option<&Arc<Self>> {
        self.parent.as_ref()
    }

    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// It was made just now, in a directory that hands down ACLs or does not.
    pub(super) fn made(&self, inherits: bool) {
        self.inherits.store(if inherits { INHERITS } else { PLAIN }, Ordering::Relaxed);
        self.is_new.store(true, Ordering::Release);
    }

    pub(super) fn is_new(&self) -> bool {
        self.is_new.load(Ordering::Acquire)
    }

    /// Whether what is made in it may get an ACL by itself. `at` is its handle; looked at once.
    pub(super) fn inherits(&self, at: BorrowedFd<'_>) -> bool {
        let known = self.inherits.load(Ordering::Relaxed);
        if known != UNKNOWN {
            return known == INHERITS;
        }
        let inherits = has_default_acl(at);
        self.inherits.store(if inherits { INHERITS } else { PLAIN }, Ordering::Relaxed);
        inherits
    }
}

/// True also if that cannot be found out: then what is made is looked at.
fn has_default_acl(at: BorrowedFd<'_>) -> bool {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let asked = rustix::fs::openat2(at, c".", flags, Mode::empty(), BENEATH).and_then(|fd| rustix::fs::fgetxattr_query(fd, c"system.posix_acl_default"));
    !matches!(asked, Err(Errno::NODATA | Errno::NOTSUP))
}

/// One thread's place in the target: the directory it used last, open.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    at: Option<(Arc<Directory>, OwnedFd)>,
}

impl Cursor {
    /// A handle (`O_PATH`) of the directory.
    pub(super) fn open(&mut self, directory: &Arc<Directory>) -> Result<BorrowedFd<'_>, Errno> {
        let here = self.at.as_ref().is_some_and(|(at, _)| Arc::ptr_eq(at, directory));
        if !here {
            let fd = match (&self.at, directory.parent(), directory.path.name()) {
                (Some((at, fd)), Some(parent), Some(name)) if Arc::ptr_eq(at, parent) => open_piece(fd.as_fd(), name)?,
                _ => open_from_root(&directory.target.root, &directory.path)?,
            };
            self.at = Some((Arc::clone(directory), fd));
        }
        match &self.at {
            Some((_, fd)) => Ok(fd.as_fd()),
            None => Err(Errno::BADF),
        }
    }
}

/// A handle of a directory by its path; `O_PATH`.
pub(super) fn open_from_root(root: &OwnedFd, path: &RelPath) -> Result<OwnedFd, Errno> {
    if path.as_bytes().len() <= PIECE_BYTES_MAX {
        return open_piece(root.as_fd(), if path.is_root() { b"." } else { path.as_bytes() });
    }
    let mut at = open_piece(root.as_fd(), b".")?;
    let mut piece = Vec::new();
    for name in path.components() {
        if !piece.is_empty() && piece.len() + name.len() > PIECE_BYTES_MAX {
            at = open_piece(at.as_fd(), &piece)?;
            piece.clear();
        }
        if !piece.is_empty() {
            piece.push(b'/');
        }
        piece.extend_from_slice(name);
    }
    open_piece(at.as_fd(), &piece)
}

fn open_piece(at: BorrowedFd<'_>, piece: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(at, piece, flags, Mode::empty(), BENEATH)
}
