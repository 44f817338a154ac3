//! A cache under a whole repository: what it saves, and that nothing depends on it.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::blob::{BlobKind, PackClass};
use crate::check::{CheckOptions, CheckProgress};
use crate::compress::Scratch;
use crate::environment::Environment;
use crate::id::{BlobId, SnapshotId};
use crate::lease::{Activity, Purpose};
use crate::lock::locked;
use crate::repository::Repository;
use crate::secret::SecretBytes;
use crate::snapshot::{SnapshotDraft, SourceRecord};
use crate::state;
use crate::store::Store;
use crate::testing::{Fate, MemoryStore, ScriptedStore};

type Log = Arc<Mutex<Vec<String>>>;

/// A store that notes each operation as `Get snapshots`.
fn logged(store: &Arc<MemoryStore>) -> (Log, Arc<dyn Store>) {
    let log = Log::default();
    let noted = Arc::clone(&log);
    let store = ScriptedStore::new(Arc::clone(store) as Arc<dyn Store>, move |operation, name| {
        let mut folders = name.split('/');
        let folder = match (folders.next(), folders.next()) {
            (Some("packs"), Some(class)) => format!("packs/{class}"),
            (folder, _) => folder.unwrap_or_default().to_owned(),
        };
        locked(&noted).push(format!("{operation:?} {folder}"));
        Fate::Through
    });
    (log, Arc::new(store))
}

async fn open(store: Arc<dyn Store>, cache: Option<&Path>) -> Repository {
    let password = SecretBytes::new(b"p".to_vec());
    let repository = Repository::init(store, &password, Environment::system()).await.expect("init").repository;
    if let Some(folder) = cache {
        repository.use_cache(&OwnedFd::from(std::fs::File::open(folder).expect("folder")), 1 << 24).expect("cache");
    }
    repository
}

async fn reopen(store: Arc<dyn Store>, cache: Option<&Path>) -> Repository {
    let repository = Repository::open(store, &SecretBytes::new(b"p".to_vec()), Environment::system()).await.expect("open");
    if let Some(folder) = cache {
        repository.use_cache(&OwnedFd::from(std::fs::File::open(folder).expect("folder")), 1 << 24).expect("cache");
    }
    repository
}

fn raw(number: u32) -> Vec<u8> {
    number.to_le_bytes().repeat(1000)
}

/// A backup of some data blobs and a catalog, as the mover makes one: it looks for its parent and reads that one's catalog.
async fn backup(repository: &Repository, numbers: std::ops::Range<u32>) -> (SnapshotId, u64) {
    let writer = repository.begin(Purpose::new(Activity::Backup, "test")).await.expect("begin");
    let parents = writer.newest_snapshots(|found| !found.readable.is_empty()).await.expect("parents");
    assert!(parents.unreadable.is_empty());
    if let Some(catalog) = parents.readable.last().and_then(|(_, record)| record.sources.first()?.catalog) {
        writer.read_blob(BlobKind::Catalog, &catalog).await.expect("the parent's catalog");
    }
    let mut refs = Vec::new();
    let mut add = async |kind: BlobKind, raw: Vec<u8>| -> BlobId {
        let id = writer.blob_id(kind, &raw);
        writer.add_async(kind, id, &raw, None, &mut Scratch::new()).await.expect("add");
        refs.push((id, raw.len() as u64));
        id
    };
    let catalog = add(BlobKind::Catalog, raw(numbers.end + 1_000_000)).await;
    for number in numbers {
        add(BlobKind::Data, raw(number)).await;
    }
    refs.sort_unstable();
    let source = SourceRecord { catalog: Some(catalog), ..SourceRecord::default() };
    let draft = SnapshotDraft { sources: vec![source], ..SnapshotDraft::default() };
    let snapshot = writer.commit(draft, || refs.iter().copied()).await.expect("commit");
    (snapshot, writer.stored_bytes())
}

