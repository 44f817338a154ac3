//! Prunes beside writers, and beside each other.

use holdfast_repository::testing::Operation;
use holdfast_repository::{Activity, CheckOptions, CheckProgress, PruneOptions, Purpose};

use super::gate::Way;
use super::{Stage, a_while};

/// A backup that began before the mark uses what the mark found unused, and commits while the prune waits for it: it is taken back.
pub(super) async fn take_back_against_delete() {
    let stage = Stage::new().await;
    let (old, writer, pruner, other) = (stage.actor("old").await, stage.actor("writer").await, stage.actor("pruner").await, stage.actor("other").await);
    let first = old.back_up(&[1, 2, 3]).await;
    let commit = writer.gate.hold(Operation::Create, "snapshots/");
    let backup = writer.start_backup(&[1, 2, 3]);
    commit.arrived().await;
    old.forget(first).await;
    // One condemns and goes away; another goes on from what it published.
    other.prune_as(PruneOptions { no_wait: true, ..other.options() }).await.unwrap();
    let prune = pruner.start_prune();
    a_while().await;
    commit.release(Way::Through).await;
    backup.await.unwrap().unwrap();
    let report = prune.await.unwrap().unwrap();
    assert!(report.packs_taken_back > 0, "{report:?}");
    stage.end().await;
}

/// A parent is forgotten and condemned between the state that a writer saw and the one at its commit; and for another writer, before
/// its lease: that one must not use it.
pub(super) async fn a_parent_condemned_between_two_states() {
    let stage = Stage::new().await;
    let (old, before, after, pruner) = (stage.actor("old").await, stage.actor("before").await, stage.actor("after").await, stage.actor("pruner").await);
    let (parent, other_parent) = (old.back_up(&[1, 2, 3]).await, old.back_up(&[5, 6]).await);
    let commit = before.gate.hold(Operation::Create, "snapshots/");
    let backup = before.start_backup(&[2, 3, 4]);
    commit.arrived().await;
    old.forget(parent).await;
    old.forget(other_parent).await;
    let prune = pruner.start_prune();
    a_while().await;
    // Condemned stands, doomed does not: this one sends everything again, and the prune does not wait for it.
    let held = after.gate.hold(Operation::Create, "snapshots/");
    let late = after.start_backup(&[5, 6]);
    held.arrived().await;
    commit.release(Way::Through).await;
    backup.await.unwrap().unwrap();
    prune.await.unwrap().unwrap();
    held.release(Way::Through).await;
    late.await.unwrap().unwrap();
    stage.end().await;
}

/// A writer reads a state, and before its lease lands a prune has condemned, doomed and deleted: the lease is stale, and it begins anew.
pub(super) async fn a_lease_that_lands_after_the_publish() {
    let stage = Stage::new().await;
    let (old, writer, pruner) = (stage.actor("old").await, stage.actor("writer").await, stage.actor("pruner").await);
    let first = old.back_up(&[1, 2, 3]).await;
    let lease = writer.gate.hold(Operation::Create, "leases/");
    let backup = writer.start_backup(&[1, 2, 3]);
    lease.arrived().await;
    old.forget(first).await;
    let (prune, doom) = pruner.start_prune_up_to(Operation::Create, "state/").await;
    // No lease is older than the condemning state, and it has looked again: the writer's lands before it dooms.
    doom.arrived().await;
    lease.release(Way::Through).await;
    backup.await.unwrap().unwrap();
    doom.release(Way::Through).await;
    prune.await.unwrap().unwrap();
    stage.end().await;
}

/// A commit lands after a prune has marked and before it lists the leases: the lease has ended by then, and only another look finds it.
pub(super) async fn a_commit_between_mark_and_lease_list() {
    let stage = Stage::new().await;
    let (old, writer, pruner) = (stage.actor("old").await, stage.actor("writer").await, stage.actor("pruner").await);
    let first = old.back_up(&[1, 2, 3]).await;
    let commit = writer.gate.hold(Operation::Create, "snapshots/");
    let backup = writer.start_backup(&[1, 2, 3]);
    commit.arrived().await;
    old.forget(first).await;
    let (prune, leases) = pruner.start_prune_up_to(Operation::List, "leases").await;
    leases.arrived().await;
    commit.release(Way::Through).await;
    backup.await.unwrap().unwrap();
    leases.release(Way::Through).await;
    let report = prune.await.unwrap().unwrap();
    assert!(report.packs_taken_back > 0, "{report:?}");
    stage.end().await;
}

