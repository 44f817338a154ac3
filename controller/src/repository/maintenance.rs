//! When a Repository's space is freed, and when damage is looked for: what was done last, and what is left.
//!
//! Kept in one annotation of the Repository, so that neither a restart nor another leader begins to count anew.

use std::time::Duration;

use holdfast_api::Repository;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::spread::spread;

/// The annotation: JSON.
pub const ANNOTATION: &str = "holdfast.dev/maintenance";

/// How often, and how patiently.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Between two prunes of a Repository.
    pub interval: Duration,
    /// From the first removal to the first prune: what follows shortly is freed with it.
    pub settle: Duration,
    /// A prune waits so long for running backups and restores.
    pub wait: Duration,
    /// After a failure.
    pub retry: Duration,
    /// Between two checks of a Repository; zero: there are none.
    pub check: Duration,
    /// So long a deleted object waits for a backend that is away before it goes without its data.
    pub patience: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(24 * 3600),
            settle: Duration::from_secs(3600),
            // Longer than it takes to fence a backup that has died.
            wait: Duration::from_secs(20 * 60),
            retry: Duration::from_secs(300),
            check: Duration::from_secs(24 * 3600),
            patience: Duration::from_secs(600),
        }
    }
}

/// What is known of a Repository's maintenance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Maintenance {
    /// Engine snapshots forgotten since the last prune.
    pub forgotten: u64,
    /// When the first of them was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forgotten_since: Option<Timestamp>,
    /// When the last prune ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pruned: Option<Timestamp>,
    /// It left something that the next one can free.
    pub unfinished: bool,
    /// After a failure nothing is tried before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Of checks.
    #[serde(skip_serializing_if = "Checks::are_none")]
    pub checks: Checks,
}

/// What is known of a Repository's checks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Checks {
    /// When the last one ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<Timestamp>,
    /// Where its part ended; "" at the end of a round.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub after: String,
    /// When the round began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// After a failure none is tried before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
}

impl Checks {
    fn are_none(&self) -> bool {
        *self == Self::default()
    }

    /// When the next one is due, if there are any. Each Repository has its own time of the day, so that it is never all of a cluster's at
    /// once: neither when the cluster is new nor when this version is.
    pub fn due(&self, pace: &Pace, uid: &str, created: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let interval_ms = i64::try_from(pace.check.as_millis()).ok().filter(|interval| *interval > 0)?;
        let from = match self.done {
            Some(done) => done.as_millisecond() + 1,
            // Never yet: at its time or soon after, and not in its first hour.
            None => {
                let lately_ms = (interval_ms / 24).max(1_000);
                let settled = created.checked_add(pace.settle).unwrap_or(created);
                settled.as_millisecond().max(now.as_millisecond() - lately_ms)
            }
        };
        let own = i64::try_from(spread(uid) >> 1).unwrap_or(0) % interval_ms;
        let slot = Timestamp::from_millisecond(from + (own - from).rem_euclid(interval_ms)).ok()?;
        Some(self.not_before.map_or(slot, |not_before| not_before.max(slot)))
    }
}

impl Maintenance {
    /// Of a Repository. What cannot be read is as if nothing had been done: then it is done once too often.
    pub fn of(repository: &Repository) -> Self {
        let text = repository.metadata.annotations.as_ref().and_then(|annotations| annotations.get(ANNOTATION));
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// The annotation's value.
    pub fn value(&self) -> Value {
        // Plain data: there is nothing that could not be written.
        serde_json::to_string(self).map_or(Value::Null, |text| json!(text))
    }

    /// When the next prune is due, if any is.
    pub fn due(&self, pace: &Pace, uid: &str) -> Option<Timestamp> {
        if self.forgotten == 0 && !self.unfinished {
            return None;
        }
        let settled = self.forgotten_since.and_then(|since| since.checked_add(pace.settle).ok());
        let spaced = self.pruned.and_then(|pruned| pruned.checked_add(pace.interval + jitter(pace, uid)).ok());
        [settled, spaced, self.not_before].into_iter().flatten().max().or(Some(Timestamp::MIN))
    }
}

/// A twelfth of the interval at most, always the same for one Repository: not all of a cluster's at once.
fn jitter(pace: &Pace, uid: &str) -> Duration {
    let span_ms = u64::try_from(pace.interval.as_millis()).unwrap_or(u64::MAX) / 12;
    Duration::from_millis(spread(uid).checked_rem(span_ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_prune_follows_a_removal_once_a_day_at_most() {
        let pace = Pace::default();
        let mut known = Maintenance::default();
        assert_eq!(known.due(&pace, "u"), None, "nothing was removed");
        known.forgotten = 1;
        known.forgotten_since = Some(at(0));
        assert_eq!(known.due(&pace, "u"), Some(at(3600)));
        known.pruned = Some(at(-100));
        let due = known.due(&pace, "u").unwrap();
        assert!(due >= at(86_300) && due < at(86_300 + 7200), "{due}");
        assert_eq!(known.due(&pace, "u"), Some(due), "the jitter wavers");
        known = Maintenance { pruned: Some(at(0)), unfinished: true, ..Maintenance::default() };
        assert!(known.due(&pace, "u").unwrap() >= at(86_400));
        known.not_before = Some(at(999_999));
        assert_eq!(known.due(&pace, "u"), Some(at(999_999)));
    }

    #[test]
    fn each_repository_is_checked_once_a_day_at_its_own_time() {
        let (pace, day) = (Pace::default(), 86_400);
        let created = at(1_000_000);
        let mut checks = Checks::default();
        let first = checks.due(&pace, "u", created, created).unwrap();
        assert!(first >= at(1_003_600) && first < at(1_003_600 + day), "{first}");
        assert_ne!(checks.due(&pace, "other", created, created).unwrap(), first);
        // One that was never checked and whose time is hours ago, as after an update, waits for its next one.
        let late = Timestamp::from_millisecond(first.as_millisecond() + 5 * 3_600_000).unwrap();
        assert_eq!(checks.due(&pace, "u", created, late).unwrap().as_second(), first.as_second() + day);
        let soon = Timestamp::from_millisecond(first.as_millisecond() + 60_000).unwrap();
        assert_eq!(checks.due(&pace, "u", created, soon), Some(first));
        checks.done = Some(soon);
        assert_eq!(checks.due(&pace, "u", created, soon).unwrap().as_second(), first.as_second() + day);
        // Days without a controller are made up for by one check.
        let back = Timestamp::from_second(first.as_second() + 10 * day).unwrap();
        assert!(checks.due(&pace, "u", created, back).unwrap() < back);
        checks.not_before = Some(at(9_999_999));
        assert_eq!(checks.due(&pace, "u", created, back), Some(at(9_999_999)));
        assert_eq!(checks.due(&Pace { check: Duration::ZERO, ..pace }, "u", created, back), None);
    }
}
