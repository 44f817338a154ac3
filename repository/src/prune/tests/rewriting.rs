//! Packs that are partly used, and index runs.

use super::*;
use crate::testing::needed_packs;
use crate::testing::spilling::Spilling;

fn stored_bytes(store: &MemoryStore) -> usize {
    store.objects().iter().filter(|(name, _)| name.starts_with("packs/")).map(|(_, object)| object.len()).sum()
}

/// Content that does not compress.
fn noise(number: u32) -> Vec<u8> {
    let mut raw = vec![0; 20_000];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut raw);
    raw
}

async fn backup_noise(repository: &Repository, numbers: impl Iterator<Item = u32>) -> SnapshotId {
    let writer = begin(repository).await;
    let refs = add_noise(&writer, numbers).await;
    writer.commit(SnapshotDraft::default(), || refs.iter().copied()).await.expect("commit")
}

async fn add_noise(writer: &Writer, numbers: impl Iterator<Item = u32>) -> Vec<(BlobId, u64)> {
    let mut refs = Vec::new();
    for number in numbers {
        let raw = noise(number);
        let (id, fine) = writer.identify(BlobKind::Data, &raw);
        writer.add_async(BlobKind::Data, id, &raw, fine, &mut Scratch::new()).await.expect("add");
        refs.push((id, 20_000));
    }
    refs.sort_unstable();
    refs
}

async fn restores_noise(repository: &Repository, numbers: impl Iterator<Item = u32>) {
    let reader = repository.reader(purpose(Activity::Restore)).await.expect("reader");
    for number in numbers {
        let id = repository.core.keys.blob_id(BlobKind::Data, &noise(number));
        assert_eq!(reader.read_blob(BlobKind::Data, &id).await.expect("read"), noise(number));
        assert_eq!(reader.stored_fine_hashes(&id).await.expect("fine"), Some(crate::fine::identify(repository.core.keys.data_blobs(), &noise(number)).1));
    }
    reader.close().await.expect("close");
}

#[tokio::test(start_paused = true)]
async fn what_is_used_of_a_mostly_dead_pack_moves_and_the_pack_goes() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let old = backup_noise(&repository, 0..100).await;
    let kept = backup_noise(&repository, (0..100).step_by(10)).await;
    repository.forget(&[old]).await.expect("forget");
    let before = stored_bytes(&store);
    let dry = prune(&repository, &PruneOptions { dry_run: true, ..now() }).await;
    let report = prune(&repository, &PruneOptions { now: false, ..now() }).await;
    assert!(dry.packs_rewritten == report.packs_rewritten && report.packs_rewritten >= 1, "{dry:?} {report:?}");
    assert!(report.packs_deleted >= 1 && report.bytes_rewritten >= 200_000, "{report:?}");
    assert!(stored_bytes(&store) < before / 5, "{} of {before}", stored_bytes(&store));
    restores_noise(&repository, (0..100).step_by(10)).await;
    is_clean(&repository).await;
    assert_eq!(accepted(&repository).await, [kept]);

    let report = prune(&repository, &now()).await;
    assert_eq!((report.packs_rewritten, report.packs_condemned), (0, 0), "nothing is left to do");
    let packs: std::collections::BTreeSet<String> = names(&store, "packs/").into_iter().collect();
    assert_eq!(needed_packs(&repository).await.expect("needed"), packs);
    let before = packs.len();
    backup_noise(&repository, (0..100).step_by(10)).await;
    assert_eq!(names(&store, "packs/").len(), before, "the copies are known");
}

/// A writer that began before uses a blob of the old pack that nobody used when it was copied.
#[tokio::test(start_paused = true)]
async fn a_rewritten_pack_is_taken_back_for_a_blob_that_was_not_copied() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let old = backup_noise(&repository, 0..50).await;
    backup_noise(&repository, 0..5).await;
    let writer = begin(&repository).await;
    repository.forget(&[old]).await.expect("forget");
    stepwise!(prune, look, goal = repository, now());
    assert!(prune.report.packs_rewritten >= 1);
    let id = writer.blob_id(BlobKind::Data, &noise(40));
    assert!(writer.known(&id).is_some());
    writer.commit(SnapshotDraft::default(), || [(id, 20_000)].into_iter()).await.expect("commit");
    prune.reclaim(&mut look, goal).await.expect("reclaim");
    prune.sweep(&look).await.expect("sweep");
    assert!(prune.report.packs_taken_back >= 1, "{:?}", prune.report);
    restores_noise(&repository, (0..5).chain([40])).await;
    is_clean(&repository).await;
    let report = super::prune(&repository, &now()).await;
    assert!(report.packs_rewritten >= 1, "tried again: {report:?}");
    restores_noise(&repository, (0..5).chain([40])).await;
    is_clean(&repository).await;
}

