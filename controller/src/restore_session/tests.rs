use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use holdfast_api::function::AgentTask;
use holdfast_api::{BackupBatch, BackupConfiguration, RestoreSession, Snapshot};
use holdfast_proto::v1;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use serde_json::{Value, json};

use super::plan::{holds_its_snapshot, is_settled, may_heal, plan};
use super::own_claims::{self, OwnClaim};
use super::{CHOSEN, Observed, components, newest};

mod claims;
mod ends;
mod hooks;
mod pods;
mod refusals;
use crate::action::Action;
use crate::dispatch::task::{Outcome, TaskView, Wanted, Work};
use crate::holder::Purpose;
use crate::target::{Reach, Shape, Target};
use crate::work::{Job, Step};

fn now() -> Timestamp {
    "2026-11-22T22:00:05Z".parse().unwrap()
}

fn restore(extra: Value, status: Value) -> RestoreSession {
    let mut source = json!({"repository": "repo", "snapshot": "latest"});
    source.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "metadata": {"name": "back", "namespace": "demo", "uid": "back-uid", "resourceVersion": "4",
            "creationTimestamp": "2026-11-22T22:00:00Z", "annotations": {CHOSEN: "repo-s"}},
        "spec": {"target": {"kind": "PersistentVolumeClaim", "name": "data"}, "dataSource": source, "restoreTimeout": "1h"},
        "status": status,
    }))
    .unwrap()
}

fn snapshot() -> Snapshot {
    let component = |path: &str| json!({"driver": "Holdfast", "phase": "Succeeded", "resticStats": [{"summary": {"id": "engine-id", "hostPath": path}}]});
    serde_json::from_value(json!({
        "metadata": {"name": "repo-s", "namespace": "demo"},
        "spec": {"repository": "repo", "appRef": {"name": "data", "namespace": "demo"}},
        "status": {"phase": "Succeeded", "components": {"dump": component("/kubestash-data")}},
    }))
    .unwrap()
}

fn target() -> Target {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "app", "namespace": "demo", "uid": "pod-uid"}, "status": {"phase": "Running"},
        "spec": {"nodeName": "a", "containers": [], "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]},
    }))
    .unwrap();
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": {"name": "data", "namespace": "demo", "uid": "claim-uid"}, "spec": {"volumeName": "pv"},
    }))
    .unwrap();
    let shape = Shape::Claim { name: "data".into(), pods: vec![Arc::new(pod)] };
    Target::seen(Purpose::Restore, shape, [("data".into(), Arc::new(claim))])
}

fn observed(restore: RestoreSession) -> Observed {
    let repository = serde_json::from_value(
        json!({"metadata": {"name": "repo", "namespace": "demo"}, "spec": {"storageRef": {"name": "store"}}}),
    );
    let mut observed = Observed {
        restore: Arc::new(restore),
        is_changed: false,
        problem: None,
        chosen: Ok("repo-s".into()),
        snapshot: Some(snapshot()),
        repository: Some(Arc::new(repository.unwrap())),
        job: Ok(Job { include: vec!["*.txt".into()], ..Job::default() }),
        target: target(),
        reaches: BTreeMap::new(),
        invokers: Vec::new(),
        has_tasks: false,
        tasks: BTreeMap::new(),
        pods: BTreeMap::new(),
        attempts: BTreeMap::new(),
        waited: Duration::ZERO,
        more_within: None,
        hooks: HashMap::new(),
        own_claims: BTreeMap::new(),
    };
    observed.reaches = components::reaches(&observed);
    observed
}

fn status(actions: &[Action]) -> Value {
    let mut patches = actions.iter().filter_map(|action| match action {
        Action::Status(patch) => Some(patch.clone()),
        _ => None,
    });
    patches.next().unwrap_or(Value::Null)
}

fn requests(actions: &[Action]) -> Vec<v1::RestoreTask> {
    let tasks = actions.iter().filter_map(|action| match action {
        Action::Tasks(tasks) => Some(tasks),
        _ => None,
    });
    let works = tasks.flatten().filter_map(|wanted| match wanted {
        Wanted::Task(request) => match &request.work {
            Work::Restore { task, .. } => Some(task.as_ref().clone()),
            _ => None,
        },
        Wanted::Keep(_) | Wanted::Hold(_) | Wanted::Function(_) => None,
    });
    works.collect()
}

