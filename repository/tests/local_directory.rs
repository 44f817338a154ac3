//! The whole way on a real directory: init, open, backup, snapshots, read.

#![allow(clippy::expect_used)] // The whole file is a test.

use std::sync::Arc;

use holdfast_repository::{Activity, BlobKind, Environment, OpenError, Purpose, Repository, Scratch, SecretBytes, SnapshotDraft, SourceRecord, Store, store};

fn password() -> SecretBytes {
    SecretBytes::new(b"correct horse".to_vec())
}

fn directory() -> (tempfile::TempDir, Arc<dyn Store>) {
    let directory = tempfile::tempdir().expect("directory");
    let store = store::local(&directory.path().join("repository")).expect("store");
    (directory, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_is_read_back() {
    let (_directory, store) = directory();
    let report = Repository::init(Arc::clone(&store), &password(), Environment::system()).await.expect("init");
    assert!(report.created && report.conditional_create);
    let repository = Repository::open(Arc::clone(&store), &password(), Environment::system()).await.expect("open");
    assert_eq!(repository.id(), report.repository.id());

    let writer = repository.begin(Purpose::new(Activity::Backup, "host")).await.expect("begin");
    let blobs: Vec<Vec<u8>> = (0..40_u32).map(|number| number.to_le_bytes().repeat(200_000)).collect();
    let threads = writer.clone();
    let mut refs = tokio::task::spawn_blocking(move || {
        std::thread::scope(|scope| {
            let parts: Vec<_> = blobs
                .chunks(10)
                .map(|part| {
                    let writer = threads.clone();
                    scope.spawn(move || {
                        let mut scratch = Scratch::new();
                        part.iter()
                            .map(|raw| {
                                let (id, fine) = writer.identify(BlobKind::Data, raw);
                                writer.add(BlobKind::Data, id, raw, fine, &mut scratch).expect("add");
                                (id, raw.len() as u64)
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            parts.into_iter().flat_map(|part| part.join().expect("thread")).collect::<Vec<_>>()
        })
    })
    .await
    .expect("threads");
    let catalog = b"a catalog".to_vec();
    let catalog_id = writer.blob_id(BlobKind::Catalog, &catalog);
    writer.add_async(BlobKind::Catalog, catalog_id, &catalog, None, &mut Scratch::new()).await.expect("catalog");
    refs.push((catalog_id, catalog.len() as u64));
    refs.sort_unstable();
    let source = SourceRecord { path: b"/data".to_vec(), catalog: Some(catalog_id), ..SourceRecord::default() };
    let draft = SnapshotDraft { host: "host".into(), sources: vec![source], ..SnapshotDraft::default() };
    let id = writer.commit(draft, || refs.iter().copied()).await.expect("commit");

    let snapshots = repository.snapshots().await.expect("snapshots");
    assert_eq!(snapshots.readable.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [id]);
    let reader = repository.reader(Purpose::new(Activity::Restore, "host")).await.expect("reader");
    for number in 0..40_u32 {
        let raw = number.to_le_bytes().repeat(200_000);
        let id = writer.blob_id(BlobKind::Data, &raw);
        assert_eq!(reader.read_blob(BlobKind::Data, &id).await.expect("read"), raw);
        let fine = reader.stored_fine_hashes(&id).await.expect("fine hashes").expect("stored");
        assert_eq!(Some(fine), writer.identify(BlobKind::Data, &raw).1);
    }
    assert_eq!(reader.read_blob(BlobKind::Catalog, &catalog_id).await.expect("read"), catalog);
    reader.close().await.expect("close");

    let again = repository.begin(Purpose::new(Activity::Backup, "host")).await.expect("begin");
    assert!(refs.iter().all(|(id, _)| again.known(id).is_some()), "a second backup sends nothing again");
}

#[tokio::test]
async fn wrong_places_and_passwords_are_told_apart() {
    let (_directory, store) = directory();
    let opened = Repository::open(Arc::clone(&store), &password(), Environment::system()).await;
    assert!(matches!(opened, Err(OpenError::NotARepository { .. })), "{opened:?}");
    Repository::init(Arc::clone(&store), &password(), Environment::system()).await.expect("init");
    let opened = Repository::open(Arc::clone(&store), &SecretBytes::new(b"wrong".to_vec()), Environment::system()).await;
    assert!(matches!(opened, Err(OpenError::WrongPassword { keys: 1, .. })), "{opened:?}");
    let again = Repository::init(store, &password(), Environment::system()).await.expect("init again");
    assert!(!again.created);
}
