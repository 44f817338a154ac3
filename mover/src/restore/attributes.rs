//! Owner, extended attributes, mode and times, in the order in which none undoes another: a change of owner clears set-id bits
//! and capabilities, an ACL changes the mode, and everything changes the times. What stands at the end is looked at again,
//! since a file system may take a value and keep another.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::issue::Severity;
use super::private_directory::PrivateDirectory;
use super::rules::Rules;
use super::worker::file_type;
use crate::catalog::{Entry, EntryKind};

const SET_ID_BITS: u32 = 0o6000;
pub(super) const CAPABILITY: &[u8] = b"security.capability";
const ACL_PREFIX: &[u8] = b"system.posix_acl_";
const TRUSTED_PREFIX: &[u8] = b"trusted.";
/// The longest list of names that Linux gives out.
const XATTR_LIST_BYTES_MAX: usize = 64 << 10;
/// The longest value.
const XATTR_BYTES_MAX: usize = 64 << 10;

/// What was not set, and how bad that is.
pub(super) type Notes = Vec<(Severity, String)>;

/// What attributes this restore brings back.
pub(super) struct Policy {
    pub(super) rules: Rules,
    /// Set-id bits and file capabilities too.
    pub(super) privileged: bool,
    /// What is made belongs to these, unless its directory says otherwise.
    own: (u32, u32),
}

impl Policy {
    pub(super) fn new(rules: Rules, privileged: bool) -> Self {
        Self { rules, privileged, own: (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()) }
    }

    /// The mode to make a file with, so that nobody may do more with it than when it is finished, whoever it belongs to until then.
    pub(super) fn first_mode(&self, entry: &Entry) -> u32 {
        let mode = entry.mode & 0o777;
        let (user, group, others) = (mode >> 6, mode >> 3 & 7, mode & 7);
        let falls = group & !user == 0 && others & !group == 0;
        let has_acl = entry.xattrs.iter().any(|(name, _)| name.starts_with(ACL_PREFIX));
        if !falls || has_acl {
            return 0o600;
        }
        let is_own = self.rules.owner(entry.uid, entry.gid).is_none_or(|owner| owner == self.own);
        // Our own group is not the one that is meant.
        if is_own { mode } else { user << 6 | others << 3 | others }
    }

    /// How a file stands that was just made with `first_mode`.
    pub(super) fn fresh(&self, first_mode: u32, may_inherit: bool) -> Standing {
        Standing { owner: self.own, mode: first_mode, mtime: None, may_have_xattrs: may_inherit }
    }
}

/// How an entry stands before its attributes are set, as far as that is known.
pub(super) struct Standing {
    owner: (u32, u32),
    mode: u32,
    mtime: Option<(i64, u64)>,
    /// Extended attributes that nobody asked for may be there.
    may_have_xattrs: bool,
}

impl Standing {
    pub(super) fn of(stat: &Stat, may_have_xattrs: bool) -> Self {
        let (owner, mode) = ((stat.st_uid, stat.st_gid), stat.st_mode & 0o7777);
        Self { owner, mode, mtime: Some((stat.st_mtime, stat.st_mtime_nsec)), may_have_xattrs }
    }
}

/// What setting the attributes came to.
#[derive(Default)]
pub(super) struct Set {
    pub(super) notes: Notes,
    /// Something had to be set.
    pub(super) changed: bool,
    /// The recorded owner is another one, and is left out by the rules.
    pub(super) owner_left: bool,
}

/// Sets everything on an open file (for writing) or directory. An error is about the target as a whole: it is full.
pub(super) fn set_on_handle(fd: BorrowedFd<'_>, entry: &Entry, policy: &Policy, standing: &Standing) -> Result<Set, Errno> {
    let mut set = Set::default();
    apply(fd, entry, policy, standing, &mut set)?;
    if !set.changed || has_failed(&set.notes) {
        return Ok(set);
    }
    let wanted = |standing: &Standing| Wanted::of(entry, policy, standing, &mut Notes::new());
    let mut after = rustix::fs::fstat(fd)?;
    let mut now = Standing::of(&after, standing.may_have_xattrs);
    if standing.mtime.is_none() && wanted(&now).differs(&after) {
        // Its directory, or the process, gave it something else than is usual.
        set.notes.clear();
        apply(fd, entry, policy, &now, &mut set)?;
        after = rustix::fs::fstat(fd)?;
        now = Standing::of(&after, false);
    }
    if !has_failed(&set.notes) {
        compare(&after, entry, &wanted(&now), &mut set.notes);
    }
    Ok(set)
}

fn has_failed(notes: &Notes) -> bool {
    notes.iter().any(|(severity, _)| *severity == Severity::Failed)
}