fn finished(outcome: Outcome) -> TaskView {
    TaskView::Finished { attempt: 1, retries: 0, elapsed_ms: 10, outcome: Arc::new(outcome) }
}

#[test]
fn each_stored_path_goes_back_to_its_place() {
    let actions = plan(&observed(restore(json!({}), Value::Null)), now());
    let task = requests(&actions).remove(0);
    assert_eq!(
        (task.snapshot_id.as_str(), task.include.as_slice(), task.same_namespace),
        ("engine-id", ["*.txt".to_owned()].as_slice(), true)
    );
    let place = &task.targets[0];
    assert_eq!((place.snapshot_path.as_str(), place.path_in_volume.as_str()), ("/kubestash-data", ""));
    assert_eq!(place.volume.as_ref().unwrap().pvc_uid, "claim-uid");
    assert_eq!(status(&actions)["phase"], "Running");
}

/// Components that are asked for.
fn asked(actions: &[Action]) -> Vec<String> {
    let tasks = actions.iter().filter_map(|action| match action {
        Action::Tasks(tasks) => Some(tasks),
        _ => None,
    });
    tasks.flatten().map(|wanted| wanted.component().to_owned()).collect()
}

#[test]
fn tasks_of_a_restore_run_in_their_order_and_one_that_fails_is_the_last() {
    let with = |status: Value, tasks: Vec<Step>, outcome: Option<Outcome>| {
        let mut observed = observed(restore(json!({}), status));
        let components = &mut observed.snapshot.as_mut().unwrap().status.as_mut().unwrap().components;
        let dump = components["dump"].clone();
        components.insert("manifest".into(), dump);
        observed.job = Ok(Job { tasks, manifests: crate::work::Manifests { account: "writer".into(), ..Default::default() }, ..Job::default() });
        observed.reaches = components::reaches(&observed);
        observed.tasks.extend(outcome.map(|outcome| ("manifest".into(), finished(outcome))));
        plan(&observed, now())
    };
    let both = || vec![Step::Agents(AgentTask::ManifestRestore), Step::Agents(AgentTask::Restore)];
    assert_eq!(asked(&with(Value::Null, both(), None)), ["manifest"], "the volume could be had, and waits");
    assert_eq!(asked(&with(Value::Null, vec![Step::Agents(AgentTask::Restore), Step::Agents(AgentTask::ManifestRestore)], None)), ["dump"]);
    let begun = json!({"phase": "Running", "components": {"dump": {"phase": "Pending"}, "manifest": {"phase": "Running"}}});
    let made = Outcome::Restore(v1::RestoreResult { summary: "1 made".into(), ..v1::RestoreResult::default() });
    let then = with(begun.clone(), both(), Some(made));
    assert_eq!(status(&then)["components"]["manifest"]["phase"], "Succeeded");
    let done = json!({"phase": "Running", "components": {"dump": {"phase": "Pending"}, "manifest": {"phase": "Succeeded"}}});
    assert_eq!(asked(&with(done, both(), None)), ["dump"]);
    let failed = Outcome::Restore(v1::RestoreResult { failed_count: 1, summary: "1 made".into(), ..v1::RestoreResult::default() });
    let over = with(begun, both(), Some(failed));
    assert_eq!((&status(&over)["phase"], asked(&over).len()), (&json!("Failed"), 0));
    assert!(!status(&over).to_string().contains("ManifestsRestored"));
}

#[test]
fn the_snapshot_is_decided_once_before_anything_begins() {
    let mut undecided = restore(json!({}), Value::Null);
    undecided.metadata.annotations = None;
    let actions = plan(&observed(undecided), now());
    assert!(
        matches!(&actions[..], [Action::Patch { patch, .. }] if patch["metadata"]["annotations"][CHOSEN] == "repo-s"),
        "{actions:?}"
    );
}

