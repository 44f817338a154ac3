//! Streams to the controllers: one to every address behind their name, each dialed again for ever.

mod address;
mod backoff;
mod dial;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::hub::{ConnectionId, Event};
use backoff::Backoff;
use dial::Ended;

/// How often the name is looked up, as replicas come and go.
const LOOK_UP_INTERVAL: Duration = Duration::from_secs(10);
/// The same while no controller is attended: one that was replaced is back within seconds.
const LOOK_UP_INTERVAL_ALONE: Duration = Duration::from_secs(1);
/// More replicas than anybody runs.
const ADDRESSES_MAX: usize = 16;

/// Keeps the streams until `shutdown`.
pub(crate) async fn run(config: Arc<Config>, events: mpsc::Sender<Event>, shutdown: CancellationToken) {
    let shared = Arc::new(Shared { config, events, numbers: AtomicU64::new(1), attending: AtomicU64::new(0), lost: Notify::new(), shutdown });
    let streams = TaskTracker::new();
    let mut known: HashMap<SocketAddr, CancellationToken> = HashMap::new();
    let mut found = true;
    while !shared.shutdown.is_cancelled() {
        match address::look_up(&shared.config.controller).await {
            Ok(addresses) => {
                found = true;
                follow(&mut known, addresses, &shared, &streams);
            }
            // Said once, not each second.
            Err(error) => {
                if std::mem::take(&mut found) {
                    tracing::warn!(controller = shared.config.controller, %error, "no controller's address is known");
                }
            }
        }
        let interval = if shared.attending.load(Ordering::Relaxed) == 0 { LOOK_UP_INTERVAL_ALONE } else { LOOK_UP_INTERVAL };
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = shared.lost.notified() => tokio::time::sleep(LOOK_UP_INTERVAL_ALONE).await,
            () = shared.shutdown.cancelled() => {}
        }
    }
    streams.close();
    streams.wait().await;
}

struct Shared {
    config: Arc<Config>,
    events: mpsc::Sender<Event>,
    numbers: AtomicU64,
    /// Streams that are open now.
    attending: AtomicU64,
    /// A stream ended: its controller may be back under another address.
    lost: Notify,
    shutdown: CancellationToken,
}

/// A stream to an address that is gone lives until it breaks; it is only not dialed again.
fn follow(known: &mut HashMap<SocketAddr, CancellationToken>, mut addresses: Vec<SocketAddr>, shared: &Arc<Shared>, streams: &TaskTracker) {
    addresses.truncate(ADDRESSES_MAX);
    known.retain(|address, gone| {
        let stays = addresses.contains(address);
        if !stays {
            gone.cancel();
        }
        stays
    });
    for address in addresses {
        known.entry(address).or_insert_with(|| {
            let gone = shared.shutdown.child_token();
            streams.spawn(keep(Arc::clone(shared), address, gone.clone()));
            gone
        });
    }
}

/// One address: dial, attend, wait, again; until it is gone.
async fn keep(shared: Arc<Shared>, address: SocketAddr, gone: CancellationToken) {
    let mut backoff = Backoff::default();
    while !gone.is_cancelled() {
        let id = ConnectionId(shared.numbers.fetch_add(1, Ordering::Relaxed));
        let ended = dial::attend(&shared.config, address, id, &shared.events, &shared.attending, &shared.shutdown).await;
        match ended {
            Ended::AfterWelcome(reason) => {
                backoff.reset();
                shared.lost.notify_one();
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
