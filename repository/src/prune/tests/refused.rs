//! A store that does not let objects go: a lock on them, or keys that may add and not delete.

use super::*;

/// Two snapshots, the first of them forgotten: its data is unused.
async fn with_something_to_free(store: &Arc<MemoryStore>) -> (Repository, SnapshotId) {
    let repository = repository(store).await;
    let old = backup(&repository, 0..3).await;
    let kept = backup(&repository, 10..13).await;
    repository.forget(&[old]).await.expect("forget");
    (repository, kept)
}

#[tokio::test(start_paused = true)]
async fn what_is_locked_stays_due_and_the_rest_goes() {
    let store = Arc::new(MemoryStore::new());
    let (repository, kept) = with_something_to_free(&store).await;
    let before = names(&store, "packs/").len();
    let locks = ScriptedStore::new(Arc::clone(&store) as Arc<dyn Store>, |operation, name| match operation {
        Operation::Delete if name.starts_with("packs/data/") => Fate::Denied,
        _ => Fate::Through,
    });
    let locked = through(locks).await;
    let report = prune(&locked, &now()).await;
    assert_eq!((report.packs_deleted, report.deletions_refused), (1, 1), "{report:?}");
    assert!(report.refusal.as_ref().is_some_and(|said| said.contains("packs/data/")), "{report:?}");
    assert_eq!(names(&store, "packs/").len(), before - 1);
    restores(&repository, kept, 10..13).await;
    is_clean(&repository).await;
    // Asked for once by each prune, until it goes.
    assert_eq!(prune(&locked, &now()).await.deletions_refused, 1);
    let report = prune(&repository, &now()).await;
    assert_eq!((report.packs_deleted, report.deletions_refused), (1, 0), "{report:?}");
    assert_eq!(names(&store, "packs/").len(), before - 2);
}

/// Keys that delete nothing at all: backups, forgets and prunes go on, and with other keys everything goes in the end.
#[tokio::test(start_paused = true)]
async fn keys_without_the_right_to_delete_free_nothing_and_break_nothing() {
    let store = Arc::new(MemoryStore::new());
    let (repository, _) = with_something_to_free(&store).await;
    let keeps = ScriptedStore::new(Arc::clone(&store) as Arc<dyn Store>, |operation, _| match operation {
        Operation::Delete => Fate::Denied,
        _ => Fate::Through,
    });
    let keeps = through(keeps).await;
    let mut last = None;
    for round in 0..6 {
        let count = names(&store, "").len();
        let report = prune(&keeps, &now()).await;
        assert!(report.packs_deleted == 0 && report.objects_deleted == 0, "{report:?}");
        assert!(names(&store, "").len() >= count);
        let numbers = 100 + round * 10..103 + round * 10;
        let snapshot = backup(&keeps, numbers.clone()).await;
        restores(&keeps, snapshot, numbers).await;
        if let Some(before) = last.replace(snapshot) {
            keeps.forget(&[before]).await.expect("forget");
        }
    }
    is_clean(&keeps).await;
    let mut due = names(&store, "packs/").len();
    for _ in 0..3 {
        prune(&repository, &now()).await;
        let left = names(&store, "packs/").len();
        assert!(left <= due);
        due = left;
    }
    // The two snapshots that are kept: data, and catalogs with fine hashes and refs.
    assert_eq!(due, 4, "{:?}", names(&store, "packs/"));
    is_clean(&repository).await;
}
