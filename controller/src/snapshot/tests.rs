use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast_api::deletion::DeletionPolicy;
use holdfast_api::snapshot::SnapshotStatus;
use holdfast_api::{BackupSession, Repository, Snapshot, TypedObjectReference};
use holdfast_proto::v1;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::plan::{has_ended_components, plan};
use super::{Observed, VIEWS};
use crate::action::Action;
use crate::dispatch::task::{Brought, NotStarted, Outcome, TaskView, Wanted, Work};
use crate::holder::{Placement, Purpose, Wish};
use crate::object::Kind;
use crate::target::{Access, Located, Reach};
use crate::work::Job;

fn now() -> Timestamp {
    "2026-11-22T22:01:00Z".parse().unwrap()
}

fn snapshot(status: Value) -> Snapshot {
    serde_json::from_value(json!({
        "metadata": {"name": "repo-s", "namespace": "demo", "uid": "snap-uid", "resourceVersion": "3", "creationTimestamp": "2026-11-22T22:00:00Z"},
        "spec": {"repository": "repo", "session": "daily", "backupSession": "s", "version": "v1", "appRef": {"kind": "Deployment", "name": "web", "namespace": "demo"}},
        "status": status,
    }))
    .unwrap()
}

fn session(status: Value) -> BackupSession {
    serde_json::from_value(json!({"metadata": {"name": "s", "namespace": "demo"}, "spec": {}, "status": status}))
        .unwrap()
}

fn repository(phase: &str) -> Repository {
    serde_json::from_value(json!({
        "metadata": {"name": "repo", "namespace": "demo"},
        "spec": {"storageRef": {"name": "store"}, "path": "/repo/"},
        "status": {"phase": phase, "conditions": [{"type": "RepositoryInitialized", "status": "False", "message": "wrong password", "lastTransitionTime": "2026-11-22T22:00:00Z"}]},
    }))
    .unwrap()
}

fn reach() -> Reach {
    let volume = v1::VolumeAccess { pvc_uid: "claim-uid".into(), ..v1::VolumeAccess::default() };
    let located = Located { volume, path_in_volume: String::new(), container_path: "/data".into() };
    Reach::Ready(Access { node: "a".into(), pod_uid: "pod-uid".into(), volumes: vec![located], held: None })
}

fn observed(status: Value) -> Observed {
    Observed {
        snapshot: Arc::new(snapshot(status)),
        session: Some(Arc::new(session(json!({"phase": "Running"})))),
        repository: Some(Arc::new(repository("Ready"))),
        job: Ok(Job { paths: vec!["/data".into()], exclude: vec!["*.tmp".into()], ..Job::default() }),
        reaches: BTreeMap::from([("dump-pod-0".into(), reach()), ("dump-pod-1".into(), reach())]),
        target_found: true,
        application: TypedObjectReference::not_applicable(),
        tasks: BTreeMap::new(),
        brought: Brought::default(),
        pods: BTreeMap::new(),
        is_held: false,
        waited: Duration::ZERO,
        predecessor: None,
    }
}

fn running() -> Value {
    json!({"phase": "Running", "totalComponents": 2, "components": {
        "dump-pod-0": {"phase": "Running", "driver": "Holdfast", "path": "repository/v1/daily/dump-pod-0"},
        "dump-pod-1": {"phase": "Running", "driver": "Holdfast", "path": "repository/v1/daily/dump-pod-1"}}})
}

fn finished(outcome: Outcome, retries: u32) -> TaskView {
    TaskView::Finished { attempt: 1 + retries, retries, elapsed_ms: 1500, outcome: Arc::new(outcome) }
}

fn good(size: u64) -> Outcome {
    let source = v1::SourceResult {
        container_path: "/data".into(),
        bytes: 5000,
        bytes_added: 10,
        ..v1::SourceResult::default()
    };
    Outcome::Backup(v1::BackupResult {
        snapshot_id: "id".into(),
        sources: vec![source],
        repository_bytes: size,
        ..v1::BackupResult::default()
    })
}

