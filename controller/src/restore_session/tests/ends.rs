//! How a restore ends that cannot go on: when nobody writes for it any more, and not never.

use holdfast_api::restore_session::RestorePhase;
use v1::task_failure::Reason;

use super::*;

fn running() -> Value {
    json!({"phase": "Running", "totalComponents": 1, "components": {"dump": {"phase": "Running"}}})
}

fn later(actions: &[Action]) -> Option<Duration> {
    actions.iter().find_map(|action| if let Action::Later(after) = action { Some(*after) } else { None })
}

fn condition<'s>(status: &'s Value, type_: &str) -> Option<&'s Value> {
    status["conditions"].as_array()?.iter().find(|condition| condition["type"] == type_)
}

/// What the status is once the actions are done.
fn written(observed: &mut Observed, actions: &[Action]) {
    let Some(patch) = actions.iter().find_map(|action| if let Action::Status(patch) = action { Some(patch.clone()) } else { None }) else { return };
    let mut whole = serde_json::to_value(observed.restore.status.clone().unwrap_or_default()).unwrap();
    hooks::merge(&mut whole, &patch);
    Arc::make_mut(&mut observed.restore).status = serde_json::from_value(whole).unwrap();
}

#[test]
fn one_that_fails_is_over_when_nothing_of_it_is_at_work() {
    let failure = v1::TaskFailure { reason: Reason::VolumeUnreadable.into(), message: "it is torn".into(), retry_may_help: false };
    let mut failed = observed(restore(json!({}), running()));
    failed.tasks.insert("dump".into(), finished(Outcome::Failed(failure)));
    failed.has_tasks = true;
    let actions = plan(&failed, now());
    assert_eq!((&status(&actions)["components"]["dump"]["phase"], &status(&actions)["phase"]), (&json!("Failed"), &Value::Null), "another writes yet");
    assert!(actions.contains(&Action::Tasks(Vec::new())) && later(&actions) == Some(Duration::from_secs(1)), "{actions:?}");
    failed.has_tasks = false;
    assert_eq!(status(&plan(&failed, now()))["phase"], "Failed");
    // Of one that is complete everything has ended, whatever is not known of it.
    let mut complete = observed(restore(json!({}), running()));
    complete.tasks.insert("dump".into(), finished(Outcome::Restore(v1::RestoreResult::default())));
    complete.has_tasks = true;
    assert_eq!(status(&plan(&complete, now()))["phase"], "Succeeded");
}

#[test]
fn what_it_waits_for_stands_in_its_status_as_long_as_it_does() {
    let mut waiting = observed(restore(json!({}), Value::Null));
    waiting.tasks.insert("dump".into(), TaskView::Waiting("PersistentVolumeClaim demo/data is being restored by RestoreSession demo/first".into()));
    let actions = plan(&waiting, now());
    let said = condition(&status(&actions), "Waiting").cloned().unwrap();
    assert_eq!((&said["status"], &said["reason"]), (&json!("True"), &json!("Waiting")));
    assert!(said["message"].as_str().unwrap().starts_with("component dump: PersistentVolumeClaim demo/data is being restored"), "{said}");
    assert_eq!(later(&actions), Some(Duration::from_secs(5)), "it may be another's turn by then");
    written(&mut waiting, &actions);
    assert_eq!(waiting.restore.status.as_ref().unwrap().restore_deadline, None, "its time has not begun");
    for now_is in [TaskView::Running { node: "a".into(), attempt: 1, progress: None }, TaskView::Waiting(crate::dispatch::task::FREE_SLOT.into())] {
        let mut begun = waiting.clone();
        begun.tasks.insert("dump".into(), now_is);
        let actions = plan(&begun, now());
        written(&mut begun, &actions);
        let conditions = &begun.restore.status.as_ref().unwrap().conditions;
        assert!(!holdfast_api::condition::has(conditions, "Waiting"), "{conditions:?}");
    }
}

/// A restore whose component runs, and whose Snapshot is gone.
fn without_its_snapshot(status: Value) -> Observed {
    let mut gone = observed(restore(json!({}), status));
    gone.snapshot = None;
    gone.repository = None;
    gone.reaches = components::reaches(&gone);
    gone.tasks.insert("dump".into(), TaskView::Running { node: "a".into(), attempt: 1, progress: None });
    gone
}

#[test]
fn what_it_reads_from_may_be_away_for_a_while_and_not_for_ever() {
    let mut gone = without_its_snapshot(running());
    let first = plan(&gone, now());
    assert!(first.contains(&Action::Tasks(Vec::new())), "nothing is written meanwhile: {first:?}");
    let missed = condition(&status(&first), "RestoreSourceFound").cloned().unwrap();
    assert_eq!((&missed["status"], &missed["message"]), (&json!("False"), &json!("Snapshot repo-s does not exist")));
    assert_eq!((&status(&first)["phase"], later(&first)), (&Value::Null, Some(Duration::from_secs(5))));
    written(&mut gone, &first);
    gone.tasks.clear();
    let almost = now() + Duration::from_millis(59_500);
    let last = plan(&gone, almost);
    assert_eq!((status(&last), later(&last)), (Value::Null, Some(Duration::from_millis(500))), "and nothing new is said");
    // It is applied again: the restore goes on, and the next time counts from its own beginning.
    let mut back = gone.clone();
    (back.snapshot, back.repository) = (Some(snapshot()), observed(restore(json!({}), Value::Null)).repository);
    back.reaches = components::reaches(&back);
    let goes_on = plan(&back, almost);
    assert_eq!(asked(&goes_on), ["dump"]);
    written(&mut back, &goes_on);
    assert!(!holdfast_api::condition::has(&back.restore.status.as_ref().unwrap().conditions, "RestoreSourceFound"));
    // It is not.
    let over = now() + Duration::from_secs(60);
    gone.has_tasks = true;
    let breaks_off = plan(&gone, over);
    assert_eq!((status(&breaks_off)["phase"].clone(), later(&breaks_off)), (Value::Null, Some(Duration::from_secs(1))), "an agent may still write");
    written(&mut gone, &breaks_off);
    gone.has_tasks = false;
    let end = plan(&gone, over);
    assert_eq!(status(&end)["phase"], "Failed");
    written(&mut gone, &end);
    let status = gone.restore.status.as_ref().unwrap();
    assert_eq!(status.components["dump"].error.as_deref(), Some("Snapshot repo-s does not exist"));
    assert!(holdfast_api::condition::is_false(&status.conditions, "BackupAtFault"), "{status:?}");
    assert!(end.iter().any(|action| matches!(action, Action::Event(note) if note.warning && note.message == "component dump: Snapshot repo-s does not exist")));
}

