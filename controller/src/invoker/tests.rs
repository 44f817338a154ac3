use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_api::{BackupBatch, BackupConfiguration, RestoreSession};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use serde_json::{Value, json};

mod verifications;

use super::plan::plan;
use super::{Invoker, Observed, PAUSED_BY};
use crate::action::{Action, Created};
use crate::catalog::Catalog;
use crate::object::Named;
use crate::holder::Purpose;
use crate::target::{Shape, Target};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn configuration(scheduler: Value, status: Value) -> BackupConfiguration {
    let mut scheduler = scheduler;
    scheduler["jobTemplate"] = json!({});
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "demo", "uid": "web-uid", "resourceVersion": "5", "creationTimestamp": "2026-11-22T21:59:00Z"},
        "spec": {
            "target": {"kind": "PersistentVolumeClaim", "name": "data"},
            "backends": [{"name": "s3", "storageRef": {"name": "store"}, "retentionPolicy": {"name": "keep"}}],
            "sessions": [{"name": "daily", "scheduler": scheduler, "retryConfig": {"maxRetry": 3},
                "addon": {"name": "pvc-addon", "tasks": [{"name": "logical-backup"}]},
                "repositories": [{"name": "repo", "backend": "s3", "directory": "/web", "encryptionSecret": {"name": "password"}}]}],
        },
        "status": status,
    }))
    .unwrap()
}

fn observed(invoker: impl Into<Invoker>) -> Observed {
    let invoker = invoker.into();
    let target = Target::seen(Purpose::Backup, Shape::Claim { name: "data".into(), pods: vec![] }, []);
    let storage = serde_json::from_value(
        json!({"metadata": {"name": "store", "namespace": "demo"}, "spec": {}, "status": {"phase": "Ready"}}),
    );
    let repository = serde_json::from_value(
        json!({"metadata": {"name": "repo", "namespace": "demo"}, "spec": {}, "status": {"phase": "Ready"}}),
    );
    Observed {
        targets: invoker.targets().iter().map(|_| target.clone()).collect(),
        effective: invoker.clone(),
        invoker,
        problem: None,
        storages: BTreeMap::from([(Named::new("demo", "store"), Arc::new(storage.unwrap()))]),
        policies: BTreeMap::new(),
        catalog: Catalog::default(),
        secrets: BTreeMap::new(),
        repositories: BTreeMap::from([("repo".into(), Arc::new(repository.unwrap()))]),
        sessions: Vec::new(),
        verifiers: BTreeMap::new(),
        verifications: Vec::new(),
        newest: BTreeMap::new(),
        paused_by: None,
        next_pause: None,
        time_zone: TimeZone::UTC,
    }
}

fn hourly(status: Value) -> Observed {
    observed(configuration(json!({"schedule": "0 * * * *"}), status))
}

/// A status in which the first backup was taken and the next slot is this.
fn scheduled(next: &str) -> Value {
    let condition =
        |type_: &str| json!({"type": type_, "status": "True", "lastTransitionTime": "2026-11-22T21:59:00Z"});
    json!({"sessions": [{"name": "daily", "nextSchedule": next, "conditions": [condition("SchedulerEnsured"), condition("InitialBackupTriggered")]}]})
}

fn sessions(actions: &[Action]) -> Vec<String> {
    let created = actions.iter().filter_map(|action| match action {
        Action::Create(object) => match object.as_ref() {
            Created::BackupSession(session) => session.metadata.name.clone(),
            _ => None,
        },
        _ => None,
    });
    created.collect()
}

fn status(actions: &[Action]) -> Value {
    let mut patches = actions.iter().filter_map(|action| match action {
        Action::Status(patch) => Some(patch.clone()),
        _ => None,
    });
    patches.next().unwrap_or(Value::Null)
}

#[test]
fn the_first_backup_is_at_once_and_only_once() {
    let mut observed = hourly(Value::Null);
    let actions = plan(&observed, at("2026-11-22T22:00:10Z"));
    assert_eq!(sessions(&actions), ["web-daily-1795384740"]);
    let status = status(&actions);
    assert_eq!(
        (&status["phase"], &status["sessions"][0]["nextSchedule"]),
        (&json!("Ready"), &json!("2026-11-22T23:00:00Z"))
    );
    assert!(matches!(actions.first(), Some(Action::Create(_))), "a crash after the status would lose the first backup");
    // The same name if it is made again; none once the status says so.
    assert_eq!(sessions(&plan(&observed, at("2026-11-22T22:00:11Z"))), ["web-daily-1795384740"]);
    let mut taken = observed.invoker.configuration().unwrap().clone();
    taken.status = serde_json::from_value(status).unwrap();
    observed.invoker = taken.into();
    assert!(sessions(&plan(&observed, at("2026-11-22T22:00:12Z"))).is_empty());
}

