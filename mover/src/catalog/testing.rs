//! The parsers of catalog blobs by name, and encoders that check nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // Tests end where something is wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use holdfast_repository::testing::Parser;
use holdfast_repository::{BlobId, BlobKind, ReadError};

use super::column::{Frame, Malformed};
use super::extent_list::{ListDecoder, encode_extents, encode_lists};
use super::node::{self, Child, NodeDecoder};
use super::segment::{SegmentDecoder, SegmentEncoder};
use super::{BlobSource, CatalogReader, Entry, EntryFlags, EntryKind, Extent, ExtentListRef, ExtentStream, RelPath, Step, Timestamp};

/// All that read catalogs.
pub fn parsers() -> Vec<Parser> {
    vec![
        Parser::new("path", |bytes| RelPath::parse(bytes).is_ok()),
        Parser::new("segment", |bytes| segment_entries(bytes).is_ok()),
        Parser::new("node", |bytes| node_children(bytes).is_ok()),
        Parser::new("extent-list", |bytes| list_items(bytes).is_ok()),
        Parser::new("catalog", |bytes| whole_catalog(bytes).is_some()),
    ]
}

fn segment_entries(bytes: &[u8]) -> Result<(), Malformed> {
    let mut segment = SegmentDecoder::from_frame(Frame::parse(Bytes::copy_from_slice(bytes))?)?;
    while segment.next()?.is_some() {}
    Ok(())
}

fn node_children(bytes: &[u8]) -> Result<(), Malformed> {
    let mut node = NodeDecoder::from_frame(Frame::parse(Bytes::copy_from_slice(bytes))?)?;
    while node.next()?.is_some() {}
    Ok(())
}

/// The length that its reference says stands in front.
fn list_items(bytes: &[u8]) -> Result<(), Malformed> {
    let (length, list) = bytes.split_first_chunk::<8>().ok_or(Malformed("no length"))?;
    // A reference of no depth is refused where it stands.
    let depth = list.first().copied().filter(|depth| *depth > 0).ok_or(Malformed("no depth"))?;
    let reference = ExtentListRef { blob: BlobId([0; 32]), depth, length: u64::from_le_bytes(*length) };
    let mut list = ListDecoder::parse(Bytes::copy_from_slice(list), &reference)?;
    while list.next()?.is_some() {}
    Ok(())
}

/// Several blobs, each behind its length; a blob's id is its number, in the id's first byte. The first is the root.
struct Blobs {
    blobs: Vec<Bytes>,
    reads: AtomicU64,
}

/// Far more reads than any input here has blobs and entries: a reader that goes on beyond would go on for ever.
const READS_MAX: u64 = 100_000;

impl Blobs {
    fn parse(mut bytes: &[u8]) -> Self {
        let mut blobs = Vec::new();
        while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
            let (blob, rest) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
            blobs.push(Bytes::copy_from_slice(blob));
            bytes = rest;
        }
        Self { blobs, reads: AtomicU64::new(0) }
    }
}

#[async_trait]
impl BlobSource for Blobs {
    async fn read_blob(&self, _: BlobKind, id: &BlobId) -> Result<Bytes, ReadError> {
        assert!(self.reads.fetch_add(1, Ordering::Relaxed) < READS_MAX, "a small catalog is read without end");
        self.blobs.get(usize::from(id.0[0])).cloned().ok_or_else(|| ReadError::NotFound { what: id.to_string() })
    }
}

/// Extents of one file that are looked at: lists may share lists, so that few bytes hold more extents than anyone can count.
const EXTENTS_MAX: usize = 1000;

fn whole_catalog(bytes: &[u8]) -> Option<()> {
    let blobs = Arc::new(Blobs::parse(bytes));
    let mut catalog = CatalogReader::new(Arc::clone(&blobs) as Arc<dyn BlobSource>, BlobId([0; 32]));
    let mut is_whole = Some(());
    let mut at: Option<RelPath> = None;
    // Nothing here ever waits; and damage here is no store's silence.
    while let Some(step) = catalog.step().now_or_never()?.ok()? {
        let entry = match step {
            Step::Entry(entry) => entry,
            Step::Gap(gap) => {
                assert!(gap.after == at, "a gap is behind the last entry");
                is_whole = None;
                continue;
            }
        };
        assert!(at < Some(entry.path.clone()), "entries rise");
        at = Some(entry.path.clone());
        let mut extents = ExtentStream::new(Arc::clone(&blobs) as Arc<dyn BlobSource>, &entry);
        for _ in 0..EXTENTS_MAX {
            if extents.next().now_or_never()?.ok()?.is_none() {
                break;
            }
        }
    }
    is_whole
}

