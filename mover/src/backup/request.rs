//! What is to be backed up, and within which bounds.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use holdfast_repository::SnapshotId;

use crate::catalog::RelPath;
use crate::scan::RootIdentity;

/// One backup: it becomes one snapshot.
pub struct BackupRequest {
    /// What to read; at least one.
    pub sources: Vec<Source>,
    /// Where it is taken: `<namespace>/<kind>/<name>`, or a machine's name.
    pub host: String,
    /// The BackupSession, or empty.
    pub session: String,
    /// The component, or empty.
    pub component: String,
    /// True for what is left out; asked with the source's number, the path below its root, and whether it is a directory.
    pub is_excluded: Option<Arc<Exclude>>,
    /// What it is compared with.
    pub parent: Parent,
    /// Bounds.
    pub limits: Limits,
    /// Kept in the snapshot as they are.
    pub extensions: BTreeMap<String, Vec<u8>>,
    /// Told of every path that could not be read (wholly), as it is found. The report has the count and the first few.
    pub on_unreadable: Option<Arc<Tell>>,
    /// Called once, when after a release every handle of the volumes is closed.
    pub on_released: Option<Box<dyn FnOnce() + Send>>,
}

/// See [`BackupRequest::on_unreadable`].
pub type Tell = dyn Fn(&str) + Send + Sync;

/// See [`BackupRequest::is_excluded`].
pub type Exclude = dyn Fn(usize, &RelPath, bool) -> bool + Send + Sync;

/// One path in one volume.
pub struct Source {
    /// The directory: opened for reading, or `O_PATH`. Owned, so that the backup can let go of it. A block device or a stream
    /// (opened for reading) becomes a catalog of one file, named as the last part of `path`.
    pub root: OwnedFd,
    /// The path as its user knows it.
    pub path: Vec<u8>,
    /// UID of the claim; empty if there is none. With `path_in_volume` it finds the parent; else host and path do.
    pub pvc_uid: String,
    /// Path inside the volume.
    pub path_in_volume: Vec<u8>,
    /// When a file counts as unchanged.
    pub change_rule: ChangeRule,
    /// Looks the volume up anew and says which it is now: asked after the scan, and compared with the handle that was read.
    /// Of a stream or device only an error counts: then what was read is not good, and nothing is committed.
    pub look_again: Option<Arc<LookAgain>>,
}

/// See [`Source::look_again`].
pub type LookAgain = dyn Fn() -> std::io::Result<RootIdentity> + Send + Sync;

/// When a file's content is taken from the parent without being read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChangeRule {
    /// Same size, mtime, ctime and inode. ctime cannot be set back, so this misses nothing.
    #[default]
    Full,
    /// Same size and mtime: for volumes cloned from a snapshot, where inodes and their times may be new.
    SizeAndMtime,
}

/// Which snapshot unchanged files are taken from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Parent {
    /// For each source, the newest that has it.
    #[default]
    Auto,
    /// None: everything is read.
    None,
    /// This one.
    Id(SnapshotId),
}

/// Bounds of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For the whole process.
    pub memory_bytes: u64,
    /// Threads that read, hash and compress.
    pub cpus: usize,
    /// Bytes read from the volume, and bytes of packs written to the repository, per second; 0: no limit.
    pub bandwidth_bytes_per_second: u64,
    /// zstd's level.
    pub compression_level: i32,
}

impl Default for Limits {
    fn default() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { memory_bytes: 100 << 20, cpus, bandwidth_bytes_per_second: 0, compression_level: 3 }
    }
}

impl Limits {
    /// A pack that is full, and the next one while it begins.
    const PACK_BYTES_MIN: u64 = 40 << 20;
    const PACK_BYTES_MAX: u64 = 256 << 20;
    /// The program itself, the index, metadata packs, entries on their way, what is known of duplicates.
    const BASE_BYTES: u64 = 27 << 20;
    /// Chunk buffer, bundle, and the compressor's working memory.
    const WORKER_BYTES: u64 = 14 << 20;

    /// For data packs, open and on their way: what the workers leave.
    pub(super) fn data_pack_bytes(&self) -> usize {
        let rest = self.memory_bytes.saturating_sub(Self::BASE_BYTES + self.workers() as u64 * Self::WORKER_BYTES);
        rest.clamp(Self::PACK_BYTES_MIN, Self::PACK_BYTES_MAX) as usize
    }

    pub(super) fn workers(&self) -> usize {
        let room = self.memory_bytes.saturating_sub(Self::PACK_BYTES_MIN + Self::BASE_BYTES) / Self::WORKER_BYTES;
        self.cpus.min(room as usize).clamp(1, 64)
    }

    /// For the names of the directories on the way down.
    pub(super) fn names_bytes(&self) -> usize {
        (self.memory_bytes / 10) as usize
    }

    /// For hard-link groups of which not all names were seen yet.
    pub(super) fn links_bytes(&self) -> usize {
        (self.memory_bytes / 10) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_shared_out_and_never_given_twice() {
        for (mebibytes, cpus, workers, packs_mebibytes) in [(100, 2, 2, 45), (100, 8, 2, 45), (100, 1, 1, 59), (50, 4, 1, 40), (256, 4, 4, 173), (4096, 8, 8, 256)] {
            let limits = Limits { memory_bytes: mebibytes << 20, cpus, ..Limits::default() };
            assert_eq!((limits.workers(), limits.data_pack_bytes()), (workers, packs_mebibytes << 20), "{mebibytes} MiB, {cpus} processors");
        }
    }
}
