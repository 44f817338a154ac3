//! What a worker asks the agent: addresses of names, and whether its volumes are still mounted.
//!
//! The asker may be hostile: one question costs at most one bounded task, and there are few at a time.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::v1::VolumeAccess;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::config::Config;
use crate::lookup;
use crate::worker::message::{Check, Checked, Mount, Resolve, Resolved, to_worker};

const OPEN_MAX: usize = 8;
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);
const ADDRESSES_MAX: usize = 16;
const HOST_BYTES_MAX: usize = 253;

pub(super) struct Questions {
    config: Arc<Config>,
    volumes: Vec<VolumeAccess>,
    mounts: Vec<Mount>,
    open: Arc<Semaphore>,
    answers: mpsc::Sender<to_worker::Kind>,
}

impl Questions {
    pub(super) fn new(config: Arc<Config>, volumes: Vec<VolumeAccess>) -> (Self, mpsc::Receiver<to_worker::Kind>) {
        let (answers, receiver) = mpsc::channel(OPEN_MAX);
        (Self { config, volumes, mounts: Vec::new(), open: Arc::new(Semaphore::new(OPEN_MAX)), answers }, receiver)
    }

    /// Where the worker found its volumes, before it read a byte of them. Later claims do not count.
    pub(super) fn opened(&mut self, mut mounts: Vec<Mount>) {
        if self.mounts.is_empty() {
            // More than there are volumes are not where they were, whichever they are.
            mounts.truncate(self.volumes.len() + 1);
            mounts.shrink_to_fit();
            self.mounts = mounts;
        }
    }

    pub(super) fn resolve(&self, question: Resolve) {
        let Some(permit) = self.permit() else { return };
        let answers = self.answers.clone();
        tokio::spawn(async move {
            let (addresses, error) = match addresses(&question.host).await {
                Ok(addresses) => (addresses, String::new()),
                Err(error) => (Vec::new(), error),
            };
            answer(&answers, to_worker::Kind::Resolved(Resolved { id: question.id, addresses, error }), permit).await;
        });
    }

    pub(super) fn check(&self, question: Check) {
        let Some(permit) = self.permit() else { return };
        let (answers, config) = (self.answers.clone(), Arc::clone(&self.config));
        let (volumes, mounts) = (self.volumes.clone(), self.mounts.clone());
        tokio::spawn(async move {
            let changed = lookup::changed(&config, &volumes, &mounts).await;
            answer(&answers, to_worker::Kind::Checked(Checked { id: question.id, changed }), permit).await;
        });
    }

    /// None: the worker asks more than any does; it gets no answer, and its own timeout.
    fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.open).try_acquire_owned().ok()
    }
}

/// Holds the permit until the answer is out, so that the queue cannot fill.
async fn answer(answers: &mpsc::Sender<to_worker::Kind>, kind: to_worker::Kind, permit: OwnedSemaphorePermit) {
    // The task may have ended meanwhile.
    let _ = answers.send(kind).await;
    drop(permit);
}

async fn addresses(host: &str) -> Result<Vec<String>, String> {
    if host.is_empty() || host.len() > HOST_BYTES_MAX {
        return Err("this is no host name".into());
    }
    let found = tokio::time::timeout(RESOLVE_TIMEOUT, tokio::net::lookup_host((host, 0))).await;
    let found = found.map_err(|_| "no name server answered in time".to_owned())?.map_err(|error| error.to_string())?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found.map(|address| address.ip()) {
        if !addresses.contains(&address) && addresses.len() < ADDRESSES_MAX {
            addresses.push(address);
        }
    }
    Ok(addresses.iter().map(ToString::to_string).collect())
}
