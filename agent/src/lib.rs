//! Runs on every node: finds volumes, runs tasks in sandboxed worker processes, reports progress.
//!
//! ```text
//! controllers <== gRPC ==> dispatch -> hub -> supervisor <== socketpair ==> worker process (sandbox, mover, repository)
//! ```
//! The agent process holds no API credentials and never touches a volume: only workers do, one per task.

mod cache;
mod clock;
mod config;
mod dispatch;
mod frame;
mod hub;
mod lookup;
mod process;
mod roster;
mod sandbox;
mod supervisor;
mod syscall;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod volume;
pub mod worker;

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use cache::CachePlace;
pub use config::{Config, SandboxMode, Source};

/// Why the agent does not start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A worker cannot enter its sandbox here, and the agent was not told to do without.
    #[error("{0}")]
    Sandbox(String),
    /// The kernel gives no randomness.
    #[error("no random instance id: {0}")]
    Random(#[source] io::Error),
}

/// Serves the controllers until `shutdown`; then lets every volume go and returns.
///
/// Call it on a multi-threaded runtime whose threads live as long as the process.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), AgentError> {
    let config = Arc::new(config);
    match config.sandbox {
        SandboxMode::Required => lookup::try_sandbox(&config).await.map_err(AgentError::Sandbox)?,
        SandboxMode::Off | SandboxMode::OffWithoutMounts => tracing::warn!("workers run WITHOUT a sandbox (--sandbox=off): not for a cluster"),
    }
    let instance = instance().map_err(AgentError::Random)?;
    let (events, receiver) = mpsc::channel(hub::EVENTS_MAX);
    // The streams outlive the hub's farewell, so that last results still go out.
    let streams_end = CancellationToken::new();
    let streams = tokio::spawn(dispatch::run(Arc::clone(&config), events, streams_end.clone()));
    hub::run(config, instance, receiver, shutdown).await;
    streams_end.cancel();
    // A stream that does not end in time ends with the process.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), streams).await;
    Ok(())
}

/// Whether a worker can enter its sandbox here; Err(what to do or where it fails).
pub async fn try_sandbox(config: &Config) -> Result<(), String> {
    lookup::try_sandbox(config).await
}

/// Random, so that a controller tells a restarted agent from a reconnected one.
fn instance() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod node;
