//! What is refused as it stands, and in which words: whoever wrote it reads what is wrong, and where.

use super::claims::into_claims;
use super::*;
use crate::catalog::Catalog;
use crate::work;

/// Tasks of our agents, in an Addon.
fn catalog() -> Catalog {
    let task = |name: &str, function: &str| json!({"name": name, "function": function});
    let spec = json!({
        "backupTasks": [task("logical-backup", "pvc-backup")],
        "restoreTasks": [task("logical-backup-restore", "pvc-restore"), task("volume-clone", "pvc-restore"), task("manifest-restore", "manifest-restore")],
    });
    let addon = serde_json::from_value(json!({"metadata": {"name": "all"}, "spec": spec})).unwrap();
    Catalog { addons: [("all".to_owned(), Arc::new(addon))].into(), ..Catalog::default() }
}

/// A restore with these tasks.
fn with_tasks(tasks: Value) -> Observed {
    let mut observed = observed(restore(json!({}), Value::Null));
    let addon = serde_json::from_value(json!({"name": "all", "tasks": tasks})).unwrap();
    observed.job = work::restore(Some(&addon), &catalog());
    Arc::make_mut(&mut observed.restore).spec.addon = Some(addon);
    observed.reaches = components::reaches(&observed);
    observed
}

/// A restore of this component, beside the one that there is.
fn of_one_more(name: &str, driver: &str, tasks: &[AgentTask]) -> Observed {
    let mut observed = observed(restore(json!({}), Value::Null));
    let components = &mut observed.snapshot.as_mut().unwrap().status.as_mut().unwrap().components;
    let mut more = components["dump"].clone();
    more.driver = serde_json::from_value(json!(driver)).unwrap();
    components.insert(name.into(), more);
    observed.job.as_mut().unwrap().tasks = tasks.iter().map(|task| Step::Agents(*task)).collect();
    observed.reaches = components::reaches(&observed);
    observed
}

#[test]
fn what_is_refused_says_where_what_was_found_and_what_is_allowed() {
    const FIELD: &str = "spec.addon.tasks[0].targetVolumes.volumeClaimTemplates: ";
    let (one, both): (&[&str], &[&str]) = (&["/data"], &["/data", "/var/log"]);
    let template = |name: &str| json!({"metadata": {"name": name}, "spec": {}});
    let mut no_manifests = observed(restore(json!({}), Value::Null));
    no_manifests.job.as_mut().unwrap().tasks = vec![Step::Agents(AgentTask::ManifestRestore)];
    let mut second_task = with_tasks(json!([{"name": "manifest-restore"}, {"name": "logical-backup-restore", "targetVolumes": {"volumeClaimTemplates": [template("a"), template("b")]}}]));
    second_task.job.as_mut().unwrap().tasks.remove(0);
    let cases = [
        ("fewer templates", into_claims(&[("dump", both)], &["a"]), "Invalid", format!("{FIELD}1 found, and component \"dump\" holds 2 paths, [\"/data\", \"/var/log\"]: each takes one, in this order")),
        ("more templates", into_claims(&[("dump", one)], &["a", "b"]), "Invalid", format!("{FIELD}2 found, and component \"dump\" holds 1 paths, [\"/data\"]")),
        ("one of several", into_claims(&[("dump-pod-0", both), ("dump-pod-1", one)], &["a-${POD_ORDINAL}", "b-${POD_ORDINAL}"]), "Invalid", format!("{FIELD}2 found, and component \"dump-pod-1\" holds 1 paths")),
        ("one name, two paths", into_claims(&[("dump", both)], &["copy", "copy"]), "Invalid", format!("{FIELD}PersistentVolumeClaim copy is named more than once")),
        ("one name, two ordinals", into_claims(&[("dump-pod-0", one), ("dump-pod-1", one)], &["copy"]), "Invalid", format!("{FIELD}PersistentVolumeClaim copy is named more than once: each path of each component needs a name of its own; ${{POD_ORDINAL}}")),
        ("templates of the second task", second_task, "Invalid", "spec.addon.tasks[1].targetVolumes.volumeClaimTemplates: 2 found".into()),
        ("a clone without claims", with_tasks(json!([{"name": "volume-clone"}])), "Invalid", "spec.addon: task volume-clone needs targetVolumes.volumeClaimTemplates".into()),
        ("volumes of its own", with_tasks(json!([{"name": "logical-backup-restore", "targetVolumes": {"volumes": [{"name": "mine", "emptyDir": {}}]}}])), "Invalid", "spec.addon: of targetVolumes only the volumeClaimTemplates of a restore".into()),
        ("manifests twice", with_tasks(json!([{"name": "manifest-restore"}, {"name": "manifest-restore"}])), "Invalid", "spec.addon: of several tasks for manifests nobody can tell".into()),
        ("one place, two components", of_one_more("dump-pod-1", "Holdfast", &[AgentTask::Restore]), "Failed", "the target takes one: name it in spec.dataSource.components".into()),
        ("no manifests", no_manifests, "Invalid", "the Snapshot has no manifests: its session had no task manifest-backup".into()),
        ("KubeStash's manifests", of_one_more("manifest", "Restic", &[AgentTask::ManifestRestore]), "Invalid", "component \"manifest\" was written by KubeStash; manifests can be restored that Holdfast wrote".into()),
    ];
    for (what, observed, phase, words) in cases {
        let actions = plan(&observed, now());
        let status = status(&actions);
        assert_eq!(status["phase"], phase, "{what}: {status}");
        let conditions = status["conditions"].as_array().unwrap().iter().filter_map(|condition| condition["message"].as_str());
        let errors = status["components"].as_object().into_iter().flat_map(|components| components.values()).filter_map(|component| component["error"].as_str());
        assert!(conditions.chain(errors).any(|said| said.contains(&words)), "{what}: {status}");
        assert!(requests(&actions).is_empty() && !actions.iter().any(|action| matches!(action, Action::CreateClaim(_))), "{what}");
    }
    // A backup has no claims to make.
    let backup = json!({"name": "all", "tasks": [{"name": "logical-backup", "targetVolumes": {"volumeClaimTemplates": [template("a")]}}]});
    let refused = work::unsupported_backup(Some(&serde_json::from_value(backup).unwrap()), &catalog()).unwrap();
    assert!(refused.contains("of targetVolumes only the volumeClaimTemplates of a restore are supported"), "{refused}");
}
