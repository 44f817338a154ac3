//! What may go and what may not.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_only_a_forgotten_snapshot_used_is_deleted() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let old = backup(&repository, 0..50).await;
    let kept = backup(&repository, 50..60).await;
    repository.forget(&[old]).await.expect("forget");
    let report = prune(&repository, &now()).await;
    assert!(report.packs_deleted >= 2 && report.bytes_deleted > 0, "{report:?}");
    assert_eq!((report.snapshots, report.packs_waiting), (1, 0));
    restores(&repository, kept, 50..60).await;
    is_clean(&repository).await;

    repository.forget(&[kept]).await.expect("forget");
    prune(&repository, &now()).await;
    assert_eq!(names(&store, "packs/"), [""; 0], "nothing is used");
    let again = backup(&repository, 0..60).await;
    restores(&repository, again, 0..60).await;
    is_clean(&repository).await;
}

#[tokio::test(start_paused = true)]
async fn one_mark_condemns_nothing_and_an_interrupted_backup_resumes() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let old = backup(&repository, 100..110).await;
    let writer = begin(&repository).await;
    add(&writer, 0..50).await;
    writer.checkpoint().await.expect("checkpoint");
    writer.abandon().await.expect("abandon");
    let before = names(&store, "packs/data");

    let two_marks = PruneOptions { now: false, ..now() };
    let report = prune(&repository, &two_marks).await;
    assert!(report.packs_unused >= 2 && report.packs_condemned == 0, "{report:?}");
    assert_eq!(names(&store, "packs/data"), before);
    let writer = begin(&repository).await;
    let content = add(&writer, 0..50).await;
    writer.checkpoint().await.expect("checkpoint");
    assert_eq!(names(&store, "packs/data"), before, "what was sent is not sent again, whatever the floor");
    writer.abandon().await.expect("abandon");
    drop(content);

    let report = prune(&repository, &two_marks).await;
    assert!(report.packs_deleted >= 2, "the second mark condemns: {report:?}");
    restores(&repository, old, 100..110).await;
    is_clean(&repository).await;
}

#[tokio::test(start_paused = true)]
async fn two_prunes_at_once_are_one_mark() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let old = backup(&repository, 0..5).await;
    repository.forget(&[old]).await.expect("forget");
    let (options, progress) = (PruneOptions { now: false, ..now() }, PruneProgress::default());
    let (mut first, first_begun) = Prune::begin(&repository.core, &options, &progress).await.expect("begin");
    let (mut second, second_begun) = Prune::begin(&repository.core, &options, &progress).await.expect("begin");
    first.condemn(&first_begun).await.expect("condemn");
    second.condemn(&second_begun).await.expect("condemn");
    assert_eq!((first.report.packs_condemned, second.report.packs_condemned), (0, 0));
    assert!(!newest(&repository).await.unused.is_empty());
    assert_eq!(names(&store, "packs/data").len(), 1);
}

/// A writer that began before condemned packs were: what it uses of them is taken back before anything is deleted.
#[tokio::test(start_paused = true)]
pub(super) async fn take_back_against_delete() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let old = backup(&repository, 0..50).await;
    let writer = begin(&repository).await;
    repository.forget(&[old]).await.expect("forget");
    stepwise!(prune, look, goal = repository, now());
    assert!(!look.state.condemned.is_empty());
    let before = names(&store, "packs/data");
    let content = add(&writer, 0..50).await;
    let id = commit(&writer, content).await.expect("commit");
    assert_eq!(names(&store, "packs/data"), before, "it uses what is condemned since");
    prune.reclaim(&mut look, goal).await.expect("reclaim");
    prune.sweep(&look).await.expect("sweep");
    assert!(prune.report.packs_taken_back >= 1, "{:?}", prune.report);
    assert!(newest(&repository).await.condemned.is_empty());
    restores(&repository, id, 0..50).await;
    is_clean(&repository).await;
}

/// The commit comes while the mark is on its way to the store: the publish loses the race and merges.
#[tokio::test(start_paused = true)]
async fn a_commit_between_mark_and_lease_list() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let old = backup(&repository, 0..50).await;
    let writer = begin(&repository).await;
    repository.forget(&[old]).await.expect("forget");
    let (options, progress) = (now(), PruneProgress::default());
    let (mut prune, begun) = Prune::begin(&repository.core, &options, &progress).await.expect("begin");
    let look = Look::take(&repository.core, &Opened::new(), &mut prune.inventory, 1 << 20, &progress).await.expect("look");
    let content = add(&writer, 0..50).await;
    let id = commit(&writer, content).await.expect("commit");
    let published = state::publish_after(&repository.core, look.state.clone(), |current| {
        let mut next = current.clone();
        next.prune_epoch += 1;
        next.condemned.extend(prune.marks(&look, &begun).condemned.keys().map(|pack| (*pack, current.number + 1)));
        Some(next)
    });
    let goal = published.await.expect("publish").number;
    let mut look = Look { state: newest(&repository).await, ..look };
    assert!(!look.state.condemned.is_empty());
    prune.reclaim(&mut look, goal).await.expect("reclaim");
    prune.sweep(&look).await.expect("sweep");
    restores(&repository, id, 0..50).await;
    is_clean(&repository).await;
}

