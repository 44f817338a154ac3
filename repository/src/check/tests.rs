//! How long a check waits for a store whose every answer takes a while, and that threads find what one thread finds.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

use super::*;
use crate::testing::spilling::Spilling;
use crate::blob::{BlobKind, PackClass};
use crate::compress::Scratch;
use crate::environment::Environment;
use crate::index::RunName;
use crate::lease::{Activity, Purpose};
use crate::repository::Repository;
use crate::sealed::ObjectKind;
use crate::secret::SecretBytes;
use crate::snapshot::SnapshotDraft;
use crate::state;
use crate::store::Store;
use crate::testing::{Fate, MemoryStore, Operation, ScriptedStore, SeededRandom, StandingClock, WaitingStore};
use crate::view;

const ROUND_TRIP: Duration = Duration::from_millis(30);

/// Each answer takes a round trip.
fn far_away(store: Arc<MemoryStore>) -> Arc<dyn Store> {
    Arc::new(WaitingStore::new(store, |_, _| tokio::time::sleep(ROUND_TRIP).boxed()))
}

fn raw(number: u32) -> Vec<u8> {
    number.to_le_bytes().repeat(1000)
}

async fn backup(repository: &Repository, numbers: Range<u32>) {
    let writer = repository.begin(Purpose::new(Activity::Backup, "test")).await.expect("begin");
    let mut refs = Vec::new();
    for number in numbers {
        let id = writer.blob_id(BlobKind::Data, &raw(number));
        writer.add_async(BlobKind::Data, id, &raw(number), None, &mut Scratch::new()).await.expect("add");
        refs.push((id, 4000));
    }
    refs.sort_unstable();
    writer.commit(SnapshotDraft::default(), || refs.iter().copied()).await.expect("commit");
}

fn password() -> SecretBytes {
    SecretBytes::new(b"p".to_vec())
}

fn environment() -> Environment {
    Environment { clock: Arc::new(StandingClock::at(0)), random: Environment::system().random }
}

#[tokio::test(start_paused = true)]
async fn round_trips_do_not_grow_with_what_is_checked() {
    let store = Arc::new(MemoryStore::new());
    let near = Repository::init(Arc::clone(&store) as Arc<dyn Store>, &password(), environment()).await.expect("init").repository;
    for number in 0..48 {
        backup(&near, number..number + 3).await;
    }
    let far = Repository::open(far_away(store), &password(), environment()).await.expect("open");
    let depths = [
        ("index", CheckOptions::default(), 24),
        ("trailers", CheckOptions { trailers: true, ..CheckOptions::default() }, 36),
        ("data", CheckOptions { trailers: true, read_data_percent: 100, ..CheckOptions::default() }, 42),
    ];
    for (depth, options, round_trips_max) in depths {
        let began = tokio::time::Instant::now();
        let report = far.check(options, &CheckProgress::default()).await.expect("check");
        assert!(report.is_clean() && report.snapshots == 48 && report.packs == 96, "{report:?}");
        let round_trips = began.elapsed().as_millis() / ROUND_TRIP.as_millis();
        println!("{depth}: {round_trips} round trips");
        assert!(round_trips <= round_trips_max, "{depth}: {round_trips} round trips for 48 snapshots and 96 packs");
    }
}

/// Found by the simulation (seed 350565276): while the list of snapshots is on its way one is committed behind it, and in front of it one
/// that uses what the first stored.
#[tokio::test]
async fn a_snapshot_that_the_list_had_passed_is_no_loss_of_those_that_use_it() {
    let store = Arc::new(MemoryStore::new());
    let writes = Repository::init(Arc::clone(&store) as Arc<dyn Store>, &password(), environment()).await.expect("init").repository;
    let is_list = |operation: Operation, name: &str| operation == Operation::List && name == "snapshots";
    let mut lists = 0;
    let torn = ScriptedStore::new(store, move |operation, name| {
        lists += u32::from(is_list(operation, name));
        if is_list(operation, name) && lists == 1 { Fate::Passed } else { Fate::Through }
    });
    let writes = Arc::new(tokio::sync::Mutex::new(Some(writes)));
    let meanwhile = WaitingStore::new(Arc::new(torn), move |operation, name| {
        let (writes, is_list) = (Arc::clone(&writes), is_list(operation, name));
        async move {
            if is_list && let Some(repository) = writes.lock().await.take() {
                backup(&repository, 0..1).await;
                backup(&repository, 0..2).await;
            }
        }
        .boxed()
    });
    let reads = Repository::open(Arc::new(meanwhile), &password(), environment()).await.expect("open");
    let report = reads.check(CheckOptions::default(), &CheckProgress::default()).await.expect("check");
    assert!(report.is_clean() && report.snapshots == 1, "{report:?}");
}

