//! Manifests, and several tasks in one session.

use serde_json::{Value, json};

use crate::agent::Agent;
use crate::condition;
use crate::house::{self, House};

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "demo"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
            "containers": [{"name": "app", "image": "app", "envFrom": [{"configMapRef": {"name": "conf"}}],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]}}}})
}

fn conf() -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf", "namespace": "demo", "labels": {"set": "a"}}, "data": {"key": "1"}})
}

fn pod(name: &str) -> Value {
    let mut pod = house::pod(name, "a");
    pod["metadata"]["labels"] = json!({"app": "web"});
    pod
}

async fn furnish(house: &House) {
    house.furnish().await;
    house.delete("Pod", "app").await;
    house.create(deployment()).await;
    house.create(conf()).await;
    house.create(pod("web-1")).await;
}

/// Of the Deployment, by both tasks.
fn configuration() -> Value {
    let mut configuration = house::configuration("one");
    configuration["spec"]["target"] = json!({"apiGroup": "apps", "kind": "Deployment", "name": "web"});
    configuration["spec"]["sessions"][0]["addon"] = json!({"name": "workload-addon", "tasks": [
        {"name": "manifest-backup"}, {"name": "logical-backup", "params": {"paths": "/data"}}],
        "jobTemplate": {"spec": {"serviceAccountName": "reader"}}});
    configuration
}

