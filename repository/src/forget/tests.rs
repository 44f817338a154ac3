//! Forgetting beside backups that run.

use std::sync::Arc;

use super::*;
use crate::blob::BlobKind;
use crate::check::{CheckOptions, CheckProgress};
use crate::compress::Scratch;
use crate::environment::Environment;
use crate::lease::{Activity, Purpose};
use crate::repository::Repository;
use crate::secret::SecretBytes;
use crate::snapshot::SnapshotDraft;
use crate::store::Store;
use crate::testing::{Fate, MemoryStore, Operation, ScriptedStore};
use crate::writer::Writer;

fn purpose(activity: Activity) -> Purpose {
    Purpose::new(activity, "test")
}

async fn repository(store: &Arc<MemoryStore>) -> Repository {
    let store = Arc::clone(store) as Arc<dyn Store>;
    Repository::init(store, &SecretBytes::new(b"p".to_vec()), Environment::system()).await.expect("init").repository
}

async fn write(writer: &Writer, contents: &[&[u8]]) -> SnapshotId {
    let mut refs = Vec::new();
    for raw in contents {
        let id = writer.blob_id(BlobKind::Data, raw);
        writer.add_async(BlobKind::Data, id, raw, None, &mut Scratch::new()).await.expect("add");
        refs.push((id, raw.len() as u64));
    }
    refs.sort_unstable();
    writer.commit(SnapshotDraft::default(), || refs.iter().copied()).await.expect("commit")
}

async fn backup(repository: &Repository, contents: &[&[u8]]) -> SnapshotId {
    write(&repository.begin(purpose(Activity::Backup)).await.expect("begin"), contents).await
}

async fn accepted(repository: &Repository) -> Vec<SnapshotId> {
    repository.snapshots().await.expect("snapshots").readable.into_iter().map(|(id, _)| id).collect()
}

async fn is_clean(repository: &Repository) -> bool {
    let options = CheckOptions { trailers: true, read_data_percent: 100, ..CheckOptions::default() };
    repository.check(options, &CheckProgress::default()).await.expect("check").is_clean()
}

#[tokio::test]
async fn what_is_forgotten_is_gone_for_readers_and_the_others_stay_whole() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let first = backup(&repository, &[b"shared", b"only the first"]).await;
    let second = backup(&repository, &[b"shared"]).await;
    assert_eq!(repository.forget(&[first]).await.expect("forget"), 1);
    assert_eq!(accepted(&repository).await, [second]);
    assert!(repository.snapshot(&first).await.is_err());
    assert!(is_clean(&repository).await);
    assert_eq!(repository.forget(&[first]).await.expect("again"), 0, "it was forgotten already");
}

/// A backup found a commit that no state listed, and used its blobs. Meanwhile that commit is forgotten: had it not been listed
/// first, its runs would be live in no state, and the backup's snapshot would stand on blobs that nobody finds.
#[tokio::test]
async fn a_backup_keeps_what_it_used_of_a_commit_that_is_forgotten_unlisted() {
    let store = Arc::new(MemoryStore::new());
    let direct = repository(&store).await;
    backup(&direct, &[b"before"]).await;
    let unlisting = ScriptedStore::new(Arc::clone(&store) as Arc<dyn Store>, |operation, name| {
        if operation == Operation::Create && name.starts_with("state/") { Fate::Denied } else { Fate::Through }
    });
    let unlisting = Repository::open(Arc::new(unlisting), &SecretBytes::new(b"p".to_vec()), Environment::system()).await.expect("open");
    let first = backup(&unlisting, &[b"used by both"]).await;
    assert!(!state::newest(&direct.core).await.expect("state").listed.contains(&first));

    let writer = direct.begin(purpose(Activity::Backup)).await.expect("begin");
    let packs = |store: &MemoryStore| store.objects().into_keys().filter(|name| name.starts_with("packs/data")).count();
    let before = packs(&store);
    assert_eq!(direct.forget(&[first]).await.expect("forget"), 1);
    let second = write(&writer, &[b"used by both"]).await;
    assert_eq!(packs(&store), before, "it was used, not sent again");

    assert!(accepted(&direct).await.contains(&second) && !accepted(&direct).await.contains(&first));
    assert!(is_clean(&direct).await, "the second snapshot is whole");
}

#[tokio::test]
async fn what_cannot_be_read_is_not_forgotten() {
    let store = Arc::new(MemoryStore::new());
    let direct = repository(&store).await;
    backup(&direct, &[b"before"]).await;
    let unlisting = ScriptedStore::new(Arc::clone(&store) as Arc<dyn Store>, |operation, name| {
        if operation == Operation::Create && name.starts_with("state/") { Fate::Denied } else { Fate::Through }
    });
    let unlisting = Repository::open(Arc::new(unlisting), &SecretBytes::new(b"p".to_vec()), Environment::system()).await.expect("open");
    let first = backup(&unlisting, &[b"x"]).await;
    store.put(&format!("index/{first}/00000000"), "rubbish");
    let error = direct.forget(&[first]).await.expect_err("refused");
    assert!(error.to_string().contains("cannot be forgotten safely"), "{error}");
}

#[tokio::test]
async fn a_check_that_is_stopped_ends_its_lease() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    backup(&repository, &[b"x"]).await;
    let report = repository.check_until(CheckOptions::default(), &CheckProgress::default(), std::future::ready(())).await.expect("check");
    assert_eq!(report, None);
    let objects = store.objects();
    for lease in objects.keys().filter_map(|name| name.strip_prefix("leases/")?.strip_suffix("/00000000")) {
        assert!(objects.contains_key(&format!("snapshots/{lease}")), "{lease} goes on");
    }
}
