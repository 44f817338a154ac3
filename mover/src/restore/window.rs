//! A window: as much of the catalog as is planned and restored in one go. All that a window holds is bounded by its weight, so
//! that a restore of any size takes the same memory; a giant file goes through as many windows as it needs.

use std::collections::HashMap;
use std::sync::Arc;

use holdfast_repository::BlobId;

use super::directory::Directory;
use super::file::FileTask;
use super::source::{Archive, Location, Pack};
use crate::catalog::{Entry, Extent, RelPath};

/// What is to be done, in this order.
#[derive(Default)]
pub(super) struct Window {
    /// Directories and special files; parents before children.
    pub(super) makes: Vec<Make>,
    /// Files without stored content.
    pub(super) plain_files: Vec<Arc<FileTask>>,
    /// Files whose list of extents cannot be read (to its end), and why.
    pub(super) lost_files: Vec<(Arc<FileTask>, String)>,
    /// Holes, and ranges that somebody wrote zeros to.
    pub(super) voids: Vec<Void>,
    /// What goes where, by blob.
    pub(super) blobs: HashMap<BlobId, BlobUse>,
    /// Further names of files; their first names are made by then.
    pub(super) links: Vec<Link>,
    /// Directories whose content is complete with this window, deepest first.
    pub(super) finishes: Vec<(Arc<Directory>, Entry)>,
    weight_bytes: usize,
}

pub(super) struct Make {
    pub(super) parent: Arc<Directory>,
    pub(super) thing: Thing,
}

pub(super) enum Thing {
    Directory(Arc<Directory>),
    Special(Box<Entry>),
}

pub(super) struct Link {
    pub(super) parent: Arc<Directory>,
    pub(super) entry: Entry,
    pub(super) first: RelPath,
}

/// A range of a file without stored content.
pub(super) struct Void {
    pub(super) file: Arc<FileTask>,
    pub(super) offset: u64,
    pub(super) length: u64,
    /// Somebody wrote zeros; else it is a hole.
    pub(super) is_written: bool,
}

/// All that is needed of one blob.
pub(super) struct BlobUse {
    /// In which order blobs were met: about the order in which they are stored.
    pub(super) order: usize,
    pub(super) pieces: Vec<Piece>,
}

/// A part of a blob that is a part of a file.
pub(super) struct Piece {
    pub(super) file: Arc<FileTask>,
    pub(super) file_offset: u64,
    pub(super) blob_offset: u32,
    pub(super) length: u32,
}

impl Window {
    /// About what it holds, in bytes of memory.
    pub(super) fn weight_bytes(&self) -> usize {
        self.weight_bytes
    }

    pub(super) fn weigh(&mut self, entry: &Entry) {
        let xattrs: usize = entry.xattrs.iter().map(|(name, value)| name.len() + value.len() + 64).sum();
        self.weight_bytes += 512 + 2 * entry.path.as_bytes().len() + xattrs;
    }

    pub(super) fn add_extent(&mut self, file: &Arc<FileTask>, file_offset: u64, extent: &Extent) {
        file.expect_write();
        if !matches!(extent, Extent::Hole { .. }) {
            file.expect_content(file_offset, extent.length());
        }
        match *extent {
            // Something may stand there.
            Extent::Hole { length } | Extent::Zero { length } => {
                let is_written = matches!(extent, Extent::Zero { .. });
                self.voids.push(Void { file: Arc::clone(file), offset: file_offset, length, is_written });
            }
            Extent::Blob { blob, offset, length } => {
                let order = self.blobs.len();
                let entry = self.blobs.entry(blob).or_insert_with(|| BlobUse { order, pieces: Vec::new() });
                entry.pieces.push(Piece { file: Arc::clone(file), file_offset, blob_offset: offset, length });
            }
        }
        self.weight_bytes += 112;
    }
}

/// Stored bytes that one request brings, and the blobs to take out of them.
pub(super) struct Run {
    pub(super) pack: Pack,
    pub(super) range: std::ops::Range<u64>,
    pub(super) blobs: Vec<BlobWork>,
}

/// A blob, where it is, and what is to be done with it.
pub(super) struct BlobWork {
    pub(super) id: BlobId,
    pub(super) location: Location,
    pub(super) pieces: Vec<Piece>,
}

/// A request brings at most this much...
const RUN_BYTES_MAX: u64 = 4 << 20;
/// ...and reads over unwanted bytes between two wanted blobs up to this, which is cheaper than another request.
const GAP_BYTES_MAX: u64 = 256 << 10;

/// Where each blob is, by packs, which come in the order in which the files need them. Beside: blobs that are nowhere.
pub(super) fn locate(blobs: HashMap<BlobId, BlobUse>, archive: &dyn Archive) -> (Vec<BlobWork>, Vec<(BlobId, Vec<Piece>)>) {
    let mut missing = Vec::new();
    let mut located = Vec::with_capacity(blobs.len());
    let mut pack_order = HashMap::new();
    for (id, wanted) in blobs {
        match archive.locate(&id) {
            Some(location) => {
                let first = pack_order.entry(location.pack()).or_insert(wanted.order);
                *first = wanted.order.min(*first);
                located.push(BlobWork { id, location, pieces: wanted.pieces });
            }
            None => missing.push((id, wanted.pieces)),
        }
    }
    located.sort_unstable_by_key(|BlobWork { location, .. }| (pack_order.get(&location.pack()).copied(), location.pack(), location.range().start));
    (located, missing)
}

/// Joins neighbours in a pack. What was looked at in the target comes behind what was not: it is put in order first, by the packs as they come.
pub(super) fn join_runs(mut located: Vec<BlobWork>) -> Vec<Run> {
    let mut first = HashMap::new();
    for (place, work) in located.iter().enumerate() {
        first.entry(work.location.pack()).or_insert(place);
    }
    located.sort_by_key(|work| (first.get(&work.location.pack()).copied(), work.location.range().start));
    let mut runs: Vec<Run> = Vec::new();
    for work in located {
        let range = work.location.range();
        match runs.last_mut() {
            Some(run) if run.pack == work.location.pack() && joins(&run.range, &range) => {
                run.range.end = run.range.end.max(range.end);
                run.blobs.push(work);
            }
            _ => runs.push(Run { pack: work.location.pack(), range, blobs: vec![work] }),
        }
    }
    runs
}

/// Splits blobs into parts of about this many stored bytes.
pub(super) fn split(blobs: Vec<BlobWork>, bytes: u64, size: fn(&BlobWork) -> u32) -> Vec<Vec<BlobWork>> {
    let mut parts: Vec<Vec<BlobWork>> = Vec::new();
    let mut left = 0;
    for work in blobs {
        let cost = u64::from(size(&work));
        match parts.last_mut() {
            Some(part) if cost <= left => {
                left -= cost;
                part.push(work);
            }
            _ => {
                left = bytes.saturating_sub(cost);
                parts.push(vec![work]);
            }
        }
    }
    parts
}

impl BlobWork {
    /// All of it belongs to files in directories that stood there: so it may be there too.
    pub(super) fn may_stand(&self) -> bool {
        self.pieces.iter().all(|piece| !piece.file.directory.is_new())
    }
}

fn joins(run: &std::ops::Range<u64>, next: &std::ops::Range<u64>) -> bool {
    next.start <= run.end.saturating_add(GAP_BYTES_MAX) && next.end.saturating_sub(run.start) <= RUN_BYTES_MAX
}
