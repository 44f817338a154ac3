//! The protocol, scenario by scenario, over the store in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::*;
use crate::check::{CheckOptions, CheckProgress, CheckReport};
use crate::environment::Environment;
use crate::error::{CommitError, OpenError};
use crate::features::{Feature, Features, Need};
use crate::lease::Activity;
use crate::repository::Repository;
use crate::secret::SecretBytes;
use crate::snapshot::{self, SnapshotDraft};
use crate::state::{self, State};
use crate::store::{Store, StoreError};
use crate::testing::{Fate, MemoryStore, Operation, ScriptedStore};

mod partly_listed;

fn password() -> SecretBytes {
    SecretBytes::new(b"p".to_vec())
}

fn purpose(activity: Activity) -> Purpose {
    Purpose::new(activity, "test")
}

async fn repository(store: &Arc<MemoryStore>) -> Repository {
    let store = Arc::clone(store) as Arc<dyn Store>;
    Repository::init(store, &password(), Environment::system()).await.expect("init").repository
}

/// The same repository through another store.
async fn through(store: impl Store + 'static) -> Repository {
    Repository::open(Arc::new(store), &password(), Environment::system()).await.expect("open")
}

fn raw(number: u32) -> Vec<u8> {
    number.to_le_bytes().repeat(1000)
}

/// Adds blobs with these numbers; sorted refs.
async fn add(writer: &Writer, numbers: std::ops::Range<u32>) -> Vec<(BlobId, u64)> {
    let mut refs = Vec::new();
    for number in numbers {
        let id = writer.blob_id(BlobKind::Data, &raw(number));
        writer.add_async(BlobKind::Data, id, &raw(number), None, &mut Scratch::new()).await.expect("add");
        refs.push((id, 4000));
    }
    refs.sort_unstable();
    refs
}

async fn commit(writer: &Writer, refs: &[(BlobId, u64)]) -> Result<SnapshotId, CommitError> {
    writer.commit(SnapshotDraft::default(), || refs.iter().copied()).await
}

async fn backup(repository: &Repository, numbers: std::ops::Range<u32>) -> SnapshotId {
    let writer = repository.begin(purpose(Activity::Backup)).await.expect("begin");
    let refs = add(&writer, numbers).await;
    commit(&writer, &refs).await.expect("commit")
}

/// Every blob of these numbers comes back whole, by what a reader accepts.
async fn restores(repository: &Repository, id: SnapshotId, numbers: std::ops::Range<u32>) {
    let reader = repository.reader(purpose(Activity::Restore)).await.expect("reader");
    reader.snapshot(&id).await.expect("accepted");
    for number in numbers {
        let id = repository.core.keys.blob_id(BlobKind::Data, &raw(number));
        assert_eq!(reader.read_blob(BlobKind::Data, &id).await.expect("read"), raw(number));
    }
    reader.close().await.expect("close");
}

async fn publish(repository: &Repository, change: impl Fn(&mut State) + Send + Sync) -> State {
    let published = state::publish(&repository.core, |state| {
        let mut next = state.clone();
        change(&mut next);
        Some(next)
    });
    published.await.expect("publish")
}

async fn fence(repository: &Repository, lease: &LeaseId) {
    let ending = Ending { reason: EndingReason::Fenced, by: "pruner".into() };
    ending.write(&repository.core, lease).await.expect("fence");
}

fn packs(store: &MemoryStore) -> Vec<String> {
    store.objects().into_keys().filter(|name| name.starts_with("packs/")).collect()
}

async fn check(repository: &Repository, publish_bad: bool) -> CheckReport {
    let options = CheckOptions { trailers: true, read_data_percent: 100, publish_bad, ..CheckOptions::default() };
    repository.check(options, &CheckProgress::default()).await.expect("check")
}

#[tokio::test]
async fn two_writers_at_once_both_commit_and_both_are_listed() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let (first, second) = tokio::join!(backup(&repository, 0..5), backup(&repository, 3..9));
    restores(&repository, first, 0..5).await;
    restores(&repository, second, 3..9).await;
    let state = state::newest(&repository.core).await.expect("state");
    assert_eq!(state.listed, [first, second].into());
    assert!(!state.runs.is_empty());
    assert!(check(&repository, false).await.is_clean());
}

