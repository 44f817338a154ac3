//! Prunes, patiently or not. Several may at once.

use holdfast_repository::{PruneError, PruneOptions, PruneProgress, PruneReport, Repository};

use super::linger;
use crate::process::Process;

pub(crate) async fn prune(process: &Process, repository: &Repository) -> Result<(), String> {
    let chance = &process.chance;
    let (now, no_wait, dry_run) = (chance.hits(700), chance.hits(200), chance.hits(50));
    let options = PruneOptions { now, no_wait, dry_run, host: process.name.clone(), ..PruneOptions::default() };
    process.world.note(format!("{} prunes: now {now}, no_wait {no_wait}, dry_run {dry_run}", process.name));
    // Now and then somebody loses patience.
    let stop = async {
        if chance.hits(150) {
            linger(chance).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    match repository.prune(&options, &PruneProgress::default(), stop).await {
        Ok(report) => {
            process.world.note(format!("{} has pruned: {report:?}", process.name));
            Ok(())
        }
        Err(PruneError::Stopped) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// In calm weather, nobody else at work but the dead.
pub(crate) async fn prune_quietly(process: &Process, repository: &Repository) -> Result<PruneReport, PruneError> {
    let options = PruneOptions { now: true, host: process.name.clone(), ..PruneOptions::default() };
    repository.prune(&options, &PruneProgress::default(), std::future::pending()).await
}
