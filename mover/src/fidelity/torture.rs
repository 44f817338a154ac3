//! A tree of all that backup programs lose: names that are no text, links to symlinks, special files, times before 1970, holes,
//! attributes of every kind, paths longer than `PATH_MAX`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

/// `PATH_MAX` is 4096; this deep, with names this long, is 9,000 bytes.
const DEEP_LEVELS: usize = 45;
const DEEP_NAME_BYTES: usize = 200;

/// What this machine allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tortured {
    /// Owners other than ours, device nodes, capabilities, `trusted.*`.
    pub as_root: bool,
    /// Entries made.
    pub entries: u64,
}

/// Fills an empty directory. What needs root is left out without it. Sets the times of everything, so it is the last to touch it.
pub fn torture(root: &Path) -> Result<Tortured, Errno> {
    let as_root = rustix::process::geteuid().is_root();
    let root = rustix::fs::open(root, DIRECTORY, Mode::empty())?;
    let mut maker = Maker { as_root, entries: 0 };
    maker.names(&root)?;
    maker.contents(&root)?;
    maker.links(&root)?;
    maker.specials(&root)?;
    maker.attributes(&root)?;
    maker.deep(&root)?;
    maker.times(root.as_fd(), 0)?;
    Ok(Tortured { as_root, entries: maker.entries })
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

struct Maker {
    as_root: bool,
    entries: u64,
}

impl Maker {
    fn file(&mut self, at: impl AsFd, name: &[u8], content: &[u8]) -> Result<OwnedFd, Errno> {
        self.entries += 1;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(at, name, flags, Mode::from_raw_mode(0o644))?;
        let mut offset = 0;
        while offset < content.len() {
            offset += rustix::io::pwrite(&fd, &content[offset..], offset as u64)?;
        }
        Ok(fd)
    }

    fn directory(&mut self, at: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
        self.entries += 1;
        rustix::fs::mkdirat(at.as_fd(), name, Mode::from_raw_mode(0o755))?;
        rustix::fs::openat(at, name, DIRECTORY, Mode::empty())
    }

    fn names(&mut self, root: &OwnedFd) -> Result<(), Errno> {
        let at = self.directory(root, b"names")?;
        let every_byte: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
        let longest = [b'n'; 255];
        let names: [&[u8]; 14] = [
            b" ", b"-rf", b"...", b"a b", b"new\nline", b"tab\t", b"back\\slash", b"\xff\xfe\x80", "é".as_bytes(), "e\u{301}".as_bytes(), b"*", b"caf\xe9",
            &every_byte[..254], &longest,
        ];
        for name in names {
            drop(self.file(&at, name, name)?);
        }
        // The order of components is not the order of bytes: `a/c` comes before `a-b`.
        let a = self.directory(&at, b"a")?;
        drop(self.file(&a, b"c", b"in a")?);
        drop(self.file(&at, b"a-b", b"after a")?);
        drop(self.file(&at, b"a.b", b"after a too")?);
        drop(self.directory(&at, b"empty directory")?);
        Ok(())
    }

    fn contents(&mut self, root: &OwnedFd) -> Result<(), Errno> {
        let at = self.directory(root, b"contents")?;
        drop(self.file(&at, b"empty", b"")?);
        drop(self.file(&at, b"one byte", b"x")?);
        drop(self.file(&at, b"written zeros", &vec![0; 3 << 20])?);
        drop(self.file(&at, b"noise", &noise(1, 5 << 20))?);
        drop(self.file(&at, b"text", &b"the same line over and over\n".repeat(100_000))?);
        for number in 0..40_u64 {
            drop(self.file(&at, format!("small {number}").as_bytes(), &noise(number, 1000 + 977 * number as usize))?);
        }
        // Two files of one content, in two bundles or one.
        drop(self.file(&at, b"twin a", &noise(99, 70_000))?);
        drop(self.file(&at, b"twin b", &noise(99, 70_000))?);
        self.holes(&at)
    }

    fn holes(&mut self, at: &OwnedFd) -> Result<(), Errno> {
        let only = self.file(at, b"only a hole", b"")?;
        rustix::fs::ftruncate(&only, 10 << 20)?;
        let huge = self.file(at, b"huge hole", b"begin")?;
        rustix::io::pwrite(&huge, b"end", 50 << 30)?;
        let mixed = self.file(at, b"holes and data", b"")?;
        for part in 0..8_u64 {
            rustix::io::pwrite(&mixed, &noise(part, 64 << 10), part << 20)?;
        }
        rustix::io::pwrite(&mixed, &[0; 64 << 10], (3 << 20) + (256 << 10))?;
        rustix::fs::ftruncate(&mixed, 9 << 20)?;
        let small = self.file(at, b"small with a hole", b"")?;
        rustix::io::pwrite(&small, b"after the hole", 20 << 10)?;
        Ok(())
    }

    fn links(&mut self, root: &OwnedFd) -> Result<(), Errno> {
        let at = self.directory(root, b"links")?;
        let inner = self.directory(&at, b"inner")?;
        drop(self.file(&at, b"first", &noise(7, 300_000))?);
        drop(self.file(&at, b"small first", b"small")?);
        for (name, target) in [
            (&b"dangling"[..], &b"nowhere"[..]),
            (b"absolute", b"/etc/passwd"),
            (b"upwards", b"../../../../../etc"),
            (b"to bytes", b"\xff\xfe"),
            (b"to a directory", b"inner"),
        ] {
            self.entries += 1;
            rustix::fs::symlinkat(target, &at, name)?;
        }
        self.entries += 1;
        rustix::fs::symlinkat(vec![b't'; 4000].as_slice(), &at, c"long target")?;
        self.link(&at, b"first", &inner, b"second")?;
        self.link(&at, b"first", &at, b"zz third")?;
        self.link(&at, b"small first", &inner, b"small second")?;
        // Hard links to a symlink, which most programs make two of.
        self.link(&at, b"dangling", &inner, b"dangling too")
    }

    fn link(&mut self, from: &OwnedFd, name: &[u8], to: &OwnedFd, other: &[u8]) -> Result<(), Errno> {
        self.entries += 1;
        rustix::fs::linkat(from, name, to, other, AtFlags::empty())
    }

    fn specials(&mut self, root: &OwnedFd) -> Result<(), Errno> {
        let at = self.directory(root, b"specials")?;
        let mut nodes = vec![(&b"pipe"[..], FileType::Fifo, 0o620, 0), (b"socket", FileType::Socket, 0o755, 0)];
        if self.as_root {
            nodes.push((b"null", FileType::CharacterDevice, 0o666, rustix::fs::makedev(1, 3)));
            nodes.push((b"large numbers", FileType::CharacterDevice, 0o600, rustix::fs::makedev(4000, 1_000_000)));
            nodes.push((b"loop", FileType::BlockDevice, 0o660, rustix::fs::makedev(7, 0)));
        }
        for (name, kind, mode, rdev) in nodes {
            self.entries += 1;
            rustix::fs::mknodat(&at, name, kind, Mode::from_raw_mode(mode), rdev)?;
        }
        self.link(&at, b"pipe", &at, b"the same pipe")
    }

    fn attributes(&mut self, root: &OwnedFd) -> Result<(), Errno> {
        let at = self.directory(root, b"attributes")?;
        for mode in [0o000, 0o400, 0o644, 0o777, 0o1755, 0o2755, 0o4755, 0o6711] {
            let file = self.file(&at, format!("mode {mode:o}").as_bytes(), b"x")?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        }
        let xattrs = self.file(&at, b"xattrs", b"x")?;
        set(&xattrs, b"user.text", b"value")?;
        set(&xattrs, b"user.empty", b"")?;
        set(&xattrs, b"user.bytes \xff", &[0, 1, 2, 255])?;
        set(&xattrs, b"user.large", &noise(3, 2000))?;
        let directory = self.directory(&at, b"directory with xattrs")?;
        set(&directory, b"user.of a directory", b"yes")?;
        let acl = self.file(&at, b"acl", b"x")?;
        set_if_possible(&acl, b"system.posix_acl_access", &posix_acl())?;
        let default_acl = self.directory(&at, b"default acl")?;
        drop(self.file(&default_acl, b"before the acl", b"has none")?);
        drop(self.directory(&default_acl, b"directory before the acl")?);
        set_if_possible(&default_acl, b"system.posix_acl_default", &posix_acl())?;
        drop(self.file(&default_acl, b"after the acl", b"has one")?);
        for (name, mode) in [(&b"sticky"[..], 0o1777), (b"setgid", 0o2775), (b"read only", 0o555), (b"closed", 0o000)] {
            let directory = self.directory(&at, name)?;
            drop(self.file(&directory, b"inside", b"x")?);
            rustix::fs::fchmod(&directory, Mode::from_raw_mode(if self.as_root { mode } else { mode | 0o700 }))?;
        }
        if self.as_root { self.owned(&at) } else { Ok(()) }
    }

    fn owned(&mut self, at: &OwnedFd) -> Result<(), Errno> {
        let (uid, gid) = (Uid::from_raw(1234), Gid::from_raw(4321));
        let file = self.file(at, b"owned", b"x")?;
        rustix::fs::fchown(&file, Some(uid), Some(gid))?;
        let set_id = self.file(at, b"owned and set-id", b"x")?;
        rustix::fs::fchown(&set_id, Some(uid), Some(gid))?;
        rustix::fs::fchmod(&set_id, Mode::from_raw_mode(0o6755))?;
        let capable = self.file(at, b"capable", b"x")?;
        rustix::fs::fchown(&capable, Some(uid), Some(gid))?;
        // Version 2, effective, net_bind_service.
        let mut capability = vec![0; 20];
        capability[..4].copy_from_slice(&0x0200_0001_u32.to_le_bytes());
        capability[4..8].copy_from_slice(&(1_u32 << 10).to_le_bytes());
        set(&capable, b"security.capability", &capability)?;
        set_if_possible(&capable, b"trusted.of root", b"secret")?;
        let largest = self.file(at, b"largest ids", b"x")?;
        rustix::fs::fchown(&largest, Some(Uid::from_raw(u32::MAX - 2)), Some(Gid::from_raw(u32::MAX - 2)))?;
        let directory = self.directory(at, b"owned directory")?;
        drop(self.file(&directory, b"of root", b"x")?);
        rustix::fs::fchown(&directory, Some(uid), Some(gid))?;
        self.entries += 2;
        rustix::fs::symlinkat(c"owned", at, c"owned symlink")?;
        rustix::fs::chownat(at, c"owned symlink", Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        // Only root's namespaces are allowed on symlinks and special files; set by path, there being no other way.
        let mut path = format!("/proc/self/fd/{}/", at.as_raw_fd()).into_bytes();
        path.extend_from_slice(b"owned symlink");
        ignore_unsupported(rustix::fs::lsetxattr(path.as_slice(), c"trusted.of a symlink", b"yes", XattrFlags::empty()))?;
        rustix::fs::mknodat(at, c"owned pipe", FileType::Fifo, Mode::from_raw_mode(0o604), 0)?;
        rustix::fs::chownat(at, c"owned pipe", Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
    }

    fn deep(&mut self, root: &OwnedFd) -> Result<(), Errno> {
        let mut at = self.directory(root, b"deep")?;
        for level in 0..DEEP_LEVELS {
            let name = vec![b'a' + u8::try_from(level % 26).unwrap_or(0); DEEP_NAME_BYTES];
            at = self.directory(&at, &name)?;
            drop(self.file(&at, b"file", format!("level {level}").as_bytes())?);
        }
        self.entries += 1;
        rustix::fs::symlinkat(c"file", &at, c"symlink at the bottom")
    }

    /// Deepest first, since making a name changes its directory's time: nanoseconds, before 1970, far ahead.
    fn times(&mut self, directory: BorrowedFd<'_>, seed: u64) -> Result<(), Errno> {
        let names = super::inspect::names(directory)?;
        for (number, name) in names.iter().enumerate() {
            let stat = rustix::fs::statat(directory, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
            let number = (number as u64 + seed * 31) % 100_003;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                self.times(rustix::fs::openat(directory, name.as_slice(), DIRECTORY, Mode::empty())?.as_fd(), number + 1)?;
            }
            let tv_sec = match number % 5 {
                0 => -86_400 * 365 * 3,
                1 => 4_102_444_800,
                _ => 1_600_000_000 + number as i64 % 100_000,
            };
            let times = Timestamps {
                last_access: Timespec { tv_sec: 1_500_000_000, tv_nsec: 1 },
                last_modification: Timespec { tv_sec, tv_nsec: ((number * 7_919_131 + 1) % 1_000_000_000) as i64 },
            };
            rustix::fs::utimensat(directory, name.as_slice(), &times, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        Ok(())
    }
}

fn set(fd: &OwnedFd, name: &[u8], value: &[u8]) -> Result<(), Errno> {
    rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty())
}

fn set_if_possible(fd: &OwnedFd, name: &[u8], value: &[u8]) -> Result<(), Errno> {
    ignore_unsupported(set(fd, name, value))
}

/// What a file system does not have cannot be lost on it.
fn ignore_unsupported(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOTSUP | Errno::PERM) => Ok(()),
        other => other,
    }
}

/// Owner rw-, user 1000 r--, group r--, mask r--, other ---: as the kernel keeps it.
fn posix_acl() -> Vec<u8> {
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [(1_u16, 6_u16, u32::MAX), (2, 4, 1000), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)] {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&permissions.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    acl
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..bytes.div_ceil(8)).flat_map(|_| next().to_le_bytes()).take(bytes).collect()
}
