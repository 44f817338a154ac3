use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_api::{BackupVerificationSession, BackupVerifier};
use serde_json::{Value, json};

use super::super::Observed;
use super::super::plan::plan;
use super::super::verifications::ANNOTATION;
use super::{at, configuration, observed, scheduled, status};
use crate::action::{Action, Created};
use crate::object::Named;

fn verifier(namespace: &str, schedule: &str) -> BackupVerifier {
    serde_json::from_value(json!({
        "metadata": {"name": "try", "namespace": namespace},
        "spec": {
            "type": "RestoreOnly", "scheduler": {"schedule": schedule, "jobTemplate": {}}, "retryConfig": {"maxRetry": 2},
            "restoreOption": {"addonInfo": {"name": "pvc-addon", "tasks": [{"name": "logical-backup-restore"}]}},
        },
    }))
    .unwrap()
}

/// Of a configuration whose repository names a verifier of this namespace, and that remembers this slot.
fn tried(namespace: &str, slot: Option<&str>) -> Observed {
    let mut configuration = configuration(json!({"schedule": "0 0 1 1 *"}), scheduled("2027-01-01T00:00:00Z"));
    configuration.spec.sessions[0].repositories[0].backup_verifier = serde_json::from_value(json!({"name": "try", "namespace": namespace})).unwrap();
    configuration.metadata.annotations = slot.map(|slot| [(ANNOTATION.to_owned(), json!({"daily/repo": slot}).to_string())].into());
    let mut observed = observed(configuration);
    observed.verifiers = BTreeMap::from([(Named::new(namespace, "try"), Arc::new(verifier(namespace, "30 * * * *")))]);
    observed.newest = BTreeMap::from([("daily/repo".into(), "repo-s".into())]);
    observed
}

fn tries(actions: &[Action]) -> Vec<BackupVerificationSession> {
    let created = actions.iter().filter_map(|action| if let Action::Create(object) = action { Some(object.as_ref()) } else { None });
    created.filter_map(|object| if let Created::Verification(session) = object { Some(session.clone()) } else { None }).collect()
}

fn memory(actions: &[Action]) -> Option<Value> {
    let patch = actions.iter().find_map(|action| if let Action::Patch { patch, .. } = action { Some(patch) } else { None })?;
    let text = &patch["metadata"]["annotations"][ANNOTATION];
    Some(text.as_str().map_or(Value::Null, |text| serde_json::from_str(text).unwrap()))
}

fn scheduled_condition(actions: &[Action]) -> Value {
    let status = status(actions);
    let conditions = status["sessions"][0]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == "VerificationScheduled").unwrap_or_default()
}

#[test]
fn a_slot_is_tried_once_and_missed_ones_are_one() {
    let first = plan(&tried("demo", None), at("2026-11-22T22:00:10Z"));
    assert!(tries(&first).is_empty(), "its time has not come");
    assert_eq!(memory(&first), Some(json!({"daily/repo": "2026-11-22T22:30:00Z"})));
    assert_eq!((status(&first)["repositories"][0]["verificationConfigured"].clone(), scheduled_condition(&first)["status"].clone()), (json!(true), json!("True")));
    // Two slots were missed.
    let due = tried("demo", Some("2026-11-22T22:30:00Z"));
    let actions = plan(&due, at("2026-11-23T00:31:10Z"));
    let session = tries(&actions).remove(0);
    assert_eq!((tries(&actions).len(), session.metadata.name.as_deref()), (1, Some("repo-daily-1795393800")), "named by the last slot");
    assert_eq!((session.spec.snapshot.as_deref(), session.spec.retry_left), (Some("repo-s"), Some(2)));
    assert_eq!(session.metadata.owner_references.as_ref().unwrap()[0].uid, "web-uid");
    assert_eq!(memory(&actions), Some(json!({"daily/repo": "2026-11-23T01:30:00Z"})));
    let position = |what: fn(&Action) -> bool| actions.iter().position(what).unwrap();
    assert!(
        position(|action| matches!(action, Action::Create(_))) < position(|action| matches!(action, Action::Patch { .. })),
        "a crash after the memory would lose the slot"
    );
    assert!(tries(&plan(&tried("demo", Some("2026-11-23T01:30:00Z")), at("2026-11-23T00:31:11Z"))).is_empty());
    // Another schedule: the old one's slot is not made up for.
    let mut changed = due;
    changed.verifiers = BTreeMap::from([(Named::new("demo", "try"), Arc::new(verifier("demo", "0 3 * * *")))]);
    let actions = plan(&changed, at("2026-11-23T00:31:10Z"));
    assert!(tries(&actions).is_empty());
    assert_eq!(memory(&actions), Some(json!({"daily/repo": "2026-11-23T03:00:00Z"})));
}

