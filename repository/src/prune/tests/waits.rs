//! Leases: which hold a prune up, and for how long.

use super::*;

#[tokio::test(start_paused = true)]
pub(super) async fn it_waits_for_a_living_writer_however_long_that_takes() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let old = backup(&repository, 0..20).await;
    let writer = begin(&repository).await;
    repository.forget(&[old]).await.expect("forget");
    let waiting = async {
        let report = prune(&repository, &now()).await;
        (report, tokio::time::Instant::now())
    };
    let writing = async {
        tokio::time::sleep(Duration::from_secs(3 * 3600)).await;
        let content = add(&writer, 0..20).await;
        let id = commit(&writer, content).await.expect("commit");
        (id, tokio::time::Instant::now())
    };
    let ((report, pruned_at), (id, committed_at)) = tokio::join!(waiting, writing);
    assert!(pruned_at >= committed_at && pruned_at - committed_at < Duration::from_secs(20));
    assert_eq!(report.fenced, []);
    assert!(id.state < newest(&repository).await.floor, "not by a new lease");
    restores(&repository, id, 0..20).await;
    is_clean(&repository).await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_lease_is_fenced_after_the_fence_time_and_not_before() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let old = backup(&repository, 0..20).await;
    let writer = begin(&repository).await;
    let lease = writer.lease().expect("lease");
    drop(writer); // Killed: no ending.
    repository.forget(&[old]).await.expect("forget");
    let begun = tokio::time::Instant::now();
    let progress = PruneProgress::default();
    let pruned = async {
        let report = repository.prune(&now(), &progress, std::future::pending()).await.expect("prune");
        (report, begun.elapsed())
    };
    let watched = async {
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert_eq!(progress.waiting_for().iter().map(|waiting| waiting.lease).collect::<Vec<_>>(), [lease]);
        assert_eq!(progress.waiting_for()[0].to_string(), format!("a backup on node ({})", lease.short()));
    };
    let ((report, took), ()) = tokio::join!(pruned, watched);
    assert_eq!(report.fenced, [lease]);
    assert!((Duration::from_secs(600)..Duration::from_secs(630)).contains(&took), "{took:?}");
    assert_eq!(names(&store, "packs/"), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_fenced_living_writer_commits_all_the_same() {
    let store = Arc::new(MemoryStore::new());
    let direct = repository(&store).await;
    let old = backup(&direct, 0..20).await;
    // Its heartbeats do not arrive.
    let deaf = through(ScriptedStore::new(Arc::clone(&store) as Arc<dyn Store>, |operation, name| {
        if operation == Operation::Create && name.starts_with("leases/") && !name.ends_with("/00000000") { Fate::Lost } else { Fate::Through }
    }))
    .await;
    let writer = begin(&deaf).await;
    let lease = writer.lease().expect("lease");
    add(&writer, 0..30).await;
    writer.checkpoint().await.expect("checkpoint");
    direct.forget(&[old]).await.expect("forget");
    let report = prune(&direct, &now()).await;
    assert_eq!(report.fenced, [lease]);
    let mut tries = 0;
    let id = loop {
        let content = add(&writer, 0..30).await;
        match commit(&writer, content).await {
            Ok(id) => break id,
            Err(CommitError::Gone { .. }) if tries < 3 => tries += 1,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(id != lease && tries > 0, "what it used is gone, and was sent again");
    restores(&direct, id, 0..30).await;
    is_clean(&direct).await;
    prune(&direct, &no_wait()).await;
    restores(&direct, id, 0..30).await;
}

#[tokio::test(start_paused = true)]
async fn without_waiting_it_reclaims_the_rest_and_says_for_whom_it_would_wait() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let first = backup(&repository, 0..20).await;
    let second = backup(&repository, 20..40).await;
    repository.forget(&[first]).await.expect("forget");
    let early = begin(&repository).await;
    // Condemned while the early writer lives.
    let report = prune(&repository, &no_wait()).await;
    assert_eq!(report.packs_doomed, 0);
    assert_eq!(report.waiting_for.iter().map(|waiting| waiting.lease).collect::<Vec<_>>(), [early.lease().expect("lease")]);
    early.abandon().await.expect("abandon");
    // Now only a later one lives, who has seen the first packs condemned.
    let late = begin(&repository).await;
    repository.forget(&[second]).await.expect("forget");
    let report = prune(&repository, &no_wait()).await;
    assert!(report.packs_doomed >= 1 && report.packs_waiting >= 1, "{report:?}");
    assert_eq!(report.waiting_for.len(), 1);
    let content = add(&late, 20..40).await;
    let id = commit(&late, content).await.expect("commit");
    assert_eq!(id.state, report.waiting_for[0].lease.state, "its lease still counts");
    restores(&repository, id, 20..40).await;
    prune(&repository, &now()).await;
    restores(&repository, id, 20..40).await;
    is_clean(&repository).await;
}

/// What is open stays readable while its lease lives.
#[tokio::test(start_paused = true)]
async fn a_restore_holds_what_it_reads() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let old = backup(&repository, 0..20).await;
    let reader = repository.reader(purpose(Activity::Restore)).await.expect("reader");
    repository.forget(&[old]).await.expect("forget");
    let reading = async {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        for number in 0..20 {
            let id = repository.core.keys.blob_id(BlobKind::Data, &raw(number));
            assert_eq!(reader.read_blob(BlobKind::Data, &id).await.expect("read"), raw(number));
        }
        reader.clone().close().await.expect("close");
    };
    let options = now();
    let ((), report) = tokio::join!(reading, prune(&repository, &options));
    assert!(report.packs_deleted >= 1);
    assert_eq!(names(&store, "packs/"), [""; 0]);
}

/// A writer reads a state, a prune publishes and lists the leases, and only then the writer's lease lands: it begins anew.
#[tokio::test(start_paused = true)]
pub(super) async fn a_lease_that_lands_after_the_publish_is_not_worked_under() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let old = backup(&repository, 0..20).await;
    repository.forget(&[old]).await.expect("forget");
    let seen = newest(&repository).await;
    stepwise!(prune, look, goal = repository, now());
    assert_eq!(prune.covered(goal, 0, &mut Watch::default()).await.expect("covered"), goal, "no lease yet");
    let (lease, state) = crate::lease::Lease::take_having_seen(&repository.core, &purpose(Activity::Backup), seen.clone()).await.expect("lease");
    assert!(lease.id.state >= goal && state.number >= goal && seen.number < goal);
    prune.reclaim(&mut look, goal).await.expect("reclaim");
    prune.sweep(&look).await.expect("sweep");
    assert_eq!(names(&store, "packs/data"), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_wait_and_the_next_prune_goes_on() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let old = backup(&repository, 0..20).await;
    let writer = begin(&repository).await;
    repository.forget(&[old]).await.expect("forget");
    let stopped = repository.prune(&now(), &PruneProgress::default(), tokio::time::sleep(Duration::from_secs(60))).await;
    assert!(matches!(stopped, Err(PruneError::Stopped)));
    assert!(!newest(&repository).await.condemned.is_empty());
    writer.abandon().await.expect("abandon");
    let report = prune(&repository, &PruneOptions { now: false, ..now() }).await;
    assert!(report.packs_deleted >= 1, "condemned is condemned: {report:?}");
}