fn apply(fd: BorrowedFd<'_>, entry: &Entry, policy: &Policy, standing: &Standing, set: &mut Set) -> Result<(), Errno> {
    let wanted = Wanted::of(entry, policy, standing, &mut set.notes);
    set.owner_left = wanted.owner_left;
    let mut reset_mode = standing.mode != wanted.mode;
    if let Some((uid, gid)) = wanted.new_owner(standing) {
        note(&mut set.notes, "set the owner", rustix::fs::fchown(fd, Some(uid), Some(gid)))?;
        set.changed = true;
        reset_mode |= wanted.mode & SET_ID_BITS != 0;
    }
    if set_xattrs(&Named::Handle(fd), entry, policy, standing.may_have_xattrs, &mut set.notes)? {
        set.changed = true;
        reset_mode = true;
    }
    if reset_mode {
        note(&mut set.notes, "set the mode", rustix::fs::fchmod(fd, Mode::from_raw_mode(wanted.mode)))?;
        set.changed = true;
    }
    match times(entry) {
        Some(times) if standing.mtime != Some((entry.mtime.secs, entry.mtime.nanos.into())) => {
            note(&mut set.notes, "set the time", rustix::fs::futimens(fd, &times))?;
            set.changed = true;
        }
        Some(_) => {}
        None => set.notes.push((Severity::Failed, "its time is not valid".into())),
    }
    Ok(())
}

/// Owner and mode as they are to be.
struct Wanted {
    owner: (u32, u32),
    owner_left: bool,
    mode: u32,
}

impl Wanted {
    fn of(entry: &Entry, policy: &Policy, standing: &Standing, notes: &mut Notes) -> Self {
        let recorded = (entry.uid, entry.gid);
        let owner = match policy.rules.owner(entry.uid, entry.gid) {
            // -1 means "leave it" to the system call.
            Some(owner) if owner.0 == u32::MAX || owner.1 == u32::MAX => {
                notes.push((Severity::Failed, "its owner is no valid id".into()));
                standing.owner
            }
            Some(owner) => owner,
            None => standing.owner,
        };
        let owner_left = owner != recorded && policy.rules.owner(entry.uid, entry.gid).is_none();
        let mut mode = entry.mode & 0o7777;
        if entry.kind.is_file() && (!policy.privileged || owner_left) && mode & SET_ID_BITS != 0 {
            notes.push((Severity::Withheld, "its set-id bits are left out".into()));
            mode &= !SET_ID_BITS;
        }
        Self { owner, owner_left, mode }
    }

    fn new_owner(&self, standing: &Standing) -> Option<(Uid, Gid)> {
        (self.owner != standing.owner).then(|| (Uid::from_raw(self.owner.0), Gid::from_raw(self.owner.1)))
    }

    fn differs(&self, stat: &Stat) -> bool {
        (stat.st_uid, stat.st_gid) != self.owner || stat.st_mode & 0o7777 != self.mode
    }
}

/// Sets everything on what cannot be opened to be written to: symlinks, pipes, sockets, devices. Owner, mode and time by a handle that was
/// looked at: whoever may rename in the directory may have put a file of somebody else's under the name since it was made. Extended
/// attributes have no such call before Linux 6.13.
pub(super) fn set_on_name(private: &PrivateDirectory, parent: BorrowedFd<'_>, name: &[u8], entry: &Entry, policy: &Policy) -> Result<Set, Errno> {
    let mut set = Set::default();
    let handle = rustix::fs::openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let before = rustix::fs::fstat(&handle)?;
    if !is_as_made(&before, &entry.kind) {
        return Err(Errno::STALE);
    }
    let standing = Standing::of(&before, true);
    let wanted = Wanted::of(entry, policy, &standing, &mut set.notes);
    set.owner_left = wanted.owner_left;
    let notes = &mut set.notes;
    if let Some((uid, gid)) = wanted.new_owner(&standing) {
        note(notes, "set the owner", rustix::fs::chownat(&handle, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH))?;
    }
    let is_symlink = matches!(entry.kind, EntryKind::Symlink { .. });
    if !is_symlink || !entry.xattrs.is_empty() {
        match private.reach(parent, name) {
            Ok(path) => drop(set_xattrs(&Named::Path(&path), entry, policy, true, notes)?),
            Err(errno) => note(notes, "set extended attributes", Err(errno))?,
        }
    }
    // A symlink's mode is always 0777; the others were made with theirs, unless a default ACL or the owner's change cut it.
    let mode = if is_symlink { 0o777 } else { wanted.mode };
    if !is_symlink && rustix::fs::fstat(&handle)?.st_mode & 0o7777 != mode {
        note(notes, "set the mode", chmod_by_handle(&handle, mode))?;
    }
    match times(entry) {
        Some(_) if standing.mtime == Some((entry.mtime.secs, entry.mtime.nanos.into())) => {}
        Some(times) => note(notes, "set the time", rustix::fs::utimensat(&handle, c"", &times, AtFlags::EMPTY_PATH))?,
        None => notes.push((Severity::Failed, "its time is not valid".into())),
    }
    if !has_failed(notes) {
        let after = rustix::fs::fstat(&handle)?;
        compare(&after, entry, &Wanted { mode, ..wanted }, notes);
    }
    Ok(set)
}

