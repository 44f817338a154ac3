//! Writes a catalog: entries in, segments and the tree above them out, as they fill.

use holdfast_repository::{BlobId, BlobKind, WriteError};

use super::column::{border_hash, is_border};
use super::extent_list::{encode_extents, encode_lists};
use super::node::{self, Child};
use super::segment::SegmentEncoder;
use super::{Entry, Extent, ExtentListRef, RelPath};

/// A segment has at least this many bytes before its border is looked for,
const SEGMENT_BYTES_MIN: u64 = 8 << 10;
/// one in so many bytes is a border after that,
const SEGMENT_BYTES_MEAN: u64 = 24 << 10;
/// and it ends here at the latest.
const SEGMENT_BYTES_MAX: u64 = 128 << 10;
const CHILDREN_MIN: usize = 16;
const CHILDREN_MAX: usize = 1024;
const NODE_PATH_BYTES_MAX: usize = 1 << 20;
const CHILDREN_BORDER_ONE_IN: u64 = 128;
/// A file of more extents than this has them in blobs of their own.
pub(crate) const INLINE_EXTENTS_MAX: usize = 64;
const LIST_ITEMS_MIN: usize = 256;
const LIST_ITEMS_MAX: usize = 4096;
const LIST_BORDER_ONE_IN: u64 = 1024;
/// References to extent lists that an entry carries itself.
const ENTRY_LISTS_MAX: usize = 64;

/// Where catalog blobs go. Answers their id, whether they were new or not.
pub trait BlobSink {
    /// Stores a blob, or finds it stored.
    fn store(&mut self, kind: BlobKind, raw: &[u8]) -> Result<BlobId, WriteError>;
}

/// What a finished catalog is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatalogSummary {
    /// Its root.
    pub root: BlobId,
    /// Entries in it.
    pub entries: u64,
    /// Sum of the sizes of its files.
    pub content_bytes: u64,
}

/// A catalog's entries did not come in order, or could not be stored.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// A mistake of the caller, caught here since such a catalog could never be read.
    #[error("the catalog's entries are out of order at {0}")]
    OutOfOrder(RelPath),
    /// The repository did not take a blob.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Streams a catalog into a sink; holds one segment and one node of each level.
pub struct CatalogWriter<S> {
    sink: S,
    seed: u64,
    segment: SegmentEncoder,
    first: RelPath,
    last: Option<RelPath>,
    segment_content_bytes: u64,
    levels: Vec<Vec<Child>>,
    entries: u64,
    content_bytes: u64,
}

impl<S: BlobSink> CatalogWriter<S> {
    /// `seed` is the repository's chunker seed: the same entries in the same repository give the same segments.
    pub fn new(sink: S, seed: u64) -> Self {
        Self {
            sink,
            seed,
            segment: SegmentEncoder::default(),
            first: RelPath::root(),
            last: None,
            segment_content_bytes: 0,
            levels: Vec::new(),
            entries: 0,
            content_bytes: 0,
        }
    }

    /// Where its blobs go.
    pub fn sink(&mut self) -> &mut S {
        &mut self.sink
    }

    /// Adds an entry; paths must rise.
    pub fn append(&mut self, entry: &Entry) -> Result<(), AppendError> {
        if self.last.as_ref().is_some_and(|last| *last >= entry.path) {
            return Err(AppendError::OutOfOrder(entry.path.clone()));
        }
        if self.segment.count() == 0 {
            self.first = entry.path.clone();
        }
        let content_bytes = if entry.link_to.is_none() { entry.size } else { 0 };
        self.entries += 1;
        self.content_bytes = self.content_bytes.saturating_add(content_bytes);
        self.segment_content_bytes = self.segment_content_bytes.saturating_add(content_bytes);
        let weight = self.segment.push(entry);
        self.last = Some(entry.path.clone());
        if self.is_segment_border(entry, weight) {
            self.end_segment()?;
        }
        Ok(())
    }

    fn is_segment_border(&self, entry: &Entry, weight: u64) -> bool {
        let bytes = self.segment.weight_bytes();
        let by_path = || is_border(border_hash(self.seed, entry.path.as_bytes()), weight, SEGMENT_BYTES_MEAN);
        bytes >= SEGMENT_BYTES_MAX || (bytes >= SEGMENT_BYTES_MIN && by_path())
    }

    fn end_segment(&mut self) -> Result<(), WriteError> {
        let entries = self.segment.count();
        let raw = self.segment.finish();
        let blob = self.sink.store(BlobKind::Catalog, &raw)?;
        let content_bytes = std::mem::take(&mut self.segment_content_bytes);
        let first = std::mem::take(&mut self.first);
        self.add_child(0, Child { first, blob, entries, content_bytes })
    }

    /// Adds a child to the open node of `level` + 1, and ends that node where its children say so.
    fn add_child(&mut self, level: usize, child: Child) -> Result<(), WriteError> {
        if self.levels.len() == level {
            self.levels.push(Vec::new());
        }
        let border = id_is_border(&child.blob, CHILDREN_BORDER_ONE_IN);
        let children = &mut self.levels[level];
        children.push(child);
        // First paths may be a megabyte each: a node stays far below what a reader parses.
        let path_bytes: usize = children.iter().map(|child| child.first.as_bytes().len()).sum();
        let full = children.len() >= CHILDREN_MAX || (children.len() >= 2 && path_bytes >= NODE_PATH_BYTES_MAX);
        if full || (children.len() >= CHILDREN_MIN && border) {
            self.end_node(level)?;
        }
        Ok(())
    }

