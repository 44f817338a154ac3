//! Writers that are late: zombies, delayed writes, lost answers; and what was stored and is not what it was.

use holdfast_repository::testing::{Operation, fence};
use holdfast_repository::{Activity, CheckOptions, CheckProgress, Purpose};

use super::gate::Way;
use super::{Stage, a_while};

/// A writer hangs with its run on the way; a prune fences it and deletes what it sent; then the run arrives. It is void by its name:
/// the next backup sees that its packs may be gone, and sends them.
pub(super) async fn the_zombies_late_index_run() {
    let stage = Stage::new().await;
    let (zombie, pruner, next) = (stage.actor("zombie").await, stage.actor("pruner").await, stage.actor("next").await);
    let run = zombie.gate.hold(Operation::Create, "index/");
    drop(zombie.start_backup(&[1, 2, 3]));
    run.arrived().await;
    zombie.gate.freeze();
    assert!(stage.packs() > 0, "packs come before runs");
    let report = pruner.prune().await.unwrap();
    assert_eq!((report.fenced.len(), stage.packs()), (1, 0));
    // What was doomed leaves the list in time.
    for seeds in [[4, 5], [6, 7], [8, 9]] {
        let passing = pruner.back_up(&seeds).await;
        pruner.forget(passing).await;
        pruner.prune().await.unwrap();
    }
    run.release(Way::Through).await;
    next.back_up(&[1, 2, 3]).await;
    stage.end().await;
}

/// A zombie's packs, and then its run, arrive so late that the prune that fenced it has seen neither. Before the floor rises above them a
/// backup takes the run up, and is the only one who knows: it is there until that backup has committed.
pub(super) async fn a_late_run_that_is_taken_up_before_the_floor_rises() {
    let stage = Stage::new().await;
    let (old, zombie, writer, pruner) = (stage.actor("old").await, stage.actor("zombie").await, stage.actor("writer").await, stage.actor("pruner").await);
    let first = old.back_up(&[4, 5]).await;
    let (pack, run) = (zombie.gate.hold(Operation::Create, "packs/data/"), zombie.gate.hold(Operation::Create, "index/"));
    drop(zombie.start_backup(&[1, 2, 3]));
    pack.arrived().await;
    zombie.gate.freeze();
    old.forget(first).await;
    let (prune, doom) = pruner.start_prune_up_to(Operation::Create, "state/").await;
    pack.release(Way::Through).await;
    zombie.gate.thaw();
    run.arrived().await;
    zombie.gate.freeze();
    doom.arrived().await;
    run.release(Way::Through).await;
    let packs = stage.world.names("packs/data/");
    let commit = writer.gate.hold(Operation::Create, "snapshots/");
    let backup = writer.start_backup(&[1, 2, 3]);
    commit.arrived().await;
    assert_eq!(stage.world.names("packs/data/"), packs, "it was taken up, not sent again");
    doom.release(Way::Through).await;
    assert_eq!(prune.await.unwrap().unwrap().fenced.len(), 1);
    commit.release(Way::Through).await;
    backup.await.unwrap().unwrap();
    stage.oracle.look().unwrap();
    stage.end().await;
}

/// The two states are lost in which a prune has condemned and doomed what a fenced writer had sent, and then that writer's run arrives:
/// nothing else says any more that what it lists is gone.
pub(super) async fn a_late_run_after_two_lost_states() {
    let stage = Stage::new().await;
    let (zombie, pruner, next) = (stage.actor("zombie").await, stage.actor("pruner").await, stage.actor("next").await);
    let run = zombie.gate.hold(Operation::Create, "index/");
    drop(zombie.start_backup(&[1, 2, 3]));
    run.arrived().await;
    zombie.gate.freeze();
    assert_eq!((pruner.prune().await.unwrap().fenced.len(), stage.packs()), (1, 0));
    let states: Vec<String> = stage.world.names("state/").into_iter().rev().take(2).collect();
    states.iter().for_each(|state| stage.rot(state));
    next.back_up(&[8, 9]).await;
    stage.world.book.lock().unwrap().rotten.clear();
    run.release(Way::Through).await;
    next.back_up(&[1, 2, 3]).await;
    stage.end().await;
}

