//! Which writes of a status may wait: numbers that nobody acts on, and intermediate steps of what is over in a moment. Written when they
//! have been true for a while, or along with the next thing that matters; so a short backup costs the API server what it changes for good.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::object::{Key, Kind};

/// How long a backup may have run before its objects say that it runs.
const STEPS: Duration = Duration::from_secs(2);
/// How long what a Repository counts may be behind: a backup ends, and what it makes superfluous goes, within this time.
const NUMBERS: Duration = Duration::from_secs(5);

/// How long a write of this status may wait; none if somebody may wait for it.
pub fn of(kind: Kind, status: &Value) -> Option<Duration> {
    let (may_wait, lag): (&[&str], Duration) = match kind {
        Kind::Snapshot => (&["phase", "components", "totalComponents"], STEPS),
        // That it has begun can be seen by its Snapshots, which are there before.
        Kind::BackupSession => (&["phase", "snapshots", "totalSnapshots", "conditions", "backupDeadline"], STEPS),
        Kind::Repository => (&["snapshotCount", "recentSnapshots", "lastBackupTime", "size", "componentPaths"], NUMBERS),
        _ => return None,
    };
    let fields = status.as_object()?;
    let is_step = |phase: &Value| matches!(phase.as_str(), None | Some("Pending" | "Running"));
    let of_components = fields.get("components").and_then(Value::as_object);
    let are_steps = of_components.into_iter().flatten().all(|(_, component)| is_step(&component["phase"]));
    let waits = fields.keys().all(|field| may_wait.contains(&field.as_str())) && is_step(&status["phase"]) && are_steps;
    waits.then_some(lag)
}

/// Since when something has been true that is not written yet.
#[derive(Debug, Default)]
pub struct Unwritten(Mutex<HashMap<Key, u64>>);

impl Unwritten {
    /// How long this write still waits; none if it is to be done now.
    pub fn wait(&self, key: &Key, status: &Value, now_ms: u64) -> Option<Duration> {
        let lag_ms = u64::try_from(of(key.kind, status)?.as_millis()).unwrap_or(u64::MAX);
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since_ms = *since.entry(key.clone()).or_insert(now_ms);
        let left_ms = since_ms.saturating_add(lag_ms).saturating_sub(now_ms);
        (left_ms > 0).then(|| Duration::from_millis(left_ms))
    }

    /// It is written, or the object is gone.
    pub fn forget(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Another leader writes.
    pub fn let_go(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_somebody_may_wait_for_does_not_wait() {
        let running = json!({"phase": "Running", "totalComponents": 1, "components": {"dump": {"phase": "Running", "path": "p"}}});
        assert_eq!(of(Kind::Snapshot, &running), Some(STEPS));
        for status in [
            json!({"phase": "Succeeded", "components": {}}),
            json!({"phase": "Running", "components": {"a": {"phase": "Failed", "error": "no"}, "b": {"phase": "Running"}}}),
            json!({"phase": "Running", "conditions": []}),
        ] {
            assert_eq!(of(Kind::Snapshot, &status), None, "{status}");
        }
        assert_eq!(of(Kind::BackupSession, &json!({"phase": "Running", "snapshots": [], "conditions": []})), Some(STEPS));
        assert_eq!(of(Kind::BackupSession, &json!({"phase": "Pending", "totalSnapshots": 1, "conditions": []})), Some(STEPS), "its beginning");
        assert_eq!(of(Kind::BackupSession, &json!({"phase": "Failed", "conditions": []})), None);
        assert_eq!(of(Kind::BackupSession, &json!({"hooks": {}})), None, "a hook that is about to run");
        assert_eq!(of(Kind::Repository, &json!({"snapshotCount": 3, "recentSnapshots": []})), Some(NUMBERS));
        assert_eq!(of(Kind::Repository, &json!({"snapshotCount": 3, "conditions": []})), None);
        assert_eq!(of(Kind::BackupConfiguration, &json!({"sessions": []})), None);
    }

    #[test]
    fn it_is_written_when_it_has_been_true_for_long_enough() {
        let (unwritten, key, status) = (Unwritten::default(), Key::new(Kind::Snapshot, "demo", "s"), json!({"phase": "Running"}));
        assert_eq!(unwritten.wait(&key, &status, 10_000), Some(STEPS));
        assert_eq!(unwritten.wait(&key, &status, 11_500), Some(Duration::from_millis(500)));
        assert_eq!(unwritten.wait(&key, &status, 12_000), None);
        unwritten.forget(&key);
        assert_eq!(unwritten.wait(&key, &status, 20_000), Some(STEPS), "from then on anew");
    }
}
