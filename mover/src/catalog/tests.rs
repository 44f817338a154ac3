//! The codec: what goes in comes out, whatever it is; what never went in is refused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_repository::{BlobId, BlobKind, ReadError, WriteError};
use proptest::collection::vec;
use proptest::prelude::*;

use super::column::{Cursor, Frame, put_varint, put_zigzag};
use super::extent_list::{ListDecoder, encode_extents};
use super::node::NodeDecoder;
use super::segment::{SegmentDecoder, SegmentEncoder};
use super::*;

/// Blobs by an id that is a plain hash of their bytes.
#[derive(Clone, Default)]
struct Blobs(Arc<Mutex<HashMap<BlobId, Vec<u8>>>>);

fn id_of(raw: &[u8]) -> BlobId {
    let mut id = [0; 32];
    for (number, part) in id.chunks_mut(4).enumerate() {
        part.copy_from_slice(&border_hash(number as u64, raw).to_le_bytes());
    }
    BlobId(id)
}

impl BlobSink for Blobs {
    fn store(&mut self, _: BlobKind, raw: &[u8]) -> Result<BlobId, WriteError> {
        let id = id_of(raw);
        self.0.lock().unwrap().insert(id, raw.to_vec());
        Ok(id)
    }
}

#[async_trait]
impl BlobSource for Blobs {
    async fn read_blob(&self, _: BlobKind, id: &BlobId) -> Result<Bytes, ReadError> {
        let found = self.0.lock().unwrap().get(id).cloned();
        found.map(Bytes::from).ok_or(ReadError::NotFound { what: id.to_string() })
    }
}