#[test]
fn what_is_not_there_yet_is_waited_for() {
    let mut no_snapshot = observed(restore(json!({}), Value::Null));
    (no_snapshot.chosen, no_snapshot.snapshot) =
        (Err("Repository demo/repo has no Snapshot that succeeded".into()), None);
    let mut no_target = observed(restore(json!({}), Value::Null));
    no_target.target.shape = Shape::Missing("PersistentVolumeClaim demo/data does not exist".into());
    let mut no_addon = observed(restore(json!({}), Value::Null));
    no_addon.job = Err("Addon pvc-addon does not exist".into());
    for (observed, why) in [(no_snapshot, "no Snapshot"), (no_target, "does not exist"), (no_addon, "Addon")] {
        let actions = plan(&observed, now());
        assert_eq!(status(&actions)["phase"], "Pending");
        assert!(
            actions.iter().any(|action| matches!(action, Action::Event(note) if note.message.contains(why))),
            "{actions:?}"
        );
        assert!(requests(&actions).is_empty() && actions.iter().any(|action| matches!(action, Action::Later(_))));
    }
}

#[test]
fn a_time_means_the_newest_good_snapshot_up_to_it() {
    let taken = |name: &str, hour: u32, phase: &str| -> Snapshot {
        let time = format!("2026-11-22T{hour:02}:00:00Z");
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"repository": "repo"}, "status": {"phase": phase, "snapshotTime": time}})).unwrap()
    };
    let mut going = taken("going", 12, "Succeeded");
    going.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    let all = [taken("a", 8, "Succeeded"), taken("b", 10, "Succeeded"), taken("failed", 11, "Failed"), going, taken("c", 14, "Succeeded")];
    let until = |time: &str, exclusive: bool| {
        let until = serde_json::from_value(json!({"targetTime": time, "exclusive": exclusive})).unwrap();
        newest(all.iter(), Some(&until))
    };
    assert_eq!(newest(all.iter(), None).as_deref(), Some("c"));
    assert_eq!(until("2026-11-22T13:00:00Z", false).as_deref(), Some("b"), "the failed one and the one that goes are not meant");
    assert_eq!(until("2026-11-22T10:00:00Z", false).as_deref(), Some("b"));
    assert_eq!(until("2026-11-22T10:00:00Z", true).as_deref(), Some("a"));
    assert_eq!(until("2026-11-22T07:00:00Z", false), None);
}

#[test]
fn a_snapshot_that_still_runs_is_waited_for() {
    let mut running = observed(restore(json!({"snapshot": "repo-s"}), Value::Null));
    let status_of = running.snapshot.as_mut().unwrap().status.as_mut().unwrap();
    status_of.phase = Some(holdfast_api::snapshot::SnapshotPhase::Running);
    status_of.components.get_mut("dump").unwrap().phase = Some(holdfast_api::snapshot::ComponentPhase::Running);
    let actions = plan(&running, now());
    assert_eq!(status(&actions)["phase"], "Pending");
    assert!(requests(&actions).is_empty());
}

#[test]
fn what_a_time_means_is_pinned_before_the_target_is_there() {
    let mut undecided = restore(json!({"pitr": {"targetTime": "2026-11-22T20:00:00Z"}}), Value::Null);
    undecided.metadata.annotations = None;
    let mut no_target = observed(undecided);
    no_target.target.shape = Shape::Missing("PersistentVolumeClaim demo/data does not exist".into());
    let actions = plan(&no_target, now());
    assert!(matches!(&actions[..], [Action::Patch { patch, .. }] if patch["metadata"]["annotations"][CHOSEN] == "repo-s"), "{actions:?}");
    let latest = restore(json!({}), Value::Null);
    let mut no_target = observed(RestoreSession { metadata: kube::api::ObjectMeta { annotations: None, ..latest.metadata.clone() }, ..latest });
    no_target.target.shape = Shape::Missing("PersistentVolumeClaim demo/data does not exist".into());
    assert_eq!(status(&plan(&no_target, now()))["phase"], "Pending", "the latest is that of when it begins");
}

#[test]
fn what_cannot_be_is_invalid() {
    let missing = observed(restore(json!({"components": ["dump-pod-7"]}), Value::Null));
    let elsewhere = observed(restore(json!({"encryptionSecret": {"name": "password", "namespace": "other"}}), Value::Null));
    let mut foreign = observed(restore(json!({}), Value::Null));
    let snapshot = foreign.snapshot.as_mut().unwrap().status.as_mut().unwrap();
    snapshot.components.get_mut("dump").unwrap().driver = Some(holdfast_api::Driver::WalG);
    for (observed, why) in [(missing, "dump-pod-7"), (elsewhere, "encryptionSecret: only a Secret of the same namespace"), (foreign, "written by WalG")] {
        let status = status(&plan(&observed, now()));
        assert_eq!(status["phase"], "Invalid");
        assert!(status["conditions"].to_string().contains(why), "{status}");
    }
}

