//! Is an entry what the parent says it was?

use std::os::fd::AsFd;

use rustix::time::ClockId;

use super::request::ChangeRule;
use crate::catalog::{Entry, EntryFlags, EntryKind, RelPath, Timestamp};
use crate::scan::{FileType, Stat};

/// Local file systems stamp with the kernel's own coarse clock: a few ticks of it (10 ms at most).
const LOCAL_WINDOW_NANOS: i64 = 50_000_000;
/// Others stamp with a server's clock, often by the second.
const REMOTE_WINDOW_NANOS: i64 = 2_000_000_000;

/// File systems whose times another machine gives, or a process. (Numbers from `statfs(2)` and the kernel's `magic.h`.)
const REMOTE_FILE_SYSTEMS: &[i64] = &[
    0x6969,           // NFS
    0xff53_4d42,      // CIFS
    0xfe53_4d42,      // SMB2
    0x517b,           // SMB
    0x6573_5546,      // FUSE
    0x00c3_6400,      // Ceph
    0x0102_1997,      // 9P, virtiofs' elder
    0x5346_414f,      // AFS
    0x0bd0_0bd0,      // Lustre
    0x0116_1970,      // GFS2
    0x7461_636f,      // OCFS2
];

/// The oldest time that is not yet settled when a scan of this file system begins now.
pub(super) fn unsettled_from(root: impl AsFd) -> Timestamp {
    let magic = rustix::fs::fstatfs(root).map(|stat| stat.f_type);
    let remote = magic.map_or(true, |magic| REMOTE_FILE_SYSTEMS.contains(&(magic & 0xffff_ffff)));
    let now = rustix::time::clock_gettime(ClockId::RealtimeCoarse);
    let window = if remote { REMOTE_WINDOW_NANOS } else { LOCAL_WINDOW_NANOS };
    let nanos = i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec) - i128::from(window);
    Timestamp { secs: nanos.div_euclid(1_000_000_000) as i64, nanos: nanos.rem_euclid(1_000_000_000) as u32 }
}

/// True if the content (and for the full rule the attributes too) of `entry` can stand for what `stat` is of.
pub(super) fn is_unchanged(rule: ChangeRule, entry: &Entry, device: u64, stat: &Stat) -> bool {
    if entry.flags != EntryFlags::default() || entry.link_to.is_some() || !is_same_kind(&entry.kind, stat) {
        return false;
    }
    let same_content = entry.mtime == stat.mtime && (!entry.kind.is_file() || entry.size == stat.size);
    match rule {
        ChangeRule::SizeAndMtime => same_content,
        ChangeRule::Full => {
            same_content && entry.ctime == stat.ctime && entry.inode == stat.inode && entry.device == device
        }
    }
}

fn is_same_kind(kind: &EntryKind, stat: &Stat) -> bool {
    match kind {
        EntryKind::CharDevice { rdev } | EntryKind::BlockDevice { rdev } if *rdev != stat.rdev => false,
        _ => std::mem::discriminant(kind) == std::mem::discriminant(&stat.entry_kind()),
    }
}

/// True if a further change could leave its times as they are.
pub(super) fn is_unsettled(stat: &Stat, unsettled_from: Timestamp) -> bool {
    stat.mtime >= unsettled_from || stat.ctime >= unsettled_from
}

/// An entry without content, as `stat` says.
pub(super) fn entry_of(path: RelPath, stat: &Stat, device: u64) -> Entry {
    Entry {
        path,
        kind: stat.entry_kind(),
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        mtime: stat.mtime,
        ctime: stat.ctime,
        inode: stat.inode,
        device,
        size: if stat.file_type == FileType::File { stat.size } else { 0 },
        xattrs: Vec::new(),
        link_to: None,
        flags: EntryFlags::default(),
        extents: Vec::new(),
        extent_lists: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat() -> Stat {
        Stat {
            file_type: FileType::File,
            mode: 0o644,
            uid: 1,
            gid: 2,
            mtime: Timestamp { secs: 100, nanos: 5 },
            ctime: Timestamp { secs: 101, nanos: 6 },
            inode: 7,
            device: 8,
            size: 9,
            allocated_bytes: 512,
            links: 1,
            rdev: 0,
            is_mount_root: false,
        }
    }

    #[test]
    fn every_part_of_the_rule_counts() {
        let entry = entry_of(RelPath::parse(b"f").unwrap(), &stat(), 0);
        let is = |rule, device, change: fn(&mut Stat)| {
            let mut now = stat();
            change(&mut now);
            is_unchanged(rule, &entry, device, &now)
        };
        for (change, full, clone) in [
            ((|_| {}) as fn(&mut Stat), true, true),
            (|now| now.size += 1, false, false),
            (|now| now.mtime.nanos += 1, false, false),
            (|now| now.ctime.nanos += 1, false, true),
            (|now| now.inode += 1, false, true),
            (|now| now.file_type = FileType::Fifo, false, false),
        ] {
            assert_eq!(is(ChangeRule::Full, 0, change), full);
            assert_eq!(is(ChangeRule::SizeAndMtime, 0, change), clone);
        }
        assert!(!is(ChangeRule::Full, 1, |_| {}), "the same inode number on another device");
        let mut flagged = entry.clone();
        flagged.flags.read_next_time = true;
        assert!(!is_unchanged(ChangeRule::SizeAndMtime, &flagged, 0, &stat()));
    }

    #[test]
    fn a_file_stamped_at_the_scan_is_unsettled() {
        let from = unsettled_from(std::fs::File::open("/").unwrap());
        let now = rustix::time::clock_gettime(ClockId::RealtimeCoarse);
        let mut fresh = stat();
        assert!(!is_unsettled(&fresh, from));
        fresh.ctime = Timestamp { secs: now.tv_sec, nanos: now.tv_nsec as u32 };
        assert!(is_unsettled(&fresh, from));
    }
}
