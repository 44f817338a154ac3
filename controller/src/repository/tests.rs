use std::sync::Arc;
use std::time::Duration;

use holdfast_api::backup_storage::BackupStorage;
use holdfast_api::{Repository, Snapshot};
use holdfast_proto::v1;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::maintenance::{ANNOTATION, Maintenance, Pace};
use super::plan::plan;
use super::{FORGET, Observed, PRUNE, WIPE};
use crate::action::Action;
use crate::dispatch::task::{Outcome, TaskView, Wanted, Work};
use crate::object::Named;

mod integrity;

fn now() -> Timestamp {
    "2026-11-26T12:00:00Z".parse().unwrap()
}

fn repository(annotations: Value, policy: &str) -> Repository {
    serde_json::from_value(json!({
        "metadata": {"name": "repo", "namespace": "demo", "uid": "r-uid", "resourceVersion": "7", "generation": 1, "annotations": annotations,
            "finalizers": if policy == "WipeOut" { json!(["kubestash.com/cleanup"]) } else { json!(null) }},
        "spec": {"storageRef": {"name": "store"}, "path": "/app", "deletionPolicy": policy},
        "status": {"phase": "Ready", "snapshotCount": 0, "conditions": [{"type": "RepositoryInitialized", "status": "True",
            "reason": "RepositoryInitializationSucceeded", "observedGeneration": 1,
            "message": "BackupStorage demo/store, directory \"app\"", "lastTransitionTime": "2026-11-20T00:00:00Z"}]},
    }))
    .unwrap()
}

fn storage() -> BackupStorage {
    serde_json::from_value(json!({
        "metadata": {"name": "store", "namespace": "demo"},
        "spec": {"storage": {"provider": "s3", "s3": {"bucket": "b", "prefix": "p", "secretName": "s"}}},
        "status": {"phase": "Ready"},
    }))
    .unwrap()
}

/// A Repository with nothing under way.
pub(super) fn observed(repository: Repository) -> Observed {
    Observed {
        repository: Arc::new(repository),
        storage: Some(Arc::new(storage())),
        allowed: true,
        neighbours: Vec::new(),
        snapshots: Vec::new(),
        initialisation: None,
        views: None,
        forget: None,
        prune: None,
        check: None,
        wipe: None,
        page: None,
        is_named: false,
        is_used: false,
        shared_with: None,
        pace: Pace::default(),
    }
}

fn snapshot(name: &str, uid: &str) -> Arc<Snapshot> {
    let value = json!({"metadata": {"name": name, "namespace": "demo", "uid": uid}, "spec": {"repository": "repo"}, "status": {}});
    Arc::new(serde_json::from_value(value).unwrap())
}

fn finished(outcome: Outcome) -> Option<TaskView> {
    Some(TaskView::Finished { attempt: 1, retries: 0, elapsed_ms: 5, outcome: Arc::new(outcome) })
}

fn lost() -> Outcome {
    let reason = v1::task_failure::Reason::BackendUnreachable.into();
    Outcome::Failed(v1::TaskFailure { reason, message: "nobody answers".into(), retry_may_help: true })
}

/// Components that are wanted, and the work of those that are asked for.
fn wanted(actions: &[Action]) -> Vec<(String, Option<Work>)> {
    let tasks = actions.iter().filter_map(|action| match action {
        Action::Tasks(wanted) => Some(wanted),
        _ => None,
    });
    tasks
        .flatten()
        .map(|wanted| match wanted {
            Wanted::Task(request) => (request.component.clone(), Some(request.work.clone())),
            Wanted::Keep(component) => (component.clone(), None),
            Wanted::Hold(wish) => (wish.to_string(), None),
            Wanted::Function(run) => (run.pod_name(), None),
        })
        .collect()
}

fn annotations(actions: &[Action]) -> Value {
    let patches = actions.iter().filter_map(|action| match action {
        Action::Patch { patch, .. } => Some(patch["metadata"]["annotations"].clone()),
        _ => None,
    });
    patches.last().unwrap_or_default()
}