#[test]
fn a_restore_that_fails_says_whether_that_tells_of_the_backup() {
    use v1::task_failure::Reason;
    let failed = |reason: Reason| {
        let failure = v1::TaskFailure { reason: reason.into(), message: "it went wrong".into(), retry_may_help: false };
        let running = json!({"phase": "Running", "components": {"dump": {"phase": "Running"}}});
        let mut observed = observed(restore(json!({}), running));
        observed.tasks.insert("dump".into(), finished(Outcome::Failed(failure)));
        let status = status(&plan(&observed, now()));
        assert_eq!(status["phase"], "Failed");
        let conditions = status["conditions"].as_array().unwrap().clone();
        conditions.into_iter().find(|condition| condition["type"] == "BackupAtFault")
    };
    for reason in [Reason::TargetFull, Reason::BackendUnreachable, Reason::Stalled] {
        let said = failed(reason).unwrap();
        assert_eq!((&said["status"], &said["message"]), (&json!("False"), &json!("it went wrong")), "{reason:?}");
    }
    for reason in [Reason::RepositoryDamaged, Reason::SnapshotNotFound, Reason::WorkerCrashed] {
        assert_eq!(failed(reason), None, "{reason:?}");
    }
    let late = restore(json!({}), json!({"phase": "Running", "restoreDeadline": "2026-11-22T22:00:01Z", "components": {"dump": {"phase": "Running"}}}));
    assert!(status(&plan(&observed(late), now()))["conditions"].to_string().contains("BackupAtFault"));
}

#[test]
fn only_chosen_components_are_restored() {
    let of = |components: Value| {
        let mut observed = observed(restore(json!({"components": components}), Value::Null));
        let stored = &mut observed.snapshot.as_mut().unwrap().status.as_mut().unwrap().components;
        let mut second = stored["dump"].clone();
        second.restic_stats[0].summary.as_mut().unwrap().id = Some("second".into());
        stored.insert("second".into(), second);
        observed.reaches = components::reaches(&observed);
        plan(&observed, now())
    };
    assert_eq!(asked(&of(json!(["dump"]))), ["dump"]);
    let only = of(json!(["second"]));
    assert_eq!((status(&only)["totalComponents"].as_u64(), status(&only)["components"].as_object().unwrap().len()), (Some(1), 1));
    let all = of(json!([]));
    assert_eq!(status(&all)["totalComponents"], 2);
    let unknown = status(&of(json!(["dump", "third"])));
    assert!(unknown["phase"] == "Invalid" && unknown.to_string().contains("it has dump, second"), "{unknown}");
}

#[test]
fn what_was_refused_before_it_began_may_heal_and_what_had_begun_may_not() {
    let refused = |more: Value| {
        let mut status = json!({"phase": "Invalid"});
        status.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        restore(json!({}), status)
    };
    let untouched = refused(json!({}));
    assert!(may_heal(&untouched) && !is_settled(&untouched));
    assert!(!holds_its_snapshot(&untouched) && holds_its_snapshot(&restore(json!({}), json!({"phase": "Pending"}))));
    for begun in [
        json!({"components": {"dump": {"phase": "Running"}}}),
        json!({"hooks": {"preHooks": [{"name": "stop", "phase": "Succeeded"}]}}),
        json!({"pausedBackups": [{"kind": "BackupConfiguration", "name": "web"}]}),
    ] {
        let begun = refused(begun);
        assert!(!may_heal(&begun) && is_settled(&begun), "{:?}", begun.status);
    }
    // It is told of once, however often it is looked at.
    let told = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::Event(_)));
    let mut wrong = observed(untouched);
    wrong.problem = Some("spec.addon: no".into());
    let first = plan(&wrong, now());
    assert!(told(&first));
    wrong.restore = Arc::new(refused(status(&first)));
    assert!(!told(&plan(&wrong, now())));
    wrong.problem = None;
    assert_eq!(status(&plan(&wrong, now()))["phase"], "Running");
}