#[test]
fn it_waits_for_its_repositories() {
    let mut observed = hourly(Value::Null);
    observed.repositories.clear();
    let actions = plan(&observed, at("2026-11-22T22:00:10Z"));
    assert!(sessions(&actions).is_empty());
    let created = actions.iter().find_map(|action| match action {
        Action::Create(object) => match object.as_ref() {
            Created::Repository(repository) => Some(repository.clone()),
            _ => None,
        },
        _ => None,
    });
    let repository = created.unwrap();
    assert_eq!(repository.spec.path.as_deref(), Some("/web"));
    assert!(
        repository.metadata.owner_references.is_none(),
        "deleting the configuration would lose sight of its backups"
    );
}

#[test]
fn a_slot_runs_once_and_missed_ones_are_one() {
    let due = hourly(scheduled("2026-11-22T22:00:00Z"));
    assert!(sessions(&plan(&due, at("2026-11-22T21:59:59Z"))).is_empty());
    let actions = plan(&due, at("2026-11-22T22:00:00Z"));
    assert_eq!(sessions(&actions), [format!("web-daily-{}", at("2026-11-22T22:00:00Z").as_second())]);
    assert_eq!(status(&actions)["sessions"][0]["nextSchedule"], "2026-11-22T23:00:00Z");
    let away = hourly(scheduled("2026-11-20T08:00:00Z"));
    let actions = plan(&away, at("2026-11-22T22:30:00Z"));
    assert_eq!(sessions(&actions), [format!("web-daily-{}", at("2026-11-22T22:00:00Z").as_second())]);
    assert_eq!(status(&actions)["sessions"][0]["nextSchedule"], "2026-11-22T23:00:00Z");
}

#[test]
fn too_late_is_said_and_not_run() {
    let mut late = configuration(
        json!({"schedule": "0 * * * *", "startingDeadlineSeconds": 600}),
        scheduled("2026-11-22T22:00:00Z"),
    );
    let actions = plan(&observed(late.clone()), at("2026-11-22T22:10:01Z"));
    assert!(sessions(&actions).is_empty());
    assert!(actions.iter().any(|action| matches!(action, Action::Event(note) if note.reason == "MissedSchedule")));
    late.status = serde_json::from_value(scheduled("2026-11-22T22:00:00Z")).unwrap();
    assert_eq!(sessions(&plan(&observed(late), at("2026-11-22T22:10:00Z"))).len(), 1);
}

#[test]
fn a_pause_keeps_the_slot_for_later_and_a_new_schedule_does_not_run_the_old_one() {
    let mut paused = configuration(json!({"schedule": "0 * * * *"}), scheduled("2026-11-22T22:00:00Z"));
    paused.spec.paused = Some(true);
    let actions = plan(&observed(paused), at("2026-11-22T22:30:00Z"));
    assert!(sessions(&actions).is_empty());
    assert_eq!(status(&actions)["sessions"][0]["nextSchedule"], "2026-11-22T22:00:00Z", "the slot was lost");
    let suspended = configuration(json!({"schedule": "0 * * * *", "suspend": true}), scheduled("2026-11-22T22:00:00Z"));
    assert!(sessions(&plan(&observed(suspended), at("2026-11-22T22:30:00Z"))).is_empty());
    let changed = observed(configuration(json!({"schedule": "30 4 * * *"}), scheduled("2026-11-22T22:00:00Z")));
    let actions = plan(&changed, at("2026-11-22T22:30:00Z"));
    assert!(sessions(&actions).is_empty());
    assert_eq!(status(&actions)["sessions"][0]["nextSchedule"], "2026-11-23T04:30:00Z");
}

#[test]
fn a_schedule_that_has_the_old_slot_among_others_does_not_wait_for_it() {
    let now = at("2026-11-22T22:31:00Z");
    for (schedule, next) in [("*/5 * * * *", "2026-11-22T22:35:00Z"), ("@every 1h", "2026-11-22T23:31:00Z"), ("0 0 1 1 *", "2027-01-01T00:00:00Z")] {
        let changed = observed(configuration(json!({"schedule": schedule}), scheduled("2027-01-01T00:00:00Z")));
        assert_eq!(status(&plan(&changed, now))["sessions"][0]["nextSchedule"], next, "{schedule}");
    }
}

