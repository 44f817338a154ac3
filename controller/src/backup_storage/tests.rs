//! What was in a storage before.

use std::sync::Arc;

use holdfast_api::backup_storage::BackupStoragePhase;
use holdfast_api::{BackupStorage, Repository};
use holdfast_proto::v1;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::plan::plan;
use super::read_back::{Found, Ground};
use super::{Observed, read_back as own};
use crate::action::Action;
use crate::dispatch::task::{Outcome, TaskView, Wanted, Work};
use crate::object::Named;
use crate::read_back::{self, ASKED, Page};
use crate::repository::maintenance::Pace;

fn now() -> Timestamp {
    "2026-11-26T12:00:00Z".parse().unwrap()
}

fn observed(conditions: Value) -> Observed {
    let storage: BackupStorage = serde_json::from_value(json!({
        "metadata": {"name": "store", "namespace": "infra", "uid": "u", "generation": 3},
        "spec": {"storage": {"provider": "s3", "s3": {"bucket": "b", "prefix": "p", "secretName": "s"}}},
        "status": {"conditions": conditions},
    }))
    .unwrap();
    Observed {
        storage: Arc::new(storage),
        repositories: Vec::new(),
        problem: None,
        probe: None,
        views: None,
        page: None,
        found: Vec::new(),
        could_be_there: false,
        pace: Pace::default(),
    }
}

fn open() -> Value {
    json!({"type": "BackendInitialized", "status": "True", "reason": "r", "observedGeneration": 3, "lastTransitionTime": "2026-11-20T00:00:00Z"})
}

fn read(status: &str, place: &str) -> Value {
    json!({"type": "RepositoriesReadBack", "status": status, "reason": "ReadBackSucceeded", "message": place, "observedGeneration": 3,
        "lastTransitionTime": "2026-11-20T00:00:00Z"})
}

fn place() -> String {
    crate::repository::deletion::location(&observed(json!([])).storage, "").unwrap()
}

fn finished(outcome: Outcome) -> TaskView {
    TaskView::Finished { attempt: 4, retries: 0, elapsed_ms: 1, outcome: Arc::new(outcome) }
}

#[test]
fn what_admission_would_have_refused_is_not_ready_and_not_tried_out() {
    let refused = Observed { problem: Some("spec.storage: another is there".into()), ..observed(json!([open()])) };
    let actions = plan(&refused, now());
    let phase = actions.iter().find_map(|action| match action {
        Action::Status(patch) => Some((patch["phase"].clone(), patch["conditions"][0]["message"].clone())),
        _ => None,
    });
    assert_eq!(phase, Some((json!("NotReady"), json!("spec.storage: another is there"))));
    assert!(actions.iter().any(|action| matches!(action, Action::Tasks(wanted) if wanted.is_empty())), "{actions:?}");
}

/// Where each page that is wanted begins.
fn wanted(actions: &[Action]) -> Vec<String> {
    let all = actions.iter().filter_map(|action| if let Action::Tasks(wanted) = action { Some(wanted) } else { None }).flatten();
    all.filter_map(|wanted| match wanted {
        Wanted::Task(request) => match &request.work {
            Work::ReadRepositories { after, .. } => Some(format!("{after} {:?}", request.again_after)),
            _ => None,
        },
        Wanted::Hold(_) | Wanted::Function(_) => None,
        Wanted::Keep(component) => component.starts_with("read-back").then(|| component.clone()),
    })
    .collect()
}

fn status(actions: &[Action]) -> Value {
    actions.iter().find_map(|action| if let Action::Status(status) = action { Some(status.clone()) } else { None }).unwrap_or_default()
}

