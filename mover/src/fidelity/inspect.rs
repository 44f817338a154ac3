//! One entry, looked at by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use super::CompareError;

pub(super) const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
pub(super) const FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);
const XATTR_BYTES_MAX: usize = 64 << 10;
const DATA_RANGES_MAX: usize = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
    Other(FileType),
}

pub(super) struct Inspected {
    pub(super) kind: Kind,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    pub(super) mtime: (i64, u64),
    pub(super) size: u64,
    pub(super) rdev: u64,
    pub(super) links: u64,
    pub(super) identity: (u64, u64),
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) target: Vec<u8>,
}

impl Inspected {
    pub(super) fn of_name(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Self, Errno> {
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mut path = format!("/proc/self/fd/{}/", parent.as_raw_fd()).into_bytes();
        path.extend_from_slice(name);
        let target = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => rustix::fs::readlinkat(parent, name, Vec::new())?.into_bytes(),
            _ => Vec::new(),
        };
        Ok(Self::new(&stat, xattrs(&path)?, target))
    }

    pub(super) fn of_handle(fd: &OwnedFd) -> Result<Self, CompareError> {
        let inspect = || {
            let path = format!("/proc/self/fd/{}/.", fd.as_raw_fd());
            Ok(Self::new(&rustix::fs::fstat(fd)?, xattrs(path.as_bytes())?, Vec::new()))
        };
        inspect().map_err(|errno| CompareError { path: ".".into(), errno })
    }

    fn new(stat: &Stat, xattrs: BTreeMap<Vec<u8>, Vec<u8>>, target: Vec<u8>) -> Self {
        let file_type = FileType::from_raw_mode(stat.st_mode);
        let is_device = matches!(file_type, FileType::CharacterDevice | FileType::BlockDevice);
        Self {
            kind: match file_type {
                FileType::Directory => Kind::Directory,
                FileType::RegularFile => Kind::File,
                other => Kind::Other(other),
            },
            mode: stat.st_mode & 0o7777,
            owner: (stat.st_uid, stat.st_gid),
            mtime: (stat.st_mtime, stat.st_mtime_nsec),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            rdev: if is_device { stat.st_rdev } else { 0 },
            links: stat.st_nlink,
            identity: (stat.st_dev, stat.st_ino),
            xattrs,
            target,
        }
    }
}

/// All but the labels that a system gives by itself.
fn xattrs(path: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Errno> {
    // Most entries have none.
    match rustix::fs::llistxattr_query(path) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(BTreeMap::new()),
        other => other?,
    };
    let mut names = vec![0; XATTR_BYTES_MAX];
    let bytes = rustix::fs::llistxattr(path, &mut names[..])?;
    let mut found = BTreeMap::new();
    for name in names[..bytes].split(|byte| *byte == 0).filter(|name| !name.is_empty() && *name != b"security.selinux") {
        let mut value = vec![0; XATTR_BYTES_MAX];
        let bytes = rustix::fs::lgetxattr(path, name, &mut value[..])?;
        value.truncate(bytes);
        found.insert(name.to_vec(), value);
    }
    Ok(found)
}

pub(super) fn names(directory: BorrowedFd<'_>) -> Result<BTreeSet<Vec<u8>>, Errno> {
    let mut names = BTreeSet::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.insert(name.to_vec());
        }
    }
    Ok(names)
}

/// Where a file has blocks.
pub(super) fn data_ranges(fd: &OwnedFd, size: u64) -> Result<Vec<Range<u64>>, Errno> {
    let mut ranges = Vec::new();
    let mut offset = 0;
    while offset < size {
        let start = match rustix::fs::seek(fd.as_fd(), SeekFrom::Data(offset)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(errno) => return Err(errno),
        };
        let end = rustix::fs::seek(fd.as_fd(), SeekFrom::Hole(start))?.min(size);
        ranges.push(start..end);
        if end <= start || ranges.len() > DATA_RANGES_MAX {
            return Err(Errno::FBIG);
        }
        offset = end;
    }
    Ok(ranges)
}

pub(super) fn union(left: &[Range<u64>], right: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut all: Vec<Range<u64>> = left.iter().chain(right).cloned().collect();
    all.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in all {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

pub(super) fn read_exact(fd: &OwnedFd, mut buffer: &mut [u8], mut offset: u64) -> Result<(), Errno> {
    while !buffer.is_empty() {
        match rustix::io::pread(fd, &mut *buffer, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(bytes) => {
                buffer = &mut buffer[bytes..];
                offset += bytes as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