fn write(entries: &[Entry], blobs: &Blobs) -> CatalogSummary {
    let mut writer = CatalogWriter::new(blobs.clone(), 42);
    for entry in entries {
        writer.append(entry).unwrap();
    }
    writer.finish().unwrap().0
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

async fn read_all(reader: &mut CatalogReader) -> Result<Vec<Entry>, CatalogError> {
    let mut entries = Vec::new();
    while let Some(entry) = reader.next().await? {
        entries.push(entry);
    }
    Ok(entries)
}

fn plain(path: &[u8], kind: EntryKind) -> Entry {
    Entry {
        path: RelPath::parse(path).unwrap(),
        kind,
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        mtime: Timestamp { secs: 1_700_000_000, nanos: 1 },
        ctime: Timestamp { secs: 1_700_000_001, nanos: 2 },
        inode: 77,
        device: 0,
        size: 0,
        xattrs: Vec::new(),
        link_to: None,
        flags: EntryFlags::default(),
        extents: Vec::new(),
        extent_lists: Vec::new(),
    }
}

fn file(path: &[u8], extents: Vec<Extent>) -> Entry {
    Entry { size: extents.iter().map(Extent::length).sum(), extents, ..plain(path, EntryKind::File) }
}

fn any_bytes(lengths: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    vec(1u8..=255, lengths)
}

fn any_name() -> impl Strategy<Value = Vec<u8>> {
    any_bytes(1..6).prop_map(|name| name.into_iter().map(|byte| if byte == b'/' { b'+' } else { byte }).collect::<Vec<_>>())
        .prop_filter("names that no directory entry has", |name| name != b"." && name != b"..")
}

fn any_extent() -> impl Strategy<Value = Extent> {
    prop_oneof![
        (0u8..4, any::<u32>(), 1u32..).prop_map(|(blob, offset, length)| Extent::Blob { blob: BlobId([blob; 32]), offset, length }),
        (1u64..1 << 40).prop_map(|length| Extent::Hole { length }),
        (1u64..1 << 40).prop_map(|length| Extent::Zero { length }),
    ]
}

fn any_kind() -> impl Strategy<Value = EntryKind> {
    prop_oneof![
        4 => Just(EntryKind::File),
        1 => Just(EntryKind::Directory),
        1 => any_bytes(1..40).prop_map(|target| EntryKind::Symlink { target }),
        1 => Just(EntryKind::Fifo),
        1 => Just(EntryKind::Socket),
        1 => any::<u64>().prop_map(|rdev| EntryKind::CharDevice { rdev }),
        1 => any::<u64>().prop_map(|rdev| EntryKind::BlockDevice { rdev }),
    ]
}

fn any_timestamp() -> impl Strategy<Value = Timestamp> {
    (any::<i64>(), 0u32..1_000_000_000).prop_map(|(secs, nanos)| Timestamp { secs, nanos })
}

prop_compose! {
    fn any_entry()(
        path in vec(any_name(), 0..5),
        kind in any_kind(),
        (mode, uid, gid) in (0u32..0o10000, any::<u32>(), any::<u32>()),
        (mtime, ctime) in (any_timestamp(), any_timestamp()),
        (inode, device) in (any::<u64>(), any::<u64>()),
        xattrs in vec((any_bytes(1..20), vec(any::<u8>(), 0..50)), 0..3),
        (read_next_time, xattrs_incomplete, listing_incomplete) in any::<(bool, bool, bool)>(),
        extents in vec(any_extent(), 0..6),
        lists in vec((any::<[u8; 32]>(), 1u8..8, 1u64..1 << 40), 0..2),
    ) -> Entry {
        let is_file = kind.is_file();
        let extent_lists: Vec<_> =
            lists.into_iter().filter(|_| is_file).map(|(blob, depth, length)| ExtentListRef { blob: BlobId(blob), depth, length }).collect();
        let extents = if is_file && extent_lists.is_empty() { extents } else { Vec::new() };
        let size = extents.iter().map(Extent::length).chain(extent_lists.iter().map(|list| list.length)).sum();
        Entry {
            path: RelPath::parse(&path.join(&b'/')).unwrap(),
            flags: EntryFlags { read_next_time, xattrs_incomplete, listing_incomplete },
            link_to: None,
            kind, mode, uid, gid, mtime, ctime, inode, device, size, xattrs, extents, extent_lists,
        }
    }
}

fn decode(raw: Vec<u8>) -> Result<Vec<Entry>, column::Malformed> {
    let mut decoder = SegmentDecoder::from_frame(Frame::parse(raw.into())?)?;
    let mut entries = Vec::new();
    while let Some(entry) = decoder.next()? {
        entries.push(entry);
    }
    Ok(entries)
}

fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut encoder = SegmentEncoder::default();
    for entry in entries {
        encoder.push(entry);
    }
    encoder.finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn entries_survive_a_catalog(mut entries in vec(any_entry(), 0..60)) {
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        entries.dedup_by(|a, b| a.path == b.path);
        let blobs = Blobs::default();
        let summary = write(&entries, &blobs);
        prop_assert_eq!(summary.entries, entries.len() as u64);
        let mut reader = CatalogReader::new(Arc::new(blobs), summary.root);
        prop_assert_eq!(block_on(read_all(&mut reader)).unwrap(), entries);
    }

    #[test]
    fn hostile_bytes_never_panic(raw in vec(any::<u8>(), 0..400)) {
        let _ = decode(raw.clone());
        let _ = Frame::parse(raw.clone().into()).and_then(NodeDecoder::from_frame).and_then(|mut node| {
            while node.next()?.is_some() {}
            Ok(())
        });
        for depth in [1, 2] {
            let list = ExtentListRef { blob: BlobId([0; 32]), depth, length: 1 << 20 };
            if let Ok(mut list) = ListDecoder::parse(raw.clone().into(), &list) {
                while let Ok(Some(_)) = list.next() {}
            }
        }
    }

    /// Flips that leave the frame whole reach the columns' own parsers.
    #[test]
    fn damaged_segments_never_panic(entries in vec(any_entry(), 1..20), flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut raw = encode(&entries);
        for (index, byte) in flips {
            let index = index.index(raw.len());
            raw[index] = byte;
        }
        if let Ok(decoded) = decode(raw) {
            for entry in decoded {
                let covered = entry.extents.iter().map(|extent| u128::from(extent.length())).sum::<u128>()
                    + entry.extent_lists.iter().map(|list| u128::from(list.length)).sum::<u128>();
                prop_assert!(!entry.kind.is_file() || entry.link_to.is_some() || covered == u128::from(entry.size));
            }
        }
    }

    #[test]
    fn numbers_survive(values in vec(any::<u64>(), 0..20)) {
        let mut out = Vec::new();
        for value in &values {
            put_varint(&mut out, *value);
            put_zigzag(&mut out, *value as i64);
        }
        let mut cursor = Cursor::new(out.into());
        for value in values {
            prop_assert_eq!(cursor.varint(), Ok(value));
            prop_assert_eq!(cursor.zigzag(), Ok(value as i64));
        }
        prop_assert_eq!(cursor.remaining(), 0);
    }
}

