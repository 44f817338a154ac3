//! Prunes, patiently or not.

use holdfast_repository::Repository;

use crate::process::Process;

pub(crate) async fn prune(_process: &Process, _repository: &Repository) -> Result<(), String> {
    Ok(())
}

/// In calm weather, nobody else at work but the dead.
pub(crate) async fn prune_quietly(_process: &Process, _repository: &Repository) -> Result<(), String> {
    Ok(())
}