/// A segment of these entries, whatever they are.
pub fn segment(entries: &[Entry]) -> Vec<u8> {
    let mut encoder = SegmentEncoder::default();
    for entry in entries {
        encoder.push(entry);
    }
    encoder.finish()
}

/// A node of these children: the path of the first entry, and the blob.
pub fn node(level: u8, children: &[(RelPath, BlobId)]) -> Vec<u8> {
    let children: Vec<_> = children.iter().map(|(first, blob)| Child { first: first.clone(), blob: *blob, entries: 1, content_bytes: 0 }).collect();
    node::encode(level, &children)
}

/// A list of extents.
pub fn extents(extents: &[Extent]) -> Vec<u8> {
    encode_extents(extents)
}

/// A list of lists.
pub fn lists(lists: &[ExtentListRef], depth: u8) -> Vec<u8> {
    encode_lists(lists, depth)
}

/// An entry without anything special.
pub fn entry(path: RelPath, kind: EntryKind) -> Entry {
    Entry {
        path,
        kind,
        mode: 0o755,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        mtime: Timestamp { secs: 1_000_000, nanos: 1 },
        ctime: Timestamp::default(),
        inode: 1,
        device: 0,
        size: 0,
        xattrs: Vec::new(),
        link_to: None,
        flags: EntryFlags::default(),
        extents: Vec::new(),
        extent_lists: Vec::new(),
    }
}

fn few_entries() -> Vec<Entry> {
    let path = |path: &[u8]| RelPath::parse(path).unwrap();
    let blob = Extent::Blob { blob: BlobId([1; 32]), offset: 16, length: 300 };
    let file = Entry { size: 4396, extents: vec![blob, Extent::Hole { length: 4096 }], ..entry(path(b"data.bin"), EntryKind::File) };
    let list = ExtentListRef { blob: BlobId([2; 32]), depth: 1, length: 1000 };
    let giant = Entry { size: 1000, extent_lists: vec![list], ..entry(path(b"giant"), EntryKind::File) };
    let link = Entry { size: 4396, link_to: Some(path(b"data.bin")), ..entry(path(b"link"), EntryKind::File) };
    let symlink = Entry { xattrs: vec![(b"user.k".to_vec(), b"v".to_vec())], ..entry(path(b"symlink"), EntryKind::Symlink { target: b"data.bin".to_vec() }) };
    let device = entry(path(b"zero"), EntryKind::CharDevice { rdev: rustix::fs::makedev(1, 5) });
    vec![entry(path(b""), EntryKind::Directory), file, giant, link, symlink, device, entry(path(b"zz"), EntryKind::Directory)]
}

/// Two levels of nodes, two segments, an extent list.
fn blobs_of_a_catalog() -> Vec<u8> {
    let entries = few_entries();
    let numbered = |number: u8| BlobId([number; 32]);
    let blobs = [
        node(2, &[(RelPath::root(), numbered(1))]),
        node(1, &[(RelPath::root(), numbered(3)), (entries[4].path.clone(), numbered(4))]),
        extents(&[Extent::Zero { length: 400 }, Extent::Hole { length: 600 }]),
        segment(&entries[..4]),
        segment(&entries[4..]),
    ];
    blobs.iter().flat_map(|blob| [&(blob.len() as u16).to_le_bytes(), blob.as_slice()].concat()).collect()
}

/// What the encoders make today.
pub fn examples() -> Vec<(&'static str, Vec<u8>)> {
    let list = extents(&[Extent::Zero { length: 400 }, Extent::Blob { blob: BlobId([5; 32]), offset: 7, length: 500 }]);
    let deep = lists(&[ExtentListRef { blob: BlobId([5; 32]), depth: 1, length: 900 }], 2);
    let announced = |list: Vec<u8>| [&900_u64.to_le_bytes(), list.as_slice()].concat();
    vec![
        ("path", b"a/b-c/\xff".to_vec()),
        ("segment", segment(&few_entries())),
        ("node", node(1, &[(RelPath::root(), BlobId([1; 32])), (few_entries()[3].path.clone(), BlobId([2; 32]))])),
        ("extent-list", announced(list)),
        ("extent-list", announced(deep)),
        ("catalog", blobs_of_a_catalog()),
    ]
}

/// A level of nodes that are many times the same, above segments without an entry: few bytes, and no end.
pub fn endless() -> Vec<u8> {
    let same = |number: u8| vec![(RelPath::root(), BlobId([number; 32])); 100];
    let mut blobs: Vec<Vec<u8>> = (1..=20).map(|number| node(21 - number, &same(number))).collect();
    blobs.push(segment(&[]));
    blobs.iter().flat_map(|blob| [&(blob.len() as u16).to_le_bytes(), blob.as_slice()].concat()).collect()
}