/// A commit that arrives when its lease was fenced, and even the tombstone is cleaned up: void by its name. Its writer, still alive,
/// is told so, and commits under a new lease.
pub(super) async fn a_delayed_put_after_the_tombstone_is_old() {
    let stage = Stage::new().await;
    let (writer, pruner) = (stage.actor("writer").await, stage.actor("pruner").await);
    let commit = writer.gate.hold(Operation::Create, "snapshots/");
    let backup = writer.start_backup(&[1, 2, 3]);
    commit.arrived().await;
    writer.gate.freeze();
    let fenced = pruner.prune().await.unwrap().fenced;
    assert_eq!(fenced.len(), 1);
    assert_eq!(stage.packs(), 0, "what it sent is gone");
    // Others work and are pruned, until even the tombstone is cleaned up.
    let tombstone = format!("snapshots/{}", fenced[0]);
    for seeds in [[4, 5], [6, 7], [8, 9]] {
        let passing = pruner.back_up(&seeds).await;
        pruner.forget(passing).await;
        pruner.prune().await.unwrap();
    }
    assert!(!stage.world.names("snapshots/").contains(&tombstone), "the tombstone is cleaned up");
    commit.release(Way::Through).await;
    assert!(stage.world.names("snapshots/").contains(&tombstone), "the commit stands");
    stage.oracle.look().unwrap();
    writer.gate.thaw();
    let committed = backup.await.unwrap().unwrap();
    assert_ne!(committed, fenced[0]);
    stage.end().await;
}

/// The commit happened and its answer is lost: it is a commit, once. If a tombstone stands there instead, it is none.
pub(super) async fn a_lost_commit_answer() {
    let stage = Stage::new().await;
    let (first, second, other) = (stage.actor("first").await, stage.actor("second").await, stage.actor("other").await);
    let commit = first.gate.hold(Operation::Create, "snapshots/");
    let backup = first.start_backup(&[1, 2, 3]);
    commit.arrived().await;
    commit.release(Way::AnswerLost).await;
    let id = backup.await.unwrap().unwrap();
    let all = other.repository.snapshots().await.unwrap().readable;
    assert_eq!(all.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [id]);

    let commit = second.gate.hold(Operation::Create, "snapshots/");
    let backup = second.start_backup(&[4, 5]);
    commit.arrived().await;
    let taken = stage.world.book.lock().unwrap().taken_by.clone();
    let lease = *taken.iter().find(|(_, by)| *by == "second").unwrap().0;
    fence(&other.repository, &lease, "other").await.unwrap();
    commit.release(Way::AnswerLost).await;
    let id = backup.await.unwrap().unwrap();
    assert_ne!(id, lease);
    stage.oracle.look().unwrap();
    stage.end().await;
}

/// Its heartbeats fail, it is fenced, what it sent is deleted; it lives, sends again what is gone, and commits under a new lease.
pub(super) async fn a_fenced_living_writer() {
    let stage = Stage::new().await;
    let (writer, pruner) = (stage.actor("writer").await, stage.actor("pruner").await);
    let commit = writer.gate.hold(Operation::Create, "snapshots/");
    let backup = writer.start_backup(&[1, 2, 3, 4]);
    commit.arrived().await;
    writer.gate.freeze();
    let fenced = pruner.prune().await.unwrap().fenced;
    assert_eq!((fenced.len(), stage.packs()), (1, 0));
    commit.release(Way::Through).await;
    writer.gate.thaw();
    assert_ne!(backup.await.unwrap().unwrap(), fenced[0]);
    stage.end().await;
}

/// Found rotten by a check, a pack is published as such: the next backup that sees its data sends it again, and heals the old snapshot.
pub(super) async fn a_rotten_pack_that_later_backups_would_dedup_on() {
    let stage = Stage::new().await;
    let (writer, checker) = (stage.actor("writer").await, stage.actor("checker").await);
    writer.back_up(&[1, 2, 3]).await;
    let pack = stage.world.names("packs/data/").into_iter().next().unwrap();
    stage.rot(&pack);
    let options = CheckOptions { trailers: true, read_data_percent: 100, publish_bad: true, ..CheckOptions::default() };
    let report = checker.repository.check(options, &CheckProgress::default()).await.unwrap();
    assert!(report.findings.iter().any(|finding| finding.object == pack && finding.snapshots.len() == 1), "{report:?}");
    writer.back_up(&[1, 2, 3]).await;
    stage.world.book.lock().unwrap().rotten.clear();
    stage.oracle.look().unwrap();
    a_while().await;
    // A reader that meets it takes the other copy.
    let reader = checker.repository.reader(Purpose::new(Activity::Restore, "checker")).await.unwrap();
    for (id, _) in reader.snapshots().await.unwrap().readable {
        crate::roles::reader::restore(&reader, &id).await.unwrap();
    }
    reader.close().await.unwrap();
    let pruner = stage.actor("pruner").await;
    pruner.prune().await.unwrap();
    pruner.prune().await.unwrap();
    assert!(!stage.world.names("packs/").contains(&pack), "and a prune takes the rotten one away");
    stage.end().await;
}