#[tokio::test]
async fn a_fenced_living_writer_commits_under_a_new_lease() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let writer = repository.begin(purpose(Activity::Backup)).await.expect("begin");
    let refs = add(&writer, 0..5).await;
    writer.checkpoint().await.expect("checkpoint");
    let lease = writer.lease().expect("lease");
    fence(&repository, &lease).await;
    let id = commit(&writer, &refs).await.expect("commit");
    assert_ne!(id, lease);
    restores(&repository, id, 0..5).await;
    let accepted: Vec<_> = repository.snapshots().await.expect("snapshots").readable.into_iter().map(|(id, _)| id).collect();
    assert_eq!(accepted, [id]);
}

#[tokio::test]
async fn a_commit_whose_lease_the_floor_has_passed_is_not_believed() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let writer = repository.begin(purpose(Activity::Backup)).await.expect("begin");
    let refs = add(&writer, 0..5).await;
    let lease = writer.lease().expect("lease");
    // A prune fenced it, raised the floor, and cleaned its tombstone up.
    let state = publish(&repository, |state| state.prune_epoch += 1).await;
    publish(&repository, |next| next.floor = state.number).await;
    let id = commit(&writer, &refs).await.expect("commit");
    assert_ne!(id, lease);
    assert!(store.objects().contains_key(&snapshot::object_name(&lease)), "the void commit stands");
    let accepted: Vec<_> = repository.snapshots().await.expect("snapshots").readable.into_iter().map(|(id, _)| id).collect();
    assert_eq!(accepted, [id], "and is void by its name");
    restores(&repository, id, 0..5).await;
}

#[tokio::test]
async fn what_a_prune_took_from_a_fenced_writer_is_named_and_sent_again() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let writer = repository.begin(purpose(Activity::Backup)).await.expect("begin");
    let refs = add(&writer, 0..5).await;
    writer.checkpoint().await.expect("checkpoint");
    for pack in packs(&store) {
        store.take(&pack);
    }
    fence(&repository, &writer.lease().expect("lease")).await;
    let state = publish(&repository, |state| state.prune_epoch += 1).await;
    publish(&repository, |next| next.floor = state.number).await;
    let Err(CommitError::Gone { missing, more: false }) = commit(&writer, &refs).await else { panic!("nothing was gone") };
    assert_eq!(missing, refs.iter().map(|(id, _)| *id).collect::<Vec<_>>());
    assert_eq!(add(&writer, 0..5).await, refs);
    let id = commit(&writer, &refs).await.expect("commit");
    restores(&repository, id, 0..5).await;
}

#[tokio::test]
async fn a_prune_that_publishes_while_the_lease_is_taken_makes_it_begin_again() {
    let store = Arc::new(MemoryStore::new());
    let direct = repository(&store).await;
    let pruner = direct.clone();
    let published = Arc::new(AtomicBool::new(false));
    let (inner, seen) = (Arc::clone(&store), Arc::clone(&published));
    let repository = through(ScriptedStore::new(inner, move |operation, name| {
        if operation == Operation::Create && name.starts_with("leases/") && !seen.swap(true, Ordering::Relaxed) {
            // A publish that arrives between the first look and the lease.
            futures::executor::block_on(publish(&pruner, |state| state.prune_epoch += 1));
        }
        Fate::Through
    }))
    .await;
    let writer = repository.begin(purpose(Activity::Backup)).await.expect("begin");
    assert_eq!(writer.lease().expect("lease").state, 1, "the lease names the state that the prune published");
    let leases: Vec<_> = store.objects().into_keys().filter(|name| name.starts_with("leases/")).collect();
    let ended: Vec<_> = store.objects().into_keys().filter(|name| name.starts_with("snapshots/")).collect();
    assert_eq!((leases.len(), ended.len()), (2, 1), "the stale lease is ended");
}

