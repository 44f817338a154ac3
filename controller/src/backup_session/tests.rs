use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use holdfast_api::backup_session::BackupSessionStatus;
use holdfast_api::{BackupConfiguration, BackupSession, Snapshot};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::Observed;
use super::claims::Claims;
use super::retention::{Problem, Retention};
use super::plan::plan;
use crate::action::{Action, Created};

mod batch;
mod hooks;
mod retry;

fn now() -> Timestamp {
    "2026-11-22T22:00:10Z".parse().unwrap()
}

fn session(name: &str, status: Value) -> BackupSession {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "demo", "uid": format!("{name}-uid"), "resourceVersion": "7",
            "creationTimestamp": "2026-11-22T22:00:00Z"},
        "spec": {"invoker": {"kind": "BackupConfiguration", "name": "web"}, "session": "daily"},
        "status": status,
    }))
    .unwrap()
}

fn configuration(extra: Value) -> BackupConfiguration {
    let mut value = json!({
        "metadata": {"name": "web", "namespace": "demo", "uid": "web-uid"},
        "spec": {"paused": false, "sessions": [{"name": "daily", "sessionHistoryLimit": 2,
            "retryConfig": {"maxRetry": 2, "delay": "1m"},
            "repositories": [{"name": "near"}, {"name": "far"}]}]},
        "status": {"phase": "Ready"},
    });
    if let (Some(spec), Some(extra)) = (value["spec"].as_object_mut(), extra.as_object()) {
        spec.extend(extra.clone());
    }
    serde_json::from_value(value).unwrap()
}

fn observed(session: BackupSession) -> Observed {
    Observed {
        written: session.status.clone(),
        session: Arc::new(session),
        invoker: Some(configuration(json!({})).into()),
        last_invoker: None,
        other: None,
        snapshots: BTreeMap::new(),
        repositories: BTreeMap::new(),
        ended: Vec::new(),
        hooks: HashMap::new(),
        retention: BTreeMap::new(),
    }
}

fn snapshot(name: &str, phase: &str, component: &str) -> (String, Arc<Snapshot>) {
    let (repository, session) = name.rsplit_once('-').unwrap();
    let snapshot = serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "demo"},
        "spec": {"repository": repository, "backupSession": session},
        "status": {"phase": phase, "totalComponents": 1, "components": {"dump": {"phase": component, "error": "disk on fire"}}},
    }));
    (name.to_owned(), Arc::new(snapshot.unwrap()))
}

/// The status that a plan leaves behind.
fn after(observed: &Observed, now: Timestamp) -> (BackupSessionStatus, Vec<Action>) {
    let actions = plan(observed, now);
    let mut status = serde_json::to_value(observed.session.status.clone().unwrap_or_default()).unwrap();
    for action in &actions {
        if let Action::Status(patch) = action {
            merge(&mut status, patch);
        }
    }
    (serde_json::from_value(status).unwrap(), actions)
}

fn merge(target: &mut Value, patch: &Value) {
    let (Some(target), Some(patch)) = (target.as_object_mut(), patch.as_object()) else { return };
    for (key, value) in patch {
        match value {
            Value::Null => _ = target.remove(key),
            Value::Object(_) if target.get(key).is_some_and(Value::is_object) => merge(&mut target[key], value),
            _ => _ = target.insert(key.clone(), value.clone()),
        }
    }
}

fn created(actions: &[Action]) -> Vec<String> {
    let names = actions.iter().filter_map(|action| match action {
        Action::Create(object) => match object.as_ref() {
            Created::Snapshot(snapshot) => snapshot.metadata.name.clone(),
            Created::BackupSession(session) => session.metadata.name.clone(),
            Created::Repository(repository) => repository.metadata.name.clone(),
            Created::BackupConfiguration(configuration) => configuration.metadata.name.clone(),
            Created::Verification(_) | Created::RestoreSession(_) => None,
        },
        _ => None,
    });
    names.collect()
}

fn phase(status: &BackupSessionStatus) -> String {
    status.phase.map(|phase| format!("{phase:?}")).unwrap_or_default()
}