fn maintenance(actions: &[Action]) -> Maintenance {
    serde_json::from_str(annotations(actions)[ANNOTATION].as_str().unwrap()).unwrap()
}

#[test]
fn a_snapshot_goes_before_its_data_is_forgotten() {
    let mut observed = observed(repository(json!({"forget.holdfast.dev/s1": "u1 e-1 e-2", "forget.holdfast.dev/s2": "u2 e-3"}), "Delete"));
    // Another life of the name s2 is not the one that is to go.
    observed.snapshots = vec![snapshot("s1", "u1"), snapshot("s2", "another")];
    let actions = plan(&observed, now());
    let deleted: Vec<_> = actions.iter().filter(|action| matches!(action, Action::Delete { uid, .. } if uid == "u1")).collect();
    assert_eq!(deleted.len(), 1);
    let work = Work::Forget {
        repository: Named::new("demo", "repo"),
        ids: vec!["e-3".into()],
        remove_views: vec!["app/snapshots/s2.yaml".into()],
    };
    assert_eq!(wanted(&actions), [(FORGET.to_owned(), Some(work))]);

    // The first has gone meanwhile; what the agent has done is struck out, and the rest asked for.
    observed.snapshots.remove(0);
    observed.forget = finished(Outcome::Forgotten(v1::ForgetResult { snapshot_ids: vec!["e-3".into()], forgotten: 1 }));
    let actions = plan(&observed, now());
    assert_eq!(annotations(&actions)["forget.holdfast.dev/s2"], Value::Null);
    assert!(annotations(&actions).as_object().unwrap().contains_key("forget.holdfast.dev/s2"));
    assert_eq!((maintenance(&actions).forgotten, maintenance(&actions).forgotten_since), (1, Some(now())));
    assert!(matches!(&wanted(&actions)[0], (component, Some(Work::Forget { ids, .. })) if component == FORGET && ids == &["e-1", "e-2"]));
}

#[test]
fn a_failure_waits_for_its_time_and_keeps_what_is_to_be_done() {
    let mut observed = observed(repository(json!({"forget.holdfast.dev/s1": "u1 e-1"}), "Delete"));
    observed.forget = finished(lost());
    let actions = plan(&observed, now());
    assert_eq!(annotations(&actions).get("forget.holdfast.dev/s1"), None);
    let known = maintenance(&actions);
    assert_eq!(known.not_before, Some(now() + Duration::from_secs(300)));
    assert!(wanted(&actions).is_empty());
    let waiting = json!({"forget.holdfast.dev/s1": "u1 e-1", ANNOTATION: known.value()});
    observed = self::observed(repository(waiting, "Delete"));
    assert!(wanted(&plan(&observed, now())).is_empty());
    assert_eq!(wanted(&plan(&observed, now() + Duration::from_secs(301))).len(), 1);
    // Whoever emptied the bucket has forgotten more than was asked for.
    let reason = v1::task_failure::Reason::NotARepository.into();
    observed.forget = finished(Outcome::Failed(v1::TaskFailure { reason, message: "empty".into(), retry_may_help: false }));
    assert!(annotations(&plan(&observed, now())).as_object().unwrap().contains_key("forget.holdfast.dev/s1"));
}

