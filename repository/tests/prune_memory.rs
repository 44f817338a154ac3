//! What a prune holds in memory: bounded by the index, or by less where there is a directory, however many snapshots there are.

// The whole file is a test; the allocator counts.
#![allow(clippy::expect_used, clippy::panic, unsafe_code, unreachable_pub, missing_docs, dead_code)]

#[path = "../../fuzz/counting_allocator.rs"]
mod counting_allocator;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use counting_allocator::{HELD, HELD_MAX};
use holdfast_repository::testing::MemoryStore;
use holdfast_repository::{
    Activity, BlobId, BlobKind, Environment, PruneOptions, PruneProgress, PruneReport, Purpose, Repository, Scratch, SecretBytes, SnapshotDraft, Store,
};

/// A few more than an index keeps in memory where it need not: 16 MB of entries.
const BLOBS: u32 = 270_000;
/// No two share a segment of their refs, as in a repository in which everything changes a little: 160 MB, were all of it sorted in memory.
const SNAPSHOTS: u32 = 12;
/// Of blobs that a snapshot does not have, one in so many.
const LEFT_OUT: u32 = 300;
const CHECKPOINT_BLOBS: u32 = 30_000;
/// The index while it is built, a few runs on their way, and what is sorted at a time.
const HELD_BYTES_MAX: usize = 72 << 20;

async fn fill(repository: &Repository) {
    let writer = repository.begin(Purpose::new(Activity::Backup, "node")).await.expect("begin");
    let mut scratch = Scratch::new();
    let mut blobs: Vec<(BlobId, u32)> = Vec::new();
    for number in 0..BLOBS {
        let raw = number.to_le_bytes();
        let id = writer.blob_id(BlobKind::Bundle, &raw);
        writer.add_async(BlobKind::Bundle, id, &raw, None, &mut scratch).await.expect("add");
        blobs.push((id, number));
        if number % CHECKPOINT_BLOBS == 0 {
            writer.checkpoint().await.expect("checkpoint");
        }
    }
    blobs.sort_unstable();
    let refs = |snapshot: u32| blobs.iter().filter(move |(_, number)| number % LEFT_OUT != snapshot).map(|(id, _)| (*id, 4));
    writer.commit(SnapshotDraft::default(), || refs(0)).await.expect("commit");
    for snapshot in 1..SNAPSHOTS {
        let writer = repository.begin(Purpose::new(Activity::Backup, "node")).await.expect("begin");
        writer.commit(SnapshotDraft::default(), || refs(snapshot)).await.expect("commit");
    }
}

async fn prune(repository: &Repository) -> (PruneReport, usize) {
    let before = HELD.load(Ordering::Relaxed);
    HELD_MAX.store(before, Ordering::Relaxed);
    let options = PruneOptions { now: true, memory_bytes: 1 << 20, ..PruneOptions::default() };
    let report = repository.prune(&options, &PruneProgress::default(), std::future::pending()).await.expect("prune");
    (report, HELD_MAX.load(Ordering::Relaxed).saturating_sub(before))
}

#[tokio::test]
async fn memory_is_bounded_with_a_directory_and_without() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let repository = Repository::init(store, &SecretBytes::new(b"p".to_vec()), Environment::system()).await.expect("init").repository;
    fill(&repository).await;
    let (report, held) = prune(&repository).await;
    println!("without a directory: {} KiB", held >> 10);
    assert_eq!(report.snapshots, u64::from(SNAPSHOTS));
    assert!(held < HELD_BYTES_MAX, "{held} bytes");

    let directory = tempfile::TempDir::new().expect("folder");
    repository.use_spill(std::fs::File::open(directory.path()).expect("folder").into(), 1 << 30).expect("spill");
    let (again, held) = prune(&repository).await;
    println!("with one: {} KiB", held >> 10);
    assert_eq!(again.snapshots, report.snapshots);
    assert!(held < HELD_BYTES_MAX, "{held} bytes");
    assert_eq!(std::fs::read_dir(directory.path()).expect("folder").count(), 0, "nothing is left there");
}
