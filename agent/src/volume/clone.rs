//! A mount of one's own of a volume, for one worker.
//!
//! The clone is attached nowhere (an anonymous mount tree behind a handle), so that a propagated unmount of the
//! original never finds it busy; it is a slave, so that mounts which go away below the original go away in it; and a
//! backup's is read-only with everything below it. Closing its last handle drops it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, StatVfsMountFlags, fstatvfs, mkdirat, openat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, OpenTreeFlags, UnmountFlags};
use rustix::process::fchdir;

use super::{Found, VolumeError};
use crate::syscall::{self, MountAttributes};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writable {
    No,
    Yes,
}

/// Clones the mount; needs CAP_SYS_ADMIN in a mount namespace of one's own. `scratch` is a directory that may be
/// mounted over, used only where the kernel has no `mount_setattr` (before 5.12).
pub(crate) fn clone(found: Found, writable: Writable, scratch: &Path, volume: &str) -> Result<OwnedFd, VolumeError> {
    let tree = match detached(&found, writable) {
        Err(Errno::NOSYS) => bound(&found, writable, scratch),
        other => other,
    };
    let tree = tree.map_err(|source| VolumeError::System { volume: volume.into(), action: "clone its mount", source })?;
    verify(&tree, writable, volume)?;
    Ok(tree)
}

fn detached(found: &Found, writable: Writable) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(&found.root, "", flags)?;
    let mut attributes = MountAttributes {
        set: syscall::MOUNT_ATTR_NODEV | syscall::MOUNT_ATTR_NOSUID | syscall::MOUNT_ATTR_NOEXEC | syscall::MOUNT_ATTR_NOATIME,
        clear: syscall::MOUNT_ATTR_ATIME,
        propagation: libc::MS_SLAVE,
        user_namespace_fd: 0,
    };
    if writable == Writable::No {
        attributes.set |= syscall::MOUNT_ATTR_RDONLY;
    }
    match syscall::mount_setattr_recursive(tree.as_fd(), &attributes) {
        // In a user namespace the atime setting of an inherited mount is locked; the others may always be tightened.
        Err(Errno::PERM) => {
            attributes.set &= !syscall::MOUNT_ATTR_NOATIME;
            attributes.clear = 0;
            syscall::mount_setattr_recursive(tree.as_fd(), &attributes)?;
        }
        other => other?,
    }
    Ok(tree)
}

/// Before 5.12: a bind mount of the root alone (so that nothing below it is left writable), remounted, opened, and
/// unmounted lazily; the handle keeps it alive and it is attached nowhere any more.
pub(super) fn bound(found: &Found, writable: Writable, scratch: &Path) -> Result<OwnedFd, Errno> {
    let back = openat(CWD, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::mount::mount("tmpfs", scratch, "tmpfs", MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC, c"size=64k")?;
    let bound = bind_in(found, writable, scratch);
    let restored = fchdir(&back);
    let gone = rustix::mount::unmount(scratch, UnmountFlags::DETACH);
    let bound = bound?;
    restored?;
    gone?;
    Ok(bound)
}

fn bind_in(found: &Found, writable: Writable, scratch: &Path) -> Result<OwnedFd, Errno> {
    let target = scratch.join("volume");
    mkdirat(CWD, &target, Mode::RWXU)?;
    fchdir(&found.root)?;
    rustix::mount::mount_bind(".", &target)?;
    rustix::mount::mount_change(&target, MountPropagationFlags::DOWNSTREAM)?;
    let mut flags = MountFlags::BIND | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NOATIME;
    if writable == Writable::No {
        flags |= MountFlags::RDONLY;
    }
    rustix::mount::mount_remount(&target, flags, c"")?;
    let root = openat(CWD, &target, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::mount::unmount(&target, UnmountFlags::DETACH)?;
    Ok(root)
}

/// Asks the kernel what came of it: a clone that is less than was asked for is never handed out.
fn verify(tree: &OwnedFd, writable: Writable, volume: &str) -> Result<(), VolumeError> {
    let system = |source| VolumeError::System { volume: volume.into(), action: "look at its clone", source };
    let flags = fstatvfs(tree).map_err(system)?.f_flag;
    let mut wanted = StatVfsMountFlags::NODEV | StatVfsMountFlags::NOSUID | StatVfsMountFlags::NOEXEC;
    if writable == Writable::No {
        wanted |= StatVfsMountFlags::RDONLY;
    }
    if !flags.contains(wanted) {
        return Err(VolumeError::Refused(volume.into(), format!("its clone could not be restricted: {flags:?}")));
    }
    if writable == Writable::Yes && flags.contains(StatVfsMountFlags::RDONLY) {
        return Err(VolumeError::Refused(volume.into(), "it is mounted read-only on this node".into()));
    }
    Ok(())
}