/// One prune waits for a writer; meanwhile another condemns more, which a writer in between uses. The first dooms only what it has
/// waited for.
pub(super) async fn two_pruners() {
    let stage = Stage::new().await;
    let (old, slow, writer) = (stage.actor("old").await, stage.actor("slow").await, stage.actor("writer").await);
    let (first, second) = (stage.actor("first").await, stage.actor("second").await);
    let one = old.back_up(&[1, 2]).await;
    let two = old.back_up(&[3, 4]).await;
    let slow_commit = slow.gate.hold(Operation::Create, "snapshots/");
    let slow_backup = slow.start_backup(&[7]);
    slow_commit.arrived().await;
    old.forget(one).await;
    let prune = first.start_prune();
    a_while().await;
    // It began after the first prune's condemning state, and uses what is not condemned yet.
    let commit = writer.gate.hold(Operation::Create, "snapshots/");
    let backup = writer.start_backup(&[3, 4]);
    commit.arrived().await;
    old.forget(two).await;
    second.prune_as(PruneOptions { no_wait: true, ..second.options() }).await.unwrap();
    slow_commit.release(Way::Through).await;
    slow_backup.await.unwrap().unwrap();
    prune.await.unwrap().unwrap();
    commit.release(Way::Through).await;
    backup.await.unwrap().unwrap();
    stage.end().await;
}

/// A restore has listed what it will read; that is forgotten, and prunes run: while its lease lives, not even the snapshot's own object goes.
pub(super) async fn a_restore_of_what_is_forgotten_meanwhile() {
    let stage = Stage::new().await;
    let (writer, restore, pruner) = (stage.actor("writer").await, stage.actor("restore").await, stage.actor("pruner").await);
    let old = writer.back_up(&[1, 2, 3]).await;
    // Until the floor is far above the old snapshot's lease.
    for seeds in [[4, 5], [6, 7], [8, 9]] {
        let passing = writer.back_up(&seeds).await;
        writer.forget(passing).await;
        pruner.prune().await.unwrap();
    }
    let reader = restore.repository.reader(Purpose::new(Activity::Restore, "restore")).await.unwrap();
    writer.forget(old).await;
    for _ in 0..3 {
        pruner.prune_as(PruneOptions { no_wait: true, ..pruner.options() }).await.unwrap();
    }
    assert_eq!(crate::roles::reader::restore(&reader, &old).await.unwrap(), [1, 2, 3]);
    reader.close().await.unwrap();
    stage.end().await;
}

/// A slow backup uses what is condemned, and commits; a restore that began after the condemning state opens it, and then it is forgotten. The
/// prune waits for no such lease, and must see for itself what is open.
pub(super) async fn a_restore_of_what_a_slow_backup_took_back_and_is_forgotten() {
    let stage = Stage::new().await;
    let (old, slow, restore, pruner) = (stage.actor("old").await, stage.actor("slow").await, stage.actor("restore").await, stage.actor("pruner").await);
    let first = old.back_up(&[1, 2, 3]).await;
    let commit = slow.gate.hold(Operation::Create, "snapshots/");
    let backup = slow.start_backup(&[1, 2, 3]);
    commit.arrived().await;
    old.forget(first).await;
    let (prune, leases) = pruner.start_prune_up_to(Operation::List, "leases").await;
    leases.arrived().await;
    commit.release(Way::Through).await;
    let taken_back = backup.await.unwrap().unwrap();
    let reader = restore.repository.reader(Purpose::new(Activity::Restore, "restore")).await.unwrap();
    assert_eq!(reader.snapshot(&taken_back).await.unwrap().sources.len(), 1);
    old.forget(taken_back).await;
    leases.release(Way::Through).await;
    prune.await.unwrap().unwrap();
    assert_eq!(crate::roles::reader::restore(&reader, &taken_back).await.unwrap(), [1, 2, 3]);
    reader.close().await.unwrap();
    stage.end().await;
}

/// A forget's state is long on its way; meanwhile others publish, and prunes delete states until its name is free again. It lands there,
/// where nobody looks: the forget looks, and publishes anew.
pub(super) async fn a_state_in_the_place_of_a_deleted_one() {
    let stage = Stage::new().await;
    let (writer, forgetter, pruner) = (stage.actor("writer").await, stage.actor("forgetter").await, stage.actor("pruner").await);
    let old = writer.back_up(&[1, 2, 3]).await;
    let state = forgetter.gate.hold(Operation::Create, "state/");
    let forget = forgetter.start_forget(old);
    state.arrived().await;
    for seeds in [[4, 5], [6, 7], [8, 9]] {
        let passing = writer.back_up(&seeds).await;
        writer.forget(passing).await;
        pruner.prune().await.unwrap();
    }
    assert!(!stage.world.names("state/").contains("state/0000000000000002"), "it is deleted");
    state.release(Way::Through).await;
    forget.await.unwrap();
    assert!(stage.world.names("state/").contains("state/0000000000000002"), "it stands where nobody looks");
    stage.end().await;
}

