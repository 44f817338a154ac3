use std::sync::Arc;

use holdfast_api::{Repository, Snapshot};
use holdfast_proto::v1;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::super::Observed;
use super::super::plan::plan;
use super::super::tests::observed as repository_observed;
use crate::action::Action;
use crate::dispatch::task::{Outcome, TaskView, Wanted, Work};
use crate::read_back::{ASKED, FROM, Page};

fn now() -> Timestamp {
    "2026-11-26T12:00:00Z".parse().unwrap()
}

fn observed(annotations: Value, conditions: Value) -> Observed {
    let repository: Repository = serde_json::from_value(json!({
        "metadata": {"name": "repo", "namespace": "demo", "uid": "r-uid", "generation": 1, "annotations": annotations},
        "spec": {"storageRef": {"name": "store"}, "path": "/app", "encryptionSecret": {"name": "password"}},
        "status": {"conditions": conditions},
    }))
    .unwrap();
    repository_observed(repository)
}

fn condition(type_: &str, status: &str) -> Value {
    json!({"type": type_, "status": status, "reason": "r", "observedGeneration": 1, "message": "BackupStorage demo/store, directory \"app\"",
        "lastTransitionTime": "2026-11-20T00:00:00Z"})
}

fn finished(outcome: Outcome) -> Option<TaskView> {
    Some(TaskView::Finished { attempt: 2, retries: 0, elapsed_ms: 5, outcome: Arc::new(outcome) })
}

fn opened(created: bool) -> Option<TaskView> {
    finished(Outcome::Initialised(v1::InitResult { created, repository_id: "r".into(), conditional_create: true }))
}

/// What is wanted, in short.
fn wanted(actions: &[Action]) -> Vec<String> {
    let all = actions.iter().filter_map(|action| if let Action::Tasks(wanted) = action { Some(wanted) } else { None }).flatten();
    all.map(|wanted| match wanted {
        Wanted::Keep(component) => format!("keep {component}"),
        Wanted::Hold(wish) => format!("{wish}"),
        Wanted::Function(run) => run.pod_name(),
        Wanted::Task(request) => match &request.work {
            Work::ReadSnapshots { after, .. } => format!("read {after} {:?}", request.again_after),
            Work::Initialise { only_existing, .. } => format!("init {only_existing}"),
            other => format!("{other:?}").split(' ').next().unwrap().to_owned(),
        },
    })
    .collect()
}