fn condition(actions: &[Action]) -> Value {
    let conditions = status(actions)["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == "RepositoriesReadBack").unwrap_or_default()
}

fn probed() -> Option<TaskView> {
    Some(finished(Outcome::Initialised(v1::InitResult { created: false, repository_id: String::new(), conditional_create: true })))
}

fn found(name: &str, ground: Ground) -> Found {
    let view = v1::ReadView {
        path: format!("demo/{name}/repository.yaml"),
        json: serde_json::to_vec(&json!({"apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Repository",
            "metadata": {"name": name, "namespace": "demo"}, "spec": {"encryptionSecret": {"name": "password"}}}))
        .unwrap(),
        stored: Vec::new(),
    };
    Found { directory: format!("demo/{name}"), repository: read_back::repository::from_view(&view, &Named::new("infra", "store")), ground }
}

#[test]
fn a_storage_is_read_back_when_it_is_first_ready_and_not_again() {
    let first = plan(&Observed { probe: probed(), ..observed(json!([])) }, now());
    assert_eq!(wanted(&first), [" None"]);
    assert_eq!(condition(&first)["status"], "False");
    assert_eq!(status(&first)["phase"], json!(BackupStoragePhase::Ready), "nobody waits for it");
    assert!(wanted(&plan(&observed(json!([open(), read("True", &place())])), now())).is_empty());
    // One from before this was there is left as it is known, and so is one that is not Ready.
    assert!(wanted(&plan(&observed(json!([open()])), now())).is_empty());
    assert!(wanted(&plan(&observed(json!([])), now())).is_empty());
    // A restart in between begins anew.
    assert_eq!(wanted(&plan(&observed(json!([open(), read("False", "")])), now())), [" None"]);
}

#[test]
fn another_backend_or_somebody_who_asks_has_it_read_again() {
    let asks = |conditions: Value, time: &str| {
        let mut observed = observed(conditions);
        let mut storage = observed.storage.as_ref().clone();
        storage.metadata.annotations = Some([(ASKED.to_owned(), time.to_owned())].into());
        observed.storage = Arc::new(storage);
        wanted(&plan(&observed, now()))
    };
    let done = json!([open(), read("True", &place())]);
    assert!(asks(done.clone(), "2026-11-19T00:00:00Z").is_empty(), "it was read after that");
    assert!(asks(done.clone(), "2026-11-27T00:00:00Z").is_empty(), "that has not come");
    assert_eq!(asks(done, "2026-11-25T00:00:00Z"), [" None"]);
    assert_eq!(asks(json!([open()]), "2026-11-25T00:00:00Z"), [" None"]);
    assert_eq!(wanted(&plan(&observed(json!([open(), read("True", "s3  elsewhere")])), now())), [" None"]);
    let healed = Observed { could_be_there: true, ..observed(json!([open(), read("True", &place())])) };
    assert_eq!(wanted(&plan(&healed, now())), [" None"]);
}

#[test]
fn a_page_makes_repositories_before_the_status_says_so_and_the_next_one_goes_on_behind_it() {
    let known: Repository = serde_json::from_value(json!({"metadata": {"name": "there", "namespace": "demo"}, "spec": {"path": "/demo/there"}})).unwrap();
    let page = |next: &str| Observed {
        page: Some(Page {
            after: "demo/a".into(),
            view: finished(Outcome::ReadBack(v1::ReadBackResult {
                next: next.into(),
                damaged_count: 12,
                damaged_first: vec!["broken/repository.yaml: not an object".into()],
                ..v1::ReadBackResult::default()
            })),
        }),
        found: vec![
            found("free", Ground::Free),
            found("nowhere", Ground::NoNamespace),
            found("refused", Ground::NotAllowed),
            found("taken", Ground::Taken),
            found("there", Ground::There(Arc::new(known.clone()))),
        ],
        ..observed(json!([open(), read("False", "")]))
    };
    let actions = plan(&page("demo/z"), now());
    assert_eq!(wanted(&actions), ["demo/z None"]);
    assert_eq!(condition(&actions), Value::Null, "it goes on");
    let made: Vec<_> = actions.iter().filter_map(|action| if let Action::BringBack { object, .. } = action { Some(object.key().name) } else { None }).collect();
    assert_eq!(made, ["free"]);
    let last = plan(&page(""), now());
    assert!(matches!(last[0], Action::BringBack { .. }), "{last:?}");
    assert_eq!(condition(&last)["status"], "True");
    assert!(wanted(&last).is_empty());
    let listed = status(&last)["repositories"].clone();
    let errors: Vec<_> = listed.as_array().unwrap().iter().map(|info| (info["path"].as_str().unwrap(), info["error"].as_str().unwrap())).collect();
    assert_eq!(
        errors,
        [
            ("/broken/repository.yaml", "not an object"),
            ("/demo/nowhere", "its namespace does not exist"),
            ("/demo/refused", "the storage's usagePolicy does not allow its namespace"),
            ("/demo/taken", "a Repository of that name is elsewhere"),
        ]
    );
    let notes: Vec<_> = last.iter().filter_map(|action| if let Action::Event(note) = action { Some(format!("{} {}", note.reason, note.message)) } else { None }).collect();
    assert!(notes.iter().any(|note| note == "ViewsDamaged 12 cannot be read: broken/repository.yaml: not an object"), "{notes:?}");
    assert!(notes.iter().any(|note| note.starts_with("RepositoriesNotReadBack demo/nowhere (its namespace")), "{notes:?}");
    let waiting: BackupStorage = serde_json::from_value(json!({"metadata": {}, "spec": {}, "status": {"repositories": listed}})).unwrap();
    assert!(own::waits_for(&waiting, "demo") && !own::waits_for(&waiting, "other"));
}

#[test]
fn what_a_hostile_view_has_said_of_itself_stays_short() {
    let long = || Found { directory: format!("d\u{1b}[2J{}", "d".repeat(5000)), repository: Err("\n".to_owned() + &"x".repeat(200_000)), ground: Ground::Free };
    let page = Page { after: String::new(), view: finished(Outcome::ReadBack(v1::ReadBackResult::default())) };
    let observed = Observed { page: Some(page), found: vec![long(), long()], ..observed(json!([open(), read("False", "")])) };
    let actions = plan(&observed, now());
    let text = format!("{:?} {actions:?}", status(&actions));
    assert!(text.len() < 20_000 && !text.contains('\u{1b}') && !text.contains("u{1b}"), "{}", text.len());
    assert_eq!(condition(&actions)["status"], "True");
}

#[test]
fn a_page_that_fails_is_read_again_from_where_it_began() {
    let failure = v1::TaskFailure { reason: v1::task_failure::Reason::BackendUnreachable.into(), message: "nobody answers".into(), retry_may_help: true };
    let page = Some(Page { after: "demo/a".into(), view: finished(Outcome::Failed(failure)) });
    let actions = plan(&Observed { page, ..observed(json!([open(), read("False", "")])) }, now());
    assert_eq!(wanted(&actions), ["demo/a Some(4)"]);
    assert_eq!((&condition(&actions)["reason"], &condition(&actions)["message"]), (&json!("ReadBackFailed"), &json!("nobody answers")));
    let running = Some(Page { after: "demo/a".into(), view: TaskView::Running { node: "n".into(), attempt: 1, progress: None } });
    assert_eq!(wanted(&plan(&Observed { page: running, ..observed(json!([open(), read("False", "")])) }, now())), ["read-back:demo/a"]);
}

#[test]
fn its_size_is_that_of_all_its_repositories_and_none_while_none_is_known() {
    let repository = |name: &str, size: Option<&str>| -> Arc<Repository> {
        let value = json!({"metadata": {"name": name, "namespace": "demo"}, "spec": {"path": format!("/{name}")}, "status": {"phase": "Ready", "size": size}});
        Arc::new(serde_json::from_value(value).unwrap())
    };
    let of = |repositories: Vec<Arc<Repository>>| status(&plan(&Observed { repositories, ..observed(json!([open(), read("True", &place())])) }, now()));
    let told = of(vec![repository("b", Some("1.500 MiB")), repository("a", Some("512.000 KiB")), repository("c", None)]);
    assert_eq!(told["totalSize"], "2.000 MiB");
    let names: Vec<_> = told["repositories"].as_array().unwrap().iter().map(|info| info["name"].clone()).collect();
    assert_eq!(names, ["a", "b", "c"], "in order, with their places and sizes");
    assert_eq!((&told["repositories"][0]["size"], &told["repositories"][0]["path"]), (&json!("512.000 KiB"), &json!("/a")));
    assert_eq!(of(vec![repository("c", None)])["totalSize"], Value::Null);
}

#[test]
fn one_with_repositories_does_nothing_with_another_backend() {
    let kept = |bucket: &str| json!({"type": "SpecKept", "status": "True", "reason": "AsFirstUsed", "lastTransitionTime": "2026-11-20T00:00:00Z",
        "message": format!(r#"{{"provider":"s3","s3":{{"bucket":"{bucket}","prefix":"p","secretName":"s"}}}}"#)});
    let with = |bucket: &str, repositories: Value| {
        let mut observed = observed(json!([read("True", &place()), kept(bucket)]));
        let mut storage = observed.storage.as_ref().clone();
        storage.status.as_mut().unwrap().repositories = serde_json::from_value(repositories).unwrap();
        observed.storage = Arc::new(storage);
        plan(&observed, now())
    };
    let holds = || json!([{"name": "r", "namespace": "demo"}]);
    let tasks = |actions: &[Action]| actions.iter().map(|action| if let Action::Tasks(wanted) = action { wanted.len() } else { 0 }).sum::<usize>();
    assert_eq!(tasks(&with("b", holds())), 1, "a probe of what it was");
    let moved = with("another", holds());
    assert_eq!((tasks(&moved), &status(&moved)["phase"]), (0, &json!("NotReady")));
    assert_eq!(tasks(&with("another", json!([]))), 1, "one that holds nothing may move");
}
