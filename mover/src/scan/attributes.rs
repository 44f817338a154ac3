//! What an inode says about itself.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};
use rustix::io::{Errno, Result};

use super::Handle;
use crate::catalog::{EntryKind, Timestamp, Xattr};

/// Kind of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FileType {
    Directory,
    File,
    Symlink,
    Fifo,
    Socket,
    CharDevice,
    BlockDevice,
}

/// The attributes of an inode at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Kind.
    pub file_type: FileType,
    /// Permission bits, `07777` at most.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of content.
    pub mtime: Timestamp,
    /// Last change of the inode.
    pub ctime: Timestamp,
    /// Inode number.
    pub inode: u64,
    /// Device, major and minor in one number.
    pub device: u64,
    /// Bytes of content.
    pub size: u64,
    /// Bytes that its content takes on the volume: less than `size` where there are holes (or compression).
    pub allocated_bytes: u64,
    /// Names that it has.
    pub links: u32,
    /// The device that a device node stands for.
    pub rdev: u64,
    /// True if another mount begins here.
    pub is_mount_root: bool,
}

impl Stat {
    /// By handle.
    pub fn of_fd(fd: impl AsFd) -> Result<Self> {
        Self::query(fd.as_fd(), c"", AtFlags::EMPTY_PATH)
    }

    /// By name below a directory; a symbolic link is not followed, an automount not triggered.
    pub fn of_name(directory: impl AsFd, name: &[u8]) -> Result<Self> {
        Self::query(directory.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT)
    }

    fn query(fd: BorrowedFd<'_>, path: impl rustix::path::Arg, flags: AtFlags) -> Result<Self> {
        let stat = rustix::fs::statx(fd, path, flags, StatxFlags::BASIC_STATS)?;
        let mode = u32::from(stat.stx_mode);
        let time = |time: rustix::fs::StatxTimestamp| Timestamp { secs: time.tv_sec, nanos: time.tv_nsec };
        Ok(Self {
            file_type: file_type(mode)?,
            mode: mode & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            mtime: time(stat.stx_mtime),
            ctime: time(stat.stx_ctime),
            inode: stat.stx_ino,
            device: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            size: stat.stx_size,
            allocated_bytes: stat.stx_blocks.saturating_mul(512),
            links: stat.stx_nlink,
            rdev: rustix::fs::makedev(stat.stx_rdev_major, stat.stx_rdev_minor),
            is_mount_root: stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        })
    }

    /// True if both are of one inode that was not written, renamed or given other attributes in between.
    pub fn is_same_state(&self, other: &Self) -> bool {
        self.is_same_inode(other) && self.size == other.size && self.mtime == other.mtime && self.ctime == other.ctime
    }

    /// True if both are of one inode.
    pub fn is_same_inode(&self, other: &Self) -> bool {
        self.inode == other.inode && self.device == other.device && self.file_type == other.file_type
    }

    /// The catalog's kind; the target of a symbolic link is still to be read.
    pub fn entry_kind(&self) -> EntryKind {
        match self.file_type {
            FileType::Directory => EntryKind::Directory,
            FileType::File => EntryKind::File,
            FileType::Symlink => EntryKind::Symlink { target: Vec::new() },
            FileType::Fifo => EntryKind::Fifo,
            FileType::Socket => EntryKind::Socket,
            FileType::CharDevice => EntryKind::CharDevice { rdev: self.rdev },
            FileType::BlockDevice => EntryKind::BlockDevice { rdev: self.rdev },
        }
    }
}

fn file_type(mode: u32) -> Result<FileType> {
    use rustix::fs::FileType as Type;
    Ok(match Type::from_raw_mode(mode) {
        Type::Directory => FileType::Directory,
        Type::RegularFile => FileType::File,
        Type::Symlink => FileType::Symlink,
        Type::Fifo => FileType::Fifo,
        Type::Socket => FileType::Socket,
        Type::CharacterDevice => FileType::CharDevice,
        Type::BlockDevice => FileType::BlockDevice,
        // No such kind exists; a file system that invents one is not understood.
        Type::Unknown => return Err(Errno::NOTSUP),
    })
}

/// Extended attributes, and why some are missing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Xattrs {
    /// Sorted by name.
    pub list: Vec<Xattr>,
    /// What could not be read.
    pub missing: Option<String>,
}

/// The kernel's limit of a list of names, and of a value.
const XATTR_CALL_BYTES_MAX: usize = 64 << 10;
const FIRST_TRY_BYTES: usize = 512;

/// Attributes by handle: for whatever can be opened.
pub fn xattrs_of_handle(handle: &Handle) -> Xattrs {
    collect(
        |buffer| handle.with(|fd| rustix::fs::flistxattr(fd, buffer)),
        |name, buffer| handle.with(|fd| rustix::fs::fgetxattr(fd, name, buffer)),
    )
}

/// Attributes by name in the thread's working directory: for symbolic links and special files, which cannot be opened for it.
/// (`/proc/self/fd` would do, but the sandbox has no `/proc`.) `name` is a single name, and the calls do not follow links.
pub(super) fn xattrs_of_name(name: &[u8]) -> Xattrs {
    collect(
        |buffer| rustix::fs::llistxattr(name, buffer),
        |attribute, buffer| rustix::fs::lgetxattr(name, attribute, buffer),
    )
}

fn collect(
    list: impl Fn(&mut [u8]) -> Result<usize>,
    get: impl Fn(&[u8], &mut [u8]) -> Result<usize>,
) -> Xattrs {
    let mut xattrs = Xattrs::default();
    let names = match sized(&list) {
        Ok(names) => names,
        Err(Errno::NOTSUP) => return xattrs,
        Err(error) => {
            xattrs.missing = Some(format!("extended attributes: {error}"));
            return xattrs;
        }
    };
    let mut bytes = 0;
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match sized(|buffer| get(name, buffer)) {
            Ok(value) => {
                bytes += name.len() + value.len();
                if bytes > crate::catalog::XATTR_BYTES_MAX {
                    xattrs.missing = Some(format!("extended attributes: more than {} bytes", crate::catalog::XATTR_BYTES_MAX));
                    break;
                }
                xattrs.list.push((name.to_vec(), value));
            }
            // Removed since it was listed.
            Err(Errno::NODATA) => {}
            Err(error) => {
                xattrs.missing = Some(format!("extended attribute {}: {error}", name.escape_ascii()));
            }
        }
    }
    xattrs.list.sort();
    xattrs
}

/// Most lists and values are short: the large buffer is only for those that are not.
fn sized(call: impl Fn(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let mut small = [0; FIRST_TRY_BYTES];
    match call(&mut small) {
        Ok(length) => Ok(small[..length].to_vec()),
        Err(Errno::RANGE) => {
            let mut large = vec![0; XATTR_CALL_BYTES_MAX];
            let length = call(&mut large)?;
            large.truncate(length);
            Ok(large)
        }
        Err(error) => Err(error),
    }
}