fn read_back(actions: &[Action]) -> (String, String) {
    let status = actions.iter().find_map(|action| if let Action::Status(status) = action { Some(status.clone()) } else { None }).unwrap_or_default();
    let found = status["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == "SnapshotsReadBack").cloned().unwrap_or_default();
    (found["status"].as_str().unwrap_or_default().to_owned(), found["reason"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn what_was_there_before_is_read_back_when_it_is_first_opened() {
    let views = || finished(Outcome::Views(v1::ViewsResult::default()));
    // Also where the repository is new: another tool's views may be beside it.
    for created in [true, false] {
        let first = plan(&Observed { initialisation: opened(created), views: views(), ..observed(json!({}), json!([])) }, now());
        assert_eq!(read_back(&first), ("False".into(), "ReadingBack".into()));
        assert_eq!(wanted(&first), ["read  None"]);
    }
    // Opened anew, as after a change of its spec: what people have deleted since stays deleted.
    let again = Observed { initialisation: opened(false), views: views(), ..observed(json!({}), json!([condition("RepositoryInitialized", "True")])) };
    assert!(wanted(&plan(&again, now())).is_empty());
    let done = json!([condition("RepositoryInitialized", "True"), condition("SnapshotsReadBack", "True")]);
    assert!(wanted(&plan(&observed(json!({}), done), now())).is_empty());
}

#[test]
fn somebody_who_asks_has_it_read_again_once() {
    let done = json!([condition("RepositoryInitialized", "True"), condition("SnapshotsReadBack", "True")]);
    assert_eq!(wanted(&plan(&observed(json!({ASKED: "2026-11-25T00:00:00Z"}), done.clone()), now())), ["read  None"]);
    assert!(wanted(&plan(&observed(json!({ASKED: "2026-11-19T00:00:00Z"}), done.clone()), now())).is_empty());
    assert!(wanted(&plan(&observed(json!({ASKED: "2026-11-27T00:00:00Z"}), done.clone()), now())).is_empty());
    let not_allowed = Observed { allowed: false, ..observed(json!({ASKED: "2026-11-25T00:00:00Z"}), done) };
    assert!(wanted(&plan(&not_allowed, now())).is_empty());
}

#[test]
fn what_a_view_names_is_opened_and_never_made_until_somebody_means_it() {
    let from = json!({FROM: "demo/store"});
    assert_eq!(wanted(&plan(&observed(from.clone(), json!([])), now())), ["init true"]);
    assert_eq!(wanted(&plan(&observed(json!({}), json!([])), now())), ["init false"]);
    let none = || {
        let failure = v1::TaskFailure { reason: v1::task_failure::Reason::NotARepository.into(), message: "nothing".into(), retry_may_help: false };
        finished(Outcome::Failed(failure))
    };
    // What another tool keeps there is shown meanwhile.
    let waits = plan(&Observed { initialisation: none(), ..observed(from.clone(), json!([])) }, now());
    assert_eq!(wanted(&waits), ["keep ", "read  None"]);
    let meant = Observed { initialisation: none(), is_named: true, ..observed(from, json!([])) };
    assert_eq!(wanted(&plan(&meant, now())), ["init false"]);
}

fn observed_again(conditions: Value) -> Observed {
    observed(json!({}), conditions)
}

fn page(next: &str, views: Vec<v1::ReadView>) -> Option<Page> {
    let view = finished(Outcome::ReadBack(v1::ReadBackResult { views, next: next.into(), ..v1::ReadBackResult::default() })).unwrap();
    Some(Page { after: "a.yaml".into(), view })
}

fn stored(name: &str) -> v1::ReadView {
    let source = v1::SourceResult { container_path: "/data".into(), bytes: 9, ..v1::SourceResult::default() };
    let stored = v1::StoredSnapshot {
        id: format!("e-{name}"),
        host: "demo/Deployment/app".into(),
        session: "daily".into(),
        component: "dump".into(),
        sources: vec![source],
        started_unix_ms: 1_000,
        ended_unix_ms: 2_000,
        unreadable_count: 0,
    };
    v1::ReadView { path: format!("app/snapshots/{name}.yaml"), json: Vec::new(), stored: vec![stored] }
}

fn known(name: &str, annotations: Value, status: Value) -> Arc<Snapshot> {
    let value = json!({"metadata": {"name": name, "namespace": "demo", "uid": name, "annotations": annotations}, "spec": {"repository": "repo"}, "status": status});
    Arc::new(serde_json::from_value(value).unwrap())
}

#[test]
fn what_is_there_stays_as_it_is_and_the_rest_comes_back_before_the_status_says_so() {
    let reading = json!([condition("RepositoryInitialized", "True"), condition("SnapshotsReadBack", "False")]);
    let observed = Observed {
        page: page("", vec![stored("new"), stored("kept"), stored("half"), stored("done")]),
        snapshots: vec![
            known("kept", json!({}), json!({})),
            known("half", json!({FROM: "demo/store"}), json!({})),
            known("done", json!({FROM: "demo/store"}), json!({"phase": "Failed"})),
        ],
        ..observed(json!({}), reading.clone())
    };
    let actions = plan(&observed, now());
    let made: Vec<_> = actions
        .iter()
        .filter_map(|action| match action {
            Action::BringBack { object, status } => Some((object.key().name, status.as_ref().unwrap()["phase"].clone())),
            _ => None,
        })
        .collect();
    assert_eq!(made, [("new".to_owned(), json!("Succeeded")), ("half".to_owned(), json!("Succeeded"))]);
    let first_status = actions.iter().position(|action| matches!(action, Action::Status(_))).unwrap();
    assert_eq!(first_status, 2, "a crash in between must not lose them");
    assert_eq!(read_back(&actions), ("True".into(), "ReadBackSucceeded".into()));
    assert!(wanted(&actions).is_empty());
    let more = plan(&Observed { page: page("m.yaml", Vec::new()), ..observed }, now());
    assert_eq!(wanted(&more), ["read m.yaml None"]);
    let back = plan(&Observed { page: page("A.yaml", vec![stored("new")]), ..observed_again(reading) }, now());
    assert_eq!(wanted(&back), ["read a.yaml Some(2)"], "a page before this one would never end");
    assert!(!back.iter().any(|action| matches!(action, Action::BringBack { .. })));
}
