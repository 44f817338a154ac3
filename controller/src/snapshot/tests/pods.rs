//! Components that pods fill, alone and beside those of agents.

use holdfast_api::Addon;
use holdfast_api::addon_info::{AddonInfo, TaskReference};

use super::super::pods::{before, run};
use super::*;
use crate::function::Run;
use crate::runs::Standing;
use crate::work::Step;
use crate::work::pod::{PodTask, Seen};

fn task() -> PodTask {
    let task = json!({"name": "nightly", "function": "dump", "driver": "Restic"});
    let addon: Addon = serde_json::from_value(json!({"metadata": {"name": "db"}, "spec": {"backupTasks": [task]}})).unwrap();
    PodTask::new(&addon.spec.backup_tasks[0], &TaskReference::default(), &AddonInfo::default(), BTreeMap::new()).unwrap()
}

fn pod() -> Run {
    run(&task(), &snapshot(Value::Null), &session(Value::Null), None, Some("1h"))
}

/// A session with this pod and, unless it is alone, a volume.
fn seen(status: Value, standing: Option<Standing>, is_alone: bool) -> Observed {
    let mut observed = observed(status);
    let mut steps = vec![Step::Pod(Box::new(task()))];
    observed.reaches.remove("dump-pod-1");
    if is_alone {
        observed.reaches.clear();
    } else {
        steps.insert(0, Step::Agents(holdfast_api::function::AgentTask::Backup));
    }
    observed.reaches.insert("nightly".into(), Reach::Anywhere);
    observed.job = Ok(Job { tasks: steps, ..Job::default() });
    observed.pods.insert("nightly".into(), Seen { run: pod(), standing, before: None });
    observed
}

fn component(phase: &str) -> Value {
    json!({"phase": "Running", "totalComponents": 1, "components": {"nightly": {"phase": phase, "driver": "Restic", "path": "repository/v1/daily/nightly"}}})
}

#[test]
fn a_task_of_an_image_is_a_component_and_a_pod() {
    let actions = plan(&seen(Value::Null, None, false), now());
    assert_eq!(wanted(&actions), ["dump-pod-0", "pod dump"]);
    let status = status(&actions).unwrap();
    assert_eq!(status["totalComponents"], 2);
    let expected = json!({"driver": "Restic", "path": "repository/v1/daily/nightly", "phase": "Pending"});
    assert_eq!(status["components"]["nightly"], expected);
    let pod = pod();
    assert_eq!((pod.owner.kind.as_str(), pod.owner.name.as_str(), pod.timeout), ("BackupSession", "s", Duration::from_secs(3600)));
    assert!(pod.stays && pod.pod_name().len() <= 63, "{}", pod.pod_name());
    let mut other = snapshot(Value::Null);
    other.metadata.uid = Some("another".into());
    assert_ne!(run(&task(), &other, &session(Value::Null), None, None).pod_name(), pod.pod_name(), "each Snapshot has its own");
    let running = plan(&seen(component("Pending"), Some(Standing::Running), true), now());
    assert_eq!(self::status(&running).unwrap()["components"]["nightly"]["phase"], "Running");
}

#[test]
fn the_end_of_the_pod_is_the_components_unless_it_has_said_so_itself() {
    let written = |observed: &mut Observed| {
        observed.tasks.insert(VIEWS.into(), finished(Outcome::Views(v1::ViewsResult::default()), 0));
    };
    let mut good = seen(component("Running"), Some(Standing::Ended(Ok(()))), true);
    // Until it is written down the pod stays: another controller would run it again.
    assert_eq!(wanted(&plan(&good, now())), ["pod dump", ""]);
    written(&mut good);
    let actions = plan(&good, now());
    let said = status(&actions).unwrap();
    assert_eq!((&said["components"]["nightly"]["phase"], &said["phase"]), (&json!("Succeeded"), &json!("Succeeded")));
    assert!(wanted(&actions).is_empty(), "and then goes");
    let mut bad = seen(component("Running"), Some(Standing::Ended(Err("Function dump: no such table".into()))), true);
    written(&mut bad);
    let said = status(&plan(&bad, now())).unwrap();
    assert_eq!(said["components"]["nightly"]["error"], "Function dump: no such table");
    assert_eq!(said["phase"], "Failed");
    // KubeStash's plugins say so themselves, and count more than the code of the process.
    for (phase, end) in [("Failed", Ok(())), ("Succeeded", Err("it was killed".into()))] {
        let mut own = seen(component(phase), Some(Standing::Ended(end)), true);
        written(&mut own);
        let said = status(&plan(&own, now())).unwrap();
        assert_eq!((&said["phase"], said.get("components")), (&json!(phase), None));
    }
}

