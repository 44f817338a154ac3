//! Counts against what is known to be stored.

use super::*;
use crate::compress::Scratch;
use crate::environment::Environment;
use crate::repository::Repository;
use crate::secret::SecretBytes;
use crate::snapshot::SnapshotDraft;
use crate::store::Store;
use crate::testing::MemoryStore;

async fn backup(repository: &Repository, numbers: std::ops::Range<u32>) -> SnapshotId {
    let writer = repository.begin(Purpose::new(Activity::Backup, "test")).await.expect("begin");
    let mut refs = Vec::new();
    for number in numbers {
        let raw = number.to_le_bytes().repeat(1000);
        let id = writer.blob_id(BlobKind::Data, &raw);
        writer.add_async(BlobKind::Data, id, &raw, None, &mut Scratch::new()).await.expect("add");
        refs.push((id, 4000));
    }
    refs.sort_unstable();
    writer.commit(SnapshotDraft::default(), || refs.iter().copied()).await.expect("commit")
}

#[tokio::test]
async fn what_is_shared_is_counted_once_and_what_is_unique_is_the_snapshots_own() {
    let store = Arc::new(MemoryStore::new());
    let password = SecretBytes::new(b"p".to_vec());
    let repository = Repository::init(Arc::clone(&store) as Arc<dyn Store>, &password, Environment::system()).await.expect("init").repository;
    let (first, second) = (backup(&repository, 0..5).await, backup(&repository, 3..9).await);
    let stats = repository.stats("test").await.expect("stats");
    // Nine data blobs; a root and a segment of refs for each snapshot.
    assert_eq!((stats.snapshots, stats.used.count, stats.unused.count, stats.missing), (2, 13, 0, 0), "{stats:?}");
    let bytes: usize = store.objects().iter().filter(|(name, _)| name.as_str() != "config").map(|(_, object)| object.len()).sum();
    // The listing's own lease and end mark came after the count.
    assert!(stats.total().bytes <= bytes as u64 && stats.total().bytes + 2048 >= bytes as u64, "{} of {bytes}", stats.total().bytes);

    for (id, used, unique) in [(first, 5 + 2, 3 + 2), (second, 6 + 2, 4 + 2)] {
        let stats = repository.snapshot_stats("test", &id).await.expect("stats");
        assert_eq!((stats.used.count, stats.unique.count, stats.missing), (used, unique, 0), "{stats:?}");
    }
    repository.forget(&[first]).await.expect("forget");
    let stats = repository.stats("test").await.expect("stats");
    assert_eq!((stats.snapshots, stats.used.count, stats.unused.count), (1, 8, 5), "{stats:?}");
    let unique = repository.snapshot_stats("test", &second).await.expect("stats");
    assert_eq!(unique.unique, unique.used);

    let run = store.objects().into_keys().find(|name| name.starts_with("index/")).expect("run");
    store.take(&run);
    let stats = repository.stats("test").await.expect("stats");
    assert!(stats.unlisted_packs.count > 0, "{stats:?}");
}