fn of_restic(path: &str) -> Observed {
    let mut observed = observed(restore(json!({}), Value::Null));
    let component = json!({"driver": "Restic", "phase": "Succeeded", "path": path,
        "resticStats": [{"summary": {"id": "one", "hostPath": "/elsewhere"}}, {"summary": {"id": "two", "hostPath": "/kubestash-data"}}]});
    let status = observed.snapshot.as_mut().unwrap().status.as_mut().unwrap();
    status.components.insert("dump".into(), serde_json::from_value(component).unwrap());
    observed
}

#[test]
fn what_kubestash_stored_is_restored_from_its_own_place() {
    let observed = of_restic("repository/v1/daily/dump");
    let chosen = components::chosen(&observed).unwrap();
    assert_eq!(components::restic(chosen["dump"]).unwrap().directory, "repository/v1/daily/dump");
    assert_eq!(components::restic_snapshot(chosen["dump"], "/kubestash-data"), Some("two"));
    let mut one = of_restic("/repository/v1/daily/dump/");
    one.snapshot.as_mut().unwrap().status.as_mut().unwrap().components.get_mut("dump").unwrap().restic_stats.remove(0);
    one.reaches = components::reaches(&one);
    let task = requests(&plan(&one, now())).remove(0);
    assert_eq!((task.snapshot_id.as_str(), task.targets[0].snapshot_id.as_str(), task.targets[0].snapshot_path.as_str()), ("", "two", "/kubestash-data"));
    assert_eq!(task.restic.unwrap().directory, "repository/v1/daily/dump");
}

#[test]
fn a_view_leads_a_restore_nowhere_but_to_kubestashs_folder() {
    for path in ["", "/", "repository", "repository/", "../other/repository/v1/x/y", "repository/../../other", "repository/./x", "repository//x", "holdfast/v1", "repository/a\nb", &format!("repository/{}", "x".repeat(2000))] {
        let status = status(&plan(&of_restic(path), now()));
        assert_eq!(status["phase"], "Invalid", "{path:?}");
        assert!(status["conditions"].to_string().contains("not below repository/"), "{status}");
    }
}

#[test]
fn backups_of_the_target_are_named_and_then_paused() {
    let mut observed = observed(restore(json!({}), Value::Null));
    let metadata = |name: &str, namespace: &str| json!({"metadata": {"name": name, "namespace": namespace, "resourceVersion": "1"}, "spec": {}});
    let configuration: BackupConfiguration = serde_json::from_value(metadata("web", "demo")).unwrap();
    let batch: BackupBatch = serde_json::from_value(metadata("shop", "vault")).unwrap();
    observed.invokers = vec![configuration.into(), batch.into()];
    let actions = plan(&observed, now());
    let paused = &status(&actions)["pausedBackups"];
    assert_eq!(paused[0]["name"], "web");
    assert_eq!((&paused[1]["kind"], &paused[1]["namespace"]), (&json!("BackupBatch"), &json!("vault")));
    let written = actions.iter().position(|action| matches!(action, Action::Status(_))).unwrap();
    let mut marks = Vec::new();
    for action in actions.iter().skip(written) {
        if let Action::Patch { key, patch, .. } = action
            && patch["spec"]["paused"] == true
        {
            marks.push((key.to_string(), patch["metadata"]["annotations"]["holdfast.dev/paused-by"].as_str().unwrap().to_owned()));
        }
    }
    let expected = [("BackupConfiguration demo/web", "back/back-uid"), ("BackupBatch vault/shop", "demo/back/back-uid")];
    assert_eq!(marks, expected.map(|(key, mark)| (key.to_owned(), mark.to_owned())));
    // They find it again by that.
    for (invoker, (_, mark)) in observed.invokers.iter().zip(&marks) {
        let mut marked = serde_json::to_value(invoker.metadata()).unwrap();
        marked["annotations"] = json!({"holdfast.dev/paused-by": mark});
        let marked: BackupBatch = serde_json::from_value(json!({"metadata": marked, "spec": {}})).unwrap();
        let (name, uid) = crate::invoker::Invoker::from(marked).paused_by().unwrap();
        assert_eq!((name.to_string().as_str(), uid.as_str()), ("demo/back", "back-uid"));
    }
}

