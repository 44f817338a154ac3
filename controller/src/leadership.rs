//! Leadership: one replica assigns work. A Lease object elects, by compare-and-swap on its resourceVersion.
//!
//! Leadership holds until a time counted from when its renewal was *asked* for; a successor waits the whole duration
//! from when it *saw* the last renewal. So the two never overlap, however long a message takes. The epoch is the
//! Lease's `leaseTransitions`, which every acquisition raises: also that of a restarted replica by its own name. Agents obey no
//! lower one, and a Lease may be deleted, or be as old as the copy that etcd was restored from: an epoch is therefore also above
//! all that this process has seen and that agents say they have.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::is_race;
use crate::clock::SharedClock;
use crate::neighbour::Neighbour;

/// Name of the Lease.
const LEASE: &str = "holdfast";
/// How long a leadership lasts without renewal.
const DURATION_MS: u64 = 15_000;
/// What the leader gives up of that itself: clock rates differ.
const MARGIN_MS: u64 = 3_000;
const RENEW_MS: u64 = 4_000;
const RETRY_MS: u64 = 1_000;
/// Agents that have seen a higher epoch all say so within moments. One that says another each time must not make leaderships end all
/// the time.
const RAISE_PAUSE_MS: u64 = 600_000;
/// What agents say they have seen is believed up to here: it leaves room for as many acquisitions in what a Lease can hold.
const HEARD_MAX: u64 = 1 << 30;

/// Whether this replica leads, and how long that is sure.
#[derive(Clone, Debug)]
pub struct Leadership {
    epoch: watch::Receiver<u64>,
    holds_until_ms: Arc<AtomicU64>,
    heard: Arc<AtomicU64>,
}

impl Leadership {
    /// The epoch of this replica's leadership; 0 if it does not lead.
    pub fn epoch(&self) -> u64 {
        *self.epoch.borrow()
    }

    /// Told of every change of the epoch.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.epoch.clone()
    }

    /// Whether this replica leads as `epoch` at the boot-clock time `now_ms`.
    pub fn holds(&self, epoch: u64, now_ms: u64) -> bool {
        epoch != 0 && self.epoch() == epoch && now_ms < self.holds_until_ms.load(Ordering::SeqCst)
    }

    /// An agent says that it has seen this epoch.
    pub fn heard(&self, epoch: u64) {
        if epoch <= HEARD_MAX {
            self.heard.fetch_max(epoch, Ordering::SeqCst);
        }
    }
}

/// Stands for election until it is told to stop.
pub struct Candidate {
    leases: Api<Lease>,
    identity: String,
    clock: SharedClock,
    epoch: watch::Sender<u64>,
    holds_until_ms: Arc<AtomicU64>,
    /// KubeStash's operator, beside which nobody leads.
    neighbour: watch::Receiver<Neighbour>,
    /// The version of another's Lease, and when it was first seen; without a version that there was none.
    seen: Option<(String, u64)>,
    /// The highest epoch that this process has seen in the Lease.
    highest: u64,
    /// The highest that agents say they have seen.
    heard: Arc<AtomicU64>,
    /// When the epoch was last raised for what agents say.
    raised_ms: Option<u64>,
    /// A replica of the same name that ran before: its Lease may be taken at once, since it is this process's past.
    fresh: bool,
}

/// What to do with the Lease as it stands.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Create { epoch: u64 },
    Take { epoch: u64 },
    Renew { epoch: u64 },
    Wait,
}

impl Candidate {
    /// A candidate and the view that everybody else has of it.
    pub fn new(
        client: kube::Client,
        namespace: &str,
        identity: String,
        clock: SharedClock,
        neighbour: watch::Receiver<Neighbour>,
    ) -> (Self, Leadership) {
        let (epoch, receiver) = watch::channel(0);
        let holds_until_ms = Arc::new(AtomicU64::new(0));
        let heard = Arc::new(AtomicU64::new(0));
        let leadership = Leadership { epoch: receiver, holds_until_ms: Arc::clone(&holds_until_ms), heard: Arc::clone(&heard) };
        let candidate = Self {
            leases: Api::namespaced(client, namespace),
            identity,
            clock,
            epoch,
            holds_until_ms,
            neighbour,
            seen: None,
            highest: 0,
            heard,
            raised_ms: None,
            fresh: true,
        };
        (candidate, leadership)
    }