/// What a prune has condemned was used and stored again since, and that new copy is found rotten just before the prune would doom the
/// old one: it is the only good one now, and must still be there to be taken back.
pub(super) async fn the_last_good_copy_is_found_at_the_last_moment() {
    let stage = Stage::new().await;
    let (old, writer, checker, pruner) = (stage.actor("old").await, stage.actor("writer").await, stage.actor("checker").await, stage.actor("pruner").await);
    let first = old.back_up(&[1, 2, 3]).await;
    let before = stage.world.names("packs/data/");
    old.forget(first).await;
    let (prune, leases) = pruner.start_prune_up_to(Operation::List, "leases").await;
    leases.arrived().await;
    // What is condemned it does not use: the same blobs again, in a pack of its own.
    writer.back_up(&[1, 2, 3]).await;
    let pack = stage.world.names("packs/data/").difference(&before).next().cloned().unwrap();
    let doom = pruner.gate.hold(Operation::Create, "state/");
    leases.release(Way::Through).await;
    doom.arrived().await;
    stage.rot(&pack);
    let options = CheckOptions { trailers: true, read_data_percent: 100, publish_bad: true, ..CheckOptions::default() };
    checker.repository.check(options, &CheckProgress::default()).await.unwrap();
    doom.release(Way::Through).await;
    let report = prune.await.unwrap().unwrap();
    stage.world.book.lock().unwrap().rotten.clear();
    stage.oracle.look().unwrap();
    assert!(report.packs_taken_back > 0, "{report:?}");
    pruner.prune().await.unwrap();
    pruner.prune().await.unwrap();
    stage.end().await;
}

/// A prune dies after it has condemned, and the disk spoils that very state. Who comes next goes on from the state before, in which
/// nothing was condemned, and uses what it lists: nothing may have been deleted yet.
pub(super) async fn a_condemning_state_that_is_lost() {
    let stage = Stage::new().await;
    let (old, writer, pruner) = (stage.actor("old").await, stage.actor("writer").await, stage.actor("pruner").await);
    let first = old.back_up(&[1, 2, 3]).await;
    old.forget(first).await;
    let (prune, doom) = pruner.start_prune_up_to(Operation::Create, "state/").await;
    doom.arrived().await;
    pruner.gate.freeze();
    let state = stage.world.names("state/").into_iter().next_back().unwrap();
    stage.rot(&state);
    writer.back_up(&[1, 2, 3]).await;
    stage.world.book.lock().unwrap().rotten.clear();
    stage.oracle.look().unwrap();
    // Not dead after all: it finds that others have published.
    doom.release(Way::Through).await;
    pruner.gate.thaw();
    prune.await.unwrap().unwrap();
    stage.end().await;
}

/// A commit whose writer is slow to publish is used by another backup, and forgotten meanwhile, by somebody who knows it though no state
/// lists it. Where its blobs are the other backup knows only by the forgotten one's runs.
pub(super) async fn a_commit_that_is_forgotten_before_any_state_lists_it() {
    let stage = Stage::new().await;
    let (slow, writer, forgetter) = (stage.actor("slow").await, stage.actor("writer").await, stage.actor("forgetter").await);
    writer.back_up(&[8, 9]).await;
    let publish = slow.gate.hold(Operation::Create, "state/");
    let backup = slow.start_backup(&[1, 2, 3]);
    publish.arrived().await;
    let unlisted = *forgetter.repository.snapshots().await.unwrap().readable.last().map(|(id, _)| id).unwrap();
    let packs = stage.world.names("packs/data/");
    let commit = writer.gate.hold(Operation::Create, "snapshots/");
    let other = writer.start_backup(&[1, 2, 3]);
    commit.arrived().await;
    forgetter.forget(unlisted).await;
    commit.release(Way::Through).await;
    other.await.unwrap().unwrap();
    assert_eq!(stage.world.names("packs/data/"), packs, "it was used, not sent again");
    publish.release(Way::Through).await;
    assert_eq!(backup.await.unwrap().unwrap(), unlisted);
    stage.end().await;
}