#[test]
fn what_is_wrong_or_not_supported_is_invalid_with_the_reason() {
    let mut wrong = hourly(Value::Null);
    wrong.problem = Some("spec.sessions: nothing".into());
    let mut unsupported = hourly(Value::Null);
    unsupported.targets[0].shape = Shape::Unsupported("CronJob is not supported yet".into());
    for (observed, reason) in
        [(wrong, "spec.sessions: nothing"), (unsupported, "CronJob")]
    {
        let actions = plan(&observed, at("2026-11-22T22:00:10Z"));
        let status = status(&actions);
        assert_eq!(status["phase"], "Invalid");
        assert!(status["conditions"][0]["message"].as_str().unwrap().contains(reason), "{status}");
        assert!(sessions(&actions).is_empty());
    }
    let cron = observed(configuration(json!({"schedule": "whenever"}), Value::Null));
    let status = status(&plan(&cron, at("2026-11-22T22:00:10Z")));
    assert_eq!(
        (&status["phase"], &status["sessions"][0]["conditions"][0]["status"]),
        (&json!("NotReady"), &json!("False"))
    );
}

#[test]
fn what_a_restore_paused_resumes_when_the_restore_is_over() {
    let mut configuration = configuration(json!({"schedule": "0 * * * *"}), Value::Null);
    configuration.spec.paused = Some(true);
    configuration.metadata.annotations = Some(BTreeMap::from([(PAUSED_BY.into(), "back/back-uid".into())]));
    let mut observed = observed(configuration);
    observed.paused_by = Some(Arc::new(RestoreSession::default()));
    assert!(!plan(&observed, at("2026-11-22T22:00:10Z")).iter().any(|action| matches!(action, Action::Patch { .. })));
    observed.paused_by = None;
    observed.next_pause = Some(Arc::new(serde_json::from_value(json!({"metadata": {"name": "again", "namespace": "demo", "uid": "again-uid"}, "spec": {}})).unwrap()));
    let actions = plan(&observed, at("2026-11-22T22:00:10Z"));
    let handed_on = |patch: &Value| patch["metadata"]["annotations"][PAUSED_BY] == "again/again-uid" && patch["spec"].is_null();
    assert!(matches!(&actions[..], [Action::Patch { patch, .. }, Action::Event(_)] if handed_on(patch)), "{actions:?}");
    observed.next_pause = None;
    let actions = plan(&observed, at("2026-11-22T22:00:10Z"));
    assert!(matches!(&actions[..], [Action::Patch { patch, .. }, Action::Event(_)] if patch["spec"]["paused"] == false), "{actions:?}");
}

fn batch(status: Value) -> BackupBatch {
    let addon = json!({"name": "workload-addon", "tasks": [{"name": "logical-backup"}]});
    let repository = |name: &str, policy: &str| json!({"name": name, "backend": "s3", "directory": format!("/{name}"), "deletionPolicy": policy});
    serde_json::from_value(json!({
        "metadata": {"name": "shop", "namespace": "demo", "uid": "shop-uid", "resourceVersion": "5", "creationTimestamp": "2026-11-22T21:59:00Z"},
        "spec": {
            "targets": [
                {"name": "db", "appRef": {"apiGroup": "apps", "kind": "StatefulSet", "name": "pg"}},
                {"name": "web", "appRef": {"apiGroup": "apps", "kind": "Deployment", "name": "front", "namespace": "edge"}},
            ],
            "backends": [{"name": "s3", "storageRef": {"name": "store"}, "retentionPolicy": {"name": "keep"}}],
            "sessions": [{"name": "nightly", "scheduler": {"schedule": "0 * * * *", "jobTemplate": {}}, "targets": [
                {"name": "db", "addon": addon, "repositories": [repository("db-near", "Retain"), repository("db-far", "WipeOut")]},
                {"name": "web", "addon": addon, "repositories": [repository("web-near", "Delete")]},
            ]}],
        },
        "status": status,
    }))
    .unwrap()
}

fn repositories(actions: &[Action]) -> Vec<holdfast_api::Repository> {
    let created = actions.iter().filter_map(|action| match action {
        Action::Create(object) => match object.as_ref() {
            Created::Repository(repository) => Some(repository.clone()),
            _ => None,
        },
        _ => None,
    });
    created.collect()
}