fn begun(phases: [&str; 2]) -> Value {
    json!({
        "phase": "Running", "totalSnapshots": 2,
        "conditions": [{"type": "SnapshotsEnsured", "status": "True", "lastTransitionTime": "2026-11-22T22:00:00Z"}],
        "snapshots": [{"name": "near-s", "repository": "near", "phase": phases[0]}, {"name": "far-s", "repository": "far", "phase": phases[1]}],
    })
}

#[test]
fn it_begins_with_one_snapshot_for_each_repository() {
    let (status, actions) = after(&observed(session("s", Value::Null)), now());
    assert_eq!(created(&actions), ["near-s", "far-s"]);
    assert_eq!((status.total_snapshots, phase(&status).as_str()), (Some(2), "Pending"));
    // Made again after a crash, the plan makes the same objects.
    assert_eq!(created(&after(&observed(session("s", Value::Null)), now()).1), created(&actions));
}

#[test]
fn that_a_short_session_has_begun_is_written_with_its_end() {
    let mut made = observed(session("s", Value::Null));
    made.snapshots = [snapshot("near-s", "Succeeded", "Succeeded"), snapshot("far-s", "Running", "Running")].into();
    let recalled = |mut observed: Observed| {
        observed.recall_begin(now());
        observed
    };
    // It goes on, and is not skipped for what has happened since.
    let mut unready = recalled(made.clone());
    unready.invoker = Some(configuration(json!({"paused": true})).into());
    let (status, actions) = after(&unready, now());
    assert!(created(&actions).is_empty() && phase(&status) == "Failed", "cancelled: {status:?}");
    made.snapshots.extend([snapshot("far-s", "Succeeded", "Succeeded")]);
    let ended = recalled(made.clone());
    let writes: Vec<Value> = plan(&ended, now()).into_iter().filter_map(|action| if let Action::Status(patch) = action { Some(patch) } else { None }).collect();
    assert_eq!(writes.len(), 1);
    assert_eq!((&writes[0]["phase"], &writes[0]["totalSnapshots"]), (&json!("Succeeded"), &json!(2)), "all of it is written");
    assert!(writes[0]["conditions"].to_string().contains("SnapshotsEnsured") && writes[0]["snapshots"].as_array().unwrap().len() == 2);
    // Not of one whose place another has, nor while a Snapshot is missing or somebody else's.
    let mut later = made.clone();
    later.other = Some("other".into());
    let mut missing = made.clone();
    missing.snapshots.remove("far-s");
    let (_, theirs) = snapshot("far-t", "Succeeded", "Succeeded");
    let mut taken = made;
    taken.snapshots.insert("far-s".into(), theirs);
    for observed in [later, missing, taken] {
        assert_eq!(recalled(observed).session.status, None);
    }
}

type Arrange = fn(&mut Observed);

#[test]
fn what_is_in_the_way_skips_it_and_says_so() {
    let cases: [(&str, Arrange); 5] = [
        ("another session is running: other", |observed| observed.other = Some("other".into())),
        ("does not exist", |observed| observed.invoker = None),
        ("is paused", |observed| observed.invoker = Some(configuration(json!({"paused": true})).into())),
        ("has no session", |observed| observed.invoker = Some(configuration(json!({"sessions": []})).into())),
        ("take no backups", |observed| {
            let mut session = observed.session.as_ref().clone();
            session.spec.invoker.as_mut().unwrap().kind = "CronJob".into();
            observed.session = Arc::new(session);
        }),
    ];
    for (reason, arrange) in cases {
        let mut observed = observed(session("s", Value::Null));
        arrange(&mut observed);
        let (status, actions) = after(&observed, now());
        assert_eq!(phase(&status), "Skipped", "{reason}");
        assert!(created(&actions).is_empty());
        let skipped = status.conditions.iter().find(|condition| condition.type_ == "BackupSkipped").unwrap();
        assert_eq!(skipped.reason.as_deref(), Some("PreRequisitesNotSatisfied"));
        assert!(skipped.message.as_deref().unwrap().contains(reason), "{:?}", skipped.message);
    }
}