#[test]
fn threads_find_every_flipped_byte_of_a_pack_of_several_parts() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    runtime.block_on(async {
        let store = Arc::new(MemoryStore::new());
        let repository = Repository::init(Arc::clone(&store) as Arc<dyn Store>, &password(), Environment::system()).await.expect("init").repository;
        let writer = repository.begin(Purpose::new(Activity::Backup, "test")).await.expect("begin");
        let mut refs = Vec::new();
        for number in 0..30_u8 {
            let mut noise = vec![0; 1 << 20];
            blake3::Hasher::new().update(&[number]).finalize_xof().fill(&mut noise);
            let id = writer.blob_id(BlobKind::Data, &noise);
            writer.add_async(BlobKind::Data, id, &noise, None, &mut Scratch::new()).await.expect("add");
            refs.push((id, 1 << 20));
        }
        refs.sort_unstable();
        writer.commit(SnapshotDraft::default(), || refs.iter().copied()).await.expect("commit");
        let (name, object) = store.objects().into_iter().max_by_key(|(_, object)| object.len()).expect("pack");
        assert!(object.len() > 30 << 20);
        let options = CheckOptions { read_data_percent: 100, ..CheckOptions::default() };
        let places = [0, 5, 20, 44, 1 << 20, 14 << 20, 15 << 20, object.len() - (16 << 20), object.len() - (1 << 20), object.len() - 40_000, object.len() - 600];
        for place in places {
            let mut flipped = object.to_vec();
            flipped[place] ^= 4;
            store.put(&name, flipped);
            let report = repository.check(options, &CheckProgress::default()).await.expect("check");
            let [finding] = report.findings.as_slice() else { panic!("at {place}: {report:?}") };
            assert!(finding.object == name, "at {place}: {finding:?}");
            let within_a_blob = (44..30 << 20).contains(&place);
            assert!(!within_a_blob || (report.lost.len() == 1 && finding.problem.contains("blob")), "at {place}: {finding:?}");
        }
        store.put(&name, object);
        let report = repository.check(options, &CheckProgress::default()).await.expect("check");
        assert!(report.is_clean() && report.bytes_read > 30 << 20, "{report:?}");
    });
}

/// What was found of packs makes it load the index again: the first one's failure must not be forgotten with it.
#[tokio::test]
async fn whatever_read_of_a_spilled_index_fails_it_says_the_same_or_nothing() {
    let written = Arc::new(MemoryStore::new());
    let repository = Repository::init(Arc::clone(&written) as Arc<dyn Store>, &password(), environment()).await.expect("init").repository;
    backup(&repository, 0..40).await;
    backup(&repository, 40..60).await;
    let missing = written.objects().into_keys().find(|name| name.starts_with("packs/data/")).expect("pack");
    written.take(&missing);
    lists_what_is_not_there(&repository, &missing).await;
    let options = CheckOptions { trailers: true, ..CheckOptions::default() };
    let expected = repository.check(options, &CheckProgress::default()).await.expect("check");
    assert_eq!(expected.findings.len(), 2, "{expected:?}");
    let directory = tempfile::TempDir::new().expect("folder");
    for reads in 0.. {
        // The same chance each time: in another order of the packs it is another read.
        let environment = Environment { random: Arc::new(SeededRandom::new(1)), ..environment() };
        let store = Arc::new(MemoryStore::new());
        written.objects().into_iter().for_each(|(name, object)| store.put(&name, object));
        let repository = Repository::open(store, &password(), environment).await.expect("open");
        repository.use_spill(std::fs::File::open(directory.path()).expect("folder").into(), 1 << 20).expect("spill");
        let spilling = Spilling::failing_after(reads);
        let outcome = repository.check(options, &CheckProgress::default()).await;
        let has_failed = spilling.end();
        match outcome {
            Ok(report) => assert_eq!(report, expected, "{reads}"),
            Err(error) => assert!(has_failed && matches!(error, ReadError::Store(_)), "{reads}: {error}"),
        }
        if !has_failed {
            assert!(reads > 20, "{reads}");
            break;
        }
    }
}

/// A run that says of another data pack that it holds what it does not.
async fn lists_what_is_not_there(repository: &Repository, but: &str) {
    let core = &repository.core;
    let state = state::newest(core).await.expect("state");
    let mut wrong = Vec::new();
    for name in state.runs.keys() {
        let (mut run, _) = view::read_run(core, name).await.expect("run");
        let is_other = |pack: u32| run.packs[pack as usize].name.class == PackClass::Data && run.packs[pack as usize].name.to_string() != but;
        let Some(mut entry) = run.entries.iter().copied().find(|entry| is_other(entry.pack)) else { continue };
        entry.blob.id = BlobId([7; 32]);
        run.entries = vec![entry];
        let name = RunName { number: 7, ..*name };
        core.write(ObjectKind::IndexRun, &name.to_string(), &run.encode()).await.expect("write");
        wrong.push((name, core.store.head(&name.to_string()).await.expect("head")));
    }
    assert_eq!(wrong.len(), 1);
    let lists = |state: &State| Some(State { runs: state.runs.iter().map(|(run, bytes)| (*run, *bytes)).chain(wrong.iter().copied()).collect(), ..state.clone() });
    state::publish(core, lists).await.expect("publish");
}
