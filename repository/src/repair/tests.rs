//! Each kind of damage, what repair makes of it, and that backups and prunes beside it are not harmed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::*;
use crate::blob::BlobKind;
use crate::compress::Scratch;
use crate::environment::Environment;
use crate::repository::Repository;
use crate::secret::SecretBytes;
use crate::snapshot::SnapshotDraft;
use crate::store::Store;
use crate::testing::{Fate, MemoryStore, Operation, ScriptedStore};
use crate::writer::Writer;

mod partly_listed;
mod stray_names;

struct Place {
    store: Arc<MemoryStore>,
}

impl Place {
    async fn new() -> Self {
        let place = Self { store: Arc::new(MemoryStore::new()) };
        let store = Arc::clone(&place.store) as Arc<dyn Store>;
        Repository::init(store, &SecretBytes::new(b"p".to_vec()), Environment::system()).await.expect("init");
        place
    }

    async fn through(store: impl Store + 'static) -> Repository {
        Repository::open(Arc::new(store), &SecretBytes::new(b"p".to_vec()), Environment::system()).await.expect("open")
    }

    /// As a process that has just begun sees it.
    async fn open(&self) -> Repository {
        Repository::open(Arc::clone(&self.store) as Arc<dyn Store>, &SecretBytes::new(b"p".to_vec()), Environment::system()).await.expect("open")
    }

    async fn backup(&self, numbers: Range<u32>) -> SnapshotId {
        let writer = self.open().await.begin(Purpose::new(Activity::Backup, "test")).await.expect("begin");
        let refs = add(&writer, numbers).await;
        writer.commit(SnapshotDraft::default(), || refs.iter().copied()).await.expect("commit")
    }

    async fn repair(&self, options: RepairOptions) -> RepairReport {
        repair(&self.open().await, options).await
    }

    async fn check(&self) -> CheckReport {
        let options = CheckOptions { trailers: true, read_data_percent: 100, ..CheckOptions::default() };
        self.open().await.check(options, &CheckProgress::default()).await.expect("check")
    }

    async fn restores(&self, id: SnapshotId, numbers: Range<u32>) {
        let repository = self.open().await;
        let reader = repository.reader(Purpose::new(Activity::Restore, "test")).await.expect("reader");
        reader.snapshot(&id).await.expect("accepted");
        for number in numbers {
            let id = repository.core.keys.blob_id(BlobKind::Data, &raw(number));
            assert_eq!(reader.read_blob(BlobKind::Data, &id).await.expect("read"), raw(number));
        }
        reader.close().await.expect("close");
    }

    fn names(&self, folder: &str) -> Vec<String> {
        self.store.objects().into_keys().filter(|name| name.starts_with(folder)).collect()
    }

    fn spoil(&self, name: &str) {
        self.store.put(name, b"rubbish".to_vec());
    }

    /// Without what only says who was there.
    fn content(&self) -> BTreeMap<String, Bytes> {
        let commits: Vec<String> = self.names("snapshots/");
        let mut objects = self.store.objects();
        objects.retain(|name, _| !name.starts_with("leases/") && !commits.contains(name));
        objects
    }
}

async fn repair(repository: &Repository, options: RepairOptions) -> RepairReport {
    repository.repair_until(&options, &CheckProgress::default(), std::future::pending()).await.expect("repair").expect("not stopped")
}

fn raw(number: u32) -> Vec<u8> {
    number.to_le_bytes().repeat(1000)
}

async fn add(writer: &Writer, numbers: Range<u32>) -> Vec<(crate::id::BlobId, u64)> {
    let mut refs = Vec::new();
    for number in numbers {
        let id = writer.blob_id(BlobKind::Data, &raw(number));
        writer.add_async(BlobKind::Data, id, &raw(number), None, &mut Scratch::new()).await.expect("add");
        refs.push((id, 4000));
    }
    refs.sort_unstable();
    refs
}

fn all() -> RepairOptions {
    RepairOptions { look: CheckOptions { trailers: true, read_data_percent: 100, ..CheckOptions::default() }, ..RepairOptions::default() }
}

#[tokio::test]
async fn nothing_wrong_is_nothing_done() {
    let place = Place::new().await;
    place.backup(0..5).await;
    let before = place.content();
    let report = place.repair(all()).await;
    assert!(report.is_idle() && report.left.is_clean(), "{report:?}");
    assert_eq!(place.content(), before);
}