#[test]
fn a_snapshot_ends_when_agents_and_pods_have() {
    let status_of = |dump: &str, nightly: &str| {
        json!({"phase": "Running", "totalComponents": 2, "components": {
            "dump-pod-0": {"phase": dump, "driver": "Holdfast"}, "nightly": {"phase": nightly, "driver": "Restic"}}})
    };
    let mut failed = seen(status_of("Running", "Failed"), None, false);
    assert_eq!(wanted(&plan(&failed, now())), ["dump-pod-0"], "one that failed stops no other");
    failed.tasks.insert("dump-pod-0".into(), finished(good(1), 0));
    assert_eq!(wanted(&plan(&failed, now())), ["keep dump-pod-0", ""]);
    // It has said how it went, and is still at work: perhaps in another Snapshot.
    let early = seen(status_of("Succeeded", "Succeeded"), Some(Standing::Running), false);
    assert_eq!(wanted(&plan(&early, now())), ["pod dump"]);
    let gone = seen(status_of("Succeeded", "Succeeded"), None, false);
    assert_eq!(wanted(&plan(&gone, now())), [""], "a controller that knows no pod makes none for what has ended");
}

#[test]
fn a_pod_has_as_long_as_its_session() {
    let mut late = seen(component("Running"), Some(Standing::Running), true);
    late.session = Some(Arc::new(session(json!({"phase": "Running", "backupDeadline": "2026-11-22T22:00:59Z"}))));
    assert_eq!(wanted(&plan(&late, now())), [""], "it is no longer wanted");
    late.tasks.insert(VIEWS.into(), finished(Outcome::Views(v1::ViewsResult::default()), 0));
    let said = status(&plan(&late, now())).unwrap();
    assert!(said["components"]["nightly"]["error"].as_str().unwrap().contains("backupTimeout"), "{said}");
    // What has said that it succeeded, and hangs, is not waited for any longer either.
    let mut hangs = seen(component("Succeeded"), Some(Standing::Running), true);
    hangs.session = late.session;
    assert_eq!(wanted(&plan(&hangs, now())), [""]);
}

#[test]
fn a_paused_snapshot_keeps_the_pod_that_runs_and_begins_none() {
    for (standing, expected) in [(Some(Standing::Running), vec!["pod dump"]), (None, vec![])] {
        let mut paused = seen(component("Running"), standing, true);
        Arc::make_mut(&mut paused.snapshot).spec.paused = Some(true);
        assert_eq!(wanted(&plan(&paused, now())), expected);
    }
}

#[test]
fn snapshots_of_one_session_have_their_pods_one_after_the_other() {
    let other = |name: &str, status: Value| {
        let mut other = snapshot(status);
        other.metadata.name = Some(name.into());
        other.metadata.uid = Some(format!("uid-{name}"));
        Arc::new(other)
    };
    let own = snapshot(Value::Null);
    let open = || component("Running");
    assert_eq!(before(&own, &[other("a", open()), other("z", open())], "nightly"), Some("a".into()));
    assert_eq!(before(&own, &[other("a", component("Succeeded")), other("z", open())], "nightly"), None);
    assert_eq!(before(&own, &[other("a", Value::Null)], "nightly"), Some("a".into()), "it may have this one");
    assert_eq!(before(&own, &[other("a", open())], "another"), None);
    let mut of_another = other("a", open()).as_ref().clone();
    of_another.spec.app_ref = None;
    assert_eq!(before(&own, &[Arc::new(of_another)], "nightly"), None, "of another application");
    let mut waits = seen(component("Pending"), None, true);
    waits.pods.get_mut("nightly").unwrap().before = Some("a".into());
    assert!(wanted(&plan(&waits, now())).is_empty());
}

#[test]
fn a_component_that_a_plugin_has_named_itself_is_left_to_it_while_it_runs() {
    let status_with = |nightly: &str| {
        json!({"phase": "Running", "totalComponents": 1, "components": {
            "nightly": {"phase": nightly, "driver": "Restic"}, "wal": {"phase": "Running", "driver": "Restic"}}})
    };
    let runs = plan(&seen(status_with("Running"), Some(Standing::Running), true), now());
    assert!(status(&runs).is_none(), "{runs:?}");
    // One that was quicker than our own first write.
    let quick = plan(&seen(json!({"components": {"nightly": {"phase": "Succeeded", "size": "7 B"}}}), Some(Standing::Running), true), now());
    let said = status(&quick).unwrap();
    assert_eq!(said["components"]["nightly"], json!({"driver": "Restic", "path": "repository/v1/daily/nightly"}), "nothing of it is lost");
    let mut over = seen(status_with("Succeeded"), None, true);
    over.tasks.insert(VIEWS.into(), finished(Outcome::Views(v1::ViewsResult::default()), 0));
    let said = status(&plan(&over, now())).unwrap();
    assert_eq!((&said["components"]["wal"]["phase"], &said["phase"]), (&json!("Failed"), &json!("Failed")), "nobody is left who could end it");
}
