//! Streams to the controllers: one to every address behind their name, each dialed again for ever.

mod address;
mod backoff;
mod dial;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::hub::{ConnectionId, Event};
use backoff::Backoff;
use dial::Ended;

/// How often the name is looked up, as replicas come and go.
const LOOK_UP_INTERVAL: Duration = Duration::from_secs(10);
/// More replicas than anybody runs.
const ADDRESSES_MAX: usize = 16;

/// Keeps the streams until `shutdown`.
pub(crate) async fn run(config: Arc<Config>, events: mpsc::Sender<Event>, shutdown: CancellationToken) {
    let numbers = Arc::new(AtomicU64::new(1));
    let streams = TaskTracker::new();
    let mut known: HashMap<SocketAddr, CancellationToken> = HashMap::new();
    let mut waits = Backoff::default();
    while !shutdown.is_cancelled() {
        match address::look_up(&config.controller).await {
            Ok(mut addresses) => {
                addresses.truncate(ADDRESSES_MAX);
                // A stream to an address that is gone lives until it breaks; it is only not dialed again.
                known.retain(|address, gone| addresses.contains(address) || { gone.cancel(); false });
                for address in addresses {
                    known.entry(address).or_insert_with(|| {
                        let gone = shutdown.child_token();
                        streams.spawn(keep(Arc::clone(&config), address, events.clone(), Arc::clone(&numbers), gone.clone(), shutdown.clone()));
                        gone
                    });
                }
            }
            Err(error) => tracing::warn!(controller = config.controller, %error, "no controller's address is known"),
        }
        // An agent that knows nobody looks more often at first: controllers come up in seconds.
        let interval = if known.is_empty() { waits.next_delay() } else { LOOK_UP_INTERVAL };
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = shutdown.cancelled() => {}
        }
    }
    streams.close();
    streams.wait().await;
}

/// One address: dial, attend, wait, again; until it is gone.
async fn keep(
    config: Arc<Config>,
    address: SocketAddr,
    events: mpsc::Sender<Event>,
    numbers: Arc<AtomicU64>,
    gone: CancellationToken,
    shutdown: CancellationToken,
) {
    let mut backoff = Backoff::default();
    while !gone.is_cancelled() {
        let id = ConnectionId(numbers.fetch_add(1, Ordering::Relaxed));
        let ended = dial::attend(&config, address, id, &events, &shutdown).await;
        match ended {
            Ended::AfterWelcome(reason) => {
                backoff.reset();
                tracing::info!(%address, reason, "a controller's stream ended");
            }
            Ended::Before(reason) => tracing::warn!(%address, reason, "a controller does not let us attend"),
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next_delay()) => {}
            () = gone.cancelled() => {}
        }
    }
}
