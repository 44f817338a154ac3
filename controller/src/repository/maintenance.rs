//! When a Repository's space is freed: what was forgotten since, when it was last done, and what is left.
//!
//! Kept in one annotation of the Repository, so that neither a restart nor another leader begins to count anew.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use holdfast_api::Repository;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

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
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    let span_ms = u64::try_from(pace.interval.as_millis()).unwrap_or(u64::MAX) / 12;
    Duration::from_millis(hasher.finish().checked_rem(span_ms).unwrap_or(0))
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
}
