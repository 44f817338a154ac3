//! A prune that dies at any of its writes, or whose answers are lost.

use std::sync::atomic::AtomicU32;

use super::*;

/// What to prune: two snapshots stay, one goes, one backup was interrupted, one lease is dead.
async fn world() -> (Arc<MemoryStore>, Repository, [SnapshotId; 2]) {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let first = backup(&repository, 0..20).await;
    let old = backup(&repository, 20..60).await;
    let second = backup(&repository, 15..25).await;
    let writer = begin(&repository).await;
    add(&writer, 60..70).await;
    writer.checkpoint().await.expect("checkpoint");
    drop(writer);
    repository.forget(&[old]).await.expect("forget");
    (store, repository, [first, second])
}

async fn whole(repository: &Repository, [first, second]: [SnapshotId; 2]) {
    let mut expected = [first, second];
    expected.sort_unstable();
    assert_eq!(accepted(repository).await, expected);
    restores(repository, first, 0..20).await;
    restores(repository, second, 15..25).await;
    is_clean(repository).await;
}

fn is_write(operation: Operation) -> bool {
    matches!(operation, Operation::Create | Operation::Delete)
}

#[tokio::test(start_paused = true)]
async fn dying_at_any_write_harms_nothing_and_the_next_goes_on() {
    let mut died = 0;
    for last in 0..200 {
        let (store, direct, snapshots) = world().await;
        let count = AtomicU32::new(0);
        // From its write number `last` on nothing more is done: before it, or only its answer did not arrive.
        let dying = through(ScriptedStore::new(Arc::clone(&store) as Arc<dyn Store>, move |operation, _| {
            if !is_write(operation) {
                return Fate::Through;
            }
            match count.fetch_add(1, Ordering::Relaxed).cmp(&(last / 2)) {
                std::cmp::Ordering::Less => Fate::Through,
                std::cmp::Ordering::Equal if last % 2 == 1 => Fate::AnswerLost,
                _ => Fate::Denied,
            }
        }))
        .await;
        let result = dying.prune(&now(), &PruneProgress::default(), std::future::pending()).await;
        whole(&direct, snapshots).await;
        let during = backup(&direct, 50..70).await;
        restores(&direct, during, 50..70).await;
        prune(&direct, &now()).await;
        whole_and(&direct, snapshots, during).await;
        assert!(newest(&direct).await.condemned.is_empty());
        match result {
            Err(_) => died += 1,
            Ok(_) => {
                assert!(died >= 10, "only {died} writes");
                return;
            }
        }
    }
    panic!("it never comes to its end");
}

async fn whole_and(repository: &Repository, [first, second]: [SnapshotId; 2], third: SnapshotId) {
    restores(repository, first, 0..20).await;
    restores(repository, second, 15..25).await;
    restores(repository, third, 50..70).await;
    is_clean(repository).await;
}

#[tokio::test(start_paused = true)]
async fn lost_answers_are_looked_after() {
    let (store, direct, snapshots) = world().await;
    let deaf = through(ScriptedStore::new(Arc::clone(&store) as Arc<dyn Store>, |operation, _| {
        if operation == Operation::Create { Fate::AnswerLost } else { Fate::Through }
    }))
    .await;
    let report = prune(&deaf, &now()).await;
    assert!(report.packs_deleted >= 2, "{report:?}");
    whole(&direct, snapshots).await;
}

#[tokio::test(start_paused = true)]
pub(super) async fn what_is_deleted_was_doomed_by_a_published_state() {
    let (store, direct, snapshots) = world().await;
    let (inner, core) = (Arc::clone(&store), Arc::clone(&direct.core));
    let watching = through(ScriptedStore::new(Arc::clone(&store) as Arc<dyn Store>, move |operation, name| {
        if operation == Operation::Delete && name.starts_with("packs/") {
            let newest = futures::executor::block_on(state::newest(&core)).expect("state");
            assert!(newest.doomed.iter().any(|pack| pack.to_string() == name), "{name} is not doomed");
            assert!(inner.objects().contains_key(name));
        }
        Fate::Through
    }))
    .await;
    prune(&watching, &now()).await;
    whole(&direct, snapshots).await;
}
