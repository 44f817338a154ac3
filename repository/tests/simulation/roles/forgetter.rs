//! Forgets some of what is there, whoever wrote it.

use holdfast_repository::{Repository, SnapshotId};

use crate::process::Process;

pub(crate) async fn forget_some(process: &Process, repository: &Repository) -> Result<(), String> {
    let snapshots = repository.snapshots().await.map_err(|error| error.to_string())?;
    let chosen: Vec<SnapshotId> = snapshots.readable.iter().map(|(id, _)| *id).filter(|_| process.chance.hits(500)).collect();
    // Before it is asked: a forget whose answer is lost may have happened.
    process.world.book.lock().unwrap().forgetting.extend(&chosen);
    process.world.note(format!("{} forgets {chosen:?}", process.name));
    repository.forget(&chosen).await.map_err(|error| error.to_string())?;
    process.world.book.lock().unwrap().forgotten.extend(&chosen);
    Ok(())
}
