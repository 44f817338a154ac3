//! A node of the catalog's tree: the segments (or nodes) below it, with the first path of each, so that a path is found
//! without reading what comes before it.

use holdfast_repository::BlobId;

use super::RelPath;
use super::column::{Cursor, Frame, Malformed, PathDecoder, PathEncoder, put_varint};

const SHARED: u64 = 2;
const SUFFIXES: u64 = 4;
const BLOBS: u64 = 6;
const ENTRIES: u64 = 8;
const CONTENT_BYTES: u64 = 10;

/// More than any tree needs: a node has 16 children, or two whose paths fill a megabyte, but for the last of its level.
pub(super) const LEVEL_MAX: u8 = 40;

/// A child of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Child {
    /// Path of the first entry in it.
    pub(super) first: RelPath,
    /// The segment or node.
    pub(super) blob: BlobId,
    /// Entries in it.
    pub(super) entries: u64,
    /// Sum of the sizes of the files in it.
    pub(super) content_bytes: u64,
}

pub(super) fn encode(level: u8, children: &[Child]) -> Vec<u8> {
    let mut paths = PathEncoder::default();
    let (mut blobs, mut entries, mut content) = (Vec::new(), Vec::new(), Vec::new());
    for child in children {
        paths.push(child.first.as_bytes());
        blobs.extend_from_slice(&child.blob.0);
        put_varint(&mut entries, child.entries);
        put_varint(&mut content, child.content_bytes);
    }
    Frame::encode(level, children.len() as u64, &[
        (SHARED, &paths.shared),
        (SUFFIXES, &paths.suffixes),
        (BLOBS, &blobs),
        (ENTRIES, &entries),
        (CONTENT_BYTES, &content),
    ])
}

/// Children of a node, one after another.
#[derive(Debug)]
pub(super) struct NodeDecoder {
    pub(super) level: u8,
    remaining: u64,
    paths: PathDecoder,
    blobs: Cursor,
    entries: Cursor,
    content_bytes: Cursor,
}

impl NodeDecoder {
    pub(super) fn from_frame(mut frame: Frame) -> Result<Self, Malformed> {
        if !(1..=LEVEL_MAX).contains(&frame.level) {
            return Err(Malformed("it is not a node, or too high above the segments"));
        }
        let decoder = Self {
            level: frame.level,
            remaining: frame.count,
            paths: PathDecoder::new(frame.column(SHARED), frame.column(SUFFIXES)),
            blobs: frame.column(BLOBS),
            entries: frame.column(ENTRIES),
            content_bytes: frame.column(CONTENT_BYTES),
        };
        frame.refuse_unknown()?;
        Ok(decoder)
    }

    pub(super) fn next(&mut self) -> Result<Option<Child>, Malformed> {
        if self.remaining == 0 {
            return Ok(None);
        }
        self.remaining -= 1;
        let first = self.paths.next()?;
        let blob: [u8; 32] = self.blobs.take(32)?.try_into().map_err(|_| Malformed("a node's column ends early"))?;
        Ok(Some(Child {
            first,
            blob: BlobId(blob),
            entries: self.entries.varint()?,
            content_bytes: self.content_bytes.varint()?,
        }))
    }
}