#[test]
fn a_batch_makes_the_repositories_of_each_target() {
    let actions = plan(&observed(batch(Value::Null)), at("2026-11-22T22:00:10Z"));
    let made: Vec<Value> = repositories(&actions)
        .iter()
        .map(|made| {
            let app = made.spec.app_ref.clone().unwrap();
            let owners = made.metadata.owner_references.clone().unwrap_or_default();
            assert_eq!(made.metadata.labels.as_ref().unwrap()["kubestash.com/invoker-kind"], "BackupBatch");
            json!([made.metadata.name, app.kind, app.namespace, app.name, made.spec.path, made.spec.deletion_policy,
                owners.iter().map(|owner| format!("{}/{}", owner.kind, owner.uid)).collect::<Vec<_>>()])
        })
        .collect();
    assert_eq!(made, [
        json!(["db-near", "StatefulSet", "demo", "pg", "/db-near", null, []]),
        json!(["db-far", "StatefulSet", "demo", "pg", "/db-far", "WipeOut", ["BackupBatch/shop-uid"]]),
        json!(["web-near", "Deployment", "edge", "front", "/web-near", null, ["BackupBatch/shop-uid"]]),
    ]);
    assert!(sessions(&actions).is_empty(), "they are not ready");
}

fn with_repositories(mut observed: Observed, ready: &[(&str, Value)]) -> Observed {
    for (name, status) in ready {
        let value = json!({"metadata": {"name": name, "namespace": "demo"}, "spec": {}, "status": status});
        observed.repositories.insert((*name).into(), Arc::new(serde_json::from_value(value).unwrap()));
    }
    observed
}

fn unopened() -> Value {
    json!({"phase": "NotReady", "conditions": [{"type": "RepositoryInitialized", "status": "False", "message": "wrong password",
        "lastTransitionTime": "2026-11-22T21:59:00Z"}]})
}

