//! The rules of prune, scenario by scenario, over the store in memory.

use std::sync::Arc;

use super::*;
use crate::blob::BlobKind;
use crate::check::{CheckOptions, CheckProgress};
use crate::compress::Scratch;
use crate::environment::Environment;
use crate::error::CommitError;
use crate::id::SnapshotId;
use crate::repository::Repository;
use crate::secret::SecretBytes;
use crate::snapshot::{self, SnapshotDraft, SourceRecord};
use crate::store::Store;
use crate::testing::{Fate, MemoryStore, Operation, ScriptedStore, TokioClock};
use crate::writer::Writer;

mod crash;
mod open;
mod refused;
mod rewriting;
mod rules;
mod waits;

fn password() -> SecretBytes {
    SecretBytes::new(b"p".to_vec())
}

fn purpose(activity: Activity) -> Purpose {
    Purpose::new(activity, "node")
}

fn environment() -> Environment {
    Environment { clock: Arc::new(TokioClock::new()), ..Environment::system() }
}

async fn repository(store: &Arc<MemoryStore>) -> Repository {
    Repository::init(Arc::clone(store) as Arc<dyn Store>, &password(), environment()).await.expect("init").repository
}

async fn through(store: impl Store + 'static) -> Repository {
    Repository::open(Arc::new(store), &password(), environment()).await.expect("open")
}

fn raw(number: u32) -> Vec<u8> {
    number.to_le_bytes().repeat(1000)
}

async fn begin(repository: &Repository) -> Writer {
    repository.begin(purpose(Activity::Backup)).await.expect("begin")
}

/// Adds data blobs with these numbers and a catalog; sorted refs, and the catalog.
async fn add(writer: &Writer, numbers: std::ops::Range<u32>) -> (Vec<(BlobId, u64)>, BlobId) {
    let mut refs = Vec::new();
    let catalog = raw(1_000_000 + numbers.start * 1000 + numbers.end);
    let blobs = numbers.map(|number| (BlobKind::Data, raw(number))).chain([(BlobKind::Catalog, catalog)]);
    let mut last = BlobId([0; 32]);
    for (kind, raw) in blobs {
        let (id, fine) = writer.identify(kind, &raw);
        writer.add_async(kind, id, &raw, fine, &mut Scratch::new()).await.expect("add");
        refs.push((id, raw.len() as u64));
        last = id;
    }
    refs.sort_unstable();
    (refs, last)
}

async fn commit(writer: &Writer, (refs, catalog): (Vec<(BlobId, u64)>, BlobId)) -> Result<SnapshotId, CommitError> {
    let source = SourceRecord { catalog: Some(catalog), ..SourceRecord::default() };
    writer.commit(SnapshotDraft { sources: vec![source], ..SnapshotDraft::default() }, || refs.iter().copied()).await
}

async fn backup(repository: &Repository, numbers: std::ops::Range<u32>) -> SnapshotId {
    let writer = begin(repository).await;
    let content = add(&writer, numbers).await;
    commit(&writer, content).await.expect("commit")
}

async fn restores(repository: &Repository, id: SnapshotId, numbers: std::ops::Range<u32>) {
    let reader = repository.reader(purpose(Activity::Restore)).await.expect("reader");
    reader.snapshot(&id).await.expect("accepted");
    for number in numbers {
        let id = repository.core.keys.blob_id(BlobKind::Data, &raw(number));
        assert_eq!(reader.read_blob(BlobKind::Data, &id).await.expect("read"), raw(number));
        assert!(reader.stored_fine_hashes(&id).await.expect("fine hashes").is_some());
    }
    reader.close().await.expect("close");
}

async fn is_clean(repository: &Repository) {
    let options = CheckOptions { trailers: true, read_data_percent: 100, ..CheckOptions::default() };
    let report = repository.check(options, &CheckProgress::default()).await.expect("check");
    assert!(report.is_clean(), "{report:?}");
}

fn now() -> PruneOptions {
    PruneOptions { now: true, host: "pruner".into(), ..PruneOptions::default() }
}

fn no_wait() -> PruneOptions {
    PruneOptions { no_wait: true, ..now() }
}

async fn prune(repository: &Repository, options: &PruneOptions) -> PruneReport {
    repository.prune(options, &PruneProgress::default(), std::future::pending()).await.expect("prune")
}

fn names(store: &MemoryStore, folder: &str) -> Vec<String> {
    store.objects().into_keys().filter(|name| name.starts_with(folder)).collect()
}

async fn newest(repository: &Repository) -> State {
    state::newest(&repository.core).await.expect("state")
}

async fn accepted(repository: &Repository) -> Vec<SnapshotId> {
    let snapshots = repository.snapshots().await.expect("snapshots");
    assert!(snapshots.unreadable.is_empty());
    let mut ids: Vec<_> = snapshots.readable.into_iter().map(|(id, _)| id).collect();
    ids.sort_unstable();
    ids
}

/// A prune to be led step by step.
macro_rules! stepwise {
    ($prune:ident, $look:ident, $goal:ident = $repository:expr, $options:expr) => {
        let (options, progress) = ($options, PruneProgress::default());
        let (mut $prune, begun) = Prune::begin(&$repository.core, &options, &progress).await.expect("begin");
        let (mut $look, goal) = $prune.condemn(&begun).await.expect("condemn");
        let $goal = goal.expect("something is condemned");
    };
}
use stepwise;

/// Each rule, left out, is noticed by the scenario that is named after it.
#[test]
fn a_rule_left_out_is_noticed() {
    use crate::testing::mutation::{Rule, without};
    let scenarios: [(Rule, fn()); 7] = [
        (Rule::Relook, rules::take_back_against_delete),
        (Rule::Wait, waits::it_waits_for_a_living_writer_however_long_that_takes),
        (Rule::Number, rules::what_another_prune_condemned_since_is_not_doomed),
        (Rule::DoomedBeforeDelete, crash::what_is_deleted_was_doomed_by_a_published_state),
        (Rule::FailClosed, rules::what_cannot_be_read_stops_it_before_anything_is_published),
        (Rule::Epoch, waits::a_lease_that_lands_after_the_publish_is_not_worked_under),
        (Rule::FarBelowFloor, rules::a_zombies_late_run_that_was_taken_up_is_not_deleted_under_its_user),
    ];
    for (rule, scenario) in scenarios {
        let noticed = without(Some(rule), || std::panic::catch_unwind(scenario)).is_err();
        assert!(noticed, "{rule:?}, left out, is not noticed");
    }
}