#[tokio::test]
async fn runs_that_are_gone_or_rotten_are_made_again_from_the_packs() {
    for spoiled in [false, true] {
        let place = Place::new().await;
        let (first, second) = (place.backup(0..5).await, place.backup(3..9).await);
        for run in place.names("index/") {
            if spoiled { place.spoil(&run) } else { drop(place.store.take(&run)) }
        }
        let broken = place.check().await;
        assert_eq!(broken.affected(), [first, second].into(), "{broken:?}");
        let before = place.content();
        let would = place.repair(RepairOptions { dry_run: true, ..RepairOptions::default() }).await;
        assert_eq!(place.content(), before, "a dry run writes nothing");
        let report = place.repair(RepairOptions::default()).await;
        assert_eq!((report.runs_replaced.len(), report.packs_indexed), (2, 4), "{report:?}");
        assert_eq!((&would.runs_replaced, would.packs_indexed, would.blobs_indexed), (&report.runs_replaced, report.packs_indexed, report.blobs_indexed));
        assert!(report.left.is_clean(), "{report:?}");
        let report = place.check().await;
        assert!(report.is_clean(), "{report:?}");
        place.restores(first, 0..5).await;
        place.restores(second, 3..9).await;
        // Nothing is sent again.
        let packs = place.names("packs/data").len();
        place.backup(0..9).await;
        assert_eq!(place.names("packs/data").len(), packs);
    }
}

#[tokio::test]
async fn a_lost_pack_is_marked_and_heals_with_the_next_backup_or_when_it_comes_back() {
    for comes_back in [false, true] {
        let place = Place::new().await;
        let id = place.backup(0..5).await;
        let pack = place.names("packs/data").remove(0);
        let object = place.store.take(&pack).expect("pack");
        let report = place.repair(RepairOptions::default()).await;
        assert_eq!(report.marked_bad, [pack.as_str()]);
        assert_eq!((report.left.affected(), report.left.lost.len()), ([id].into(), 5));
        if comes_back {
            place.store.put(&pack, object);
            let report = place.repair(RepairOptions::default()).await;
            assert_eq!(report.good_again, [pack.as_str()]);
            assert!(report.left.is_clean(), "{report:?}");
        } else {
            place.backup(0..5).await;
            let report = place.check().await;
            assert!(report.is_clean(), "{report:?}");
            assert_eq!(report.leftovers.len(), 1, "still missing, and nobody needs it: {report:?}");
        }
        place.restores(id, 0..5).await;
    }
}

#[tokio::test]
async fn a_rotten_copy_is_not_believed_good_by_a_shallow_check() {
    let place = Place::new().await;
    let id = place.backup(0..5).await;
    let pack = place.names("packs/data").remove(0);
    let object = place.store.take(&pack).expect("pack");
    let mut rotten = object.to_vec();
    rotten[100] ^= 1;
    place.store.put(&pack, rotten);
    assert_eq!(place.repair(all()).await.marked_bad, [pack.as_str()]);
    let shallow = place.open().await.check(CheckOptions::default(), &CheckProgress::default()).await.expect("check");
    assert_eq!((shallow.affected(), shallow.lost.len()), ([id].into(), 1), "{shallow:?}");
    let again = place.repair(RepairOptions::default()).await;
    assert!(again.good_again.is_empty() && !again.left.is_clean(), "{again:?}");
    place.store.put(&pack, object);
    assert!(place.repair(RepairOptions::default()).await.left.is_clean());
}

#[tokio::test]
async fn a_state_that_cannot_be_read_is_followed_by_another() {
    for (lost, condemns_all) in [(1, false), (2, true), (3, true)] {
        let place = Place::new().await;
        let (first, second) = (place.backup(0..5).await, place.backup(3..9).await);
        let states = place.names("state/");
        states.iter().rev().take(lost).for_each(|name| place.spoil(name));
        if lost < 3 {
            // Readers go on by an older one.
            place.restores(first, 0..5).await;
        }
        let report = place.repair(all()).await;
        let rescued = report.rescued.as_ref().expect("rescued");
        assert_eq!((rescued.lost.len(), rescued.condemns_all), (lost, condemns_all), "{rescued:?}");
        assert!(report.left.is_clean(), "{report:?}");
        place.restores(first, 0..5).await;
        place.restores(second, 3..9).await;
        let packs = place.names("packs/data").len();
        let third = place.backup(0..9).await;
        assert_eq!(place.names("packs/data").len() > packs, condemns_all, "what may be doomed is not used");
        place.restores(third, 0..9).await;
        assert!(place.check().await.is_clean());
    }
}

#[tokio::test]
async fn a_state_that_is_missing_is_known_by_the_lease_that_saw_it() {
    let place = Place::new().await;
    let id = place.backup(0..5).await;
    let newest = place.names("state/").pop().expect("state");
    // It sees state 1, and is killed.
    let writer = place.open().await.begin(Purpose::new(Activity::Backup, "test")).await.expect("begin");
    drop(writer);
    place.store.take(&newest);
    let report = place.open().await.check(CheckOptions::default(), &CheckProgress::default()).await.expect("check");
    assert!(report.findings.iter().any(|finding| finding.object == newest), "{report:?}");
    let report = place.repair(RepairOptions::default()).await;
    assert_eq!(report.rescued.map(|rescued| rescued.lost), Some(vec![newest]));
    assert!(place.check().await.is_clean());
    place.restores(id, 0..5).await;
}