#[test]
fn a_prune_runs_when_it_is_due_and_once() {
    let known = Maintenance { forgotten: 2, forgotten_since: Some(now()), ..Maintenance::default() };
    let mut observed = observed(repository(json!({ANNOTATION: known.value()}), "Delete"));
    let actions = plan(&observed, now());
    assert!(wanted(&actions).is_empty());
    assert!(actions.contains(&Action::Later(Duration::from_secs(3600))), "{actions:?}");
    let later = now() + Duration::from_secs(3600);
    assert!(matches!(&wanted(&plan(&observed, later))[0], (component, Some(Work::Prune { .. })) if component == PRUNE));
    // It goes on whatever the time is: nobody else may begin another.
    observed.prune = Some(TaskView::Running { node: "a".into(), attempt: 1, progress: None });
    assert_eq!(wanted(&plan(&observed, now())).len(), 1);
    observed.prune = finished(Outcome::Pruned(v1::PruneResult { packs_unused: 1, ..v1::PruneResult::default() }));
    let actions = plan(&observed, later);
    assert_eq!(maintenance(&actions), Maintenance { pruned: Some(later), unfinished: true, ..Maintenance::default() });
    assert!(wanted(&actions).is_empty());
    observed.prune = finished(lost());
    let known = maintenance(&plan(&observed, later));
    assert_eq!((known.forgotten, known.not_before), (2, Some(later + Duration::from_secs(300))));
}

fn deleted(policy: &str, seconds_ago: u64) -> Observed {
    let mut repository = repository(json!({}), policy);
    repository.metadata.deletion_timestamp = Some(Time(now() - Duration::from_secs(seconds_ago)));
    repository.metadata.generation = Some(2);
    observed(repository)
}

fn releases(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Patch { patch, .. } if patch["metadata"]["finalizers"] == json!([])))
}

fn reasons(actions: &[Action]) -> Vec<String> {
    let notes = actions.iter().filter_map(|action| match action {
        Action::Event(note) => Some(note.reason.clone()),
        _ => None,
    });
    notes.collect()
}

#[test]
fn wipe_out_comes_after_everything_else_and_gives_up_in_the_end() {
    let mut observed = deleted("WipeOut", 1);
    observed.snapshots = vec![snapshot("s1", "u1")];
    let actions = plan(&observed, now());
    assert!(wanted(&actions).is_empty() && actions.iter().any(|action| matches!(action, Action::Delete { .. })));
    observed.snapshots.clear();
    observed.is_used = true;
    assert!(wanted(&plan(&observed, now())).is_empty());
    observed.is_used = false;
    let actions = plan(&observed, now());
    assert!(matches!(&wanted(&actions)[0], (component, Some(Work::Wipe { directory, .. })) if component == WIPE && directory == "app"));
    assert!(!releases(&actions));
    observed.wipe = finished(Outcome::Wiped(v1::WipeResult { objects: 3 }));
    let actions = plan(&observed, now());
    assert!(releases(&actions) && reasons(&actions) == ["WipedOut"]);

    // The backend is away: again, and not for ever.
    observed.wipe = finished(lost());
    let actions = plan(&observed, now());
    assert!(!releases(&actions) && wanted(&actions).len() == 1);
    observed = deleted("WipeOut", 601);
    observed.wipe = finished(lost());
    let actions = plan(&observed, now());
    assert!(releases(&actions) && reasons(&actions) == ["DataLeftBehind"]);
    observed.wipe = Some(TaskView::Waiting("no agent is connected".into()));
    assert!(releases(&plan(&observed, now())));
    // What it needs to reach the backend is gone: nothing is waited for.
    observed = deleted("WipeOut", 1);
    observed.storage = None;
    assert!(releases(&plan(&observed, now())));
}

#[test]
fn only_who_opened_a_repository_there_may_remove_it() {
    let refused = |change: &dyn Fn(&mut Observed)| {
        let mut observed = deleted("WipeOut", 1);
        change(&mut observed);
        let actions = plan(&observed, now());
        assert!(releases(&actions) && wanted(&actions).is_empty(), "{actions:?}");
    };
    refused(&|observed| observed.allowed = false);
    refused(&|observed| observed.shared_with = Some(Named::new("other", "repo")));
    refused(&|observed| Arc::make_mut(&mut observed.repository).spec.path = Some("/victim".into()));
    refused(&|observed| Arc::make_mut(&mut observed.repository).status = None);
    refused(&|observed| {
        let storage = &mut Arc::make_mut(&mut observed.repository).spec.storage_ref;
        storage.as_mut().unwrap().namespace = Some("victim".into());
    });
}

