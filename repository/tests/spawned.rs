//! What an agent or a controller does: the long operations as tasks of their own, on any thread of the runtime. That this compiles is
//! half of the test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The whole file is a test.

use std::sync::Arc;

use holdfast_repository::testing::MemoryStore;
use holdfast_repository::{
    Activity, BlobKind, CheckOptions, CheckProgress, Environment, PruneOptions, PruneProgress, Purpose, RepairOptions, Repository, Scratch, SecretBytes,
    SnapshotDraft, SnapshotId, Store,
};

async fn spawned<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    tokio::spawn(work).await.expect("a task that ends")
}

async fn back_up(repository: Repository, raw: &'static [u8]) -> SnapshotId {
    let writer = repository.begin(Purpose::new(Activity::Backup, "node")).await.expect("begin");
    let id = writer.blob_id(BlobKind::Data, raw);
    writer.add_async(BlobKind::Data, id, raw, None, &mut Scratch::new()).await.expect("add");
    writer.commit(SnapshotDraft::default(), || [(id, raw.len() as u64)].into_iter()).await.expect("commit")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_long_operation_can_be_a_task() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let password = SecretBytes::new(b"p".to_vec());
    let init = Arc::clone(&store);
    let repository = spawned(async move { Repository::init(init, &password, Environment::system()).await }).await.expect("init").repository;
    let repository = move || repository.clone();

    let first = spawned(back_up(repository(), b"first")).await;
    let second = spawned(back_up(repository(), b"second")).await;
    let asked = repository();
    assert_eq!(spawned(async move { asked.forget(&[first]).await }).await.expect("forget"), 1);
    let asked = repository();
    let pruned = spawned(async move {
        let options = PruneOptions { now: true, ..PruneOptions::default() };
        asked.prune(&options, &PruneProgress::default(), std::future::pending()).await
    });
    assert!(pruned.await.expect("prune").packs_deleted > 0);
    let asked = repository();
    let checked = spawned(async move {
        let options = CheckOptions { trailers: true, read_data_percent: 100, publish_bad: true, ..CheckOptions::default() };
        asked.check(options, &CheckProgress::default()).await
    });
    assert!(checked.await.expect("check").is_clean());
    let asked = repository();
    let stopped = spawned(async move { asked.check_until(CheckOptions::default(), &CheckProgress::default(), std::future::ready(())).await });
    assert_eq!(stopped.await.expect("check"), None);
    let asked = repository();
    let repaired = spawned(async move { asked.repair_until(&RepairOptions::default(), &CheckProgress::default(), std::future::pending()).await });
    assert!(repaired.await.expect("repair").is_some());
    let asked = repository();
    let counted = spawned(async move { (asked.stats("node").await, asked.snapshot_stats("node", &second).await) });
    let (all, one) = counted.await;
    assert!(all.is_ok() && one.is_ok());
    let asked = repository();
    let listed = spawned(async move { (asked.snapshots().await, asked.snapshot(&second).await) });
    let (all, one) = listed.await;
    assert_eq!((all.expect("snapshots").readable.len(), one.is_ok()), (1, true));
}