#[test]
fn a_slot_waits_for_something_to_try_and_for_the_try_before() {
    let due = || tried("demo", Some("2026-11-22T22:30:00Z"));
    let mut nothing = due();
    nothing.newest.clear();
    let mut running = due();
    let other = json!({"metadata": {"name": "x"}, "spec": {"session": "daily", "repository": "repo"}, "status": {"phase": "Running"}});
    running.verifications = vec![Arc::new(serde_json::from_value(other).unwrap())];
    let mut paused = due();
    let mut configuration = paused.invoker.configuration().unwrap().clone();
    configuration.spec.paused = Some(true);
    paused.invoker = configuration.into();
    let mut suspended = due();
    let mut at_rest = verifier("demo", "30 * * * *");
    at_rest.spec.scheduler.as_mut().unwrap().suspend = Some(true);
    suspended.verifiers = BTreeMap::from([(Named::new("demo", "try"), Arc::new(at_rest))]);
    for observed in [nothing, running, paused, suspended] {
        let actions = plan(&observed, at("2026-11-22T22:31:00Z"));
        assert_eq!((tries(&actions).len(), memory(&actions)), (0, None), "it stays due");
    }
    let mut late = due();
    let mut strict = verifier("demo", "30 * * * *");
    strict.spec.scheduler.as_mut().unwrap().starting_deadline_seconds = Some(30);
    late.verifiers = BTreeMap::from([(Named::new("demo", "try"), Arc::new(strict))]);
    let actions = plan(&late, at("2026-11-22T22:31:00Z"));
    assert!(tries(&actions).is_empty() && memory(&actions).is_some());
    assert!(actions.iter().any(|action| matches!(action, Action::Event(note) if note.reason == "MissedVerification")));
}

#[test]
fn a_verifier_that_cannot_do_its_work_is_named_and_its_slot_is_made_up_for() {
    let now = at("2026-11-22T22:31:00Z");
    let slot = Some("2026-11-22T22:30:00Z");
    let mut missing = tried("demo", slot);
    missing.verifiers.clear();
    let elsewhere = tried("ops", slot);
    let mut script = tried("demo", slot);
    let mut of_script = verifier("demo", "30 * * * *");
    of_script.spec.type_ = Some(holdfast_api::backup_verifier::VerificationType::Script);
    script.verifiers = BTreeMap::from([(Named::new("demo", "try"), Arc::new(of_script))]);
    let mut odd = tried("demo", slot);
    odd.verifiers = BTreeMap::from([(Named::new("demo", "try"), Arc::new(verifier("demo", "at noon")))]);
    let grant = "kubectl -n ops annotate backupverifier try holdfast.dev/granted-to=demo";
    for (observed, why) in [(&missing, "BackupVerifier demo/try does not exist"), (&elsewhere, grant), (&script, "spec.function"), (&odd, "spec.scheduler.schedule")] {
        let actions = plan(observed, now);
        assert!(tries(&actions).is_empty());
        let condition = scheduled_condition(&actions);
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("False"), &json!("VerifierNotUsable")));
        assert!(condition["message"].as_str().unwrap().contains(why), "{condition}");
        assert!(actions.iter().any(|action| matches!(action, Action::Event(note) if note.warning && note.message.contains(why))));
        let status = status(&actions);
        assert_eq!((&status["phase"], &status["repositories"][0]["verificationConfigured"]), (&json!("Ready"), &json!(false)), "backups go on");
        assert_eq!(memory(&actions), None, "the slot stays due");
    }
    let mut granted = elsewhere;
    let mut verifier = verifier("ops", "30 * * * *");
    verifier.metadata.annotations = Some([("holdfast.dev/granted-to".to_owned(), "demo".to_owned())].into());
    granted.verifiers = BTreeMap::from([(Named::new("ops", "try"), Arc::new(verifier))]);
    assert_eq!(tries(&plan(&granted, now)).len(), 1);
}

#[test]
fn what_names_no_verifier_any_more_forgets_its_slot() {
    let mut observed = tried("demo", Some("2026-11-22T22:30:00Z"));
    let mut configuration = observed.invoker.configuration().unwrap().clone();
    configuration.spec.sessions[0].repositories[0].backup_verifier = None;
    (observed.effective, observed.invoker) = (configuration.clone().into(), configuration.into());
    let actions = plan(&observed, at("2026-11-22T22:31:00Z"));
    assert_eq!((tries(&actions).len(), memory(&actions)), (0, Some(Value::Null)));
    assert!(scheduled_condition(&actions).is_null() && status(&actions)["repositories"][0]["verificationConfigured"].is_null());
}