#[test]
fn it_succeeds_when_all_do_and_keeps_its_history_short() {
    let mut observed = observed(session("s", begun(["Running", "Running"])));
    observed.snapshots =
        [snapshot("near-s", "Succeeded", "Succeeded"), snapshot("far-s", "Succeeded", "Succeeded")].into();
    observed.ended =
        ["a", "b", "c"].iter().map(|name| Arc::new(session(name, json!({"phase": "Succeeded"})))).collect();
    let (status, actions) = after(&observed, now());
    assert_eq!((phase(&status).as_str(), status.duration.as_deref()), ("Succeeded", Some("10s")));
    let order: Vec<_> = status.conditions.iter().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(order, ["SnapshotsEnsured", "BackupExecutorEnsured", "SessionHistoryCleaned", "MetricsPushed"]);
    // Of a limit of 2, one place is this session's.
    assert_eq!(actions.iter().filter(|action| matches!(action, Action::Delete { .. })).count(), 2);
    assert!(status.next_retry.is_none());
    // One that did not run takes no place of one that did.
    observed.ended = ["a", "b"].iter().map(|name| Arc::new(session(name, json!({"phase": "Skipped"})))).collect();
    observed.ended.push(Arc::new(session("c", json!({"phase": "Succeeded"}))));
    let deleted = |actions: &[Action]| actions.iter().filter(|action| matches!(action, Action::Delete { .. })).count();
    assert_eq!(deleted(&after(&observed, now()).1), 0);
    observed.session = Arc::new(session("s", Value::Null));
    observed.other = Some("another".into());
    let (status, actions) = after(&observed, now());
    assert_eq!((phase(&status).as_str(), deleted(&actions)), ("Skipped", 1));
}

#[test]
fn what_its_snapshots_have_waited_for_is_said_at_the_session() {
    let mut observed = observed(session("s", begun(["Pending", "Pending"])));
    let (name, waiting) = snapshot("near-s", "Pending", "Pending");
    let mut waiting = waiting.as_ref().clone();
    let condition = json!({"type": "PodHasBeenInPendingStateForLongerThanExpected", "status": "True", "message": "no agent is on node a",
        "lastTransitionTime": "2026-11-22T22:00:00Z"});
    waiting.status.as_mut().unwrap().conditions.push(serde_json::from_value(condition).unwrap());
    observed.snapshots = [(name, Arc::new(waiting)), snapshot("far-s", "Pending", "Pending")].into();
    let said = |status: &BackupSessionStatus| {
        holdfast_api::condition::get(&status.conditions, "PodHasBeenInPendingStateForLongerThanExpected").and_then(|said| said.message.clone())
    };
    let (status, _) = after(&observed, now());
    assert_eq!(said(&status).as_deref(), Some("Snapshot near-s: no agent is on node a"));
    assert_ne!(phase(&status), "Failed");
    let mut later = observed.session.as_ref().clone();
    later.status = Some(status);
    observed.session = Arc::new(later);
    observed.snapshots = [snapshot("near-s", "Running", "Running"), snapshot("far-s", "Pending", "Pending")].into();
    assert!(said(&after(&observed, now()).0).is_none());
}

#[test]
fn the_deadline_counts_from_the_first_assignment() {
    let mut timed = session("s", begun(["Pending", "Pending"]));
    timed.spec.backup_timeout = Some("1h".into());
    let mut observed = observed(timed);
    observed.snapshots = [snapshot("near-s", "Pending", "Pending"), snapshot("far-s", "Pending", "Pending")].into();
    assert!(after(&observed, now()).0.backup_deadline.is_none(), "waiting in line counted");
    observed.snapshots = [snapshot("near-s", "Running", "Running"), snapshot("far-s", "Pending", "Pending")].into();
    assert_eq!(after(&observed, now()).0.backup_deadline.unwrap().0.to_string(), "2026-11-22T23:00:10Z");
}