#[test]
fn its_timeout_counts_also_while_something_is_missing() {
    let late = json!({"phase": "Running", "restoreDeadline": "2026-11-22T22:00:01Z", "components": {"dump": {"phase": "Running"}}});
    let mut no_target = observed(restore(json!({}), late.clone()));
    no_target.target.shape = Shape::Missing("PersistentVolumeClaim demo/data does not exist".into());
    for late in [without_its_snapshot(late), no_target] {
        let status = status(&plan(&late, now()));
        assert_eq!(status["phase"], "Failed");
        assert!(status["components"]["dump"]["error"].as_str().unwrap().contains("restoreTimeout has passed"), "{status}");
    }
    // A target is waited for as its pods are: without a timeout as long as it takes.
    let mut no_target = observed(restore(json!({}), running()));
    no_target.target.shape = Shape::Missing("PersistentVolumeClaim demo/data does not exist".into());
    let actions = plan(&no_target, now() + Duration::from_secs(3600));
    assert_eq!((condition(&status(&actions), "RestoreSourceFound"), later(&actions)), (None, Some(Duration::from_secs(5))));
}

#[test]
fn what_is_complete_or_has_not_begun_does_not_fail_for_what_is_missing() {
    let complete = without_its_snapshot(json!({"phase": "Running", "totalComponents": 1, "components": {"dump": {"phase": "Succeeded"}}}));
    assert_eq!(status(&plan(&complete, now()))["phase"], "Succeeded");
    let mut waits = without_its_snapshot(Value::Null);
    waits.tasks.clear();
    let first = plan(&waits, now());
    written(&mut waits, &first);
    assert!(plan(&waits, now() + Duration::from_secs(3600)).iter().all(|action| !matches!(action, Action::Status(_))), "it may still come");
    assert_eq!(waits.restore.status.as_ref().unwrap().phase, Some(RestorePhase::Pending));
    // Of one whose hooks before it had begun, and nothing else, the condition says why.
    let hooks = json!({"hooks": {"preHooks": [{"name": "stop", "phase": "Succeeded"}]}, "phase": "Running"});
    let mut early = without_its_snapshot(hooks);
    let first = plan(&early, now());
    written(&mut early, &first);
    let end = plan(&early, now() + Duration::from_secs(61));
    assert_eq!((&status(&end)["phase"], &condition(&status(&end), "RestoreIncomplete").unwrap()["message"]), (&json!("Failed"), &json!("Snapshot repo-s does not exist")));
    assert!(end.iter().any(|action| matches!(action, Action::Event(note) if note.warning && note.message == "Snapshot repo-s does not exist")));
}

#[test]
fn a_pod_of_it_is_at_work_until_it_has_ended_or_does_not_end_when_asked_to() {
    let is_at_work = |phase: &str, to_end_by: Option<&str>, owner: &str| {
        let owners = json!([{"apiVersion": "core.kubestash.com/v1alpha1", "kind": "RestoreSession", "name": "back", "uid": owner}]);
        let metadata = json!({"name": "p", "ownerReferences": owners, "deletionTimestamp": to_end_by});
        let pod: Pod = serde_json::from_value(json!({"metadata": metadata, "status": {"phase": phase}})).unwrap();
        super::super::pods::is_at_work(&pod, "back-uid", now())
    };
    assert!(is_at_work("Running", None, "back-uid") && is_at_work("Pending", None, "back-uid"));
    assert!(!is_at_work("Failed", None, "back-uid") && !is_at_work("Running", None, "somebody-elses"));
    for (by, expected) in [("2026-11-22T22:10:00Z", true), ("2026-11-22T21:59:30Z", true), ("2026-11-22T21:59:05Z", false)] {
        assert_eq!(is_at_work("Running", Some(by), "back-uid"), expected, "{by}");
    }
}

#[test]
fn none_is_out_of_time_before_its_agent_could_say_that_it_has_ended() {
    let mut status = running();
    status["restoreDeadline"] = json!("2026-11-22T00:00:00Z");
    let late = |more_within, status: &Value| {
        let taken_over = Observed { more_within, ..observed(restore(json!({}), status.clone())) };
        plan(&taken_over, now())
    };
    let left = Duration::from_secs(12);
    let actions = late(Some(left), &status);
    assert_eq!(asked(&actions), ["dump"]);
    assert_eq!(later(&actions), Some(left));
    assert_eq!(status_phase(&late(None, &status)), json!("Failed"));
    status["components"]["dump"]["phase"] = json!("Pending");
    assert_eq!(status_phase(&late(Some(left), &status)), json!("Failed"), "what had not begun cannot have ended");
}

fn status_phase(actions: &[Action]) -> Value {
    status(actions)["components"]["dump"]["phase"].clone()
}