#[test]
fn the_finalizer_is_there_as_long_as_the_policy_is_wipe_out() {
    let mut repository = repository(json!({}), "WipeOut");
    repository.metadata.finalizers = Some(vec!["others/one".into()]);
    let set = |repository: &Repository| {
        let actions = plan(&observed(repository.clone()), now());
        match actions.as_slice() {
            [Action::Patch { patch, .. }] => patch["metadata"]["finalizers"].clone(),
            _ => Value::Null,
        }
    };
    assert_eq!(set(&repository), json!(["others/one", "kubestash.com/cleanup"]));
    repository.metadata.finalizers = Some(vec!["others/one".into(), "kubestash.com/cleanup".into()]);
    assert_eq!(set(&repository), Value::Null);
    repository.spec.deletion_policy = None;
    assert_eq!(set(&repository), json!(["others/one"]));
}

#[test]
fn one_that_is_paused_is_left_alone_and_still_counts_its_snapshots() {
    let forgets = repository(json!({"forget.holdfast.dev/s1": "u1 e-1"}), "Delete");
    let busy = observed(forgets.clone());
    assert_eq!(wanted(&plan(&busy, now())).len(), 1);
    let mut paused = forgets;
    paused.spec.paused = Some(true);
    let mut fresh = paused.clone();
    fresh.status = None;
    for repository in [paused.clone(), fresh] {
        let actions = plan(&observed(repository), now());
        assert!(wanted(&actions).is_empty() && actions.iter().any(|action| matches!(action, Action::Tasks(_))), "what runs stops, and nothing begins");
    }
    let mut with_one = observed(paused.clone());
    with_one.snapshots = vec![snapshot("s2", "u2")];
    let counted = plan(&with_one, now()).into_iter().any(|action| matches!(action, Action::Status(patch) if patch["snapshotCount"] == 1));
    assert!(counted);
    paused.metadata.deletion_timestamp = Some(Time(now()));
    assert!(!plan(&observed(paused), now()).is_empty(), "a pause holds up no deletion");
}

#[test]
fn another_directory_is_refused_and_another_storage_is_only_opened() {
    let moved = |change: &dyn Fn(&mut Repository)| {
        let mut repository = repository(json!({}), "Delete");
        repository.metadata.generation = Some(2);
        change(&mut repository);
        plan(&observed(repository), now())
    };
    let initialises = |actions: &[Action]| wanted(actions).into_iter().find_map(|(_, work)| match work {
        Some(Work::Initialise { only_existing, .. }) => Some(only_existing),
        _ => None,
    });
    let same = moved(&|repository| repository.spec.path = Some("app/".into()));
    assert_eq!(initialises(&same), Some(false), "the same place, another Secret perhaps");
    let elsewhere = moved(&|repository| repository.spec.path = Some("/other".into()));
    assert!(wanted(&elsewhere).is_empty());
    let told = elsewhere.iter().any(|action| matches!(action, Action::Event(note) if note.message.contains("spec.path: it was first opened in")));
    assert!(told);
    let renamed = moved(&|repository| repository.spec.storage_ref.as_mut().unwrap().name = "copy".into());
    assert_eq!(initialises(&renamed), Some(true), "it is never made a second time");
    // Told once; then what became of it is said, and stays said while it is tried again.
    let told = |actions: &[Action]| actions.iter().filter(|action| matches!(action, Action::Event(_))).count();
    assert_eq!(told(&renamed), 1);
    let mut closed = repository(json!({}), "Delete");
    closed.spec.storage_ref.as_mut().unwrap().name = "copy".into();
    let conditions = &mut closed.status.as_mut().unwrap().conditions;
    crate::first_use::keep_place(&repository(json!({}), "Delete"), conditions, now());
    conditions[0].status = "False".into();
    conditions[0].message = Some("nobody answers".into());
    let again = plan(&observed(closed), now());
    assert_eq!((initialises(&again), told(&again)), (Some(true), 0));
}
