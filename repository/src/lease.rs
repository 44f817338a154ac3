//! Leases: who is at work, so that no prune takes away what they use.
//!
//! A lease's name begins with the state that its holder saw. It has ended when an object stands at `snapshots/<lease>`.

use std::sync::Arc;
use std::time::Duration;

use crate::codec::{Decoder, Encoder, Malformed};
use crate::core::{Core, Created};
use crate::error::WriteError;
use crate::id::LeaseId;
use crate::mutation::left_out;
use crate::sealed::ObjectKind;
use crate::snapshot::{Ending, EndingReason};
use crate::state::{self, State};

const VERSION: u8 = 1;
/// A pruner that sees no new heartbeat for twenty of these fences the lease.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// How often a prune may publish just while a lease is taken.
const ATTEMPTS_MAX: u32 = 16;

/// What a lease is for. Stands inside it, encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purpose {
    /// What.
    pub activity: Activity,
    /// On which host.
    pub host: String,
    /// For which session, or empty.
    pub session: String,
    /// For which component, or empty.
    pub component: String,
}

/// What its holder does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Activity {
    /// Writes a snapshot.
    Backup = 1,
    /// Reads one.
    Restore = 2,
    /// Reads everything.
    Check = 3,
    /// Shows one as a file system.
    Mount = 4,
    /// Lists, or reads a little.
    Browse = 5,
    /// Removes what nothing uses.
    Prune = 6,
}

impl Purpose {
    /// For `activity` on `host`, without session or component.
    pub fn new(activity: Activity, host: impl Into<String>) -> Self {
        Self { activity, host: host.into(), session: String::new(), component: String::new() }
    }
}

pub(crate) fn object_name(lease: &LeaseId, heartbeat: u32) -> String {
    format!("leases/{lease}/{heartbeat:08x}")
}

/// Lease and heartbeat of an object with this name.
pub(crate) fn parse_object_name(name: &str) -> Option<(LeaseId, u32)> {
    let (lease, heartbeat) = name.strip_prefix("leases/")?.split_once('/')?;
    let (lease, heartbeat) = (lease.parse().ok()?, u32::from_str_radix(heartbeat, 16).ok()?);
    (object_name(&lease, heartbeat) == name).then_some((lease, heartbeat))
}

/// What stands in `leases/<lease>/<k>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaseRecord {
    pub(crate) purpose: Purpose,
    pub(crate) heartbeat: u32,
    pub(crate) written_ms: i64,
}

impl LeaseRecord {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.u8(VERSION);
        encoder.u8(self.purpose.activity as u8);
        encoder.u32(self.heartbeat);
        encoder.i64(self.written_ms);
        encoder.bytes(self.purpose.host.as_bytes());
        encoder.bytes(self.purpose.session.as_bytes());
        encoder.bytes(self.purpose.component.as_bytes());
        encoder.finish()
    }

    pub(crate) fn decode(content: &[u8]) -> Result<Self, Malformed> {
        let mut decoder = Decoder::new(content);
        if decoder.u8()? != VERSION {
            return Err(Malformed("unknown lease version"));
        }
        let activity = match decoder.u8()? {
            1 => Activity::Backup,
            2 => Activity::Restore,
            3 => Activity::Check,
            4 => Activity::Mount,
            5 => Activity::Browse,
            6 => Activity::Prune,
            _ => return Err(Malformed("unknown activity")),
        };
        let (heartbeat, written_ms) = (decoder.u32()?, decoder.i64()?);
        let mut text = || decoder.text().map(str::to_owned);
        let purpose = Purpose { activity, host: text()?, session: text()?, component: text()? };
        decoder.end()?;
        Ok(Self { purpose, heartbeat, written_ms })
    }
}

/// A lease that is held: heartbeats go on until it is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) id: LeaseId,
    heartbeats: tokio::task::AbortHandle,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.heartbeats.abort();
    }
}

impl Lease {
    /// Writer's step 1: the newest state, the lease that names it, the state again. If a prune has published in between it may not
    /// have seen this lease, so the lease is ended and another taken. The state that comes back was read after the lease stood.
    pub(crate) async fn take(core: &Arc<Core>, purpose: &Purpose) -> Result<(Self, State), WriteError> {
        let seen = state::newest(core).await?;
        Self::take_having_seen(core, purpose, seen).await
    }

    /// The same for a caller that has just read the newest state.
    pub(crate) async fn take_having_seen(core: &Arc<Core>, purpose: &Purpose, mut seen: State) -> Result<(Self, State), WriteError> {
        for _ in 0..ATTEMPTS_MAX {
            let id = LeaseId { state: seen.number, random: core.environment.random() };
            beat(core, &id, purpose, 0).await?;
            let again = state::newest(core).await?;
            if left_out!(Reread) {
                return Ok((Self::keep(core, id, purpose), seen));
            }
            if again.prune_epoch == seen.prune_epoch {
                return Ok((Self::keep(core, id, purpose), again));
            }
            Ending { reason: EndingReason::Stale, by: purpose.host.clone() }.write(core, &id).await?;
            seen = again;
        }
        Err(WriteError::NoLease { attempts: ATTEMPTS_MAX })
    }

    fn keep(core: &Arc<Core>, id: LeaseId, purpose: &Purpose) -> Self {
        let (core, purpose) = (Arc::clone(core), purpose.clone());
        let heartbeats = tokio::spawn(async move {
            for heartbeat in 1..u32::MAX {
                core.environment.clock.sleep(HEARTBEAT).await;
                // A failed heartbeat is not an end: the next may arrive, and a fence is found out at the commit.
                if let Err(error) = beat(&core, &id, &purpose, heartbeat).await {
                    tracing::warn!(lease = %id, %error, "heartbeat not written");
                }
            }
        });
        Self { id, heartbeats: heartbeats.abort_handle() }
    }
}

async fn beat(core: &Core, id: &LeaseId, purpose: &Purpose, heartbeat: u32) -> Result<Created, WriteError> {
    let record = LeaseRecord { purpose: purpose.clone(), heartbeat, written_ms: core.environment.clock.unix_ms() };
    core.write(ObjectKind::Lease, &object_name(id, heartbeat), &record.encode()).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record() -> LeaseRecord {
        let purpose = Purpose { activity: Activity::Backup, host: "node-1".into(), session: "s".into(), component: "c".into() };
        LeaseRecord { purpose, heartbeat: 7, written_ms: -1 }
    }

    #[test]
    fn it_survives() {
        assert_eq!(LeaseRecord::decode(&record().encode()), Ok(record()));
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>, cut: prop::sample::Index) {
            let _ = LeaseRecord::decode(&bytes);
            let content = record().encode();
            prop_assert!(LeaseRecord::decode(&content[..cut.index(content.len())]).is_err());
        }
    }
}
