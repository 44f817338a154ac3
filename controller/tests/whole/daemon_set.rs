//! A DaemonSet, node by node: asked for by an annotation, backed up, restored; and a node that is gone.

use std::time::Duration;

use holdfast_proto::v1;
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::blueprint::{asks, blueprint};
use crate::house::{self, House};
use crate::{condition, session_of};

/// A pod of it on a node, with a volume of its own.
async fn start_on(house: &House, node: &str) {
    house.create(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": format!("logs-{node}-own"), "namespace": "demo"},
        "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": format!("pv-{node}"), "resources": {"requests": {"storage": "1Gi"}}}})).await;
    let mut pod = house::pod(&format!("logs-{node}"), node);
    pod["metadata"]["labels"] = json!({"app": "logs"});
    pod["spec"]["terminationGracePeriodSeconds"] = json!(0);
    pod["spec"]["volumes"][0] = json!({"name": "own", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}});
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "own", "mountPath": "/data"}]);
    house.create(pod).await;
}

fn restore(name: &str, components: Value) -> Value {
    let mut restore = house::restore(name);
    restore["spec"]["target"] = json!({"apiGroup": "apps", "kind": "DaemonSet", "name": "logs"});
    restore["spec"]["dataSource"] = json!({"repository": "logs-repo", "snapshot": "latest", "components": components});
    restore["spec"]["addon"]["name"] = json!("workload-addon");
    restore
}

/// The claims that an agent was given to back up, and to restore.
fn claims(agent: &Agent) -> (Vec<String>, Vec<String>) {
    let name = |volume: &Option<v1::VolumeAccess>| volume.as_ref().unwrap().pvc_name.clone();
    let memory = agent.memory.lock().unwrap();
    let backed_up = memory.assigned.iter().filter_map(|assign| match &assign.spec {
        Some(v1::assign::Spec::Backup(task)) => Some(task.sources.iter().map(|source| name(&source.volume))),
        _ => None,
    });
    let backed_up = backed_up.flatten().collect();
    drop(memory);
    (backed_up, agent.restores().iter().flat_map(|task| &task.targets).map(|target| name(&target.volume)).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_set_is_backed_up_and_restored_node_by_node() {
    let house = House::start().await;
    let (first, _task) = Agent::start(&house, "a");
    let (second, _other) = Agent::start(&house, "b");
    house.furnish().await;
    house.create(house::policy(5)).await;
    let mut plan = blueprint();
    plan["spec"]["backupConfigurationTemplate"]["sessions"][0]["addon"] =
        json!({"name": "workload-addon", "tasks": [{"name": "logical-backup", "params": {"paths": "/data"}}]});
    house.create(plan).await;
    let mut set = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "logs", "namespace": "demo"},
        "spec": {"selector": {"matchLabels": {"app": "logs"}},
            "template": {"metadata": {"labels": {"app": "logs"}}, "spec": {"containers": [{"name": "app", "image": "app"}]}}},
        "status": {"observedGeneration": 1, "desiredNumberScheduled": 2, "currentNumberScheduled": 2, "numberMisscheduled": 0, "numberReady": 2}});
    set["metadata"]["annotations"] = asks(json!("plan"))["metadata"]["annotations"].clone();
    house.create(set).await;
    start_on(&house, "a").await;
    house.until_phase("BackupConfiguration", "daemonset-logs", "Ready").await;
    let session = session_of(&house, "daemonset-logs").await;
    let snapshot = format!("logs-repo-{session}");
    house.until("the Snapshot", || async { house.get("Snapshot", &snapshot).await.is_some() }).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(claims(&first).0, Vec::<String>::new(), "a node has no pod yet");

    start_on(&house, "b").await;
    house.until_phase("BackupSession", &session, "Succeeded").await;
    let status = house.get("Snapshot", &snapshot).await.unwrap()["status"].clone();
    let components: Vec<_> = status["components"].as_object().unwrap().keys().collect();
    assert_eq!(components, ["dump-a", "dump-b"]);
    assert_eq!(status["components"]["dump-b"]["path"], "repository/v1/daily/dump-b");
    house.create(restore("back", json!([]))).await;
    house.until_phase("RestoreSession", "back", "Succeeded").await;
    for (agent, claim) in [(&first, "logs-a-own"), (&second, "logs-b-own")] {
        assert_eq!(claims(agent), (vec![claim.to_owned()], vec![claim.to_owned()]));
    }

    // The node b goes.
    house.delete("Pod", "logs-b").await;
    let counted = json!({"observedGeneration": 1, "desiredNumberScheduled": 1, "currentNumberScheduled": 1, "numberMisscheduled": 0, "numberReady": 1});
    house.patch_status_in("demo", "DaemonSet", "logs", counted).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    house.create(restore("of-all", json!([]))).await;
    house.until_phase("RestoreSession", "of-all", "Failed").await;
    let failed = house.get("RestoreSession", "of-all").await.unwrap();
    let why = failed["status"]["components"]["dump-b"]["error"].as_str().unwrap();
    assert!(why.contains("node b is gone") && why.contains("spec.dataSource.components"), "{why}");
    assert_eq!(condition(&failed, "BackupAtFault")["status"], "False");
    house.create(restore("of-one", json!(["dump-a"]))).await;
    house.until_phase("RestoreSession", "of-one", "Succeeded").await;
}
