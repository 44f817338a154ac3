//! A backup: against a parent or without, fast or slow, with checkpoints or none.

use std::collections::BTreeMap;

use holdfast_repository::{
    Activity, BlobId, BlobKind, CommitError, Purpose, Repository, Scratch, SnapshotDraft, SnapshotId, SourceRecord, WriteError, Writer,
};

use super::linger;
use crate::content::{SEEDS, content, decode, encode};
use crate::process::Process;

/// How often a writer that lost blobs to a fence sends them again.
const COMMITS_MAX: usize = 6;

type Refs = BTreeMap<BlobId, u64>;
/// What the parent has.
type Parent = BTreeMap<u64, BlobId>;

pub(crate) async fn back_up(process: &Process, repository: &Repository) -> Result<SnapshotId, String> {
    let seeds = choose(process);
    back_up_these(process, repository, seeds).await.map_err(|error| error.to_string())
}

fn choose(process: &Process) -> Vec<u64> {
    let chance = &process.chance;
    let mut seeds: Vec<u64> = (0..1 + chance.below(5)).map(|_| chance.below(SEEDS)).collect();
    seeds.sort_unstable();
    seeds.dedup();
    seeds
}

pub(crate) async fn back_up_these(process: &Process, repository: &Repository, seeds: Vec<u64>) -> Result<SnapshotId, CommitError> {
    let writer = repository.begin(Purpose::new(Activity::Backup, &process.name)).await?;
    let (parent_id, parent) = if process.chance.hits(600) { parent(process, &writer).await? } else { (None, Parent::new()) };
    let mut scratch = Scratch::new();
    for attempt in 0.. {
        let (mut draft, refs) = send(process, &writer, &seeds, &parent, &mut scratch).await?;
        draft.parent = parent_id;
        match writer.commit(draft, || refs.clone().into_iter()).await {
            Ok(id) => {
                process.world.note(format!("{} was told that {id} is committed", process.name));
                process.world.book.lock().unwrap().committed.insert(id, seeds);
                return Ok(id);
            }
            Err(CommitError::Gone { .. }) if attempt < COMMITS_MAX => {}
            Err(error) => return Err(error),
        }
    }
    unreachable!("the loop ends by its limit")
}

/// Some snapshot, read after the lease: gone, damaged or forgotten, there is no parent.
async fn parent(process: &Process, writer: &Writer) -> Result<(Option<SnapshotId>, Parent), WriteError> {
    let found = writer.newest_snapshots(|found| !found.readable.is_empty()).await?;
    let Some((id, record)) = process.chance.pick(&found.readable) else { return Ok((None, Parent::new())) };
    let mut blobs = Parent::new();
    for root in record.sources.iter().filter_map(|source| source.catalog) {
        match writer.read_blob(BlobKind::Catalog, &root).await {
            Ok(catalog) => blobs.extend(decode(&catalog)),
            Err(error) if error.is_damage() => return Ok((None, Parent::new())),
            Err(error) => return Err(error.into()),
        }
    }
    Ok((Some(*id), blobs))
}

async fn send(
    process: &Process,
    writer: &Writer,
    seeds: &[u64],
    parent: &Parent,
    scratch: &mut Scratch,
) -> Result<(SnapshotDraft, Refs), WriteError> {
    let (mut entries, mut refs) = (Vec::new(), Refs::new());
    for &seed in seeds {
        let raw = content(seed);
        // What the parent has and is still usable is not even read; what is not is sent.
        let id = match parent.get(&seed).filter(|id| writer.known(id).is_some()) {
            Some(id) => *id,
            None => {
                let id = writer.blob_id(BlobKind::Bundle, raw);
                writer.add_async(BlobKind::Bundle, id, raw, None, scratch).await?;
                id
            }
        };
        refs.insert(id, raw.len() as u64);
        entries.push((seed, id));
        if process.chance.hits(250) {
            writer.checkpoint().await?;
        }
        if process.chance.hits(80) {
            // A slow volume: longer than the fence time.
            linger(&process.chance).await;
        }
    }
    let catalog = encode(&entries);
    let root = writer.blob_id(BlobKind::Catalog, &catalog);
    writer.add_async(BlobKind::Catalog, root, &catalog, None, scratch).await?;
    refs.insert(root, catalog.len() as u64);
    let source = SourceRecord { path: b"/data".to_vec(), catalog: Some(root), ..SourceRecord::default() };
    Ok((SnapshotDraft { host: process.name.clone(), sources: vec![source], ..SnapshotDraft::default() }, refs))
}