fn bad(may_help: bool) -> Outcome {
    Outcome::Failed(v1::TaskFailure {
        message: "backend is full".into(),
        retry_may_help: may_help,
        ..v1::TaskFailure::default()
    })
}

fn wanted(actions: &[Action]) -> Vec<String> {
    let all = actions.iter().find_map(|action| match action {
        Action::Tasks(wanted) => Some(wanted),
        _ => None,
    });
    let names = all.expect("every plan says what it wants").iter().map(|wanted| match wanted {
        Wanted::Keep(name) => format!("keep {name}"),
        Wanted::Hold(wish) => format!("hold {}", wish.claims.iter().cloned().collect::<Vec<_>>().join(",")),
        Wanted::Task(request) if request.again_after.is_some() => format!("again {}", request.component),
        Wanted::Task(request) => request.component.clone(),
        Wanted::Function(run) => format!("pod {}", run.function),
    });
    names.collect()
}

fn status(actions: &[Action]) -> Option<Value> {
    actions.iter().find_map(|action| match action {
        Action::Status(status) => Some(status.clone()),
        _ => None,
    })
}

#[test]
fn it_names_its_components_and_asks_for_them_at_once() {
    let actions = plan(&observed(Value::Null), now());
    assert_eq!(wanted(&actions), ["dump-pod-0", "dump-pod-1"]);
    let status = status(&actions).unwrap();
    assert_eq!(status["totalComponents"], 2);
    assert_eq!(
        status["components"]["dump-pod-1"],
        json!({"driver": "Holdfast", "path": "repository/v1/daily/dump-pod-1", "phase": "Pending"})
    );
    let Some(Action::Tasks(tasks)) = actions.iter().find(|action| matches!(action, Action::Tasks(_))) else { panic!() };
    let Wanted::Task(request) = &tasks[0] else { panic!() };
    let Work::Backup { task, .. } = &request.work else { panic!() };
    assert_eq!(
        (task.host.as_str(), task.excludes.as_slice()),
        ("demo/Deployment/web", ["*.tmp".to_owned()].as_slice())
    );
}

#[test]
fn results_stay_with_the_dispatcher_until_the_views_are_written_and_one_write_says_it_all() {
    let mut observed = observed(running());
    observed.tasks.insert("dump-pod-0".into(), finished(good(1 << 21), 0));
    let one_left = plan(&observed, now());
    assert_eq!(wanted(&one_left), ["keep dump-pod-0", "dump-pod-1"]);
    observed.tasks.insert("dump-pod-1".into(), finished(good(3 << 21), 0));
    let actions = plan(&observed, now());
    assert_eq!(status(&actions), None, "the result was written before its views");
    assert_eq!(wanted(&actions), ["keep dump-pod-0", "keep dump-pod-1", ""]);
    observed.tasks.insert(VIEWS.into(), finished(Outcome::Views(v1::ViewsResult::default()), 0));
    let actions = plan(&observed, now());
    let status = status(&actions).unwrap();
    assert_eq!((&status["phase"], &status["size"]), (&json!("Succeeded"), &json!("6.000 MiB")));
    assert_eq!(status["components"]["dump-pod-0"]["duration"], "1.5s");
    assert!(wanted(&actions).is_empty());
    assert!(matches!(actions.first(), Some(Action::Status(_))), "results were let go before they were written");
}

/// What it is compared with is looked for then.
#[test]
fn a_backup_may_be_over_before_its_components_were_written_down() {
    let mut observed = observed(json!({}));
    observed.tasks.insert("dump-pod-0".into(), finished(good(1), 0));
    assert!(!has_ended_components(&observed));
    observed.tasks.insert("dump-pod-1".into(), finished(good(1), 0));
    assert!(has_ended_components(&observed));
    observed.reaches.clear();
    assert!(!has_ended_components(&observed), "nobody knows yet which there are");
}