/// Whether this can be what was made: the kind and the device are not to be had by a rename of a file.
fn is_as_made(stat: &Stat, kind: &EntryKind) -> bool {
    let is_device = match kind {
        EntryKind::CharDevice { rdev } | EntryKind::BlockDevice { rdev } => stat.st_rdev == *rdev,
        _ => true,
    };
    FileType::from_raw_mode(stat.st_mode) == file_type(kind) && stat.st_nlink == 1 && is_device
}

/// Only where the mode is not right already: this needs `/proc`. Of a symlink it would change what that points to.
fn chmod_by_handle(handle: &OwnedFd, mode: u32) -> Result<(), Errno> {
    rustix::fs::chmod(format!("/proc/self/fd/{}", handle.as_raw_fd()), Mode::from_raw_mode(mode))
}

fn times(entry: &Entry) -> Option<Timestamps> {
    // Larger values are orders to the system call, not times.
    (entry.mtime.nanos < 1_000_000_000).then(|| Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: entry.mtime.secs, tv_nsec: entry.mtime.nanos.into() },
    })
}

fn compare(after: &Stat, entry: &Entry, wanted: &Wanted, notes: &mut Notes) {
    let (uid, gid) = wanted.owner;
    if (after.st_uid, after.st_gid) != wanted.owner {
        notes.push((Severity::Failed, format!("its owner is {}:{} instead of {uid}:{gid}", after.st_uid, after.st_gid)));
    }
    let mode = after.st_mode & 0o7777;
    if mode != wanted.mode {
        notes.push((Severity::Failed, format!("its mode is {mode:04o} instead of {:04o}", wanted.mode)));
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

    fn has(&self, name: &[u8], value: &[u8]) -> bool {
        // One more, so that a longer value is not taken for this one.
        let mut buffer = vec![0; value.len().min(XATTR_BYTES_MAX) + 1];
        let read = match self {
            Self::Handle(fd) => rustix::fs::fgetxattr(fd, name, &mut buffer[..]),
            Self::Path(path) => rustix::fs::lgetxattr(*path, name, &mut buffer[..]),
        };
        read.is_ok_and(|bytes| buffer[..bytes] == *value)
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

/// Brings the attributes to exactly the entry's, those aside that the system gives by itself (labels) and that the rules leave
/// alone. True if something was set or removed.
fn set_xattrs(named: &Named<'_>, entry: &Entry, policy: &Policy, may_be_there: bool, notes: &mut Notes) -> Result<bool, Errno> {
    let mut changed = false;
    let mut present = Vec::new();
    if may_be_there {
        match named.list() {
            Ok(names) => present = names,
            Err(Errno::NOTSUP) => {}
            Err(errno) => note(notes, "list extended attributes", Err(errno))?,
        }
    }
    let is_surplus = |name: &Vec<u8>| is_ours(name) && policy.rules.wants_xattr(name) && !entry.xattrs.iter().any(|(wanted, _)| wanted == name);
    for name in present.iter().filter(|name| is_surplus(name)) {
        note(notes, &format!("remove {}", name.escape_ascii()), named.remove(name))?;
        changed = true;
    }
    for (name, value) in &entry.xattrs {
        if !policy.rules.wants_xattr(name) {
            continue;
        }
        if name == CAPABILITY && !policy.privileged {
            notes.push((Severity::Withheld, "its file capabilities are left out".into()));
            continue;
        }
        if present.contains(name) && named.has(name, value) {
            continue;
        }
        changed = true;
        let doing = || format!("set {}", name.escape_ascii());
        match named.set(name, value) {
            // Most file systems have a few KiB for attributes, and say "no space" to more.
            Err(Errno::NOSPC | Errno::TOOBIG | Errno::RANGE) if !named.target_is_full() => {
                notes.push((Severity::Unsupported, format!("{}: the file system has no room for it", doing())));
            }
            Err(Errno::PERM) if name.starts_with(TRUSTED_PREFIX) && policy.rules.owner(0, 0).is_none() => {
                notes.push((Severity::Withheld, format!("{} is left out: only root may set it", name.escape_ascii())));
            }
            other => note(notes, &doing(), other)?,
        }
    }
    Ok(changed)
}

fn is_ours(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name.starts_with(TRUSTED_PREFIX) || name.starts_with(ACL_PREFIX) || name == CAPABILITY
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

#[cfg(test)]
mod tests;