#[tokio::test(start_paused = true)]
async fn a_parent_condemned_between_two_states_is_sent_again() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let old = backup(&repository, 0..50).await;
    repository.forget(&[old]).await.expect("forget");
    stepwise!(prune, look, goal = repository, now());
    let before = names(&store, "packs/data").len();
    let new = backup(&repository, 0..50).await;
    assert!(names(&store, "packs/data").len() > before, "condemned packs are not used");
    prune.reclaim(&mut look, goal).await.expect("reclaim");
    prune.sweep(&look).await.expect("sweep");
    assert!(prune.report.packs_deleted >= 1 && prune.report.packs_taken_back == 0, "{:?}", prune.report);
    restores(&repository, new, 0..50).await;
    is_clean(&repository).await;
}

/// Rule "the state that condemned": the first prune has waited for those who saw what it condemned itself, not for those who may
/// use what another has condemned since.
#[tokio::test(start_paused = true)]
pub(super) async fn what_another_prune_condemned_since_is_not_doomed() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let first = backup(&repository, 0..20).await;
    let second = backup(&repository, 20..40).await;
    repository.forget(&[first]).await.expect("forget");
    stepwise!(one, one_look, one_goal = repository, now());
    let writer = begin(&repository).await;
    repository.forget(&[second]).await.expect("forget");
    let other = prune(&repository, &no_wait()).await;
    assert!(other.packs_condemned >= 1 && other.packs_waiting >= 1, "{other:?}");
    one.reclaim(&mut one_look, one_goal).await.expect("reclaim");
    one.sweep(&one_look).await.expect("sweep");
    let content = add(&writer, 20..40).await;
    let id = commit(&writer, content).await.expect("commit");
    restores(&repository, id, 20..40).await;
    prune(&repository, &now()).await;
    restores(&repository, id, 20..40).await;
    is_clean(&repository).await;
}

#[tokio::test(start_paused = true)]
async fn two_pruners_at_once_free_everything_once() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let first = backup(&repository, 0..10).await;
    let second = backup(&repository, 10..20).await;
    let kept = backup(&repository, 20..22).await;
    repository.forget(&[first]).await.expect("forget");
    stepwise!(one, one_look, one_goal = repository, now());
    repository.forget(&[second]).await.expect("forget");
    stepwise!(two, two_look, two_goal = repository, now());
    // Both look, both publish: the second finds that the first did, looks again, and finds the rest.
    two.reclaim(&mut two_look, two_goal).await.expect("reclaim");
    one.reclaim(&mut one_look, one_goal).await.expect("reclaim");
    assert!(two.report.packs_doomed >= 4 && one.report.packs_doomed == 0, "{:?} {:?}", one.report, two.report);
    one.sweep(&one_look).await.expect("sweep");
    two.sweep(&two_look).await.expect("sweep");
    assert!(newest(&repository).await.condemned.is_empty());
    restores(&repository, kept, 20..22).await;
    is_clean(&repository).await;
}

/// A fenced writer's run arrives when the floor has passed: its packs may be gone.
#[tokio::test(start_paused = true)]
async fn the_run_of_a_zombie_is_void_and_doomed_never_returns() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let kept = backup(&repository, 100..102).await;
    let writer = begin(&repository).await;
    add(&writer, 0..20).await;
    writer.checkpoint().await.expect("checkpoint");
    let lease = writer.lease().expect("lease");
    drop(writer);
    let run = names(&store, &format!("index/{lease}")).remove(0);
    let late = store.take(&run).expect("run");
    let report = prune(&repository, &now()).await;
    assert_eq!((report.fenced.as_slice(), report.packs_deleted), (&[lease][..], 2), "data and fine hashes");
    let doomed = newest(&repository).await.doomed;
    assert_eq!(doomed.len(), 2);
    store.put(&run, late);

    let new = backup(&repository, 0..20).await;
    restores(&repository, new, 0..20).await;
    is_clean(&repository).await;
    prune(&repository, &now()).await;
    assert!(doomed.is_subset(&newest(&repository).await.doomed));
    restores(&repository, new, 0..20).await;
    restores(&repository, kept, 100..102).await;
    is_clean(&repository).await;
}

