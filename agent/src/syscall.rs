//! System calls that rustix has no safe form of. The only unsafe code of this crate.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::io::Errno;
use rustix::thread::UnshareFlags;

/// What `mount_setattr` sets: bits of `MOUNT_ATTR_*`, and a propagation of `MS_*`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MountAttributes {
    pub(crate) set: u64,
    pub(crate) clear: u64,
    pub(crate) propagation: u64,
    pub(crate) user_namespace_fd: u64,
}

pub(crate) const MOUNT_ATTR_RDONLY: u64 = 0x1;
pub(crate) const MOUNT_ATTR_NOSUID: u64 = 0x2;
pub(crate) const MOUNT_ATTR_NODEV: u64 = 0x4;
pub(crate) const MOUNT_ATTR_NOEXEC: u64 = 0x8;
pub(crate) const MOUNT_ATTR_ATIME: u64 = 0x70;
pub(crate) const MOUNT_ATTR_NOATIME: u64 = 0x10;

/// `mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, attributes)`; Linux 5.12.
pub(crate) fn mount_setattr_recursive(tree: BorrowedFd<'_>, attributes: &MountAttributes) -> Result<(), Errno> {
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    // SAFETY: the path is a NUL-terminated empty string, the structure outlives the call and its size is passed along
    // (VER0, 32 bytes), and the kernel only reads both.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attributes),
            size_of::<MountAttributes>(),
        )
    };
    if answer == 0 { Ok(()) } else { Err(last_errno()) }
}

/// `unshare`, for namespaces only.
pub(crate) fn unshare_namespaces(flags: UnshareFlags) -> Result<(), Errno> {
    let namespaces = UnshareFlags::NEWNS | UnshareFlags::NEWUSER | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    // SAFETY: only CLONE_FILES makes unshare unsafe (descriptors of other threads would vanish); the mask leaves none of it.
    unsafe { rustix::thread::unshare_unsafe(flags & namespaces) }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