#[test]
fn files_that_could_not_be_read_stay_named_in_a_condition() {
    let without = |name: &str| {
        let Outcome::Backup(mut done) = good(1) else { panic!() };
        done.unreadable_count = 2;
        done.unreadable_first = vec![format!("{name}: permission denied")];
        finished(Outcome::Backup(done), 0)
    };
    let mut observed = observed(running());
    observed.tasks.insert("dump-pod-0".into(), without("a"));
    let first = status(&plan(&observed, now())).unwrap();
    assert_eq!(first["conditions"][0]["type"], "FilesUnreadable");
    observed.tasks.insert("dump-pod-1".into(), without("b"));
    observed.tasks.insert(VIEWS.into(), finished(Outcome::Views(v1::ViewsResult::default()), 0));
    let status = status(&plan(&observed, now())).unwrap();
    let message = status["conditions"][0]["message"].as_str().unwrap();
    assert_eq!(status["phase"], "Succeeded");
    for part in ["component dump-pod-0: 2 files", "a: permission denied", "component dump-pod-1: 2 files", "b: permission denied"] {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
}

#[test]
fn failures_that_may_mend_are_tried_again_and_others_are_not() {
    for (outcome, retries, again) in [(bad(true), 0, true), (bad(true), 2, false), (bad(false), 0, false)] {
        let mut observed = observed(running());
        observed.tasks.insert("dump-pod-0".into(), finished(outcome, retries));
        let actions = plan(&observed, now());
        assert_eq!(wanted(&actions)[0], if again { "again dump-pod-0" } else { "keep dump-pod-0" });
        if !again {
            assert_eq!(status(&actions).unwrap()["components"]["dump-pod-0"]["error"], "backend is full");
        }
    }
    let mut observed = observed(running());
    let missing = Outcome::NotStarted(NotStarted::Secret("Secret demo/x does not exist".into()));
    observed.tasks.insert("dump-pod-0".into(), finished(missing, 0));
    assert_eq!(
        status(&plan(&observed, now())).unwrap()["components"]["dump-pod-0"]["error"],
        "Secret demo/x does not exist"
    );
}

#[test]
fn views_that_cannot_be_written_fail_the_snapshot_in_the_end() {
    let mut observed = observed(running());
    for name in ["dump-pod-0", "dump-pod-1"] {
        observed.tasks.insert(name.into(), finished(good(1), 0));
    }
    observed.tasks.insert(VIEWS.into(), finished(bad(true), 0));
    assert_eq!(wanted(&plan(&observed, now())).last().unwrap(), "again ");
    observed.tasks.insert(VIEWS.into(), finished(bad(true), 4));
    assert_eq!(status(&plan(&observed, now())).unwrap()["phase"], "Failed");
}

#[test]
fn a_cancelled_session_takes_its_unfinished_snapshot_with_it() {
    for session in [None, Some(session(json!({"phase": "Failed"})))] {
        let mut observed = observed(running());
        observed.session = session.map(Arc::new);
        let actions = plan(&observed, now());
        assert!(wanted(&actions).is_empty() && matches!(actions.last(), Some(Action::Delete { .. })), "{actions:?}");
        // One that had ended stays.
        observed.snapshot = Arc::new(snapshot(json!({"phase": "Succeeded", "conditions": []})));
        assert!(!plan(&observed, now()).iter().any(|action| matches!(action, Action::Delete { .. })));
    }
}

#[test]
fn what_is_waited_for_longer_than_expected_stays_said() {
    let pending = json!({"phase": "Pending", "totalComponents": 1, "components": {"dump-pod-0": {"phase": "Pending"}}});
    let mut seen = observed(pending);
    seen.reaches.remove("dump-pod-1");
    seen.tasks.insert("dump-pod-0".into(), TaskView::Waiting("no agent is on node a".into()));
    let actions = plan(&seen, now());
    assert_eq!(status(&actions), None, "a minute is not long");
    assert!(actions.contains(&Action::Later(Duration::from_secs(240))), "{actions:?}");
    let later: Timestamp = "2026-11-22T22:05:00Z".parse().unwrap();
    let said = status(&plan(&seen, later)).unwrap();
    assert_eq!(said["conditions"][0]["type"], "PodHasBeenInPendingStateForLongerThanExpected");
    assert_eq!(said["conditions"][0]["message"], "component dump-pod-0: no agent is on node a");
    let mut waited = seen.snapshot.as_ref().clone();
    waited.status.as_mut().unwrap().conditions = serde_json::from_value(said["conditions"].clone()).unwrap();
    seen.snapshot = Arc::new(waited);
    assert!(status(&plan(&seen, later)).is_none(), "it is said once");
    seen.tasks.insert("dump-pod-0".into(), TaskView::Running { node: "a".into(), attempt: 1, progress: None });
    let begun = status(&plan(&seen, later)).unwrap();
    assert_eq!((&begun["phase"], begun.get("conditions")), (&json!("Running"), Some(&Value::Null)), "it goes");
}

#[test]
fn what_is_waited_for_has_an_end() {
    let mut observed = observed(running());
    observed.reaches.insert("dump-pod-1".into(), Reach::Waiting("pod web-1 is not running".into()));
    assert_eq!(wanted(&plan(&observed, now())), ["dump-pod-0"]);
    // Its agent lets go of a pod that is being deleted: what comes of that is waited for.
    observed.tasks.insert("dump-pod-1".into(), TaskView::Running { node: "a".into(), attempt: 1, progress: None });
    assert_eq!(wanted(&plan(&observed, now())), ["dump-pod-0", "keep dump-pod-1"]);
    observed.tasks.clear();
    observed.waited = Duration::from_secs(301);
    assert_eq!(
        status(&plan(&observed, now())).unwrap()["components"]["dump-pod-1"]["error"],
        "pod web-1 is not running"
    );

    let mut observed = self::observed(running());
    observed.repository = Some(Arc::new(repository("NotReady")));
    observed.tasks.insert(VIEWS.into(), finished(Outcome::Views(v1::ViewsResult::default()), 0));
    let error =
        status(&plan(&observed, now())).unwrap()["components"]["dump-pod-0"]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("wrong password"), "{error}");

    let mut observed = self::observed(running());
    observed.session = Some(Arc::new(session(json!({"phase": "Running", "backupDeadline": "2026-11-22T22:00:59Z"}))));
    let actions = plan(&observed, now());
    assert!(status(&actions).is_none() && wanted(&actions) == [""], "{actions:?}");
}