#[test]
fn pausing_the_invoker_cancels_and_forgets_what_had_begun() {
    let mut observed = observed(session("s", begun(["Running", "Running"])));
    observed.invoker = Some(configuration(json!({"paused": true})).into());
    observed.snapshots = [snapshot("near-s", "Succeeded", "Succeeded"), snapshot("far-s", "Running", "Running")].into();
    let (status, _) = after(&observed, now());
    assert_eq!(phase(&status), "Failed");
    let left: Vec<_> = status.snapshots.iter().filter_map(|snapshot| snapshot.name.as_deref()).collect();
    assert_eq!(left, ["near-s"]);
    assert!(status.next_retry.is_none(), "a cancelled backup came back");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Of one invoker's sessions never two run, in whatever order they are looked at, begin and end, and however far the
    /// cache lags behind what was written.
    #[test]
    fn never_a_second_session(steps in prop::collection::vec((0usize..4, 0u8..4), 1..60)) {
        let claims = Claims::default();
        // The truth, and what the cache shows of it.
        let mut truth: Vec<BackupSession> = (0..4).map(|n| session(&format!("s{n}"), Value::Null)).collect();
        let mut cached = truth.clone();
        for (n, step) in steps {
            match step {
                0 => cached[n] = truth[n].clone(),
                1 if super::claims::has_begun(&truth[n]) && !super::claims::has_ended(&truth[n]) => {
                    truth[n].status.as_mut().unwrap().phase = Some(holdfast_api::backup_session::BackupSessionPhase::Succeeded);
                }
                _ => {
                    // A stale version of itself is not looked at: `Context::is_behind`.
                    if cached[n] != truth[n] { continue }
                    let siblings: Vec<_> = cached.iter().enumerate().filter(|(other, _)| *other != n).map(|(_, session)| Arc::new(session.clone())).collect();
                    let other = claims.claim(&cached[n], &siblings);
                    let observed = Observed { other, ..observed(cached[n].clone()) };
                    let actions = plan(&observed, now());
                    if created(&actions).is_empty() { continue }
                    truth[n].status = Some(after(&observed, now()).0);
                }
            }
            let running = truth.iter().filter(|session| super::claims::has_begun(session) && !super::claims::has_ended(session)).count();
            prop_assert!(running <= 1, "{running} sessions run");
        }
    }
}

fn stored(name: &str, taken: &str, size: &str) -> Arc<Snapshot> {
    let value = json!({
        "metadata": {"name": name, "namespace": "demo", "uid": format!("{name}-uid")},
        "spec": {"repository": "near", "session": "daily"},
        "status": {"phase": "Succeeded", "snapshotTime": taken, "components": {"dump": {"driver": "Holdfast",
            "resticStats": [{"summary": {"id": format!("e-{name}"), "size": size}}]}}},
    });
    Arc::new(serde_json::from_value(value).unwrap())
}