    /// Leads, without a Lease.
    #[cfg(test)]
    pub(crate) fn begin(&self, epoch: u64) {
        self.epoch.send_replace(epoch);
    }

    /// Runs until `shutdown`; then gives the Lease back, so that a successor need not wait.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let alone = *self.neighbour.borrow_and_update() == Neighbour::Away;
            if !alone && self.leads() {
                self.step_down("KubeStash's operator is at work");
                self.release().await;
            }
            // An API server that is not reached may never answer, and what has lapsed must end all the same.
            let patience = Duration::from_millis(self.patience_ms());
            let round = if alone { tokio::time::timeout(patience, self.round()).await } else { Ok(Ok(())) };
            let pause_ms = match round {
                Ok(Ok(())) if self.leads() => RENEW_MS,
                Ok(Ok(())) => RETRY_MS,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the election's Lease could not be read or written");
                    RETRY_MS
                }
                Err(_) => {
                    tracing::warn!("the API server did not answer about the election's Lease in time");
                    RETRY_MS
                }
            };
            if self.leads() && self.clock.boottime_ms() >= self.holds_until_ms.load(Ordering::SeqCst) {
                self.step_down("its Lease could not be renewed in time");
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = changed(&mut self.neighbour) => {}
                () = tokio::time::sleep(Duration::from_millis(pause_ms)) => {}
            }
        }
        if self.leads() {
            self.step_down("it is shutting down");
            self.release().await;
        }
    }

    fn leads(&self) -> bool {
        *self.epoch.borrow() != 0
    }

    /// How long a round may take: a leadership that is acquired or renewed later has lapsed already.
    fn patience_ms(&self) -> u64 {
        let left_ms = self.holds_until_ms.load(Ordering::SeqCst).saturating_sub(self.clock.boottime_ms());
        if self.leads() { left_ms } else { DURATION_MS - MARGIN_MS }
    }

    /// Of the next acquisition.
    pub(crate) fn next_epoch(&self) -> u64 {
        self.highest.max(self.heard.load(Ordering::SeqCst)) + 1
    }

    fn step_down(&mut self, why: &str) {
        tracing::info!(why, "this replica no longer leads");
        self.holds_until_ms.store(0, Ordering::SeqCst);
        self.epoch.send_replace(0);
    }

    async fn round(&mut self) -> Result<(), kube::Error> {
        let asked_ms = self.clock.boottime_ms();
        let lease = self.leases.get_opt(LEASE).await?;
        let step = self.step(lease.as_ref(), asked_ms);
        let epoch = match step {
            Step::Wait => {
                if self.leads() {
                    self.step_down("another replica holds the Lease");
                }
                return Ok(());
            }
            Step::Create { epoch } | Step::Take { epoch } | Step::Renew { epoch } => epoch,
        };
        let wanted = self.lease(lease, epoch);
        let written = match step {
            Step::Create { .. } => self.leases.create(&PostParams::default(), &wanted).await,
            _ => self.leases.replace(LEASE, &PostParams::default(), &wanted).await,
        };
        match written {
            Ok(_) => {
                if self.leads() && matches!(step, Step::Take { .. }) && self.is_to_rise(asked_ms) {
                    tracing::info!(epoch, "agents know of a higher leadership than this one, which rises above it");
                    self.raised_ms = Some(asked_ms);
                }
                self.fresh = false;
                self.seen = None;
                self.highest = self.highest.max(epoch);
                self.holds_until_ms.store(asked_ms + DURATION_MS - MARGIN_MS, Ordering::SeqCst);
                if *self.epoch.borrow() != epoch {
                    tracing::info!(epoch, identity = %self.identity, "this replica leads");
                    self.epoch.send_replace(epoch);
                }
                Ok(())
            }
            // Somebody was faster: the next round sees who.
            Err(error) if is_race(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn step(&mut self, lease: Option<&Lease>, now_ms: u64) -> Step {
        let Some(lease) = lease else { return self.step_without_lease(now_ms) };
        let spec = lease.spec.clone().unwrap_or_default();
        let transitions = u64::try_from(spec.lease_transitions.unwrap_or(0)).unwrap_or(0);
        self.highest = self.highest.max(transitions);
        let holder = spec.holder_identity.unwrap_or_default();
        if holder == self.identity && self.leads() {
            // Another epoch under the same name is another process of that name: it leads now.
            if transitions != *self.epoch.borrow() {
                return Step::Wait;
            }
            return if self.is_to_rise(now_ms) { Step::Take { epoch: self.next_epoch() } } else { Step::Renew { epoch: transitions } };
        }
        let is_free = holder.is_empty() || (holder == self.identity && self.fresh);
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let duration_ms = u64::try_from(spec.lease_duration_seconds.unwrap_or(15)).unwrap_or(15) * 1000;
        if is_free || self.stands_still(version, duration_ms.max(DURATION_MS), now_ms) {
            return Step::Take { epoch: self.next_epoch() };
        }
        Step::Wait
    }

    /// It was deleted, or there never was one: then there is nobody to wait for. Who led under it leads until its time is over, and
    /// makes it again.
    fn step_without_lease(&mut self, now_ms: u64) -> Step {
        let epoch = self.next_epoch();
        if self.leads() || epoch == 1 || self.stands_still(String::new(), DURATION_MS, now_ms) {
            return Step::Create { epoch };
        }
        Step::Wait
    }

    /// Whether the Lease has been as it is now for so long, as far as was seen here.
    fn stands_still(&mut self, version: String, duration_ms: u64, now_ms: u64) -> bool {
        match &self.seen {
            Some((seen, since_ms)) if *seen == version => now_ms >= since_ms + duration_ms,
            _ => {
                self.seen = Some((version, now_ms));
                false
            }
        }
    }

    /// Whether agents refuse what is assigned under this leadership.
    fn is_to_rise(&self, now_ms: u64) -> bool {
        self.heard.load(Ordering::SeqCst) > *self.epoch.borrow() && self.raised_ms.is_none_or(|at_ms| now_ms >= at_ms + RAISE_PAUSE_MS)
    }

    fn lease(&self, old: Option<Lease>, epoch: u64) -> Lease {
        let now = MicroTime(self.clock.now());
        let mut lease = old.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(LEASE.into()), ..ObjectMeta::default() },
            spec: None,
        });
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        let transitions = i32::try_from(epoch).ok();
        if spec.lease_transitions != transitions {
            spec.acquire_time = Some(now.clone());
        }
        spec.lease_transitions = transitions;
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = Some(15);
        spec.renew_time = Some(now);
        lease
    }

    async fn release(&self) {
        let result: Result<(), kube::Error> = async {
            let Some(mut lease) = self.leases.get_opt(LEASE).await? else { return Ok(()) };
            let Some(spec) = lease.spec.as_mut() else { return Ok(()) };
            if spec.holder_identity.as_deref() == Some(&self.identity) {
                spec.holder_identity = Some(String::new());
                spec.renew_time = Some(MicroTime(Timestamp::UNIX_EPOCH));
                self.leases.replace(LEASE, &PostParams::default(), &lease).await?;
            }
            Ok(())
        }
        .await;
        if let Err(error) = result {
            tracing::warn!(%error, "the election's Lease could not be given back; a successor waits for it to lapse");
        }
    }
}

/// Waits for another neighbour; for ever if nobody looks out any more.
async fn changed(neighbour: &mut watch::Receiver<Neighbour>) {
    if neighbour.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests;
