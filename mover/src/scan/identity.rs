//! Is the volume still the volume?

use std::os::fd::AsFd;

use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};

/// What tells one mounted volume's root from another. Taken before and after a scan: the two must be equal, or the mount was
/// replaced while we read, and the backup is of nothing in particular.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootIdentity {
    /// The mount, unique while this kernel runs where it can say so (6.8), else while the mount lives.
    pub mount_id: u64,
    /// The device, major and minor.
    pub device: (u32, u32),
    /// The inode of the root.
    pub inode: u64,
    /// True if it is the root of a mount; a stale directory of a dead pod is not. `None`: the kernel does not say.
    pub is_mount_root: Option<bool>,
    /// Names that the directory has: 0 once it was removed.
    pub links: u32,
}

/// `STATX_MNT_ID_UNIQUE`; newer than the list in our bindings.
const MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// Asks for the identity of the directory that `root` is a handle of.
pub fn root_identity(root: impl AsFd) -> rustix::io::Result<RootIdentity> {
    let mask = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let ask = |mask| rustix::fs::statx(&root, c"", AtFlags::EMPTY_PATH, mask);
    // An old kernel ignores the bit that it does not know and answers without it: then ask for the reusable id.
    let stat = match ask(StatxFlags::BASIC_STATS | MNT_ID_UNIQUE) {
        Ok(stat) if stat.stx_mask & MNT_ID_UNIQUE.bits() != 0 => stat,
        _ => ask(mask)?,
    };
    let says = stat.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT);
    Ok(RootIdentity {
        mount_id: stat.stx_mnt_id,
        device: (stat.stx_dev_major, stat.stx_dev_minor),
        inode: stat.stx_ino,
        is_mount_root: says.then(|| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        links: stat.stx_nlink,
    })
}
