//! A failed session is tried again, and only what of it has failed.

use std::sync::Arc;

use holdfast_api::BackupSession;
use serde_json::json;

use super::super::retry::ONLY;
use super::*;

#[test]
fn a_failure_is_retried_by_another_session_until_none_is_left() {
    let mut observed = observed(session("s", begun(["Running", "Running"])));
    observed.snapshots = [snapshot("near-s", "Succeeded", "Succeeded"), snapshot("far-s", "Failed", "Failed")].into();
    let (status, actions) = after(&observed, now());
    assert_eq!(phase(&status), "Failed");
    assert!(
        actions.iter().any(|action| matches!(action, Action::Event(note) if note.message.contains("disk on fire")))
    );
    let at = status.next_retry.clone().unwrap().0;
    assert_eq!(at.to_string(), "2026-11-22T22:01:10Z");

    let mut failed = session("s", serde_json::to_value(&status).unwrap());
    failed.spec.retry_left = Some(2);
    let mut observed = self::observed(failed);
    assert!(created(&plan(&observed, now())).is_empty(), "too early");
    let (status, actions) = after(&observed, at);
    assert_eq!(created(&actions), [format!("web-daily-{}", at.as_second())]);
    assert_eq!(status.retried, Some(true));
    let Some(Action::Create(object)) = actions.first() else { panic!("{actions:?}") };
    assert!(matches!(object.as_ref(), Created::BackupSession(again) if again.spec.retry_left == Some(1)));
    let mut done = observed.session.as_ref().clone();
    done.status = Some(status);
    observed.session = Arc::new(done);
    assert!(plan(&observed, at).is_empty(), "retried twice");

    let mut last = session("s", begun(["Running", "Running"]));
    last.spec.retry_left = Some(0);
    let mut observed = self::observed(last);
    observed.snapshots = [snapshot("near-s", "Failed", "Failed"), snapshot("far-s", "Failed", "Failed")].into();
    assert!(after(&observed, now()).0.next_retry.is_none());
}

/// The session that follows one whose status is this.
fn again(status: BackupSessionStatus) -> BackupSession {
    let at = status.next_retry.clone().unwrap().0;
    let mut failed = session("s", serde_json::to_value(&status).unwrap());
    failed.spec.retry_left = Some(2);
    let actions = plan(&observed(failed), at);
    let Some(Action::Create(object)) = actions.first() else { panic!("{actions:?}") };
    let Created::BackupSession(again) = object.as_ref() else { panic!("{object:?}") };
    let mut again = again.clone();
    again.metadata.uid = Some("again-uid".into());
    again
}

#[test]
fn a_retry_sends_only_what_is_missing() {
    let mut failing = observed(session("s", begun(["Running", "Running"])));
    failing.snapshots = [snapshot("near-s", "Succeeded", "Succeeded"), snapshot("far-s", "Failed", "Failed")].into();
    let second = again(after(&failing, now()).0);
    assert_eq!(second.metadata.annotations.clone().unwrap()[ONLY], "far");
    let name = second.metadata.name.clone().unwrap();
    let (status, actions) = after(&observed(second.clone()), now());
    assert_eq!(created(&actions), [format!("far-{name}")]);
    assert_eq!((status.total_snapshots, status.snapshots.len()), (Some(1), 1), "the status lists what this session does");
    // It fails as well: the third one sends no more than that either.
    let mut running = second;
    running.status = Some(status);
    let mut failing = observed(running);
    failing.snapshots = [snapshot(&format!("far-{name}"), "Failed", "Failed")].into();
    failing.snapshots.values_mut().for_each(|found| {
        let mut ours = found.as_ref().clone();
        (ours.spec.repository, ours.spec.backup_session) = (Some("far".into()), Some(name.clone()));
        *found = Arc::new(ours);
    });
    let third = again(after(&failing, now()).0);
    assert_eq!(third.metadata.annotations.unwrap()[ONLY], "far");
}

