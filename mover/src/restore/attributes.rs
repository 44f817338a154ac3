//! Owner, extended attributes, mode and times, in the order in which none undoes another: a change of owner clears set-id bits
//! and capabilities, an ACL changes the mode, and everything changes the times. What stands at the end is looked at again,
//! since a file system may take a value and keep another.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::issue::Severity;
use super::private_directory::PrivateDirectory;
use crate::catalog::{Entry, EntryKind};

const SET_ID_BITS: u32 = 0o6000;
const CAPABILITY: &[u8] = b"security.capability";
/// The longest list of names that Linux gives out.
const XATTR_LIST_BYTES_MAX: usize = 64 << 10;

/// What was not set, and how bad that is.
pub(super) type Notes = Vec<(Severity, String)>;

/// Whether set-id bits and file capabilities come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Privileges(pub(super) bool);

/// Sets everything on an open file (for writing) or directory. An error is about the target as a whole: it is full.
pub(super) fn set_on_handle(fd: BorrowedFd<'_>, entry: &Entry, privileges: Privileges) -> Result<Notes, Errno> {
    let mut notes = Notes::new();
    let before = rustix::fs::fstat(fd)?;
    if (before.st_uid, before.st_gid) != (entry.uid, entry.gid) {
        match owner(entry) {
            Some((uid, gid)) => note(&mut notes, "set the owner", rustix::fs::fchown(fd, Some(uid), Some(gid)))?,
            None => notes.push((Severity::Failed, "its owner is no valid id".into())),
        }
    }
    set_xattrs(&Named::Handle(fd), entry, privileges, &mut notes)?;
    let mode = wanted_mode(entry, privileges, &mut notes);
    note(&mut notes, "set the mode", rustix::fs::fchmod(fd, Mode::from_raw_mode(mode)))?;
    match times(entry) {
        Some(times) => note(&mut notes, "set the time", rustix::fs::futimens(fd, &times))?,
        None => notes.push((Severity::Failed, "its time is not valid".into())),
    }
    if notes.is_empty() {
        compare(&rustix::fs::fstat(fd)?, entry, Some(mode), &mut notes);
    }
    Ok(notes)
}

/// Sets everything on what has no handle that could be written to: symlinks, pipes, sockets, devices.
pub(super) fn set_on_name(
    private: &PrivateDirectory,
    parent: BorrowedFd<'_>,
    name: &[u8],
    entry: &Entry,
    privileges: Privileges,
) -> Result<Notes, Errno> {
    let mut notes = Notes::new();
    let before = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if (before.st_uid, before.st_gid) != (entry.uid, entry.gid) {
        match owner(entry) {
            Some((uid, gid)) => {
                let set = rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW);
                note(&mut notes, "set the owner", set)?;
            }
            None => notes.push((Severity::Failed, "its owner is no valid id".into())),
        }
    }
    let is_symlink = matches!(entry.kind, EntryKind::Symlink { .. });
    if !is_symlink || !entry.xattrs.is_empty() {
        match private.reach(parent, name) {
            Ok(path) => set_xattrs(&Named::Path(&path), entry, privileges, &mut notes)?,
            Err(errno) => note(&mut notes, "set extended attributes", Err(errno))?,
        }
    }
    // A symlink's mode is always 0777; the others were made with theirs, unless a default ACL or the owner's change cut it.
    let mode = (!is_symlink).then(|| wanted_mode(entry, privileges, &mut notes));
    if let Some(mode) = mode
        && rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode & 0o7777 != mode
    {
        note(&mut notes, "set the mode", chmod_by_handle(parent, name, mode))?;
    }
    match times(entry) {
        Some(times) => {
            note(&mut notes, "set the time", rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW))?;
        }
        None => notes.push((Severity::Failed, "its time is not valid".into())),
    }
    if notes.is_empty() {
        compare(&rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?, entry, mode, &mut notes);
    }
    Ok(notes)
}

/// Only where the mode is not right already: this needs `/proc`.
fn chmod_by_handle(parent: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<(), Errno> {
    let handle = rustix::fs::openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&handle)?.st_mode) == FileType::Symlink {
        return Err(Errno::LOOP);
    }
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&handle.as_fd()));
    rustix::fs::chmod(path, Mode::from_raw_mode(mode))
}

fn owner(entry: &Entry) -> Option<(Uid, Gid)> {
    // -1 means "leave it" to the system call.
    (entry.uid != u32::MAX && entry.gid != u32::MAX).then(|| (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid)))
}