#[test]
fn a_hard_link_is_kept_and_must_point_back() {
    let first = plain(b"a", EntryKind::Symlink { target: b"x".to_vec() });
    let link = Entry { link_to: Some(first.path.clone()), ..plain(b"b", EntryKind::Symlink { target: Vec::new() }) };
    assert_eq!(decode(encode(&[first.clone(), link.clone()])).unwrap(), [first, link.clone()]);
    let forward = Entry { link_to: Some(RelPath::parse(b"c").unwrap()), ..link };
    assert!(decode(encode(&[forward])).is_err());
}

#[test]
fn hostile_paths_are_refused_by_the_decoder() {
    let mut raw = encode(&[plain(b"ab/cd", EntryKind::Fifo)]);
    let at = raw.windows(5).position(|window| window == b"ab/cd").unwrap();
    assert!(decode(raw.clone()).is_ok());
    raw[at..at + 5].copy_from_slice(b"a/../");
    assert!(decode(raw.clone()).is_err());
    raw[at..at + 5].copy_from_slice(b"/etc/");
    assert!(decode(raw).is_err());
}

#[test]
fn a_version_and_a_column_of_tomorrow() {
    let segment = encode(&[plain(b"a", EntryKind::Fifo)]);
    let with = |id: u8| [segment.as_slice(), &[id, 1, 9]].concat();
    assert!(decode(with(99)).is_ok(), "an odd column may be overlooked");
    assert!(decode(with(98)).is_err(), "an even one may not");
    let mut newer = segment;
    newer[1] = 2;
    assert!(decode(newer).is_err());
}

/// The bytes of `docs/format-catalog.md`: a repository of today must open for ever.
#[test]
fn golden_segment() {
    let entries = [
        plain(b"", EntryKind::Directory),
        file(b"data.bin", vec![Extent::Blob { blob: BlobId([0xab; 32]), offset: 16, length: 300 }, Extent::Hole { length: 4096 }]),
        Entry { xattrs: vec![(b"user.k".to_vec(), b"v".to_vec())], ..plain(b"link", EntryKind::Symlink { target: b"data.bin".to_vec() }) },
    ];
    let raw = encode(&entries);
    let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, GOLDEN_SEGMENT);
    assert_eq!(decode(raw).unwrap(), entries);
}

const GOLDEN_SEGMENT: &str = "0001030203000000040f0008646174612e62696e046c696e6b060301020308030000080a06a403a403a4030c04d00f00000e04d0\
0f0000100780c49fd50c000012030101011403020202160302020218049a0100001a030000001c02ac221e0a0106757365722e6b0176220908646174612e6269\
6e2420abababababababababababababababababababababababababababababababab2606020220ac0200";

fn tree(files: u32) -> Vec<Entry> {
    (0..files)
        .map(|number| {
            let path = format!("dir{:04}/file{:04}", number / 50, number % 50);
            let extent = Extent::Blob { blob: BlobId([(number / 100) as u8; 32]), offset: number % 100 * 1000, length: 1000 };
            Entry { inode: u64::from(number), ..file(path.as_bytes(), vec![extent]) }
        })
        .collect()
}

#[test]
fn an_unchanged_tree_gives_the_same_segments() {
    let mut entries = tree(20_000);
    let before = Blobs::default();
    let root = write(&entries, &before).root;
    assert_eq!(write(&entries, &before).root, root);
    let all = before.0.lock().unwrap().len();

    entries[7_777].mtime.nanos += 1;
    entries.remove(12_345);
    write(&entries, &before);
    let new = before.0.lock().unwrap().len() - all;
    assert!(all > 20, "{all} blobs are too few to share any");
    assert!(new <= 8, "{new} of {all} blobs are new for two changes");
}