#[test]
fn one_that_fails_stops_no_other() {
    let mut observed = observed(session("s", begun(["Running", "Running"])));
    observed.snapshots = [snapshot("near-s", "Running", "Running"), snapshot("far-s", "Failed", "Failed")].into();
    let (status, actions) = after(&observed, now());
    assert_eq!(phase(&status), "Running");
    assert!(!actions.iter().any(|action| matches!(action, Action::Delete { .. })), "{actions:?}");
}

#[test]
fn all_is_done_again_where_no_snapshot_failed_but_a_hook() {
    let mut status: BackupSessionStatus = serde_json::from_value(begun(["Succeeded", "Succeeded"])).unwrap();
    status.phase = Some(holdfast_api::backup_session::BackupSessionPhase::Failed);
    status.next_retry = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    let second = again(status);
    assert!(second.metadata.annotations.is_none());
    assert_eq!(created(&plan(&observed(second), now())).len(), 2);
}

#[test]
fn a_retry_of_what_is_no_longer_there_is_skipped() {
    let mut second = session("s", Value::Null);
    second.metadata.annotations = Some([(ONLY.to_owned(), "gone".to_owned())].into());
    let (status, actions) = after(&observed(second), now());
    assert_eq!((phase(&status).as_str(), created(&actions).len()), ("Skipped", 0));
}

#[test]
fn two_long_names_are_two_snapshots() {
    let long = |place: &str| format!("repository-of-the-production-database-{place}");
    let repositories = json!([{"name": long("near")}, {"name": long("far")}]);
    let mut observed = observed(session("web-daily-of-the-whole-shop-1795384740", Value::Null));
    observed.invoker = Some(configuration(json!({"sessions": [{"name": "daily", "repositories": repositories}]})).into());
    let (status, actions) = after(&observed, now());
    let names = created(&actions);
    assert_eq!(names.len(), 2);
    assert_ne!(names[0], names[1], "the backup to one of them would never be made");
    assert!(names.iter().all(|name| name.len() <= 63), "{names:?}");
    // Another one's Snapshot of that name is not taken for its own.
    let mut begun = observed.session.as_ref().clone();
    begun.status = Some(status);
    observed.session = Arc::new(begun);
    observed.snapshots = names.iter().map(|name| (name.clone(), snapshot("x-s", "Succeeded", "Succeeded").1)).collect();
    let (status, actions) = after(&observed, now());
    assert_eq!(phase(&status), "Failed");
    let why = |action: &Action| matches!(action, Action::Event(note) if note.message.contains("is taken by a Snapshot of BackupSession s"));
    assert!(actions.iter().any(why), "{actions:?}");
}

#[test]
fn a_retry_is_left_out_when_a_session_after_it_has_done_what_failed() {
    let mut failing = observed(session("s", begun(["Running", "Running"])));
    failing.snapshots = [snapshot("near-s", "Succeeded", "Succeeded"), snapshot("far-s", "Failed", "Failed")].into();
    let status = after(&failing, now()).0;
    let at = status.next_retry.clone().unwrap().0;
    let seen = observed(session("s", serde_json::to_value(&status).unwrap()));
    let other = |created: &str, phase: &str, repositories: &[&str]| {
        let listed: Vec<Value> = repositories.iter().map(|name| json!({"repository": name, "phase": phase})).collect();
        let mut other = session("other", json!({"phase": phase, "snapshots": listed}));
        other.metadata.creation_timestamp = serde_json::from_value(json!(created)).unwrap();
        Arc::new(other)
    };
    let (before, after_it) = ("2026-11-22T21:00:00Z", "2026-11-22T22:00:30Z");
    for (other, expected) in [
        (other(after_it, "Succeeded", &["near", "far"]), 0),
        (other(before, "Succeeded", &["near", "far"]), 1),
        (other(after_it, "Failed", &["near", "far"]), 1),
        (other(after_it, "Succeeded", &["near"]), 1),
    ] {
        let seen = Observed { ended: vec![Arc::clone(&other)], ..seen.clone() };
        let (status, actions) = after(&seen, at);
        assert_eq!(created(&actions).len(), expected, "{other:?}");
        assert!(expected == 1 || (status.next_retry.is_none() && status.retried.is_none()), "it is cleaned up as any other");
    }
}
