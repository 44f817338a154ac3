//! Ctrl-C and `kill`: the running verb ends its lease and leaves nothing to clean.

use holdfast_mover::stop::{Stop, StopToken};
use tokio::signal::unix::{SignalKind, signal};

use crate::outcome::Failure;

/// A token that the first SIGINT or SIGTERM stops. The second one ends the process as usual.
pub(crate) fn stop_token() -> Result<StopToken, Failure> {
    let failed = |error: std::io::Error| Failure::new(format!("could not listen for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let token = StopToken::new();
    let stop = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        eprintln!("stopping");
        stop.stop(Stop::Cancel);
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(1);
    });
    Ok(token)
}