#[tokio::test]
async fn a_lost_commit_answer_is_a_commit() {
    let store = Arc::new(MemoryStore::new());
    repository(&store).await;
    let lost = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&lost);
    let repository = through(ScriptedStore::new(Arc::clone(&store) as Arc<dyn Store>, move |operation, name| {
        let every_kind = ["snapshots/", "index/", "packs/", "state/", "leases/"].iter().any(|folder| name.starts_with(folder));
        if operation == Operation::Create && every_kind {
            count.fetch_add(1, Ordering::Relaxed);
            return Fate::AnswerLost;
        }
        Fate::Through
    }))
    .await;
    let id = backup(&repository, 0..5).await;
    restores(&repository, id, 0..5).await;
    assert!(lost.load(Ordering::Relaxed) >= 5);
    assert_eq!(repository.snapshots().await.expect("snapshots").readable.len(), 1, "committed once");
}

#[tokio::test]
async fn what_an_interrupted_backup_uploaded_is_not_sent_again() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let writer = repository.begin(purpose(Activity::Backup)).await.expect("begin");
    add(&writer, 0..20).await;
    writer.checkpoint().await.expect("checkpoint");
    drop(writer); // Killed: no tombstone.
    let before = packs(&store);
    let writer = repository.begin(purpose(Activity::Backup)).await.expect("begin");
    let refs = add(&writer, 0..20).await;
    let id = commit(&writer, &refs).await.expect("commit");
    let new: Vec<_> = packs(&store).into_iter().filter(|pack| !before.contains(pack)).collect();
    assert!(new.iter().all(|pack| pack.starts_with("packs/meta")), "{new:?}");
    restores(&repository, id, 0..20).await;
    assert!(check(&repository, false).await.is_clean(), "the interrupted lease's run was adopted");
}

#[tokio::test]
async fn a_commit_that_could_not_be_published_is_adopted_by_the_next() {
    let store = Arc::new(MemoryStore::new());
    let direct = repository(&store).await;
    let repository = through(ScriptedStore::new(Arc::clone(&store) as Arc<dyn Store>, |operation, name| {
        if operation == Operation::Create && name.starts_with("state/") { Fate::Denied } else { Fate::Through }
    }))
    .await;
    direct.begin(purpose(Activity::Backup)).await.expect("first state").abandon().await.expect("abandon");
    // The first state stands, so a denied publish is the commit's only.
    publish(&direct, |_| {}).await;
    let first = backup(&repository, 0..5).await;
    restores(&direct, first, 0..5).await;
    assert!(!state::newest(&direct.core).await.expect("state").listed.contains(&first));
    let writer = direct.begin(purpose(Activity::Backup)).await.expect("begin");
    let before = packs(&store).len();
    let refs = add(&writer, 0..5).await;
    let second = commit(&writer, &refs).await.expect("commit");
    assert_eq!(packs(&store).len(), before, "nothing was sent again, not even refs");
    assert_eq!(state::newest(&direct.core).await.expect("state").listed, [first, second].into());
}

#[tokio::test]
async fn condemned_packs_are_read_and_not_used_again() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let old = backup(&repository, 0..5).await;
    let view = View::load(&repository.core, state::newest(&repository.core).await.expect("state"), Looker::Reader).await.expect("view");
    let names: Vec<_> = view.index.packs().map(|pack| pack.name).collect();
    publish(&repository, |state| state.condemned.extend(names.iter().map(|pack| (*pack, state.number)))).await;
    let before = packs(&store).len();
    let new = backup(&repository, 0..5).await;
    assert!(packs(&store).len() >= before + 2, "data and refs were sent again");
    restores(&repository, old, 0..5).await;
    // The prune goes on: what it doomed is gone, and the new snapshot does not care.
    publish(&repository, |state| state.doomed.extend(std::mem::take(&mut state.condemned).into_keys())).await;
    names.iter().for_each(|pack| assert!(store.take(&pack.to_string()).is_some()));
    restores(&repository, new, 0..5).await;
}