fn wanted_mode(entry: &Entry, privileges: Privileges, notes: &mut Notes) -> u32 {
    let mode = entry.mode & 0o7777;
    if entry.kind.is_file() && !privileges.0 && mode & SET_ID_BITS != 0 {
        notes.push((Severity::Withheld, "its set-id bits are left out".into()));
        return mode & !SET_ID_BITS;
    }
    mode
}

fn times(entry: &Entry) -> Option<Timestamps> {
    // Larger values are orders to the system call, not times.
    (entry.mtime.nanos < 1_000_000_000).then(|| Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: entry.mtime.secs, tv_nsec: entry.mtime.nanos.into() },
    })
}

fn compare(after: &Stat, entry: &Entry, mode: Option<u32>, notes: &mut Notes) {
    if (after.st_uid, after.st_gid) != (entry.uid, entry.gid) {
        let what = format!("its owner is {}:{} instead of {}:{}", after.st_uid, after.st_gid, entry.uid, entry.gid);
        notes.push((Severity::Failed, what));
    }
    if let Some(mode) = mode
        && after.st_mode & 0o7777 != mode
    {
        notes.push((Severity::Failed, format!("its mode is {:04o} instead of {mode:04o}", after.st_mode & 0o7777)));
    }
    if (after.st_mtime, after.st_mtime_nsec) != (entry.mtime.secs, u64::from(entry.mtime.nanos)) {
        notes.push((Severity::Unsupported, "the file system does not hold its time".into()));
    }
}

enum Named<'a> {
    Handle(BorrowedFd<'a>),
    Path(&'a [u8]),
}

impl Named<'_> {
    fn list(&self) -> Result<Vec<Vec<u8>>, Errno> {
        let mut buffer = vec![0; 256];
        let bytes = loop {
            let listed = match self {
                Self::Handle(fd) => rustix::fs::flistxattr(fd, &mut buffer[..]),
                Self::Path(path) => rustix::fs::llistxattr(*path, &mut buffer[..]),
            };
            match listed {
                Err(Errno::RANGE) if buffer.len() < XATTR_LIST_BYTES_MAX => buffer.resize(XATTR_LIST_BYTES_MAX, 0),
                other => break other?,
            }
        };
        Ok(buffer[..bytes].split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect())
    }

    fn set(&self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Handle(fd) => rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()),
            Self::Path(path) => rustix::fs::lsetxattr(*path, name, value, XattrFlags::empty()),
        }
    }

    fn remove(&self, name: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Handle(fd) => rustix::fs::fremovexattr(fd, name),
            Self::Path(path) => rustix::fs::lremovexattr(*path, name),
        }
    }

    /// Whether the file system has no block left, or only no room in this inode.
    fn target_is_full(&self) -> bool {
        let stat = match self {
            Self::Handle(fd) => rustix::fs::fstatvfs(fd),
            Self::Path(_) => return false,
        };
        stat.is_ok_and(|stat| stat.f_bavail == 0)
    }
}

/// Brings the attributes to exactly the entry's, those aside that the system gives by itself (labels).
fn set_xattrs(named: &Named<'_>, entry: &Entry, privileges: Privileges, notes: &mut Notes) -> Result<(), Errno> {
    match named.list() {
        Ok(present) => {
            for name in present.iter().filter(|name| is_ours(name) && !entry.xattrs.iter().any(|(wanted, _)| wanted == *name)) {
                note(notes, &format!("remove {}", name.escape_ascii()), named.remove(name))?;
            }
        }
        Err(Errno::NOTSUP) => {}
        Err(errno) => note(notes, "list extended attributes", Err(errno))?,
    }
    for (name, value) in &entry.xattrs {
        if name == CAPABILITY && !privileges.0 {
            notes.push((Severity::Withheld, "its file capabilities are left out".into()));
            continue;
        }
        let doing = || format!("set {}", name.escape_ascii());
        match named.set(name, value) {
            // Most file systems have a few KiB for attributes, and say "no space" to more.
            Err(Errno::NOSPC | Errno::TOOBIG | Errno::RANGE) if !named.target_is_full() => {
                notes.push((Severity::Unsupported, format!("{}: the file system has no room for it", doing())));
            }
            other => note(notes, &doing(), other)?,
        }
    }
    Ok(())
}

fn is_ours(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name.starts_with(b"trusted.") || name.starts_with(b"system.posix_acl_") || name == CAPABILITY
}

fn note(notes: &mut Notes, doing: &str, result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Ok(()) => {}
        Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::ROFS)) => return Err(errno),
        Err(Errno::NOTSUP) => notes.push((Severity::Unsupported, format!("could not {doing}: the file system has no such thing"))),
        Err(errno) => notes.push((Severity::Failed, format!("could not {doing}: {errno}"))),
    }
    Ok(())
}
