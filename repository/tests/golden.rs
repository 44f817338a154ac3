//! `tests/golden/v1` must open for ever, and today's code must still write those very bytes.
//!
//! `HOLDFAST_WRITE_GOLDEN=1` writes the directory anew; that is right only before the first release of a format.

#![allow(clippy::expect_used, clippy::panic)] // The whole file is a test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use holdfast_repository::testing::{MemoryStore, SeededRandom, StandingClock};
use holdfast_repository::{
    Activity, BlobKind, CheckOptions, CheckProgress, Environment, Purpose, Repository, Scratch, SecretBytes, SnapshotDraft, SourceRecord, Statistics, Store,
    store,
};

const CREATED_MS: i64 = 1_795_000_000_000;

fn password() -> SecretBytes {
    SecretBytes::new(b"golden".to_vec())
}

/// (kind, content): incompressible, compressible, empty, and a catalog. Only what any zstd gives the same bytes for is compressed.
fn blobs() -> Vec<(BlobKind, Vec<u8>)> {
    let mut noise = vec![0; 70_000];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    vec![(BlobKind::Data, noise), (BlobKind::Data, vec![0x55; 50_000]), (BlobKind::Bundle, Vec::new()), (BlobKind::Catalog, b"golden catalog".to_vec())]
}

async fn make() -> Arc<MemoryStore> {
    let store = Arc::new(MemoryStore::new());
    let environment = Environment { clock: Arc::new(StandingClock::at(CREATED_MS)), random: Arc::new(SeededRandom::new(1)) };
    let report = Repository::init(Arc::clone(&store) as Arc<dyn Store>, &password(), environment).await.expect("init");
    let purpose = Purpose { activity: Activity::Backup, host: "golden-host".into(), session: "golden-session".into(), component: "dump".into() };
    let writer = report.repository.begin(purpose).await.expect("begin");
    let mut scratch = Scratch::new();
    let mut refs = Vec::new();
    let mut catalog = None;
    for (kind, raw) in blobs() {
        let (id, fine) = writer.identify(kind, &raw);
        writer.add_async(kind, id, &raw, fine, &mut scratch).await.expect("add");
        refs.push((id, raw.len() as u64));
        catalog = catalog.or((kind == BlobKind::Catalog).then_some(id));
    }
    refs.sort_unstable();
    let statistics = Statistics { files: 2, directories: 1, bytes: 120_000, ..Statistics::default() };
    let source = SourceRecord { path: b"/golden/\xff".to_vec(), pvc_uid: "golden-uid".into(), path_in_volume: b"sub".to_vec(), catalog, statistics };
    let draft = SnapshotDraft {
        host: "golden-host".into(),
        sources: vec![source],
        session: "golden-session".into(),
        component: "dump".into(),
        start_ms: CREATED_MS,
        scan_ms: CREATED_MS,
        parent: None,
        statistics,
        extensions: BTreeMap::from([("golden/key".to_owned(), b"value".to_vec())]),
    };
    writer.commit(draft, || refs.iter().copied()).await.expect("commit");
    store
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

fn read_directory(at: &Path, root: &Path, into: &mut BTreeMap<String, Bytes>) {
    for entry in std::fs::read_dir(at).expect("golden directory") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            read_directory(&path, root, into);
        } else {
            let name = path.strip_prefix(root).expect("below").to_str().expect("UTF-8").to_owned();
            into.insert(name, std::fs::read(&path).expect("read").into());
        }
    }
}

fn golden() -> BTreeMap<String, Bytes> {
    let root = directory().join("holdfast/v1");
    let mut objects = BTreeMap::new();
    read_directory(&root, &root, &mut objects);
    objects
}

#[tokio::test]
async fn the_same_bytes_are_written() {
    let made = make().await.objects();
    if std::env::var_os("HOLDFAST_WRITE_GOLDEN").is_some() {
        for (name, object) in &made {
            let path = directory().join("holdfast/v1").join(name);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
            std::fs::write(path, object).expect("write");
        }
    }
    let golden = golden();
    assert_eq!(made.keys().collect::<Vec<_>>(), golden.keys().collect::<Vec<_>>());
    for (name, object) in &made {
        assert!(object == &golden[name], "{name} is written otherwise than in format 1");
    }
}

#[tokio::test]
async fn it_opens_for_ever() {
    let copy = tempfile::tempdir().expect("directory");
    for (name, object) in golden() {
        let path = copy.path().join("holdfast/v1").join(name);
        std::fs::create_dir_all(path.parent().expect("parent")).expect("folder");
        std::fs::write(path, object).expect("write");
    }
    let store = store::local(copy.path()).expect("store");
    let repository = Repository::open(store, &password(), Environment::system()).await.expect("open");
    assert_eq!(repository.created_ms(), CREATED_MS);
    assert_eq!(repository.chunker().gear_seed, 8_639_356_485_141_967_811);
    let snapshots = repository.snapshots().await.expect("snapshots");
    assert!(snapshots.unreadable.is_empty());
    let [(_, record)] = snapshots.readable.as_slice() else { panic!("one snapshot") };
    assert_eq!((record.host.as_str(), record.session.as_str(), record.component.as_str()), ("golden-host", "golden-session", "dump"));
    assert_eq!(record.sources[0].path, b"/golden/\xff");
    assert_eq!(record.extensions["golden/key"], b"value");

    let writer = repository.begin(Purpose::new(Activity::Backup, "test")).await.expect("begin");
    let reader = repository.reader(Purpose::new(Activity::Restore, "test")).await.expect("reader");
    for (kind, raw) in blobs() {
        let id = writer.blob_id(kind, &raw);
        assert_eq!(reader.read_blob(kind, &id).await.expect("read"), raw);
        assert_eq!(writer.known(&id), Some(raw.len() as u32));
        if kind == BlobKind::Data {
            assert_eq!(reader.stored_fine_hashes(&id).await.expect("fine"), writer.identify(kind, &raw).1);
        }
    }
    let options = CheckOptions { trailers: true, read_data_percent: 100, ..CheckOptions::default() };
    let report = repository.check(options, &CheckProgress::default()).await.expect("check");
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.snapshots, report.packs), (1, 2));
}
