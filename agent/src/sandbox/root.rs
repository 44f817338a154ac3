//! A mount namespace with nothing in it.

use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, open, openat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, mount_remount, unmount};
use rustix::process::{DumpableBehavior, chdir, fchdir, getgid, getuid, pivot_root, set_dumpable_behavior};
use rustix::thread::UnshareFlags;

use super::{CACHE, REPOSITORY, SandboxError};
use crate::syscall;

/// A directory that every Linux system has and that this namespace does not need once its handles are open.
pub(super) const SCRATCH: &str = "/proc";

const TIGHT: MountFlags = MountFlags::NODEV.union(MountFlags::NOSUID).union(MountFlags::NOEXEC);

fn at(step: &'static str) -> impl Fn(Errno) -> SandboxError {
    move |errno| SandboxError::System(step, errno)
}

/// A mount namespace of one's own; without privilege, in a user namespace of one's own.
pub(super) fn unshare() -> Result<(), SandboxError> {
    let namespaces = UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    match syscall::unshare_namespaces(namespaces) {
        Err(Errno::PERM) => unshare_with_user(namespaces)?,
        other => other.map_err(at("unshare the mount namespace"))?,
    }
    // Unmounts still come in, nothing of ours goes out.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC).map_err(at("make / a slave"))
}

fn unshare_with_user(namespaces: UnshareFlags) -> Result<(), SandboxError> {
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    syscall::unshare_namespaces(namespaces | UnshareFlags::NEWUSER).map_err(at("unshare a user namespace"))?;
    // The own ids as they are, so that owners read the same inside; gid_map without privilege needs setgroups denied.
    let maps = [
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("{uid} {uid} 1")),
        ("/proc/self/gid_map", format!("{gid} {gid} 1")),
    ];
    // The files of a process that is not dumpable are root's. Only without privilege, and only for these three writes.
    set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(at("own the namespace's maps"))?;
    let mapped = maps.into_iter().try_for_each(|(file, content)| std::fs::write(file, content));
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(at("be undumpable again"))?;
    mapped.map_err(|error| {
        SandboxError::System("map the user namespace's ids", Errno::from_io_error(&error).unwrap_or(Errno::IO))
    })
}

/// Replaces the root by an empty tmpfs and drops the old one.
pub(super) fn empty(repository: Option<&Path>, cache: Option<&Path>) -> Result<(), SandboxError> {
    let handle = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let descriptors = open("/proc/self/fd", handle, Mode::empty()).map_err(at("open /proc/self/fd"))?;
    let repository = repository
        .map(|path| open(path, handle, Mode::empty()))
        .transpose()
        .map_err(at("open the local repository's directory"))?;
    // It may have been removed to make room: then there is none.
    let cache = cache.and_then(|path| open(path, handle, Mode::empty()).ok());

    mount("tmpfs", SCRATCH, "tmpfs", TIGHT, c"size=64k,mode=0755").map_err(at("mount a tmpfs"))?;
    let new_root = open(SCRATCH, handle, Mode::empty()).map_err(at("open the new root"))?;
    for directory in ["proc", "proc/self", "proc/self/fd"] {
        mkdirat(&new_root, directory, Mode::RWXU).map_err(at("make /proc/self/fd"))?;
    }
    // Only this process's own descriptors; a whole /proc would show the agent's root through its pid.
    fchdir(&descriptors).map_err(at("enter /proc/self/fd"))?;
    mount_bind(".", format!("{SCRATCH}/proc/self/fd")).map_err(at("bind /proc/self/fd"))?;
    for (directory, place) in [(repository, REPOSITORY), (cache, CACHE)] {
        let Some(directory) = directory else { continue };
        mkdirat(&new_root, &place[1..], Mode::RWXU).map_err(at("make the place of a directory"))?;
        fchdir(&directory).map_err(at("enter a directory that the task may use"))?;
        let target = format!("{SCRATCH}{place}");
        mount_bind(".", &target).map_err(at("bind a directory that the task may use"))?;
        mount_remount(&target, MountFlags::BIND | TIGHT, c"").map_err(at("restrict a directory that the task may use"))?;
    }
    fchdir(&new_root).map_err(at("enter the new root"))?;
    pivot_root(".", ".").map_err(at("pivot_root"))?;
    // The old root lies over the new one now: what "." is unmounted from is the old one.
    unmount(".", UnmountFlags::DETACH).map_err(at("drop the old root"))?;
    chdir("/").map_err(at("enter the empty root"))?;
    mount_remount("/", MountFlags::BIND | MountFlags::RDONLY | TIGHT, c"").map_err(at("make the empty root read-only"))?;
    let left = openat(CWD, "/etc", handle, Mode::empty());
    if left.is_ok() {
        return Err(SandboxError::Filter("the old root is still there".into()));
    }
    Ok(())
}
