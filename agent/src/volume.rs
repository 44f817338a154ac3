//! Where a volume is mounted on this node: `<kubelet>/pods/<uid>/volumes/<plugin>/<pv>[/mount]`.
//!
//! Invariants: what is found is the root of a mount (never the stale directory of a dead pod); it belongs to a plugin of
//! persistent volumes (never a secret, projected, configMap, downwardAPI, emptyDir or hostPath); the path below the
//! kubelet's directory is walked by handles, without a symlink. Only worker processes call this: a dead NFS server
//! hangs the caller.

pub(crate) mod clone;
mod plugin;
#[cfg(test)]
mod tests;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use holdfast_proto::v1::VolumeAccess;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, Statx, StatxAttributes, StatxFlags, openat, openat2, statx};
use rustix::io::Errno;

/// Names under the kubelet's directory are Kubernetes names: no longer than this.
const NAME_BYTES_MAX: usize = 253;
/// Longer paths inside a volume cannot come from a subPath that the kubelet accepts.
const PATH_IN_VOLUME_BYTES_MAX: usize = 4096;

/// No symlink on the way, nothing above the start.
pub(crate) const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// `STATX_MNT_ID_UNIQUE`; newer than the list in our bindings.
const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

const DIRECTORY_HANDLE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// What a volume's root must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RootKind {
    /// The root of a mount: an empty directory that a dead pod left behind is not.
    Mount,
    /// Any directory: only for a demo whose kernel lets it mount nothing. A stale directory would pass for a volume.
    Directory,
}

/// What tells one mount of a volume from another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) device_major: u32,
    pub(crate) device_minor: u32,
    pub(crate) inode: u64,
    /// Differs between mount namespaces; comparable only when both were read in the same one. Never used twice from
    /// Linux 6.8 on.
    pub(crate) mount_id: u64,
}

impl Identity {
    /// Whether both are the same directory of the same device, whatever mount shows it.
    pub(crate) fn same_volume(&self, other: &Self) -> bool {
        (self.device_major, self.device_minor, self.inode) == (other.device_major, other.device_minor, other.inode)
    }
}

/// A volume's root as the kubelet mounted it. Holding `root` makes the mount busy for the kubelet's unmount, so it is
/// let go as soon as the mount is cloned.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) root: OwnedFd,
    pub(crate) identity: Identity,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    #[error("volume {0}: {1}; it may have been unmounted, or its pod may be on another node")]
    NotFound(String, String),
    #[error("{0}: {1}")]
    Refused(String, String),
    #[error("volume {volume}: {action}: {source}")]
    System { volume: String, action: &'static str, source: Errno },
}

/// Finds the mounted root of `access` below `kubelet_dir`.
pub(crate) fn find(kubelet_dir: &Path, access: &VolumeAccess, kind: RootKind) -> Result<Found, VolumeError> {
    let volume = describe(access);
    if access.block {
        return Err(VolumeError::Refused(volume, "raw block devices are not supported by this agent".into()));
    }
    for (what, name) in [("pod uid", &access.pod_uid), ("PersistentVolume name", &access.pv_name)] {
        if !is_plain_name(name) {
            return Err(VolumeError::Refused(volume, format!("{name:?} is no {what}")));
        }
    }
    let kubelet = openat(CWD, kubelet_dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|source| VolumeError::System { volume: volume.clone(), action: "open the kubelet's directory", source })?;
    let volumes = format!("pods/{}/volumes", access.pod_uid);
    let volumes = open_directory(&kubelet, &volumes, &volume, "this node has no such pod")?;
    let plugin = plugin::of(volumes.as_fd(), access, &volume)?;
    let directory = open_directory(&volumes, &format!("{plugin}/{}", access.pv_name), &volume, "its pod does not mount it")?;
    let root = if plugin == plugin::CSI {
        plugin::refuse_ephemeral(directory.as_fd(), &volume)?;
        open_directory(&directory, "mount", &volume, "it is not mounted")?
    } else {
        directory
    };
    let identity = identify(root.as_fd(), &volume, kind)?;
    Ok(Found { root, identity })
}

/// Opens a path inside a volume; "" is its root. No symlink, no `..`, no other mount.
pub(crate) fn open_inside(root: BorrowedFd<'_>, path: &str, volume: &str) -> Result<OwnedFd, VolumeError> {
    if path.len() > PATH_IN_VOLUME_BYTES_MAX || path.contains('\0') {
        return Err(VolumeError::Refused(volume.into(), "the path inside the volume is no path".into()));
    }
    let path = match path.trim_matches('/') {
        "" => ".",
        path => path,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(root, path, flags, Mode::empty(), BENEATH | ResolveFlags::NO_XDEV).map_err(|errno| match errno {
        Errno::NOENT | Errno::NOTDIR => VolumeError::NotFound(volume.into(), format!("{path:?} in it is no directory")),
        Errno::LOOP | Errno::XDEV => {
            VolumeError::Refused(volume.into(), format!("{path:?} in it leads through a symlink or out of the volume"))
        }
        source => VolumeError::System { volume: volume.into(), action: "open the path in the volume", source },
    })
}

/// For messages: what a person calls this volume.
pub(crate) fn describe(access: &VolumeAccess) -> String {
    format!("{}/{} ({}) of pod {}", access.pvc_namespace, access.pvc_name, access.pv_name, access.pod_name)
}

fn open_directory(parent: &OwnedFd, path: &str, volume: &str, absent: &str) -> Result<OwnedFd, VolumeError> {
    openat2(parent, path, DIRECTORY_HANDLE, Mode::empty(), BENEATH).map_err(|errno| match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => VolumeError::NotFound(volume.into(), absent.into()),
        source => VolumeError::System { volume: volume.into(), action: "open its directory", source },
    })
}

/// The identity of `root`, which must be of that kind.
fn identify(root: BorrowedFd<'_>, volume: &str, kind: RootKind) -> Result<Identity, VolumeError> {
    let ask = |mount_id| {
        let wanted = StatxFlags::TYPE | StatxFlags::INO | mount_id;
        statx(root, "", AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT, wanted)
            .map_err(|source| VolumeError::System { volume: volume.into(), action: "look at its mount", source })
    };
    let has = |stat: &Statx, flags: StatxFlags| stat.stx_mask & flags.bits() == flags.bits();
    // Before 6.8 the kernel ignores the question for the unique id, and gives the next mount a dead one's number.
    let mut stat = ask(MNT_ID_UNIQUE)?;
    if !has(&stat, MNT_ID_UNIQUE) {
        stat = ask(StatxFlags::MNT_ID)?;
    }
    let known = stat.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT)
        && has(&stat, StatxFlags::INO)
        && (has(&stat, MNT_ID_UNIQUE) || has(&stat, StatxFlags::MNT_ID));
    if !known {
        // Linux 5.8 says it of every file system. Without that answer "it is the volume" cannot be promised.
        return Err(VolumeError::Refused(volume.into(), "the kernel does not say whether it is mounted (Linux 5.8 does)".into()));
    }
    if kind == RootKind::Mount && !stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Err(VolumeError::NotFound(volume.into(), "its directory is there but nothing is mounted on it".into()));
    }
    Ok(Identity {
        device_major: stat.stx_dev_major,
        device_minor: stat.stx_dev_minor,
        inode: stat.stx_ino,
        mount_id: stat.stx_mnt_id,
    })
}

fn is_plain_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.starts_with('.') && name.bytes().all(plain)
}