#[tokio::test]
async fn a_rotten_pack_is_named_and_healed_by_the_next_backup() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let old = backup(&repository, 0..5).await;
    let pack = packs(&store).into_iter().find(|name| name.starts_with("packs/data")).expect("pack");
    let mut rotten = store.take(&pack).expect("pack").to_vec();
    rotten[100] ^= 1;
    store.put(&pack, rotten);
    let report = check(&repository, true).await;
    let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
    assert_eq!((&finding.object, finding.snapshots.as_slice()), (&pack, &[old][..]));

    let new = backup(&repository, 0..5).await;
    restores(&repository, new, 0..5).await;
    restores(&repository, old, 0..5).await;
    let report = check(&repository, false).await;
    assert!(report.findings.iter().all(|finding| finding.snapshots.is_empty()), "nothing is lost any more: {report:?}");
}

#[tokio::test]
async fn a_flipped_bit_in_any_object_is_named_and_never_read_as_good() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    backup(&repository, 0..5).await;
    let good = store.objects();
    let mut classes: BTreeMap<String, u32> = BTreeMap::new();
    for (name, object) in &good {
        for place in [0, 9, object.len() / 2, object.len() - 1] {
            let mut flipped = object.to_vec();
            flipped[place] ^= 0x10;
            store.put(name, flipped);
            match Repository::open(Arc::clone(&store) as Arc<dyn Store>, &password(), Environment::system()).await {
                Err(OpenError::Read(error)) => assert!(error.to_string().contains(name.as_str()), "{name}: {error}"),
                Err(OpenError::WrongPassword { .. }) => assert!(name.starts_with("keys/")),
                Err(other) => panic!("{name}: {other}"),
                Ok(opened) => match opened.check(CheckOptions { trailers: true, read_data_percent: 100, ..CheckOptions::default() }, &CheckProgress::default()).await {
                    Err(error) => assert!(name.starts_with("state/") && error.to_string().contains(name.as_str()), "{name}: {error}"),
                    Ok(report) => {
                        // What nothing depends on is named too, apart.
                        let named = report.findings.iter().chain(&report.leftovers).any(|finding| finding.object == *name);
                        assert!(named, "{name} at {place}: {report:?}");
                        assert!(!report.is_clean() || ["leases", "state"].iter().any(|folder| name.starts_with(folder)), "{name} at {place}: {report:?}");
                    }
                },
            }
            store.put(name, object.clone());
            *classes.entry(name.split('/').next().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    assert_eq!(classes.keys().map(String::as_str).collect::<Vec<_>>(), ["config", "index", "keys", "leases", "packs", "snapshots", "state"]);
}

#[tokio::test]
async fn a_missing_object_is_named_with_the_snapshots_that_need_it() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let id = backup(&repository, 0..5).await;
    for name in store.objects().into_keys().filter(|name| ["packs/", "index/", "snapshots/"].iter().any(|folder| name.starts_with(folder))) {
        let object = store.take(&name).expect("object");
        let report = repository.check(CheckOptions::default(), &CheckProgress::default()).await.expect("check");
        assert!(report.findings.iter().any(|finding| finding.object == name), "{name}: {report:?}");
        assert!(report.findings.iter().any(|finding| finding.snapshots.contains(&id)), "{name}: {report:?}");
        store.put(&name, object);
    }
    assert!(check(&repository, false).await.is_clean());
}

#[tokio::test]
async fn damage_never_stops_a_backup() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    backup(&repository, 0..5).await;
    for name in store.objects().into_keys().filter(|name| ["index/", "snapshots/"].iter().any(|folder| name.starts_with(folder))) {
        let object = store.take(&name).expect("object");
        store.put(&name, b"rubbish".to_vec());
        let id = backup(&repository, 0..5).await;
        restores(&repository, id, 0..5).await;
        store.put(&name, object);
    }
}

#[tokio::test]
async fn a_full_store_stops_the_writer_and_says_so() {
    let store = Arc::new(MemoryStore::new());
    repository(&store).await;
    let repository = through(ScriptedStore::new(Arc::clone(&store) as Arc<dyn Store>, |operation, name| {
        if operation == Operation::Create && name.starts_with("packs/") { Fate::Full } else { Fate::Through }
    }))
    .await;
    let writer = repository.begin(purpose(Activity::Backup)).await.expect("begin");
    let refs = add(&writer, 0..5).await;
    let error = commit(&writer, &refs).await.expect_err("full");
    assert!(error.to_string().contains("full"), "{error}");
    let next = writer.add(BlobKind::Data, writer.blob_id(BlobKind::Data, b"x"), b"x", None, &mut Scratch::new());
    assert!(matches!(&next, Err(WriteError::Stopped { cause }) if matches!(&**cause, WriteError::Store { source: StoreError::Full { .. } })), "{next:?}");
    assert!(repository.snapshots().await.expect("snapshots").readable.is_empty());
}