#[test]
fn a_batch_runs_once_all_its_targets_are_there() {
    let ready = || json!({"phase": "Ready"});
    let all = [("db-near", ready()), ("db-far", ready()), ("web-near", ready())];
    let mut observed = with_repositories(observed(batch(Value::Null)), &all);
    observed.targets[1].shape = Shape::Missing("Deployment edge/front does not exist".into());
    let actions = plan(&observed, at("2026-11-22T22:00:10Z"));
    let first = status(&actions);
    assert_eq!(first["phase"], "NotReady");
    assert_eq!(first["targets"], json!([
        {"apiGroup": "apps", "kind": "StatefulSet", "name": "pg", "namespace": "demo", "found": true},
        {"apiGroup": "apps", "kind": "Deployment", "name": "front", "namespace": "edge", "found": false},
    ]));
    assert!(actions.iter().any(|action| matches!(action, Action::Event(note) if note.message == "Deployment edge/front does not exist")));
    assert!(sessions(&actions).is_empty());
    // It came later.
    observed.invoker = batch(first).into();
    observed.targets[1].shape = observed.targets[0].shape.clone();
    let actions = plan(&observed, at("2026-11-22T22:00:20Z"));
    let second = status(&actions);
    assert_eq!((&second["phase"], &second["targets"][1]["found"]), (&json!("Ready"), &json!(true)));
    assert_eq!(sessions(&actions), ["shop-nightly-1795384740"], "one session for both targets");
    let invoker = actions.iter().find_map(|action| match action {
        Action::Create(object) => match object.as_ref() {
            Created::BackupSession(session) => session.spec.invoker.clone(),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(invoker.unwrap().kind, "BackupBatch");
}

#[test]
fn what_is_not_supported_in_a_batch_names_its_field() {
    let mut elsewhere = observed(batch(Value::Null));
    elsewhere.targets[1].shape = Shape::Unsupported("the target does not grant its use".into());
    let mut wrong = batch(Value::Null);
    let addon = wrong.spec.sessions[0].targets[1].addon.as_mut().unwrap();
    addon.tasks[0].name = Some("manifest-backup".into());
    let name = addon.name.clone().unwrap();
    let mut wrong = observed(wrong);
    let tasks = json!([{"name": "manifest-backup", "function": "manifests"}, {"name": "logical-backup", "function": "pvc-backup"}]);
    let addon = json!({"metadata": {"name": name}, "spec": {"backupTasks": tasks}});
    let function = json!({"metadata": {"name": "manifests"}, "spec": {}});
    wrong.catalog.addons.insert(name, Arc::new(serde_json::from_value(addon).unwrap()));
    let without_function = wrong.clone();
    wrong.catalog.functions.insert("manifests".into(), Arc::new(serde_json::from_value(function).unwrap()));
    let waiting = status(&plan(&without_function, at("2026-11-22T22:00:10Z")));
    assert_ne!(waiting["phase"], "Invalid", "a Function may come");
    for (observed, field) in
        [(elsewhere, "spec.targets[1].appRef: the target"), (wrong, "spec.sessions[0].targets[1]: task manifest-backup: Function manifests names no image to run")]
    {
        let status = status(&plan(&observed, at("2026-11-22T22:00:10Z")));
        assert_eq!(status["phase"], "Invalid");
        let message = status["conditions"][0]["message"].as_str().unwrap();
        assert!(message.starts_with(field), "{message}");
    }
}

#[test]
fn a_repository_that_cannot_be_opened_holds_up_no_other() {
    let ready = || json!({"phase": "Ready"});
    for (far, expected) in [(unopened(), 1), (json!({}), 0)] {
        let all = [("db-near", ready()), ("db-far", far), ("web-near", ready())];
        let actions = plan(&with_repositories(observed(batch(Value::Null)), &all), at("2026-11-22T22:00:10Z"));
        assert_eq!(sessions(&actions).len(), expected, "one that says nothing yet is waited for");
    }
    let none = ["db-near", "db-far", "web-near"].map(|name| (name, unopened()));
    let actions = plan(&with_repositories(observed(batch(Value::Null)), &none), at("2026-11-22T22:00:10Z"));
    assert!(sessions(&actions).is_empty(), "there is nowhere to go");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Looked at whenever, with whatever gaps: no slot runs twice, and the newest missed one is never lost.
    #[test]
    fn slots_run_once(gaps in prop::collection::vec(1i64..20_000, 1..40)) {
        let mut observed = hourly(scheduled("2026-11-22T22:00:00Z"));
        let mut now = at("2026-11-22T21:30:00Z");
        let mut ran: Vec<String> = Vec::new();
        for gap in gaps {
            let before = now;
            now = now.checked_add(jiff::SignedDuration::from_secs(gap)).unwrap();
            let actions = plan(&observed, now);
            let begun = sessions(&actions);
            let last_hour = now.as_second() - now.as_second().rem_euclid(3600);
            if last_hour > before.as_second() {
                prop_assert_eq!(&begun, &vec![format!("web-daily-{last_hour}")]);
            } else {
                prop_assert!(begun.is_empty());
            }
            for name in begun {
                prop_assert!(!ran.contains(&name), "{name} ran twice");
                ran.push(name);
            }
            let mut next = observed.invoker.configuration().unwrap().clone();
            let patch = status(&actions);
            if let Some(sessions) = patch.get("sessions") {
                let mut status = next.status.clone().unwrap_or_default();
                status.sessions = serde_json::from_value(sessions.clone()).unwrap();
                next.status = Some(status);
                observed.invoker = next.into();
            }
        }
    }
}

#[test]
fn a_session_with_a_jitter_begins_after_its_slot_and_is_named_by_it() {
    let mut configuration = configuration(json!({"schedule": "0 * * * *", "startingDeadlineSeconds": 30}), scheduled("2026-11-22T22:00:00Z"));
    configuration.metadata.annotations = Some(BTreeMap::from([(super::jitter::ANNOTATION.into(), "30m".into())]));
    let delay = super::jitter::delay(&configuration.clone().into(), Some("daily")).unwrap();
    assert!(delay > jiff::SignedDuration::from_secs(60), "a name whose delay is worth a test: {delay:?}");
    let due = observed(configuration.clone());
    let slot = at("2026-11-22T22:00:00Z");
    let before = plan(&due, slot + delay - jiff::SignedDuration::from_secs(1));
    assert!(sessions(&before).is_empty() && before.contains(&Action::Later(std::time::Duration::from_secs(1))), "{before:?}");
    let actions = plan(&due, slot + delay);
    assert_eq!(sessions(&actions), [format!("web-daily-{}", slot.as_second())]);
    assert_eq!(status(&actions)["sessions"][0]["nextSchedule"], "2026-11-22T23:00:00Z");
    configuration.metadata.annotations = Some(BTreeMap::from([(super::jitter::ANNOTATION.into(), "often".into())]));
    let actions = plan(&observed(configuration), slot + delay);
    assert!(sessions(&actions).is_empty());
    let said = &status(&actions)["sessions"][0]["conditions"];
    assert!(said.to_string().contains("annotation holdfast.dev/jitter"), "{said}");
}