/// A session whose Snapshots have ended, and a policy that keeps one.
fn ending(sizes: [&str; 3]) -> Observed {
    let mut observed = observed(session("s", begun(["Running", "Running"])));
    observed.snapshots = [snapshot("near-s", "Succeeded", "Succeeded"), snapshot("far-s", "Succeeded", "Succeeded")].into();
    let repository = json!({"metadata": {"name": "near", "namespace": "demo"}, "spec": {}});
    observed.repositories.insert("near".into(), Arc::new(serde_json::from_value(repository).unwrap()));
    let policy = json!({"metadata": {"name": "keep", "namespace": "demo"}, "spec": {"successfulSnapshots": {"last": 1}}});
    let times = ["2026-11-20T00:00:00Z", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"];
    let retention = Retention {
        reference: serde_json::from_value(json!({"name": "keep"})).unwrap(),
        policy: Ok(Arc::new(serde_json::from_value(policy).unwrap())),
        snapshots: ["a", "b", "c"].iter().zip(times).zip(sizes).map(|((name, taken), size)| stored(name, taken, size)).collect(),
        pinned: Default::default(),
    };
    observed.retention.insert("near".into(), retention);
    observed
}

fn noted(actions: &[Action]) -> Vec<String> {
    let notes = actions.iter().filter_map(|action| match action {
        Action::Patch { key, patch, .. } if key.kind == crate::object::Kind::Repository => patch["metadata"]["annotations"].as_object(),
        _ => None,
    });
    notes.flatten().map(|(key, value)| format!("{key}={}", value.as_str().unwrap())).collect()
}

#[test]
fn what_the_policy_no_longer_keeps_is_written_down_before_the_session_ends() {
    let observed = ending(["9 B", "9 B", "9 B"]);
    let (status, actions) = after(&observed, now());
    assert_eq!(noted(&actions), ["forget.holdfast.dev/a=a-uid e-a", "forget.holdfast.dev/b=b-uid e-b"]);
    let place = |is: fn(&Action) -> bool| actions.iter().position(is).unwrap();
    let patched = place(|action| matches!(action, Action::Patch { .. }));
    assert!(patched < place(|action| matches!(action, Action::Status(_))), "the status says so before it is so");
    assert_eq!(phase(&status), "Succeeded");
    assert_eq!(serde_json::to_value(&status.retention_policy).unwrap(), json!([{"ref": {"name": "keep"}, "repository": "near", "phase": "Applied"}]));
}

#[test]
fn a_shrunken_volume_holds_what_was_there_before_until_it_is_released() {
    let mut observed = ending(["9 B", "9 B", "0 B"]);
    let (status, actions) = after(&observed, now());
    assert!(noted(&actions).is_empty());
    let held = holdfast_api::condition::get(&status.conditions, "SnapshotsHeld").unwrap();
    let message = held.message.clone().unwrap();
    assert!(message.contains("held 9 B in Snapshot b and 0 B in c; retention holds a, b."), "{message}");
    let command = "kubectl -n demo annotate --overwrite backupconfiguration web holdfast.dev/release-held=2026-11-21T00:00:00Z";
    assert!(message.ends_with(command), "{message}");

    let annotated = |text: &str| {
        let mut configuration = configuration(json!({}));
        configuration.metadata.annotations = Some([("holdfast.dev/release-held".to_owned(), text.to_owned())].into());
        Some(configuration.into())
    };
    observed.invoker = annotated("2026-11-21T00:00:00Z");
    let (status, actions) = after(&observed, now());
    assert_eq!(noted(&actions).len(), 2);
    assert!(!holdfast_api::condition::has(&status.conditions, "SnapshotsHeld"));
    // What nobody can read releases nothing.
    observed.invoker = annotated("yesterday");
    let (status, actions) = after(&observed, now());
    assert!(noted(&actions).is_empty());
    assert_eq!(phase(&status), "Succeeded");
    let error = status.retention_policy[0].error.clone().unwrap();
    assert!(error.contains("\"yesterday\" is not a time"), "{error}");
}

#[test]
fn a_policy_that_is_not_there_removes_nothing_and_fails_nothing() {
    let mut observed = ending(["9 B", "9 B", "9 B"]);
    for (problem, expected) in [
        (Problem::Missing("not there".into()), "Succeeded"),
        (Problem::Refused("not for you".into()), "Failed"),
    ] {
        observed.retention.get_mut("near").unwrap().policy = Err(problem);
        let (status, actions) = after(&observed, now());
        assert_eq!((noted(&actions).len(), phase(&status).as_str()), (0, expected));
    }
}

#[test]
fn a_session_that_is_seen_before_its_configuration_is_ready_is_not_skipped() {
    let mut seen = observed(session("s", Value::Null));
    let mut early = configuration(json!({}));
    early.status = None;
    seen.invoker = Some(early.into());
    let moment: Timestamp = "2026-11-22T22:00:01Z".parse().unwrap();
    assert!(matches!(plan(&seen, moment).as_slice(), [Action::Later(_)]), "it was created a second ago");
    assert_eq!(phase(&after(&seen, now()).0), "Skipped", "ten seconds later it is");
    seen.invoker = Some(configuration(json!({})).into());
    assert_eq!(created(&plan(&seen, moment)), ["near-s", "far-s"]);
}
