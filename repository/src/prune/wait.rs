//! Step 3: every lease older than what was condemned has ended, by itself or fenced.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::stream::StreamExt;

use super::{Prune, PruneError, WaitingFor};
use crate::core::Created;
use crate::id::LeaseId;
use crate::lease::{self, LeaseRecord, Purpose};
use crate::lock::locked;
use crate::mutation::left_out;
use crate::sealed::ObjectKind;
use crate::snapshot::{Ending, EndingReason};

/// Between two looks: soon at first, since most leases end soon.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(15);

/// What was seen of the leases that are not over, on this machine's own clock.
#[derive(Debug, Default)]
pub(super) struct Watch {
    leases: BTreeMap<LeaseId, Seen>,
    pause: Option<Duration>,
}

#[derive(Debug)]
struct Seen {
    heartbeat: u32,
    /// When an answer first had this heartbeat.
    since_ms: u64,
    silent: Duration,
    purpose: Option<Purpose>,
}

impl Watch {
    pub(super) fn waiting_for(&self) -> Vec<WaitingFor> {
        let waiting = |(lease, seen): (&LeaseId, &Seen)| WaitingFor { lease: *lease, purpose: seen.purpose.clone(), silent: seen.silent };
        self.leases.iter().map(waiting).collect()
    }

    /// True if the fence time has passed since the same heartbeat was first seen. It counts from an answer to a question: however
    /// long the store took over either, the lease was silent at least as long in between.
    fn is_silent(&mut self, lease: &LeaseId, heartbeat: u32, asked_ms: u64, answered_ms: u64, fence_time: Duration) -> bool {
        let seen = self.leases.entry(*lease).or_insert(Seen { heartbeat, since_ms: answered_ms, silent: Duration::ZERO, purpose: None });
        if seen.heartbeat < heartbeat {
            (seen.heartbeat, seen.since_ms) = (heartbeat, answered_ms);
        }
        seen.silent = Duration::from_millis(asked_ms.saturating_sub(seen.since_ms));
        seen.silent >= fence_time
    }
}

impl Prune<'_> {
    /// Up to which state, at most `goal`, all older leases have ended. One that was silent for the fence time is fenced. Leases below
    /// the floor were waited for by whoever raised it.
    pub(super) async fn covered(&mut self, goal: u64, floor: u64, watch: &mut Watch) -> Result<u64, PruneError> {
        if left_out!(Wait) {
            return Ok(goal);
        }
        let clock = &self.core.environment.clock;
        let asked_ms = clock.boottime_ms();
        // The leases first: one that ends in between has its ending listed.
        let mut living = self.leases(floor..goal).await?;
        for ended in self.ended().await? {
            living.remove(&ended);
        }
        let answered_ms = clock.boottime_ms();
        watch.leases.retain(|lease, _| living.contains_key(lease));
        for (lease, heartbeat) in living {
            if watch.is_silent(&lease, heartbeat, asked_ms, answered_ms, self.options.fence_time) {
                self.fence(&lease).await?;
                watch.leases.remove(&lease);
            }
        }
        self.ask_who(watch).await;
        *locked(&self.progress.waiting_for) = watch.waiting_for();
        Ok(watch.leases.keys().next().map_or(goal, |lease| lease.state.min(goal)))
    }

    pub(super) async fn pause(&self, watch: &mut Watch) {
        let pause = watch.pause.map_or(PAUSE_MIN, |pause| (pause * 2).min(PAUSE_MAX)).min(self.options.fence_time / 4);
        watch.pause = Some(pause);
        self.core.environment.clock.sleep(pause.max(Duration::from_millis(1))).await;
    }

    /// Leases that saw one of these states, with their last heartbeat.
    async fn leases(&self, states: std::ops::Range<u64>) -> Result<BTreeMap<LeaseId, u32>, PruneError> {
        let mut leases: BTreeMap<LeaseId, u32> = BTreeMap::new();
        let mut names = self.core.store.list("leases", None);
        while let Some(entry) = names.next().await {
            let name = entry?.name;
            let Some((lease, heartbeat)) = lease::parse_object_name(&name) else { continue };
            if states.contains(&lease.state) {
                let last = leases.entry(lease).or_default();
                *last = heartbeat.max(*last);
            }
        }
        Ok(leases)
    }

    async fn ended(&self) -> Result<BTreeSet<LeaseId>, PruneError> {
        let mut ended = BTreeSet::new();
        let mut names = self.core.store.list("snapshots", None);
        while let Some(entry) = names.next().await {
            ended.extend(entry?.name.strip_prefix("snapshots/").and_then(|name| name.parse::<LeaseId>().ok()));
        }
        Ok(ended)
    }

    /// A commit and this cannot both win. If the commit did, it will be looked at.
    async fn fence(&mut self, lease: &LeaseId) -> Result<(), PruneError> {
        let ending = Ending { reason: EndingReason::Fenced, by: self.options.host.clone() };
        if ending.write(self.core, lease).await? == Created::Written {
            tracing::warn!(%lease, "fenced: no heartbeat for the fence time");
            self.report.fenced.push(*lease);
        }
        Ok(())
    }

    /// For people only.
    async fn ask_who(&self, watch: &mut Watch) {
        for (lease, seen) in watch.leases.iter_mut().filter(|(_, seen)| seen.purpose.is_none()) {
            let record = self.core.read(ObjectKind::Lease, &lease::object_name(lease, seen.heartbeat)).await;
            seen.purpose = record.ok().and_then(|content| Some(LeaseRecord::decode(&content).ok()?.purpose));
        }
    }
}
