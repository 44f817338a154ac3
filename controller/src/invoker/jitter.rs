//! How long after its slot a session begins: a delay of its own, so that the hundreds of configurations that say `0 2 * * *` do not begin
//! at once. It follows from the invoker's and the session's names, and so stays the same.

use std::time::Duration;

use holdfast_api::duration;
use jiff::SignedDuration;

use super::Invoker;
use crate::spread::spread;

/// On an invoker: its sessions begin up to so long after their slots, such as `30m`.
pub const ANNOTATION: &str = "holdfast.dev/jitter";
/// Longer delays would be another schedule.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The delay of a session; nothing without the annotation.
pub(super) fn delay(invoker: &Invoker, session: Option<&str>) -> Result<SignedDuration, String> {
    let Some(text) = invoker.metadata().annotations.as_ref().and_then(|annotations| annotations.get(ANNOTATION)) else {
        return Ok(SignedDuration::ZERO);
    };
    let wrong = |why: String| format!("annotation {ANNOTATION}: {why}; a time up to 24h such as 30m is allowed");
    let longest = duration::parse(text).map_err(|error| wrong(error.to_string()))?;
    if longest > LONGEST {
        return Err(wrong(format!("{text} is too long")));
    }
    let longest_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
    if longest_ms == 0 {
        return Ok(SignedDuration::ZERO);
    }
    let key = invoker.key();
    let name = [key.kind.as_str(), &key.namespace, &key.name, session.unwrap_or_default()].join("/");
    Ok(SignedDuration::from_millis(i64::try_from(spread(&name) % longest_ms).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use holdfast_api::BackupConfiguration;
    use serde_json::{Value, json};

    use super::*;

    fn invoker(name: &str, jitter: Value) -> Invoker {
        let metadata = json!({"name": name, "namespace": "demo", "annotations": {ANNOTATION: jitter}});
        serde_json::from_value::<BackupConfiguration>(json!({"metadata": metadata, "spec": {}})).unwrap().into()
    }

    #[test]
    fn delays_are_spread_and_stay_the_same() {
        let of = |index: u32| delay(&invoker(&format!("app-{index}"), json!("10m")), Some("daily")).unwrap().as_secs();
        let delays: Vec<i64> = (0..1000).map(of).collect();
        assert_eq!(of(7), delays[7]);
        for minute in 0..10 {
            let count = delays.iter().filter(|delay| **delay / 60 == minute).count();
            assert!((60..150).contains(&count), "{count} of 1,000 in minute {minute}");
        }
        // It must not change with a new version: every session would move.
        assert_eq!(delays[..3], [254, 41, 268]);
        let other = delay(&invoker("app-7", json!("10m")), Some("weekly")).unwrap();
        assert_ne!(other.as_secs(), delays[7]);
    }

    #[test]
    fn what_is_no_delay_is_said() {
        for wrong in ["soon", "25h", "-1m"] {
            assert!(delay(&invoker("app", json!(wrong)), None).unwrap_err().contains(ANNOTATION), "{wrong}");
        }
        assert_eq!(delay(&invoker("app", json!("0s")), None), Ok(SignedDuration::ZERO));
    }
}
