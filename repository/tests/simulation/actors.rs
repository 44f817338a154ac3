//! Who is at work: writers, readers, and one that suspects others, each in processes that may die.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use holdfast_repository::testing::fence;
use holdfast_repository::{
    Activity, BlobId, BlobKind, CommitError, LeaseId, Purpose, ReadError, Reader, Repository, Scratch, SnapshotDraft, SnapshotId, SourceRecord,
    WriteError, Writer,
};

use crate::chance::Chance;
use crate::content::{SEEDS, content, decode, encode};
use crate::world::World;

/// What writers were told: these must be accepted for ever, since nothing in a run forgets them.
pub type Committed = Arc<Mutex<BTreeMap<SnapshotId, Vec<u64>>>>;

/// How often a writer that lost blobs to a fence sends them again.
const COMMITS_MAX: usize = 6;

pub async fn back_up(repository: &Repository, host: &str, chance: &Chance, committed: &Committed) -> Result<SnapshotId, CommitError> {
    let writer = repository.begin(Purpose::new(Activity::Backup, host)).await?;
    let mut seeds: Vec<u64> = (0..1 + chance.below(5)).map(|_| chance.below(SEEDS)).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let mut scratch = Scratch::new();
    for attempt in 0.. {
        let (draft, refs) = send(&writer, host, &seeds, chance, &mut scratch).await?;
        match writer.commit(draft, || refs.clone().into_iter()).await {
            Ok(id) => {
                committed.lock().unwrap().insert(id, seeds);
                return Ok(id);
            }
            Err(CommitError::Gone { .. }) if attempt < COMMITS_MAX => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("the loop ends by its limit")
}

type Refs = BTreeMap<BlobId, u64>;

async fn send(writer: &Writer, host: &str, seeds: &[u64], chance: &Chance, scratch: &mut Scratch) -> Result<(SnapshotDraft, Refs), WriteError> {
    let (mut entries, mut refs) = (Vec::new(), Refs::new());
    for &seed in seeds {
        let raw = content(seed);
        let id = writer.blob_id(BlobKind::Bundle, &raw);
        writer.add_async(BlobKind::Bundle, id, &raw, None, scratch).await?;
        refs.insert(id, raw.len() as u64);
        entries.push((seed, id));
        if chance.hits(200) {
            writer.checkpoint().await?;
        }
        if chance.hits(50) {
            // A slow volume: longer than the fence time.
            tokio::time::sleep(std::time::Duration::from_secs(chance.below(1500))).await;
        }
    }
    let catalog = encode(&entries);
    let root = writer.blob_id(BlobKind::Catalog, &catalog);
    writer.add_async(BlobKind::Catalog, root, &catalog, None, scratch).await?;
    refs.insert(root, catalog.len() as u64);
    let source = SourceRecord { path: b"/data".to_vec(), catalog: Some(root), ..SourceRecord::default() };
    Ok((SnapshotDraft { host: host.to_owned(), sources: vec![source], ..SnapshotDraft::default() }, refs))
}

/// Reads one snapshot whole. An error is the store's; wrong content is a broken rule and panics.
pub async fn restore(reader: &Reader, id: &SnapshotId) -> Result<Vec<u64>, ReadError> {
    let record = reader.snapshot(id).await?;
    let mut seeds = Vec::new();
    for source in &record.sources {
        let root = source.catalog.expect("every simulated source has a catalog");
        for (seed, blob) in decode(&reader.read_blob(BlobKind::Catalog, &root).await?) {
            let raw = reader.read_blob(BlobKind::Bundle, &blob).await?;
            assert!(raw == content(seed), "snapshot {id}: blob {blob} does not hold what was written");
            seeds.push(seed);
        }
    }
    Ok(seeds)
}

/// Restores something, as a person would; a snapshot that is listed and cannot be read whole is a broken rule.
pub async fn restore_any(repository: &Repository, host: &str, chance: &Chance) -> Result<(), ReadError> {
    let reader = repository.reader(Purpose::new(Activity::Restore, host)).await?;
    let snapshots = reader.snapshots().await?;
    for (id, error) in &snapshots.unreadable {
        assert!(!error.is_damage(), "snapshot {id} is accepted and unreadable: {error}");
    }
    if !snapshots.readable.is_empty() {
        let pick = usize::try_from(chance.below(snapshots.readable.len() as u64)).unwrap();
        let id = snapshots.readable[pick].0;
        match restore(&reader, &id).await {
            Err(error) if error.is_damage() => panic!("snapshot {id} was listed and cannot be restored: {error}"),
            other => drop(other?),
        }
    }
    reader.close().await
}

/// Suspects some lease that has not ended, and fences it: as often wrong as right, since it asks no heartbeat.
pub async fn suspect(repository: &Repository, world: &World, host: &str, chance: &Chance) -> Result<(), WriteError> {
    let open: Vec<LeaseId> = {
        let objects = world.objects.lock().unwrap();
        let leases = objects.keys().filter_map(|name| name.strip_prefix("leases/")?.split('/').next()?.parse().ok());
        leases.filter(|lease: &LeaseId| !objects.contains_key(&format!("snapshots/{lease}"))).collect()
    };
    if open.is_empty() {
        return Ok(());
    }
    let lease = open[usize::try_from(chance.below(open.len() as u64)).unwrap()];
    world.note(format!("{host} suspects {lease}"));
    fence(repository, &lease, host).await
}
