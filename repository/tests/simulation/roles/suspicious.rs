//! Suspects some lease that has not ended, and fences it: as often wrong as right, since it asks no heartbeat.

use holdfast_repository::testing::fence;
use holdfast_repository::{LeaseId, Repository};

use super::linger;
use crate::process::Process;

pub(crate) async fn suspect(process: &Process, repository: &Repository) -> Result<(), String> {
    linger(&process.chance).await;
    let ended = process.world.names("snapshots/");
    let lease_of = |name: &String| name.strip_prefix("leases/")?.split('/').next()?.parse::<LeaseId>().ok();
    let mut open: Vec<LeaseId> = process.world.names("leases/").iter().filter_map(lease_of).collect();
    open.retain(|lease| !ended.contains(&format!("snapshots/{lease}")));
    let Some(lease) = process.chance.pick(&open) else { return Ok(()) };
    process.world.note(format!("{} suspects {lease}", process.name));
    fence(repository, lease, &process.name).await.map_err(|error| error.to_string())
}