fn restore(name: &str, tasks: Value) -> Value {
    let mut restore = house::restore(name);
    restore["spec"]["target"] = json!({"apiGroup": "apps", "kind": "Deployment", "name": "web"});
    restore["spec"]["addon"] = json!({"name": "workload-addon", "tasks": tasks, "jobTemplate": {"spec": {"serviceAccountName": "writer"}}});
    restore
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manifests_come_first_and_then_the_volumes_of_what_they_made() {
    let house = House::start().await;
    let (agent, _task) = Agent::start(&house, "a");
    furnish(&house).await;
    house.create(configuration()).await;
    let session = crate::session_of(&house, "one").await;
    house.until_phase("BackupSession", &session, "Succeeded").await;
    let snapshot = house.get("Snapshot", &format!("one-repo-{session}")).await.unwrap();
    let components = snapshot["status"]["components"].as_object().unwrap();
    assert_eq!(components.keys().collect::<Vec<_>>(), ["dump", "manifest"]);
    assert_eq!(components["manifest"]["path"], "repository/v1/daily/manifest");
    assert_eq!((&components["manifest"]["driver"], &components["manifest"]["phase"]), (&json!("Holdfast"), &json!("Succeeded")));
    let stored = String::from_utf8(agent.memory.lock().unwrap().manifests.clone()).unwrap();
    for object in ["\"Deployment\"", "\"PersistentVolumeClaim\"", "\"ConfigMap\"", "\"Namespace\""] {
        assert!(stored.contains(object), "{object}: {stored}");
    }

    // All of it goes.
    for (kind, name) in [("Deployment", "web"), ("Pod", "web-1"), ("ConfigMap", "conf")] {
        house.delete(kind, name).await;
    }
    house.until_gone("Deployment", "web").await;
    house.create(restore("back", json!([{"name": "manifest-restore"}, {"name": "logical-backup-restore"}]))).await;
    house.until("the Deployment to be back", || async { house.get("Deployment", "web").await.is_some() }).await;
    house.until("the ConfigMap to be back", || async { house.get("ConfigMap", "conf").await.is_some() }).await;
    house.until("the volume to be waited for", || async {
        house.get("RestoreSession", "back").await.unwrap()["status"]["components"]["manifest"]["phase"] == "Succeeded"
    }).await;
    assert!(agent.restores().is_empty(), "there is no pod yet");
    house.create(pod("web-2")).await;
    house.until_phase("RestoreSession", "back", "Succeeded").await;
    assert_eq!(agent.restores().len(), 1);
    let done = house.get("RestoreSession", "back").await.unwrap();
    let said = condition(&done, "ManifestsRestored");
    let message = said["message"].as_str().unwrap();
    assert!(message.contains("made: ConfigMap demo/conf") && message.contains("left as they stand: Namespace demo"), "{message}");

    // Only the data of a Snapshot that has both, and the other way round.
    house.create(restore("data", json!([{"name": "logical-backup-restore"}]))).await;
    house.until_phase("RestoreSession", "data", "Succeeded").await;
    let data = house.get("RestoreSession", "data").await.unwrap();
    assert_eq!(data["status"]["components"].as_object().unwrap().keys().collect::<Vec<_>>(), ["dump"]);
    let mut wrong = restore("wrong", json!([{"name": "logical-backup-restore"}]));
    wrong["spec"]["dataSource"]["components"] = json!(["manifest"]);
    house.create(wrong).await;
    house.until_phase("RestoreSession", "wrong", "Invalid").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_says_what_it_would_do_and_volumes_cannot_be_tried_so() {
    let house = House::start().await;
    let (_agent, _task) = Agent::start(&house, "a");
    furnish(&house).await;
    house.create(configuration()).await;
    let session = crate::session_of(&house, "one").await;
    house.until_phase("BackupSession", &session, "Succeeded").await;
    house.delete("ConfigMap", "conf").await;
    let mut dry = restore("dry", json!([{"name": "manifest-restore", "params": {"overrideResources": "true"}}]));
    dry["metadata"]["annotations"] = json!({"holdfast.dev/dry-run": "true"});
    house.create(dry.clone()).await;
    house.until_phase("RestoreSession", "dry", "Succeeded").await;
    let done = house.get("RestoreSession", "dry").await.unwrap();
    let said = condition(&done, "ManifestsRestored");
    assert_eq!((&said["status"], &said["reason"]), (&json!("False"), &json!("DryRun")));
    let message = said["message"].as_str().unwrap();
    assert!(message.starts_with("dry run: 1 would be made: ConfigMap demo/conf; ") && message.contains("Deployment demo/web"), "{message}");
    assert!(house.get("ConfigMap", "conf").await.is_none());

    dry["metadata"]["name"] = json!("both");
    dry["spec"]["addon"]["tasks"] = json!([{"name": "manifest-restore"}, {"name": "logical-backup-restore"}]);
    house.create(dry).await;
    house.until_phase("RestoreSession", "both", "Invalid").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_has_no_target_and_a_crash_in_the_middle_begins_again() {
    let mut house = House::start().await;
    let (agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    house.create(conf()).await;
    let mut configuration = house::configuration("one");
    configuration["spec"].as_object_mut().unwrap().remove("target");
    configuration["spec"]["sessions"][0]["addon"] = json!({"name": "kubedump-addon", "tasks": [{"name": "manifest-backup",
        "params": {"IncludeNamespaces": "demo", "ANDedLabelSelectors": "set:a", "IncludeResources": "configmaps"}}]});
    house.create(configuration).await;
    house.until_phase("BackupConfiguration", "one", "Ready").await;
    let session = crate::session_of(&house, "one").await;
    house.until_phase("BackupSession", &session, "Succeeded").await;
    let repository = house.get("Repository", "one-repo").await.unwrap();
    assert_eq!(repository["spec"]["appRef"]["name"], "na");
    assert_eq!(agent.memory.lock().unwrap().manifests.iter().filter(|byte| **byte == b'\n').count(), 2, "one object");

    house.delete("ConfigMap", "conf").await;
    // More than a moment's work, so that the controller dies in it.
    let many: String = (0..2000)
        .map(|number| format!("---\n{}\n", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("many-{number}"), "namespace": "demo"}})))
        .collect();
    agent.memory.lock().unwrap().manifests = many.into_bytes();
    let mut restore = house::restore("back");
    restore["spec"].as_object_mut().unwrap().remove("target");
    restore["spec"]["addon"] = json!({"name": "kubedump-addon", "tasks": [{"name": "manifest-restore"}]});
    house.create(restore).await;
    house.until("the first object", || async { house.get("ConfigMap", "many-0").await.is_some() }).await;
    house.kill_controller().await;
    assert!(house.get("ConfigMap", "many-1999").await.is_none(), "it was too fast for this test");
    let house = house.start_controller().await;
    let start = std::time::Instant::now();
    while house.get("RestoreSession", "back").await.unwrap()["status"]["phase"] != "Succeeded" {
        assert!(start.elapsed() < std::time::Duration::from_secs(60), "{:#}", house.get("RestoreSession", "back").await.unwrap()["status"]);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(house.get("ConfigMap", "many-1999").await.is_some());
    let attempts: Vec<u32> = {
        let memory = agent.memory.lock().unwrap();
        let restores = memory.assigned.iter().filter(|assign| matches!(assign.spec, Some(holdfast_proto::v1::assign::Spec::ReturnManifests(_))));
        restores.map(|assign| assign.task.as_ref().unwrap().attempt).collect()
    };
    assert_eq!(attempts, [1, 2]);
}
