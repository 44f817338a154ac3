//! Making entries where something may stand already. Files that stand there keep their inode, and what is right already
//! stays; other kinds are replaced; a directory with content is never removed. Names are single components, and nothing follows a symlink.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::directory::BENEATH;

/// Somebody makes the name again as often as we remove it: given up then.
const TRIES_MAX: usize = 4;
/// For a file that is opened more than once: this process can open it again.
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// A file to write to.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) fd: OwnedFd,
    /// As it was when it was opened.
    pub(super) stat: Stat,
    /// It was not there before.
    pub(super) is_new: bool,
}

/// Makes a directory, or finds that there is one. True: it was made.
pub(super) fn make_directory(parent: BorrowedFd<'_>, name: &[u8]) -> Result<bool, Errno> {
    let made = replace(parent, name, |parent, name| match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
        Err(Errno::EXIST) if is_directory(parent, name) => Ok(false),
        other => other.map(|()| true),
    });
    match made {
        // `replace` removed an empty directory, or found a full one: only possible if it came to be meanwhile.
        Err(Errno::NOTEMPTY) if is_directory(parent, name) => Ok(false),
        other => other,
    }
}

/// Creates a file that is not there.
pub(super) fn create_file(parent: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(parent, name, CREATE, Mode::from_raw_mode(mode))
}

/// Creates a file, or opens the one that is there, its content as it is. One that has other names too is replaced: those are not
/// ours to change.
pub(super) fn open_file(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Opened, Errno> {
    let created = match rustix::fs::openat(parent, name, CREATE, PRIVATE_FILE) {
        Err(Errno::EXIST) => match open_standing(parent, name)? {
            Some(opened) => return Ok(opened),
            None => replace(parent, name, |parent, name| rustix::fs::openat(parent, name, CREATE, PRIVATE_FILE)),
        },
        other => other,
    };
    let fd = created?;
    let stat = rustix::fs::fstat(&fd)?;
    Ok(Opened { fd, stat, is_new: true })
}

/// Opens a file again that this restore has begun.
pub(super) fn reopen_file(parent: BorrowedFd<'_>, name: &[u8], expected: (u64, u64)) -> Result<OwnedFd, Errno> {
    reopen(parent, name, expected, REUSE)
}

/// The same, to write past the page cache.
pub(super) fn reopen_direct(parent: BorrowedFd<'_>, name: &[u8], expected: (u64, u64)) -> Result<OwnedFd, Errno> {
    reopen(parent, name, expected, REUSE.union(OFlags::DIRECT))
}

fn reopen(parent: BorrowedFd<'_>, name: &[u8], expected: (u64, u64), flags: OFlags) -> Result<OwnedFd, Errno> {
    let fd = rustix::fs::openat2(parent, name, flags, Mode::empty(), BENEATH)?;
    let stat = rustix::fs::fstat(&fd)?;
    if identity(&stat) == expected { Ok(fd) } else { Err(Errno::STALE) }
}

const CREATE: OFlags = OFlags::CREATE.union(OFlags::EXCL).union(OFlags::WRONLY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Readable too, to compare. `NONBLOCK`: a pipe put there meanwhile cannot hold us.
const REUSE: OFlags = OFlags::RDWR.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// The file that stands there, if it can be written to and has no other name.
pub(super) fn open_standing(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Opened>, Errno> {
    let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(None),
        other => other?,
    };
    if !is_sole_file(&stat) {
        return Ok(None);
    }
    let fd = match rustix::fs::openat2(parent, name, REUSE, Mode::empty(), BENEATH) {
        Ok(fd) => fd,
        Err(error @ (Errno::XDEV | Errno::ROFS)) => return Err(error),
        // Being executed, or not ours to write: a new file can take its place.
        Err(_) => return Ok(None),
    };
    let stat = rustix::fs::fstat(&fd)?;
    Ok(is_sole_file(&stat).then_some(Opened { fd, stat, is_new: false }))
}

/// Makes something that is neither file nor directory, if it is not there already.
pub(super) fn make_special(parent: BorrowedFd<'_>, name: &[u8], kind: FileType, mode: Mode, rdev: u64) -> Result<(), Errno> {
    let is_device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
    let stands = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == kind && stat.st_nlink == 1 && (!is_device || stat.st_rdev == rdev);
    replace(parent, name, |parent, name| match rustix::fs::mknodat(parent, name, kind, mode, rdev) {
        Err(Errno::EXIST) if rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| stands(&stat)) => Ok(()),
        other => other,
    })
}

/// Makes a symbolic link, if it is not there already.
pub(super) fn make_symlink(parent: BorrowedFd<'_>, name: &[u8], target: &[u8]) -> Result<(), Errno> {
    let is_sole = || rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| stat.st_nlink == 1);
    replace(parent, name, |parent, name| match rustix::fs::symlinkat(target, parent, name) {
        Err(Errno::EXIST) if rustix::fs::readlinkat(parent, name, Vec::new()).is_ok_and(|there| there.as_bytes() == target) && is_sole() => Ok(()),
        other => other,
    })
}

/// Gives `first` another name.
pub(super) fn make_link(first: (BorrowedFd<'_>, &[u8]), parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let wanted = rustix::fs::statat(first.0, first.1, AtFlags::SYMLINK_NOFOLLOW)?;
    replace(parent, name, |parent, name| match rustix::fs::linkat(first.0, first.1, parent, name, AtFlags::empty()) {
        Err(Errno::EXIST) => {
            let there = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if identity(&there) == identity(&wanted) { Ok(()) } else { Err(Errno::EXIST) }
        }
        other => other,
    })
}

/// Removes a name; a directory only if it is empty.
pub(super) fn remove(parent: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR),
        other => other,
    }
}

fn replace<T>(
    parent: BorrowedFd<'_>,
    name: &[u8],
    make: impl Fn(BorrowedFd<'_>, &[u8]) -> Result<T, Errno>,
) -> Result<T, Errno> {
    for _ in 0..TRIES_MAX {
        match make(parent, name) {
            Err(Errno::EXIST) => match remove(parent, name) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            },
            other => return other,
        }
    }
    Err(Errno::EXIST)
}

fn is_directory(parent: BorrowedFd<'_>, name: &[u8]) -> bool {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn is_sole_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink == 1
}

pub(super) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}
