//! What a restore has open that is forgotten since, and that a prune need not wait for.

use super::*;

/// The floor rises over the forgotten snapshot when the first packs go, and only later those go that it needs.
#[tokio::test(start_paused = true)]
async fn a_floor_that_rises_forgets_nothing_that_what_stays_condemned_is_asked_for() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let first = backup(&repository, 0..10).await;
    let second = backup(&repository, 20..30).await;
    let slow = begin(&repository).await;
    repository.forget(&[first]).await.expect("forget");
    prune(&repository, &no_wait()).await;
    let between = begin(&repository).await;
    repository.forget(&[second]).await.expect("forget");
    let report = prune(&repository, &no_wait()).await;
    assert!(report.packs_condemned >= 2 && report.packs_doomed == 0, "{report:?}");

    let before = names(&store, "packs/data").len();
    let content = add(&slow, 20..30).await;
    let opened = commit(&slow, content).await.expect("commit");
    assert_eq!(names(&store, "packs/data").len(), before, "it uses what was condemned since it began");
    let reader = repository.reader(purpose(Activity::Restore)).await.expect("reader");
    reader.snapshot(&opened).await.expect("accepted");
    repository.forget(&[opened]).await.expect("forget");

    let report = prune(&repository, &no_wait()).await;
    assert!(report.packs_doomed >= 2 && report.packs_waiting >= 2, "{report:?}");
    assert!(newest(&repository).await.floor > opened.state, "it has passed what was forgotten");
    between.abandon().await.expect("abandon");
    let report = prune(&repository, &no_wait()).await;
    assert!(report.packs_doomed == 0 && report.packs_taken_back >= 2, "{report:?}");
    for number in 20..30 {
        let id = repository.core.keys.blob_id(BlobKind::Data, &raw(number));
        assert_eq!(reader.read_blob(BlobKind::Data, &id).await.expect("read"), raw(number));
    }
    reader.close().await.expect("close");
    prune(&repository, &now()).await;
    let state = newest(&repository).await;
    assert!(state.forgotten.is_empty() && state.condemned.is_empty(), "{state:?}");
    assert_eq!(names(&store, "packs/"), [""; 0]);
}