/// A restore that began before goes on with the old packs; one that begins in between has the new ones.
#[tokio::test(start_paused = true)]
async fn restores_read_on_while_packs_are_rewritten() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let old = backup_noise(&repository, 0..50).await;
    backup_noise(&repository, 0..5).await;
    repository.forget(&[old]).await.expect("forget");
    stepwise!(prune, look, goal = repository, now());
    let reader = repository.reader(purpose(Activity::Restore)).await.expect("reader");
    prune.reclaim(&mut look, goal).await.expect("reclaim");
    prune.sweep(&look).await.expect("sweep");
    assert!(prune.report.packs_deleted >= 1);
    for number in 0..5 {
        let id = repository.core.keys.blob_id(BlobKind::Data, &noise(number));
        assert_eq!(reader.read_blob(BlobKind::Data, &id).await.expect("read"), noise(number));
    }
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_an_end_and_the_most_dead_comes_first() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let first = backup_noise(&repository, 0..20).await;
    let second = backup_noise(&repository, 100..120).await;
    backup_noise(&repository, (0..10).chain(100..102)).await;
    repository.forget(&[first, second]).await.expect("forget");
    let report = prune(&repository, &PruneOptions { repack_bytes_max: 100_000, ..now() }).await;
    assert!(report.bytes_rewritten <= 100_000 && report.bytes_rewritten >= 40_000, "the pack of two, not the pack of ten: {report:?}");
    let report = prune(&repository, &now()).await;
    assert!(report.bytes_rewritten >= 200_000, "{report:?}");
    restores_noise(&repository, (0..10).chain(100..102)).await;
    is_clean(&repository).await;
}

#[tokio::test(start_paused = true)]
async fn a_rotten_blob_keeps_its_pack_and_is_published() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let old = backup_noise(&repository, 0..20).await;
    backup_noise(&repository, 0..2).await;
    let pack = names(&store, "packs/data").remove(0);
    let mut rotten = store.take(&pack).expect("pack").to_vec();
    rotten[100] ^= 1; // The first blob, number 0.
    store.put(&pack, rotten);
    repository.forget(&[old]).await.expect("forget");
    prune(&repository, &now()).await;
    assert!(names(&store, "packs/data").contains(&pack));
    assert_eq!(newest(&repository).await.bad_blobs.len(), 1);
    restores_noise(&repository, 1..2).await;
    // The next backup that sees it heals it, and then the pack can go.
    backup_noise(&repository, 0..2).await;
    prune(&repository, &now()).await;
    assert!(!names(&store, "packs/data").contains(&pack));
    restores_noise(&repository, 0..2).await;
    is_clean(&repository).await;
}

#[tokio::test(start_paused = true)]
async fn many_small_packs_and_runs_become_few() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    for number in 0..70 {
        backup_noise(&repository, number..number + 1).await;
    }
    let before = names(&store, "packs/data").len();
    let report = prune(&repository, &now()).await;
    assert!(before >= 70 && names(&store, "packs/data").len() == 1, "{report:?}");
    assert!(names(&store, "packs/meta").len() <= 3);
    assert!(newest(&repository).await.runs.len() <= 2, "{report:?}");
    restores_noise(&repository, 0..70).await;
    is_clean(&repository).await;
    for number in 100..130 {
        backup_noise(&repository, number..number + 1).await;
    }
    let gone = backup_noise(&repository, 200..201).await;
    repository.forget(&[gone]).await.expect("forget");
    let report = prune(&repository, &now()).await;
    assert!(report.runs_merged >= 30 && newest(&repository).await.runs.len() == 1, "{report:?}");
    restores_noise(&repository, (0..70).chain(100..130)).await;
    is_clean(&repository).await;
    // A new machine, and the runs that were replaced are gone in the end.
    for number in 300..303 {
        let gone = backup_noise(&repository, number..number + 1).await;
        repository.forget(&[gone]).await.expect("forget");
        prune(&repository, &now()).await;
    }
    assert!(names(&store, "index/").len() <= 6, "{:?}", names(&store, "index/"));
    restores_noise(&repository, (0..70).chain(100..130)).await;
    is_clean(&repository).await;
}