#[test]
fn seek_finds_every_path() {
    let entries = tree(5_000);
    let blobs = Blobs::default();
    let root = write(&entries, &blobs).root;
    let mut reader = CatalogReader::new(Arc::new(blobs), root);
    block_on(async {
        for index in [4_999, 0, 2_500, 2_501, 17, 3_333] {
            reader.seek(&entries[index].path).await.unwrap();
            assert_eq!(reader.next().await.unwrap().as_ref(), Some(&entries[index]));
            assert_eq!(reader.next().await.unwrap().as_ref(), entries.get(index + 1));
        }
        reader.seek(&RelPath::parse(b"dir0007").unwrap()).await.unwrap();
        assert_eq!(reader.next().await.unwrap().unwrap(), entries[350], "a path between two entries");
        reader.seek(&RelPath::parse(b"zzz").unwrap()).await.unwrap();
        assert_eq!(reader.next().await.unwrap(), None);
    });
}

#[test]
fn entries_out_of_order_are_refused_by_both_sides() {
    let (a, b) = (plain(b"a", EntryKind::Fifo), plain(b"b", EntryKind::Fifo));
    let mut writer = CatalogWriter::new(Blobs::default(), 42);
    writer.append(&b).unwrap();
    assert!(writer.append(&a).is_err());

    let mut blobs = Blobs::default();
    let root = blobs.store(BlobKind::Catalog, &encode(&[b, a])).unwrap();
    let read = block_on(read_all(&mut CatalogReader::new(Arc::new(blobs), root)));
    assert!(matches!(read, Err(CatalogError::Malformed { .. })));
}

#[test]
fn a_catalog_of_itself_ends() {
    let mut blobs = Blobs::default();
    let child = node::Child { first: RelPath::root(), blob: BlobId([9; 32]), entries: 1, content_bytes: 0 };
    let raw = node::encode(1, &[child]);
    blobs.0.lock().unwrap().insert(BlobId([9; 32]), raw.clone());
    let root = blobs.store(BlobKind::Catalog, &raw).unwrap();
    let read = block_on(read_all(&mut CatalogReader::new(Arc::new(blobs), root)));
    assert!(matches!(read, Err(CatalogError::Malformed { .. })));
}

#[test]
fn a_giant_file_has_its_extents_out_of_line() {
    for count in [1usize, 64, 65, 5_000, 300_000] {
        let mut blobs = Blobs::default();
        let mut spool = ExtentSpool::default();
        let extents: Vec<Extent> = (0..count)
            .map(|number| Extent::Blob { blob: id_of(&number.to_le_bytes()), offset: 0, length: 1 + (number % 7) as u32 })
            .collect();
        for extent in &extents {
            spool.push(*extent, &mut blobs).unwrap();
        }
        let content = spool.finish(&mut blobs).unwrap();
        assert!(content.extents.len() <= 64 && content.lists.len() <= 64);
        assert_eq!(content.lists.is_empty(), count <= 64);
        let entry = Entry { size: content.length, extents: content.extents, extent_lists: content.lists, ..file(b"giant", Vec::new()) };
        assert_eq!(decode(encode(std::slice::from_ref(&entry))).unwrap(), std::slice::from_ref(&entry));
        let mut stream = ExtentStream::new(Arc::new(blobs), &entry);
        let read = block_on(async {
            let mut read = Vec::new();
            while let Some(extent) = stream.next().await.unwrap() {
                read.push(extent);
            }
            read
        });
        assert!(read == extents, "{count} extents");
    }
}

#[test]
fn an_extent_list_must_cover_what_it_should() {
    let raw = encode_extents(&[Extent::Hole { length: 10 }]);
    for (length, good) in [(10, true), (9, false), (11, false)] {
        let mut list = ListDecoder::parse(raw.clone().into(), &ExtentListRef { blob: BlobId([0; 32]), depth: 1, length }).unwrap();
        let read = list.next().and_then(|_| list.next());
        assert_eq!(read.is_ok(), good);
    }
}