/// Every blob comes back as it was.
async fn restores(repository: &Repository, numbers: std::ops::Range<u32>) {
    let reader = repository.reader(Purpose::new(Activity::Restore, "test")).await.expect("reader");
    for number in numbers {
        let id = repository.core.keys.blob_id(BlobKind::Data, &raw(number));
        assert_eq!(reader.read_blob(BlobKind::Data, &id).await.expect("read"), raw(number));
    }
    reader.close().await.expect("close");
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").path()).collect();
    found.sort_unstable();
    found.into_iter().flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The requests of a backup that finds nothing changed, opening the repository included, in order. Those of one line go out together.
const NOTHING_CHANGED: &[&str] = &[
    "Get config", "List keys",
    "Get keys",
    "List state",
    "Get state",
    "Create leases",
    "List state",
    "List snapshots", "List index", "List packs/data", "List packs/meta",
    "Create snapshots",
    "List state",
    "Create state",
];

#[tokio::test]
async fn a_small_backup_makes_no_request_too_many() {
    let folder = tempfile::tempdir().expect("folder");
    let memory = Arc::new(MemoryStore::new());
    backup(&open(Arc::clone(&memory) as Arc<dyn Store>, None).await, 0..50).await;
    backup(&reopen(Arc::clone(&memory) as Arc<dyn Store>, Some(folder.path())).await, 0..50).await;

    let (log, store) = logged(&memory);
    backup(&reopen(store, Some(folder.path())).await, 0..50).await;
    assert_eq!(*locked(&log), NOTHING_CHANGED, "with a cache");

    let (log, store) = logged(&memory);
    backup(&reopen(store, None).await, 0..50).await;
    let mut counts = std::collections::BTreeMap::new();
    for operation in locked(&log).iter().filter(|operation| !NOTHING_CHANGED.contains(&operation.as_str())) {
        *counts.entry(operation.clone()).or_insert(0) += 1;
    }
    let expected = [("Get index", 1), ("Get packs/meta", 1), ("Get snapshots", 3)];
    assert_eq!(counts, expected.map(|(operation, count)| (operation.to_owned(), count)).into(), "without one, beside the above");

    let (log, store) = logged(&memory);
    backup(&reopen(store, Some(folder.path())).await, 0..51).await;
    let more: Vec<_> = locked(&log).iter().filter(|operation| !NOTHING_CHANGED.contains(&operation.as_str())).cloned().collect();
    let sorted = |mut list: Vec<String>| {
        list.sort_unstable();
        list
    };
    // The third snapshot was committed elsewhere and is new to this cache.
    assert_eq!(sorted(more), ["Create index", "Create packs/data", "Create packs/meta", "Get snapshots"]);
}

#[tokio::test]
async fn damaged_cut_and_swapped_cache_files_are_fetched_again() {
    let folder = tempfile::tempdir().expect("folder");
    let memory = Arc::new(MemoryStore::new());
    backup(&open(Arc::clone(&memory) as Arc<dyn Store>, None).await, 0..50).await;
    let cached = async || reopen(Arc::clone(&memory) as Arc<dyn Store>, Some(folder.path())).await;
    backup(&cached().await, 0..50).await;
    let kept = files(folder.path());
    assert!(kept.len() >= 3, "an index run, a snapshot, a catalog: {kept:?}");
    for (round, damage) in ["flipped", "cut", "empty", "swapped"].into_iter().enumerate() {
        let kept = files(folder.path());
        for (number, path) in kept.iter().enumerate() {
            let content = std::fs::read(path).expect("read");
            let worse = match damage {
                "flipped" => content.iter().enumerate().map(|(place, byte)| if place == content.len() / 2 { byte ^ 1 } else { *byte }).collect(),
                "cut" => content[..content.len() / 2].to_vec(),
                "empty" => Vec::new(),
                _ => std::fs::read(&kept[(number + 1) % kept.len()]).expect("read"),
            };
            std::fs::write(path, worse).expect("write");
        }
        let (_, stored_bytes) = backup(&cached().await, 0..50).await;
        assert_eq!(stored_bytes, 0, "{damage}, round {round}: nothing was taken for absent");
        restores(&cached().await, 0..50).await;
        let report = cached().await.check(CheckOptions::default(), &CheckProgress::default()).await.expect("check");
        assert!(report.findings.is_empty(), "the cache's damage is not the repository's: {:?}", report.findings);
    }
}

#[tokio::test]
async fn a_check_is_not_told_by_a_cache_that_all_is_there() {
    let folder = tempfile::tempdir().expect("folder");
    let memory = Arc::new(MemoryStore::new());
    let repository = open(Arc::clone(&memory) as Arc<dyn Store>, Some(folder.path())).await;
    backup(&repository, 0..50).await;
    backup(&repository, 0..50).await;
    for name in memory.objects().into_keys().filter(|name| name.starts_with("index/")) {
        memory.take(&name);
    }
    restores(&repository, 0..50).await;
    let report = repository.check(CheckOptions::default(), &CheckProgress::default()).await.expect("check");
    assert!(!report.findings.is_empty());
}

/// Steps 1 and 2 of a writer: what its cache knows of is used only if the newest state, read after its lease, lets it.
#[tokio::test]
async fn a_writer_with_an_old_cached_index_uses_nothing_that_is_condemned_doomed_or_gone() {
    let folder = tempfile::tempdir().expect("folder");
    let memory = Arc::new(MemoryStore::new());
    let old = open(Arc::clone(&memory) as Arc<dyn Store>, Some(folder.path())).await;
    let (first, _) = backup(&old, 0..50).await;
    backup(&old, 0..50).await;

    // Elsewhere, a prune: everything is forgotten, its packs doomed and deleted, its runs dropped.
    let elsewhere = reopen(Arc::clone(&memory) as Arc<dyn Store>, None).await;
    state::publish(&elsewhere.core, |state| {
        let mut next = state.clone();
        next.prune_epoch += 1;
        next.floor = state.number + 1;
        next.forgotten.extend(std::mem::take(&mut next.listed));
        next.runs.clear();
        next.doomed = memory
            .objects()
            .keys()
            .filter_map(|name| {
                let id = name.rsplit('/').next()?.parse().ok()?;
                let class = if name.starts_with("packs/data/") { PackClass::Data } else { PackClass::Meta };
                name.starts_with("packs/").then_some(crate::blob::PackName { class, id })
            })
            .collect();
        Some(next)
    })
    .await
    .expect("publish");
    for name in memory.objects().into_keys().filter(|name| ["packs/", "index/", "snapshots/"].iter().any(|folder| name.starts_with(folder))) {
        memory.take(&name);
    }

    assert!(!files(folder.path()).is_empty(), "the cache still has all of it");
    let (second, stored_bytes) = backup(&old, 0..50).await;
    assert!(stored_bytes > 0, "sent again");
    restores(&elsewhere, 0..50).await;
    assert!(old.snapshot(&first).await.is_err() && old.snapshot(&second).await.is_ok());
    backup(&old, 0..50).await;
    let left = files(folder.path());
    assert!(left.iter().all(|path| !path.to_string_lossy().contains(&first.to_string())), "what is gone has left the cache: {left:?}");
    let report = elsewhere.check(CheckOptions::default(), &CheckProgress::default()).await.expect("check");
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[tokio::test]
async fn a_parent_is_found_without_reading_every_snapshot() {
    let memory = Arc::new(MemoryStore::new());
    let repository = open(Arc::clone(&memory) as Arc<dyn Store>, None).await;
    for _ in 0..70 {
        backup(&repository, 0..1).await;
    }
    let (log, store) = logged(&memory);
    backup(&reopen(store, None).await, 0..1).await;
    let count = locked(&log).iter().filter(|operation| *operation == "Get snapshots").count();
    assert_eq!(count, 32, "one round of the newest");
}