#[test]
fn an_incomplete_restore_is_a_failed_one() {
    let mut observed = observed(restore(json!({}), json!({"phase": "Running"})));
    let result =
        v1::RestoreResult { failed_count: 2, failed_first: vec!["a: no space".into()], ..v1::RestoreResult::default() };
    observed.tasks.insert("dump".into(), finished(Outcome::Restore(result)));
    let status = status(&plan(&observed, now()));
    assert_eq!(status["phase"], "Failed");
    assert!(status["components"]["dump"]["error"].as_str().unwrap().contains("a: no space"));
}

#[test]
fn a_complete_one_succeeds_and_its_result_is_written_before_it_is_let_go() {
    let mut observed = observed(restore(json!({}), json!({"phase": "Running"})));
    observed.tasks.insert("dump".into(), finished(Outcome::Restore(v1::RestoreResult::default())));
    let actions = plan(&observed, now());
    let status = status(&actions);
    assert_eq!((&status["phase"], &status["duration"]), (&json!("Succeeded"), &json!("5s")));
    assert!(matches!(actions.first(), Some(Action::Status(_))));
}

#[test]
fn the_timeout_counts_from_the_first_assignment() {
    let mut waiting = observed(restore(json!({}), Value::Null));
    waiting.tasks.insert("dump".into(), TaskView::Waiting("in line".into()));
    assert_eq!(status(&plan(&waiting, now())).get("restoreDeadline"), None);
    waiting.tasks.insert("dump".into(), TaskView::Running { node: "a".into(), attempt: 1, progress: None });
    assert_eq!(status(&plan(&waiting, now()))["restoreDeadline"], "2026-11-22T23:00:05Z");
    let late = json!({"phase": "Running", "restoreDeadline": "2026-11-22T22:00:00Z", "totalComponents": 1, "components": {"dump": {"phase": "Running"}}});
    let mut late = observed(restore(json!({}), late));
    late.tasks.insert("dump".into(), TaskView::Running { node: "a".into(), attempt: 1, progress: None });
    let actions = plan(&late, now());
    assert_eq!(status(&actions)["phase"], "Failed");
    assert!(requests(&actions).is_empty(), "it goes on after its time");
}