/// A writer takes up what an interrupted backup had indexed, while a prune raises the floor over that backup's lease: the runs that
/// it depends on are listed by the same publish, so they do not become void under it.
#[tokio::test(start_paused = true)]
async fn a_run_that_is_taken_up_while_the_floor_rises_stays() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let old = backup(&repository, 100..110).await;
    let interrupted = begin(&repository).await;
    add(&interrupted, 0..20).await;
    interrupted.checkpoint().await.expect("checkpoint");
    interrupted.abandon().await.expect("abandon");
    repository.forget(&[old]).await.expect("forget");
    prune(&repository, &PruneOptions { now: false, no_wait: true, ..now() }).await;
    let third = begin(&repository).await;
    add(&third, 30..40).await;
    third.checkpoint().await.expect("checkpoint");
    third.abandon().await.expect("abandon");

    // The second mark condemns what the first found, not what came after it.
    stepwise!(prune, look, goal = repository, PruneOptions { now: false, ..now() });
    let before = names(&store, "packs/data").len();
    let writer = begin(&repository).await;
    let content = add(&writer, 30..40).await;
    prune.reclaim(&mut look, goal).await.expect("reclaim");
    prune.sweep(&look).await.expect("sweep");
    assert!(newest(&repository).await.floor > third_lease(&store), "the floor has passed the interrupted lease");
    let id = commit(&writer, content).await.expect("commit");
    assert!(names(&store, "packs/data").len() < before, "what was condemned is gone, and nothing was sent again");
    for _ in 0..3 {
        super::prune(&repository, &now()).await;
        restores(&repository, id, 30..40).await;
        is_clean(&repository).await;
    }
}

/// The state that the last interrupted lease saw.
fn third_lease(store: &MemoryStore) -> u64 {
    let leases = names(store, "leases/").into_iter().filter_map(|name| crate::lease::parse_object_name(&name));
    leases.map(|(lease, _)| lease.state).rev().nth(1).expect("lease")
}

#[tokio::test(start_paused = true)]
pub(super) async fn what_cannot_be_read_stops_it_before_anything_is_published() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let old = backup(&repository, 0..20).await;
    let kept = backup(&repository, 10..30).await;
    repository.forget(&[old]).await.expect("forget");
    let snapshot = snapshot::object_name(&kept);
    let meta = names(&store, "packs/meta");
    for name in names(&store, "index/").into_iter().chain([snapshot]).chain(meta.clone()) {
        let object = store.take(&name).expect("object");
        for damaged in [None, Some("rubbish")] {
            store.take(&name);
            damaged.into_iter().for_each(|damaged| store.put(&name, damaged));
            let before = store.objects();
            let options = PruneOptions { dry_run: meta.contains(&name), ..now() };
            let result = repository.prune(&options, &PruneProgress::default(), std::future::pending()).await;
            // Of the packs of metadata only the last snapshot's holds refs that are marked by.
            if meta.contains(&name) && result.is_ok() {
                continue;
            }
            let error = result.expect_err("stopped");
            assert!(matches!(error, PruneError::Unreadable(_) | PruneError::Unlisted { .. } | PruneError::Read(_)), "{name}: {error}");
            assert!(error.to_string().contains(&name), "{name}: {error}");
            assert_eq!(store.objects(), before, "{name}");
        }
        store.put(&name, object);
    }
    restores(&repository, kept, 10..30).await;
}

#[tokio::test(start_paused = true)]
async fn an_index_that_lacks_what_a_snapshot_needs_stops_it() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    backup(&repository, 0..20).await;
    let old = backup(&repository, 20..30).await;
    repository.forget(&[old]).await.expect("forget");
    // As a bug or a repair gone wrong would: a state that lost the first run.
    state::publish(&repository.core, |state| {
        let mut next = state.clone();
        next.runs.pop_first();
        Some(next)
    })
    .await
    .expect("publish");
    let before = store.objects();
    let error = repository.prune(&now(), &PruneProgress::default(), std::future::pending()).await.expect_err("stopped");
    assert!(matches!(error, PruneError::Unlisted { .. } | PruneError::Unreadable(_)), "{error}");
    assert_eq!(store.objects(), before);
}

