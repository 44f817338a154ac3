//! Packs that are gone, and what a backup makes of it.

use std::sync::Arc;

use super::*;
use crate::environment::Environment;
use crate::lease::{Activity, Purpose};
use crate::repository::Repository;
use crate::secret::SecretBytes;
use crate::snapshot::SnapshotDraft;
use crate::state;
use crate::store::Store;
use crate::testing::{Fate, MemoryStore, Operation, ScriptedStore};
use crate::view::Looker;
use crate::{BlobId, BlobKind, Scratch, SnapshotId};

fn password() -> SecretBytes {
    SecretBytes::new(b"p".to_vec())
}

fn purpose(activity: Activity) -> Purpose {
    Purpose::new(activity, "test")
}

async fn repository(store: &Arc<MemoryStore>) -> Repository {
    Repository::init(Arc::clone(store) as Arc<dyn Store>, &password(), Environment::system()).await.expect("init").repository
}

const DATA: [&[u8]; 2] = [b"one blob", b"and another"];

/// Backs up the same two blobs; how many of them were sent.
async fn backup(repository: &Repository) -> (SnapshotId, usize) {
    let writer = repository.begin(purpose(Activity::Backup)).await.expect("begin");
    let mut sent = 0;
    let mut refs: Vec<(BlobId, u64)> = Vec::new();
    for raw in DATA {
        let id = writer.blob_id(BlobKind::Data, raw);
        let added = writer.add_async(BlobKind::Data, id, raw, None, &mut Scratch::new()).await.expect("add");
        sent += usize::from(added.was_new);
        refs.push((id, raw.len() as u64));
    }
    refs.sort_unstable();
    (writer.commit(SnapshotDraft::default(), || refs.iter().copied()).await.expect("commit"), sent)
}

async fn restores(repository: &Repository, snapshot: &SnapshotId) -> bool {
    let reader = repository.reader(purpose(Activity::Restore)).await.expect("reader");
    reader.snapshot(snapshot).await.expect("accepted");
    let mut whole = true;
    for raw in DATA {
        let id = repository.core.keys.blob_id(BlobKind::Data, raw);
        whole &= reader.read_blob(BlobKind::Data, &id).await.is_ok_and(|read| read == raw);
    }
    // What it found is not published: a backup finds it by itself.
    reader.end().await.expect("end");
    whole
}

fn data_pack(store: &MemoryStore) -> String {
    store.objects().into_keys().find(|name| name.starts_with("packs/data/")).expect("a data pack")
}

#[tokio::test]
async fn what_a_lost_pack_held_is_stored_again() {
    for cut in [false, true] {
        let store = Arc::new(MemoryStore::new());
        let repository = repository(&store).await;
        let (first, sent) = backup(&repository).await;
        assert_eq!((sent, backup(&repository).await.1), (2, 0));
        let pack = data_pack(&store);
        let object = store.take(&pack).expect("there");
        if cut {
            store.put(&pack, object.slice(..object.len() / 2));
        }
        // What is left of the one that was cut is its blobs, as it happens: the rest was padding.
        assert_eq!(restores(&repository, &first).await, cut);
        let (second, sent) = backup(&repository).await;
        assert_eq!(sent, 2, "cut: {cut}");
        assert!(restores(&repository, &second).await && restores(&repository, &first).await);
        let state = state::newest(&repository.core).await.expect("state");
        assert_eq!(state.bad_packs.iter().map(ToString::to_string).collect::<Vec<_>>(), [pack]);
        assert_eq!(backup(&repository).await.1, 0, "once is enough");
    }
}

/// Looking is a service, not a condition.
#[tokio::test]
async fn a_store_that_cannot_be_listed_is_used_as_it_is() {
    let store = Arc::new(MemoryStore::new());
    backup(&repository(&store).await).await;
    let inner = Arc::clone(&store) as Arc<dyn Store>;
    let scripted = ScriptedStore::new(inner, |operation, name| match operation {
        Operation::List if name.starts_with("packs") => Fate::Denied,
        _ => Fate::Through,
    });
    let repository = Repository::open(Arc::new(scripted), &password(), Environment::system()).await.expect("open");
    assert_eq!(backup(&repository).await.1, 0);
}

/// A listing that lies (another's cache, a proxy) costs a question for each pack, and nothing is stored again.
#[tokio::test]
async fn what_a_listing_leaves_out_is_asked_for() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    backup(&repository).await;
    let view = View::load(&repository.core, state::newest(&repository.core).await.expect("state"), Looker::Writer).await.expect("view");
    let bad = lost(&repository.core, &view, Some(Lengths::new()), LISTED_MAX).await.expect("lost");
    assert!(bad.is_empty());
}

#[tokio::test]
async fn of_many_packs_each_backup_looks_at_some() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    for _ in 0..20 {
        let writer = repository.begin(purpose(Activity::Backup)).await.expect("begin");
        let raw = repository.core.environment.random::<32>();
        let id = writer.blob_id(BlobKind::Data, &raw);
        writer.add_async(BlobKind::Data, id, &raw, None, &mut Scratch::new()).await.expect("add");
        writer.commit(SnapshotDraft::default(), || [(id, 32)].into_iter()).await.expect("commit");
    }
    let pack = data_pack(&store);
    store.take(&pack);
    let view = View::load(&repository.core, state::newest(&repository.core).await.expect("state"), Looker::Writer).await.expect("view");
    assert_eq!(list(&repository.core, 10).await.expect("list"), None, "too many");
    let mut looks = 0;
    loop {
        looks += 1;
        let bad = lost(&repository.core, &view, None, 10).await.expect("lost");
        if !bad.is_empty() {
            assert_eq!(bad.packs.iter().map(ToString::to_string).collect::<Vec<_>>(), [pack]);
            break;
        }
        assert!(looks < 200, "a quarter of the folders each time");
    }
}

#[test]
fn a_sample_is_bounded() {
    let chance = std::array::from_fn(|at| at as u8);
    assert_eq!(sample(0, 10, chance).len(), FOLDERS);
    assert_eq!(sample(40_000, 20_000, chance).len(), 128);
    assert_eq!(sample(100_000_000, 20_000, chance).len(), 1);
}
