use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::CHECK;
use super::super::plan::plan;
use super::super::maintenance::{ANNOTATION, Pace};
use super::*;

/// With a good Snapshot, a year old, and checked every few seconds.
fn checked(checks: Value) -> Observed {
    let mut repository = repository(json!({ANNOTATION: json!({"checks": checks}).to_string()}), "Delete");
    repository.metadata.creation_timestamp = serde_json::from_value(json!("2025-01-01T00:00:00Z")).unwrap();
    let mut observed = observed(repository);
    let good = json!({"metadata": {"name": "s1", "uid": "u1"}, "spec": {"repository": "repo"}, "status": {"phase": "Succeeded"}});
    observed.snapshots = vec![Arc::new(serde_json::from_value(good).unwrap())];
    observed.pace = Pace { check: Duration::from_secs(5), ..Pace::default() };
    observed
}

fn asked(actions: &[Action]) -> Option<(u32, String)> {
    wanted(actions).into_iter().find_map(|(component, work)| match work {
        Some(Work::Check { parts, after, .. }) if component == CHECK => Some((parts, after)),
        _ => None,
    })
}

fn result(next: &str, findings: &[&str]) -> Outcome {
    Outcome::Checked(v1::CheckResult {
        intact: findings.is_empty(),
        bytes_read: 2 << 20,
        repository_bytes: 60 << 20,
        findings_first: findings.iter().map(|finding| (*finding).to_owned()).collect(),
        findings_count: findings.len() as u64,
        next: next.into(),
        ..v1::CheckResult::default()
    })
}

fn status(actions: &[Action]) -> Value {
    actions.iter().find_map(|action| if let Action::Status(patch) = action { Some(patch.clone()) } else { None }).unwrap_or_default()
}

fn condition(actions: &[Action]) -> Value {
    let status = status(actions);
    let mut all = status["conditions"].as_array().into_iter().flatten();
    all.find(|condition| condition["type"] == "IntegrityChecked").cloned().unwrap_or_default()
}

#[test]
fn a_part_is_read_each_time_and_the_next_one_goes_on_behind_it() {
    let mut observed = checked(json!({"done": "2026-01-01T00:00:00Z", "after": "ab", "since": "2025-12-20T00:00:00Z"}));
    assert_eq!(asked(&plan(&observed, now())), Some((30, "ab".into())), "bounded: a thirtieth");
    observed.check = finished(result("cd", &[]));
    let actions = plan(&observed, now());
    assert_eq!(status(&actions)["integrity"], true);
    let message = condition(&actions)["message"].as_str().unwrap().to_owned();
    assert!(message.contains("2.000 MiB of 60.000 MiB") && message.contains("2025-12-20"), "{message}");
    let known = maintenance(&actions).checks;
    assert_eq!((known.done, known.after.as_str()), (Some(now()), "cd"));
    assert!(asked(&actions).is_none(), "once");
    observed.check = finished(result("", &[]));
    let actions = plan(&observed, now());
    assert!(condition(&actions)["message"].as_str().unwrap().contains("all of it was read since 2025-12-20"));
    assert_eq!(maintenance(&actions).checks.after, "", "a new round");
}

#[test]
fn damage_makes_integrity_false_and_says_what_to_do() {
    let mut observed = checked(json!({}));
    observed.check = finished(result("cd", &["packs/data/ab: it is missing", "b: c", "d: e", "f: g", "h: i", "j: k"]));
    let actions = plan(&observed, now());
    assert_eq!(status(&actions)["integrity"], false);
    let told = condition(&actions);
    assert_eq!((&told["status"], &told["reason"]), (&json!("False"), &json!("DamageFound")));
    for part in ["packs/data/ab: it is missing", "h: i; and 1 more", "holdfast check", "holdfast repair", "docs/repair.md"] {
        assert!(told["message"].as_str().unwrap().contains(part), "{part}: {told}");
    }
    assert!(actions.iter().any(|action| matches!(action, Action::Event(note) if note.warning && note.reason == "DamageFound")));
    let reason = v1::task_failure::Reason::RepositoryDamaged.into();
    observed.check = finished(Outcome::Failed(v1::TaskFailure { reason, message: "config is cut".into(), retry_may_help: false }));
    assert_eq!(status(&plan(&observed, now()))["integrity"], false);
}

#[test]
fn a_check_that_could_not_be_done_says_nothing_of_the_data() {
    let mut observed = checked(json!({"after": "ab"}));
    observed.check = finished(lost());
    let actions = plan(&observed, now());
    assert!(status(&actions).get("integrity").is_none());
    assert_eq!(condition(&actions)["reason"], "CheckFailed");
    let known = maintenance(&actions).checks;
    assert_eq!((known.done, known.after.as_str()), (None, "ab"));
    assert!(known.not_before.unwrap() > now());
}

#[test]
fn nothing_is_checked_where_there_is_nothing_or_nobody_wants_it() {
    let known = json!({"done": "2026-01-01T00:00:00Z"});
    let mut empty = checked(known.clone());
    empty.snapshots.clear();
    let mut paused = checked(known.clone());
    Arc::make_mut(&mut paused.repository).spec.paused = Some(true);
    let mut never = checked(known);
    never.pace.check = Duration::ZERO;
    let soon = checked(json!({"done": now()}));
    for observed in [empty, paused, never, soon] {
        assert!(asked(&plan(&observed, now())).is_none());
    }
    // One that waits for its turn does not lose it.
    let mut waiting = checked(json!({"done": now()}));
    waiting.check = Some(TaskView::Waiting("a slot".into()));
    assert!(asked(&plan(&waiting, now())).is_some());
}