    fn end_node(&mut self, level: usize) -> Result<(), WriteError> {
        let children = std::mem::take(&mut self.levels[level]);
        let Some(first) = children.first() else {
            return Ok(());
        };
        let raw = node::encode(level as u8 + 1, &children);
        let node = Child {
            first: first.first.clone(),
            blob: self.sink.store(BlobKind::Catalog, &raw)?,
            entries: children.iter().map(|child| child.entries).sum(),
            content_bytes: children.iter().fold(0, |sum, child| sum.saturating_add(child.content_bytes)),
        };
        self.add_child(level + 1, node)
    }

    /// Ends the catalog. One that fits a segment is that segment; else the root is the node that holds all.
    pub fn finish(mut self) -> Result<(CatalogSummary, S), AppendError> {
        if self.segment.count() > 0 || self.entries == 0 {
            self.end_segment()?;
        }
        let mut level = 0;
        loop {
            let is_top = self.levels.len() == level + 1;
            if let (true, [root]) = (is_top, self.levels[level].as_slice()) {
                let summary = CatalogSummary { root: root.blob, entries: self.entries, content_bytes: self.content_bytes };
                return Ok((summary, self.sink));
            }
            self.end_node(level)?;
            level += 1;
        }
    }
}

/// Ids are keyed hashes, so their bits are as good as any.
fn id_is_border(id: &BlobId, one_in: u64) -> bool {
    let bytes = id.0;
    u64::from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).is_multiple_of(one_in)
}

/// Collects the extents of one file, in order; beyond a number that an entry can carry, they go to blobs of their own.
#[derive(Debug, Default)]
pub(crate) struct ExtentSpool {
    open: Vec<Extent>,
    lists: Vec<Vec<ExtentListRef>>,
    length: u64,
}

/// A file's extents as its entry carries them.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) extents: Vec<Extent>,
    pub(crate) lists: Vec<ExtentListRef>,
    pub(crate) length: u64,
}

impl ExtentSpool {
    /// Adds the next extent; one that goes on where the last ended is joined to it.
    pub(crate) fn push(&mut self, extent: Extent, sink: &mut impl BlobSink) -> Result<(), WriteError> {
        self.length += extent.length();
        if self.open.last_mut().is_some_and(|last| join(last, &extent)) {
            return Ok(());
        }
        if self.at_border() {
            self.end_list(sink)?;
        }
        self.open.push(extent);
        Ok(())
    }

    fn at_border(&self) -> bool {
        let border = match self.open.last() {
            Some(Extent::Blob { blob, .. }) => id_is_border(blob, LIST_BORDER_ONE_IN),
            _ => false,
        };
        self.open.len() >= LIST_ITEMS_MAX || (self.open.len() >= LIST_ITEMS_MIN && border)
    }

    fn end_list(&mut self, sink: &mut impl BlobSink) -> Result<(), WriteError> {
        let extents = std::mem::take(&mut self.open);
        let length = extents.iter().map(Extent::length).sum();
        let blob = sink.store(BlobKind::ExtentList, &encode_extents(&extents))?;
        self.add_list(ExtentListRef { blob, depth: 1, length }, sink)
    }

    fn add_list(&mut self, list: ExtentListRef, sink: &mut impl BlobSink) -> Result<(), WriteError> {
        let level = usize::from(list.depth) - 1;
        if self.lists.len() == level {
            self.lists.push(Vec::new());
        }
        self.lists[level].push(list);
        if self.lists[level].len() >= LIST_ITEMS_MAX {
            self.end_level(level, sink)?;
        }
        Ok(())
    }

    fn end_level(&mut self, level: usize, sink: &mut impl BlobSink) -> Result<(), WriteError> {
        let lists = std::mem::take(&mut self.lists[level]);
        let depth = level as u8 + 2;
        let length = lists.iter().map(|list| list.length).sum();
        let blob = sink.store(BlobKind::ExtentList, &encode_lists(&lists, depth))?;
        self.add_list(ExtentListRef { blob, depth, length }, sink)
    }

    /// Ends the file.
    pub(crate) fn finish(mut self, sink: &mut impl BlobSink) -> Result<Content, WriteError> {
        if self.lists.is_empty() && self.open.len() <= INLINE_EXTENTS_MAX {
            return Ok(Content { extents: self.open, lists: Vec::new(), length: self.length });
        }
        if !self.open.is_empty() {
            self.end_list(sink)?;
        }
        // Deeper lists come first in the file: an entry carries them in that order, deepest level first.
        let mut level = 0;
        while self.lists.iter().map(Vec::len).sum::<usize>() > ENTRY_LISTS_MAX && self.lists[level].len() > 1 {
            self.end_level(level, sink)?;
            level += 1;
        }
        let lists = self.lists.into_iter().rev().flatten().collect();
        Ok(Content { extents: Vec::new(), lists, length: self.length })
    }
}

/// Joins two neighbours into the first, if they are one.
fn join(last: &mut Extent, next: &Extent) -> bool {
    match (last, next) {
        (Extent::Hole { length }, Extent::Hole { length: more }) | (Extent::Zero { length }, Extent::Zero { length: more }) => {
            *length += more;
            true
        }
        (Extent::Blob { blob, offset, length }, Extent::Blob { blob: next, offset: at, length: more })
            if blob == next && offset.checked_add(*length) == Some(*at) =>
        {
            *length += more;
            true
        }
        _ => false,
    }
}