/// Prunes what `written` has, once for each read of the spilled index, which fails, and once more without a failure.
async fn prune_failing(written: &MemoryStore, numbers: impl Iterator<Item = u32> + Clone) -> PruneReport {
    let directory = tempfile::TempDir::new().expect("folder");
    let mut reads = 0;
    loop {
        let store = Arc::new(MemoryStore::new());
        written.objects().into_iter().for_each(|(name, object)| store.put(&name, object));
        let repository = Repository::open(store, &password(), environment()).await.expect("open");
        repository.use_spill(std::fs::File::open(directory.path()).expect("folder").into(), 1 << 20).expect("spill");
        let spilling = Spilling::failing_after(reads);
        let outcome = repository.prune(&now(), &PruneProgress::default(), std::future::pending()).await;
        let has_failed = spilling.end();
        restores_noise(&repository, numbers.clone()).await;
        is_clean(&repository).await;
        if !has_failed {
            assert!(reads > 10, "{reads}");
            return outcome.expect("nothing failed");
        }
        assert!(matches!(outcome, Err(PruneError::Read(_))), "{reads}: {outcome:?}");
        reads += 1;
    }
}

/// The index is walked twice: what the second walk does not find would go with the packs that are thought to be copied.
#[tokio::test(start_paused = true)]
async fn whatever_read_of_a_spilled_index_fails_nothing_that_is_used_goes() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let old = backup_noise(&repository, 0..100).await;
    backup_noise(&repository, (0..100).step_by(10)).await;
    repository.forget(&[old]).await.expect("forget");
    let report = prune_failing(&store, (0..100).step_by(10)).await;
    assert!(report.packs_rewritten >= 1 && report.packs_deleted >= 1, "{report:?}");
}

/// Fine hashes are looked up behind the first walk, and here nothing is copied that would be behind them.
#[tokio::test(start_paused = true)]
async fn whatever_read_of_a_spilled_index_fails_fine_hashes_stay() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let writer = begin(&repository).await;
    let refs = add_noise(&writer, 0..100).await;
    // A pack of fine hashes alone.
    writer.checkpoint().await.expect("checkpoint");
    writer.commit(SnapshotDraft::default(), || refs.iter().copied()).await.expect("commit");
    let old = backup_noise(&repository, 200..210).await;
    repository.forget(&[old]).await.expect("forget");
    let report = prune_failing(&store, 0..100).await;
    assert!(report.packs_rewritten == 0 && report.packs_deleted >= 1, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_pack_of_which_less_was_copied_than_is_used_stays() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    let old = backup_noise(&repository, 0..20).await;
    backup_noise(&repository, 0..5).await;
    repository.forget(&[old]).await.expect("forget");
    let (options, progress) = (now(), PruneProgress::default());
    let (mut prune, _) = Prune::begin(&repository.core, &options, &progress).await.expect("begin");
    for missed in [1, 0] {
        let mut look = Look::take(&repository.core, &Opened::new(), &mut prune.inventory, options.memory_bytes, &progress).await.expect("look");
        let mut partly = prune.worth_rewriting(&look);
        partly.values_mut().for_each(|used| used.live_blobs += missed);
        let rewritten = prune.rewrite(&mut look, &partly).await.expect("rewrite");
        assert_eq!(rewritten.from.len(), if missed == 0 { partly.len() } else { 0 });
        assert!(!partly.is_empty());
    }
}

/// A run that is lost then takes whole packs out of the index, which a repair asks what they hold.
#[tokio::test(start_paused = true)]
async fn no_pack_is_in_two_of_the_runs_that_many_are_merged_to() {
    let store = Arc::new(MemoryStore::new());
    let repository = repository(&store).await;
    for number in 0..30 {
        backup(&repository, number * 50..number * 50 + 50).await;
    }
    let gone = backup(&repository, 5000..5010).await;
    repository.forget(&[gone]).await.expect("forget");
    let report = prune(&repository, &now()).await;
    assert!(report.runs_merged >= 30, "{report:?}");
    let mut listed = BTreeSet::new();
    let runs = newest(&repository).await.runs;
    for name in runs.keys() {
        let (run, _) = crate::view::read_run(&repository.core, name).await.expect("run");
        assert!(run.entries.len() <= 1000 && run.packs.iter().all(|pack| listed.insert(pack.name)), "{name}");
    }
    assert!(runs.len() == 2 && listed.len() >= 60, "{} runs, {} packs", runs.len(), listed.len());
    is_clean(&repository).await;
}