#[test]
fn a_path_that_is_no_volume_fails_its_component_with_the_reason() {
    let mut observed = observed(Value::Null);
    observed.reaches = BTreeMap::from([("dump".into(), Reach::Impossible("path \"/etc\" is in a secret".into()))]);
    observed.tasks.insert(VIEWS.into(), finished(Outcome::Views(v1::ViewsResult::default()), 0));
    let status = status(&plan(&observed, now())).unwrap();
    assert_eq!(
        (&status["phase"], &status["components"]["dump"]["error"]),
        (&json!("Failed"), &json!("path \"/etc\" is in a secret"))
    );
}

fn any_view() -> impl Strategy<Value = Option<TaskView>> {
    prop_oneof![
        Just(None),
        Just(Some(TaskView::Waiting("in line".into()))),
        Just(Some(TaskView::Running { node: "a".into(), attempt: 1, progress: None })),
        (0u32..4).prop_map(|retries| Some(finished(good(7), retries))),
        (any::<bool>(), 0u32..6).prop_map(|(may_help, retries)| Some(finished(bad(may_help), retries))),
        (0u32..6).prop_map(|retries| Some(finished(Outcome::Views(v1::ViewsResult::default()), retries))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// A plan is total, says what it wants exactly once, and lets no result go that it has not written down.
    #[test]
    fn no_result_is_let_go_unwritten(
        first in any_view(), second in any_view(), views in any_view(), reached in 0u8..4, waited in 0u64..600, started in any::<bool>(),
    ) {
        let mut observed = observed(if started { running() } else { Value::Null });
        observed.waited = Duration::from_secs(waited);
        for (name, view) in [("dump-pod-0", first), ("dump-pod-1", second), (VIEWS, views)] {
            observed.tasks.extend(view.map(|view| (name.to_owned(), view)));
        }
        let other = match reached {
            0 => reach(),
            1 => Reach::Waiting("wait".into()),
            2 => Reach::Impossible("no".into()),
            _ => { observed.reaches.remove("dump-pod-1"); reach() }
        };
        if reached < 3 { observed.reaches.insert("dump-pod-1".into(), other); }
        let actions = plan(&observed, now());
        prop_assert_eq!(actions.iter().filter(|action| matches!(action, Action::Tasks(_))).count(), 1);
        let wanted = wanted(&actions);
        let written = status(&actions);
        for name in ["dump-pod-0", "dump-pod-1"] {
            let Some(TaskView::Finished { outcome, .. }) = observed.tasks.get(name) else { continue };
            if !matches!(outcome.as_ref(), Outcome::Backup(_)) { continue }
            let kept = wanted.iter().any(|wanted| wanted.ends_with(name));
            let said = written.as_ref().is_some_and(|status| status["components"][name]["phase"] == "Succeeded");
            let known = started || observed.reaches.contains_key(name);
            prop_assert!(kept || said || !known, "{name}: {actions:?}");
        }
        if let Some(status) = written {
            let whole: Result<SnapshotStatus, _> = serde_json::from_value(status.clone());
            prop_assert!(whole.is_ok(), "{status}");
        }
    }
}

#[test]
fn wipe_out_writes_down_what_is_to_be_forgotten_before_the_finalizer_goes() {
    let stored = json!({"phase": "Succeeded", "components": {"dump": {"driver": "Holdfast", "phase": "Succeeded",
        "resticStats": [{"summary": {"id": "e-1", "size": "9 B"}}]}}});
    let mut observed = observed(stored);
    let snapshot = |change: &dyn Fn(&mut Snapshot)| {
        let mut snapshot = observed.snapshot.as_ref().clone();
        snapshot.metadata.uid = Some("s-uid".into());
        snapshot.metadata.finalizers = Some(vec!["kubestash.com/cleanup".into()]);
        snapshot.metadata.deletion_timestamp = Some(Time(now()));
        snapshot.spec.deletion_policy = Some(DeletionPolicy::WipeOut);
        change(&mut snapshot);
        Arc::new(snapshot)
    };
    let deleted = snapshot(&|_| {});
    let by_another = snapshot(&|snapshot| {
        let components = &mut snapshot.status.as_mut().unwrap().components;
        components.values_mut().for_each(|component| component.driver = Some(holdfast_api::Driver::Restic));
    });
    let kept = snapshot(&|snapshot| snapshot.spec.deletion_policy = Some(DeletionPolicy::Delete));
    observed.snapshot = deleted;
    let name = observed.snapshot.metadata.name.clone().unwrap();
    let actions = plan(&observed, now());
    let [Action::Patch { key, patch, .. }, Action::Tasks(none), Action::Patch { patch: freed, .. }] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    assert_eq!(key.kind, Kind::Repository);
    assert_eq!(patch["metadata"]["annotations"], json!({format!("forget.holdfast.dev/{name}"): "s-uid e-1"}));
    assert!(none.is_empty() && freed["metadata"]["finalizers"] == json!([]));
    // Whoever has written it down already need not do so again.
    let mut repository = observed.repository.as_deref().unwrap().clone();
    repository.metadata.annotations = serde_json::from_value(patch["metadata"]["annotations"].clone()).unwrap();
    observed.repository = Some(Arc::new(repository));
    assert!(matches!(plan(&observed, now()).as_slice(), [Action::Tasks(_), Action::Patch { .. }]));
    // Another tool's data, or a repository that is gone: it says so and goes.
    for (snapshot, repository) in [(by_another, observed.repository.clone()), (observed.snapshot.clone(), None)] {
        (observed.snapshot, observed.repository) = (snapshot, repository);
        let actions = plan(&observed, now());
        assert!(matches!(actions.as_slice(), [Action::Event(note), Action::Tasks(_), Action::Patch { .. }] if note.warning), "{actions:?}");
    }
    observed.snapshot = kept;
    assert!(matches!(plan(&observed, now()).as_slice(), [Action::Tasks(_), Action::Patch { .. }]));
}

#[test]
fn what_a_cancelled_backup_has_stored_is_forgotten() {
    let mut observed = observed(json!({"totalComponents": 2, "components": {
        "dump-pod-0": {"phase": "Running", "driver": "Holdfast"}, "dump-pod-1": {"phase": "Running", "driver": "Holdfast"}}}));
    observed.session = None;
    let result = v1::BackupResult { snapshot_id: "e-7".into(), ..v1::BackupResult::default() };
    let finished =
        TaskView::Finished { attempt: 1, retries: 0, elapsed_ms: 1, outcome: Arc::new(Outcome::Backup(result)) };
    observed.tasks.insert("dump-pod-0".into(), finished);
    let actions = plan(&observed, now());
    let [Action::Patch { key, patch, .. }, Action::Tasks(_), Action::Delete { .. }] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(key.kind, Kind::Repository);
    assert!(patch.to_string().contains(" e-7"), "{patch}");
}

#[test]
fn a_claim_that_nothing_mounts_is_held_until_it_is_read() {
    let wish = Wish { namespace: "demo".into(), claims: ["data".to_owned()].into(), purpose: Purpose::Backup, placement: Placement::default() };
    let mut observed = observed(json!(null));
    observed.reaches = BTreeMap::from([("dump".into(), Reach::Unmounted(Box::new(wish.clone())))]);
    assert_eq!(wanted(&plan(&observed, now())), ["hold data"]);
    observed.waited = Duration::from_secs(301);
    observed.reaches.insert("other".into(), reach());
    let actions = plan(&observed, now());
    let error = status(&actions).unwrap()["components"]["dump"]["error"].as_str().unwrap().to_owned();
    assert!(error.contains(&wish.pod_name()) && error.contains("does not run"), "{error}");
    let Reach::Ready(access) = reach() else { panic!() };
    observed.waited = Duration::ZERO;
    observed.reaches = BTreeMap::from([("dump".into(), Reach::Ready(Access { held: Some(Box::new(wish)), ..access }))]);
    assert_eq!(wanted(&plan(&observed, now())), ["hold data", "dump"]);
    let done = TaskView::Finished { attempt: 1, retries: 0, elapsed_ms: 10, outcome: Arc::new(Outcome::Backup(v1::BackupResult::default())) };
    observed.tasks.insert("dump".into(), done);
    assert!(!wanted(&plan(&observed, now())).contains(&"hold data".to_owned()), "read: let go before the views are written");
}

#[test]
fn one_that_is_paused_begins_nothing_stops_nothing_and_may_be_cancelled() {
    let mut observed = observed(running());
    observed.tasks.insert("dump-pod-0".into(), TaskView::Running { node: "a".into(), attempt: 1, progress: None });
    let mut paused = observed.snapshot.as_ref().clone();
    paused.spec.paused = Some(true);
    observed.snapshot = Arc::new(paused);
    let actions = plan(&observed, now());
    assert_eq!(wanted(&actions), ["keep dump-pod-0"]);
    assert!(status(&actions).is_none(), "nothing is written");
    observed.session = None;
    assert!(wanted(&plan(&observed, now())).is_empty(), "its session is gone, and so it goes");
}

mod nodes;
mod pods;
mod takeover;