/// A restore into a claim of its own, whose component is `name`.
fn cloning(claim_name: &str, name: &str) -> Observed {
    let mut observed = observed(restore(json!({}), Value::Null));
    observed.restore = Arc::new(RestoreSession { metadata: kube::api::ObjectMeta { uid: Some("restore-uid".into()), ..observed.restore.metadata.clone() }, ..observed.restore.as_ref().clone() });
    let mut stored = observed.snapshot.clone().unwrap();
    let components = &mut stored.status.as_mut().unwrap().components;
    let only = components.pop_first().unwrap().1;
    components.insert(name.into(), only);
    observed.snapshot = Some(stored);
    let template: holdfast_api::offshoot::volume::PersistentVolumeClaim = serde_json::from_value(json!({
        "metadata": {"name": claim_name, "labels": {"app": "web"}},
        "spec": {"storageClassName": "fast", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }))
    .unwrap();
    observed.job = Ok(Job { claim_templates: vec![template.clone()], ..Job::default() });
    observed.target.shape = Shape::Unsupported("a backup without a target is not supported yet".into());
    let claim = own_claims::claim(&observed, &template, name, 0, "demo");
    let missing = claim.as_ref().ok().map(|_| Target::seen(Purpose::Restore, Shape::Missing("not there".into()), []));
    observed.own_claims.insert(name.into(), OwnClaim { claim, target: missing, is_ours: false });
    observed.reaches = components::reaches(&observed);
    observed
}

/// The claim is there now, and these pods use it.
fn made(observed: &mut Observed, is_ours: bool, pods: Vec<Arc<Pod>>) {
    let own = observed.own_claims.values_mut().next().unwrap();
    let name = own.claim.as_ref().unwrap().metadata.name.clone().unwrap();
    let claim: PersistentVolumeClaim = serde_json::from_value(json!({"metadata": {"name": name, "namespace": "demo", "uid": "new-uid"}, "spec": {}})).unwrap();
    own.target = Some(Target::seen(Purpose::Restore, Shape::Claim { name: name.clone(), pods }, [(name, Arc::new(claim))]));
    own.is_ours = is_ours;
    observed.reaches = components::reaches(observed);
}

#[test]
fn a_claim_of_its_own_is_made_then_held_and_needs_no_target() {
    let mut observed = cloning("own-web-${POD_ORDINAL}", "dump-pod-2");
    let actions = plan(&observed, now());
    let made_claims: Vec<&PersistentVolumeClaim> =
        actions.iter().filter_map(|action| if let Action::CreateClaim(claim) = action { Some(claim.as_ref()) } else { None }).collect();
    let [claim] = made_claims[..] else { panic!("{actions:?}") };
    assert_eq!(claim.metadata.name.as_deref(), Some("own-web-2"));
    assert_eq!(claim.metadata.labels.as_ref().unwrap()[own_claims::MADE_BY], "restore-uid");
    assert_eq!(claim.spec.as_ref().unwrap().storage_class_name.as_deref(), Some("fast"));
    assert_eq!(status(&actions)["targetFound"], true);

    made(&mut observed, true, Vec::new());
    let actions = plan(&observed, now());
    assert!(!actions.iter().any(|action| matches!(action, Action::CreateClaim(_))));
    let held = actions.iter().any(|action| matches!(action, Action::Tasks(wanted) if matches!(wanted.as_slice(), [Wanted::Hold(wish)] if wish.claims.contains("own-web-2"))));
    assert!(held, "{actions:?}");
}

#[test]
fn a_claim_that_others_use_is_not_restored_into_unless_it_was_made_for_that() {
    let mut observed = cloning("copy", "dump");
    let pod: Arc<Pod> = Arc::new(serde_json::from_value(json!({"metadata": {"name": "app", "namespace": "demo"}, "status": {"phase": "Pending"}})).unwrap());
    made(&mut observed, false, vec![pod.clone()]);
    assert!(matches!(&observed.reaches["dump"], Reach::Impossible(why) if why.contains("pod app uses it")), "{:?}", observed.reaches);
    made(&mut observed, true, vec![pod]);
    assert!(matches!(&observed.reaches["dump"], Reach::Unmounted(_)), "{:?}", observed.reaches);
    made(&mut observed, false, Vec::new());
    assert!(matches!(&observed.reaches["dump"], Reach::Unmounted(_)), "there, and nobody's: only what differs is written");
}

#[test]
fn a_try_writes_into_no_claim_that_was_there_before() {
    let mut observed = cloning("try-1", "dump");
    let owner = json!([{"apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupVerificationSession", "name": "try-1", "uid": "t", "controller": true}]);
    Arc::make_mut(&mut observed.restore).metadata.owner_references = serde_json::from_value(owner).unwrap();
    made(&mut observed, false, Vec::new());
    assert!(matches!(&observed.reaches["dump"], Reach::Impossible(why) if why.contains("was there before")), "{:?}", observed.reaches);
    made(&mut observed, true, Vec::new());
    assert!(matches!(&observed.reaches["dump"], Reach::Unmounted(_)), "{:?}", observed.reaches);
    // Nor does it make objects where the application runs.
    let mut with_manifests = observed.clone();
    with_manifests.job.as_mut().unwrap().tasks = vec![Step::Agents(AgentTask::Restore), Step::Agents(AgentTask::ManifestRestore)];
    let refused = status(&plan(&with_manifests, now()));
    assert!(refused["phase"] == "Invalid" && refused.to_string().contains("tried out without its manifests"), "{refused}");
    // What it makes goes with it.
    let template = observed.job.as_ref().unwrap().claim_templates[0].clone();
    let claim = own_claims::claim(&observed, &template, "dump", 0, "demo").unwrap();
    let owner = claim.metadata.owner_references.unwrap().remove(0);
    assert_eq!((owner.kind.as_str(), owner.uid.as_str(), owner.block_owner_deletion), ("RestoreSession", "restore-uid", Some(false)));
    let plain = own_claims::claim(&cloning("copy", "dump"), &template, "dump", 0, "demo").unwrap();
    assert!(plain.metadata.owner_references.is_none(), "what a person restores stays");
}

#[test]
fn names_that_cannot_be_worked_out_say_why() {
    for (name, why) in [("data-${POD_ORDINAL}", "has no ordinal"), ("copy-of-${PVC_NAME}", "of no PersistentVolumeClaim"), ("", "has no name")] {
        let observed = cloning(name, "dump");
        assert!(matches!(&observed.reaches["dump"], Reach::Impossible(said) if said.contains(why)), "{name}: {:?}", observed.reaches);
    }
}