#[tokio::test]
async fn a_read_only_store_can_be_read_without_a_lease() {
    let store = Arc::new(MemoryStore::new());
    let id = backup(&repository(&store).await, 0..5).await;
    let read_only = through(ScriptedStore::new(Arc::clone(&store) as Arc<dyn Store>, |operation, _| {
        if operation == Operation::Create { Fate::Denied } else { Fate::Through }
    }))
    .await;
    restores(&read_only, id, 0..5).await;
    let writer = read_only.begin(purpose(Activity::Backup)).await;
    assert!(matches!(writer, Err(WriteError::Store { source: StoreError::Denied { .. } })), "{writer:?}");
}

#[tokio::test]
async fn a_newer_versions_features_are_respected() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let id = backup(&repository, 0..5).await;
    let feature = |need| Features(vec![Feature { name: "new-thing".into(), since: "7.0".into(), need }]);
    publish(&repository, |state| state.features = feature(Need::Nothing)).await;
    let second = backup(&repository, 0..6).await;
    publish(&repository, |state| state.features = feature(Need::ToWrite)).await;
    let refused = repository.begin(purpose(Activity::Backup)).await;
    assert!(matches!(&refused, Err(WriteError::TooNew { needs }) if needs.contains("7.0")), "{refused:?}");
    assert_eq!(repository.snapshots().await.expect("still readable").readable.len(), 2);
    restores(&repository, id, 0..5).await;
    restores(&repository, second, 0..6).await;
}

#[tokio::test]
async fn lost_states_are_not_taken_for_a_new_repository() {
    let store = Arc::new(MemoryStore::new());
    backup(&repository(&store).await, 0..5).await;
    for name in store.objects().into_keys().filter(|name| name.starts_with("state/")) {
        store.take(&name);
    }
    let repository = Repository::open(store, &password(), Environment::system()).await.expect("open");
    let snapshots = repository.snapshots().await;
    assert!(matches!(snapshots, Err(ReadError::Damaged { .. })), "{snapshots:?}");
}

#[tokio::test]
async fn a_store_that_overwrites_is_found_out_and_worked_around() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::overwriting());
    let report = Repository::init(Arc::clone(&store), &password(), Environment::system()).await.expect("init");
    assert!(!report.conditional_create && !store.conditional());
    let id = backup(&report.repository, 0..5).await;
    restores(&report.repository, id, 0..5).await;
    let again = Repository::open(store, &password(), Environment::system()).await.expect("open");
    assert!(!again.conditional_create());
}

#[tokio::test]
async fn of_two_inits_one_wins_and_the_other_opens_it() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let password = password();
    let init = || Repository::init(Arc::clone(&store), &password, Environment::system());
    let (first, second) = tokio::join!(init(), init());
    let (first, second) = (first.expect("first"), second.expect("second"));
    assert_eq!(first.repository.id(), second.repository.id());
}

#[tokio::test]
async fn unsorted_and_unknown_refs_are_refused() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let writer = repository.begin(purpose(Activity::Backup)).await.expect("begin");
    let mut refs = add(&writer, 0..5).await;
    refs.reverse();
    assert!(matches!(commit(&writer, &refs).await, Err(CommitError::Unsorted { .. })));
    let unknown = [(BlobId([9; 32]), 1)];
    assert!(matches!(commit(&writer, &unknown).await, Err(CommitError::Gone { missing, .. }) if missing == [unknown[0].0]));
    refs.reverse();
    commit(&writer, &refs).await.expect("the writer lives on");
    assert!(matches!(commit(&writer, &refs).await, Err(CommitError::Write(WriteError::Closed))));
}
