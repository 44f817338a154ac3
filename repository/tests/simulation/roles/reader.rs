//! A restore: holds its lease for long, and reads whole what was accepted when it began, whatever is forgotten and pruned meanwhile.

use holdfast_repository::{Activity, BlobKind, Purpose, ReadError, Reader, Repository, SnapshotId};

use super::linger;
use crate::content::{content, decode};
use crate::process::Process;

/// Reads one snapshot whole. Wrong content is damage that nobody noticed, the worst there is.
pub(crate) async fn restore(reader: &Reader, id: &SnapshotId) -> Result<Vec<u64>, ReadError> {
    restore_slowly(reader, id, || std::future::ready(())).await
}

async fn restore_slowly<F: Future<Output = ()>>(reader: &Reader, id: &SnapshotId, between: impl Fn() -> F) -> Result<Vec<u64>, ReadError> {
    let record = reader.snapshot(id).await?;
    let mut seeds = Vec::new();
    for root in record.sources.iter().filter_map(|source| source.catalog) {
        for (seed, blob) in decode(&reader.read_blob(BlobKind::Catalog, &root).await?) {
            between().await;
            let raw = reader.read_blob(BlobKind::Bundle, &blob).await?;
            if raw != content(seed) {
                return Err(ReadError::Damaged { object: format!("blob {blob}"), reason: "it does not hold what was written".into() });
            }
            seeds.push(seed);
        }
    }
    Ok(seeds)
}

/// Restores something, as a person would. A snapshot that is listed and cannot be read whole is a broken rule, unless somebody
/// took the lease away meanwhile.
pub(crate) async fn restore_any(process: &Process, repository: &Repository) -> Result<(), String> {
    let reader = repository.reader(Purpose::new(Activity::Restore, &process.name)).await.map_err(|error| error.to_string())?;
    let lease = reader.lease().ok_or("no lease")?;
    let excused = || process.is_deceived() || process.world.is_damaged() || process.world.is_fenced(&lease, &process.name);
    let snapshots = reader.snapshots().await.map_err(|error| error.to_string())?;
    if let Some((id, error)) = snapshots.unreadable.first().filter(|(_, error)| error.is_damage() && !excused()) {
        process.world.violate(format!("snapshot {id} is accepted and unreadable for {}: {error}", process.name));
    }
    if let Some((id, _)) = process.chance.pick(&snapshots.readable) {
        let is_slow = process.chance.hits(500);
        let between = || async {
            if is_slow {
                linger(&process.chance).await;
            }
        };
        match restore_slowly(&reader, id, between).await {
            Err(error) if error.is_damage() && !excused() => {
                process.world.violate(format!("snapshot {id} was listed under lease {lease} and {} cannot restore it: {error}", process.name));
            }
            other => drop(other.map_err(|error| error.to_string())?),
        }
    }
    reader.close().await.map_err(|error| error.to_string())
}