#[tokio::test(start_paused = true)]
async fn a_copy_found_rotten_keeps_no_other_copy_from_staying() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let old = backup(&repository, 0..20).await;
    let rotten = names(&store, "packs/data").remove(0);
    let pack = PackName { class: crate::blob::PackClass::Data, id: rotten.rsplit('/').next().expect("id").parse().expect("id") };
    state::publish(&repository.core, |state| {
        let mut next = state.clone();
        next.bad_packs.insert(pack);
        Some(next)
    })
    .await
    .expect("publish");
    let healed = backup(&repository, 0..20).await;
    prune(&repository, &now()).await;
    assert!(!names(&store, "packs/data").contains(&rotten), "the good copy is enough");
    assert!(newest(&repository).await.bad_packs.is_empty());
    restores(&repository, old, 0..20).await;
    restores(&repository, healed, 0..20).await;
    is_clean(&repository).await;
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_changes_nothing_and_counts_the_same() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let old = backup(&repository, 0..20).await;
    repository.forget(&[old]).await.expect("forget");
    let before = store.objects();
    let dry = prune(&repository, &PruneOptions { dry_run: true, ..now() }).await;
    assert_eq!(store.objects(), before);
    let real = prune(&repository, &now()).await;
    assert_eq!((dry.packs_condemned, dry.packs), (real.packs_condemned, real.packs));
    assert!(dry.packs_condemned >= 1);
}

#[tokio::test(start_paused = true)]
async fn a_prune_of_nothing_publishes_nothing() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    backup(&repository, 0..20).await;
    let before = store.objects();
    prune(&repository, &now()).await;
    assert_eq!(store.objects(), before);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_overwrites_is_refused_unless_writers_are_held() {
    let store = Arc::new(MemoryStore::overwriting());
    let repository = Repository::init(store, &password(), environment()).await.expect("init").repository;
    let old = backup(&repository, 0..5).await;
    repository.forget(&[old]).await.expect("forget");
    let refused = repository.prune(&now(), &PruneProgress::default(), std::future::pending()).await;
    assert!(matches!(refused, Err(PruneError::WritersNotHeld)), "{refused:?}");
    let report = prune(&repository, &PruneOptions { writers_held: true, ..now() }).await;
    assert!(report.packs_deleted >= 1);
}

#[tokio::test(start_paused = true)]
async fn old_leases_endings_runs_and_states_go_and_snapshots_stay() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let kept = backup(&repository, 1000..1010).await;
    for round in 0..6 {
        let old = backup(&repository, round * 10..round * 10 + 10).await;
        restores(&repository, kept, 1000..1010).await;
        repository.forget(&[old]).await.expect("forget");
        prune(&repository, &now()).await;
    }
    let count = |folder: &str| names(&store, folder).len();
    assert!(count("leases/") <= 8 && count("state/") <= 12 && count("index/") <= 4, "{:#?}", store.objects().into_keys());
    assert!(names(&store, "snapshots/").contains(&snapshot::object_name(&kept)));
    assert_eq!(accepted(&repository).await, [kept]);
    restores(&repository, kept, 1000..1010).await;
    is_clean(&repository).await;
}

/// A zombie's run lands after the prune has listed the runs, and a writer that saw the state before the floor rose takes it up.
#[tokio::test(start_paused = true)]
pub(super) async fn a_zombies_late_run_that_was_taken_up_is_not_deleted_under_its_user() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let old = backup(&repository, 100..110).await;
    let zombie = begin(&repository).await;
    let lease = zombie.lease().expect("lease");
    repository.forget(&[old]).await.expect("forget");
    stepwise!(prune, look, goal = repository, now());
    crate::testing::fence(&repository, &lease, "pruner").await.expect("fence");
    add(&zombie, 0..20).await;
    zombie.checkpoint().await.expect("checkpoint");
    let run = names(&store, &format!("index/{lease}")).remove(0);
    let writer = begin(&repository).await;
    let before = names(&store, "packs/data").len();
    let content = add(&writer, 0..20).await;
    // As if it had not been there when the prune listed the runs.
    let late = store.take(&run).expect("run");
    prune.covered(goal, 0, &mut Watch::default()).await.expect("covered");
    prune.doom(&mut look, goal, goal, &mut Watch::default()).await.expect("doom");
    store.put(&run, late);
    prune.sweep(&look).await.expect("sweep");
    let id = commit(&writer, content).await.expect("commit");
    assert!(names(&store, "packs/data").len() <= before && store.objects().contains_key(&run));
    for _ in 0..3 {
        restores(&repository, id, 0..20).await;
        is_clean(&repository).await;
        let gone = backup(&repository, 200..210).await;
        repository.forget(&[gone]).await.expect("forget");
        super::prune(&repository, &now()).await;
    }
    restores(&repository, id, 0..20).await;
}