#[tokio::test]
async fn a_snapshot_that_is_lost_is_named_and_forgotten_only_when_told_so() {
    let place = Place::new().await;
    let (first, second) = (place.backup(0..5).await, place.backup(3..9).await);
    place.spoil(&crate::snapshot::object_name(&first));
    let report = place.repair(RepairOptions::default()).await;
    assert_eq!((report.is_idle(), &report.unreadable), (true, &vec![first]), "{report:?}");
    assert_eq!(report.left.affected(), [first].into());
    let report = place.repair(RepairOptions { forget_unreadable: true, ..RepairOptions::default() }).await;
    assert_eq!((report.forgotten, report.unreadable), (vec![first], Vec::new()));
    assert!(place.check().await.is_clean());
    place.restores(second, 3..9).await;
}

#[tokio::test]
async fn a_backup_beside_it_commits_and_what_it_has_sent_is_listed_early() {
    let place = Place::new().await;
    place.backup(0..5).await;
    let writer = place.open().await.begin(Purpose::new(Activity::Backup, "test")).await.expect("begin");
    let refs = add(&writer, 3..9).await;
    writer.checkpoint().await.expect("checkpoint");
    for run in place.names("index/") {
        place.spoil(&run);
    }
    let report = place.repair(RepairOptions::default()).await;
    assert!(report.left.is_clean(), "{report:?}");
    let id = writer.commit(SnapshotDraft::default(), || refs.iter().copied()).await.expect("commit");
    place.repair(RepairOptions::default()).await;
    assert!(place.check().await.is_clean(), "{:?}", place.check().await);
    place.restores(id, 3..9).await;
}

#[tokio::test]
async fn a_prune_that_gives_its_lease_up_makes_it_look_again() {
    let place = Place::new().await;
    let id = place.backup(0..5).await;
    for run in place.names("index/") {
        place.spoil(&run);
    }
    let pruner = place.open().await;
    let once = AtomicBool::new(false);
    let repository = Place::through(ScriptedStore::new(Arc::clone(&place.store) as Arc<dyn Store>, move |operation, name| {
        if operation == Operation::Create && name.starts_with("index/") && !once.swap(true, Ordering::Relaxed) {
            // The floor passes the lease between its first run and its publish.
            let raised = state::publish(&pruner.core, |state| {
                Some(State { floor: state.number + 1, number: state.number + 1, prune_epoch: state.prune_epoch + 1, ..state.clone() })
            });
            futures::executor::block_on(raised).expect("publish");
        }
        Fate::Through
    }))
    .await;
    let report = repair(&repository, RepairOptions::default()).await;
    assert!(report.left.is_clean(), "{report:?}");
    let state = state::newest(&repository.core).await.expect("state");
    let runs: Vec<String> = state.runs.keys().map(ToString::to_string).collect();
    assert_eq!(runs.len(), 1, "only those of the second lease: {runs:?}");
    assert!(state.runs.keys().all(|run| run.lease.state >= state.floor));
    place.restores(id, 0..5).await;
}

#[tokio::test]
async fn a_prune_that_has_condemned_a_pack_is_not_undone() {
    let place = Place::new().await;
    let repository = place.open().await;
    // Uploaded, and never committed.
    let writer = repository.begin(Purpose::new(Activity::Backup, "test")).await.expect("begin");
    add(&writer, 20..25).await;
    writer.checkpoint().await.expect("checkpoint");
    let left: Vec<String> = place.names("packs/");
    writer.abandon().await.expect("abandon");
    let id = place.backup(0..5).await;
    let condemned: Vec<PackName> = left
        .iter()
        .filter_map(|name| name.rsplit('/').next()?.parse().ok())
        .map(|id| PackName { class: crate::blob::PackClass::Data, id })
        .collect();
    assert_eq!(condemned.len(), 1);
    state::publish(&repository.core, |state| {
        let mut next = state.clone();
        next.condemned.extend(condemned.iter().map(|pack| (*pack, state.number)));
        Some(next)
    })
    .await
    .expect("publish");
    for run in place.names("index/") {
        place.spoil(&run);
    }
    let report = place.repair(RepairOptions::default()).await;
    assert_eq!(report.packs_indexed, 2, "those of the snapshot: {report:?}");
    let state = state::newest(&place.open().await.core).await.expect("state");
    assert!(condemned.iter().all(|pack| state.condemned.contains_key(pack)));
    // The prune goes on.
    left.iter().for_each(|pack| drop(place.store.take(pack)));
    assert!(place.check().await.is_clean(), "{:?}", place.check().await);
    place.restores(id, 0..5).await;
}
