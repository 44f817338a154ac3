//! A BackupBatch, from its targets to its Snapshots.

use std::time::Duration;

use serde_json::{Value, json};

use crate::agent::Agent;
use crate::hooks::{listen, template};
use crate::house::{self, House};
use crate::{condition, session_of};

pub(crate) fn workload(kind: &str, name: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": "demo"}, "spec": {
        "replicas": 1, "serviceName": name, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "app", "image": "app"}]}}}})
}

/// A claim, and a pod of the workload that mounts it at /data.
pub(crate) async fn pod_of(house: &House, workload: &str, pod: &str) {
    let claim = format!("{pod}-data");
    house.create(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": claim, "namespace": "demo"},
        "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": format!("pv-{pod}"), "resources": {"requests": {"storage": "1Gi"}}}})).await;
    let mut object = house::pod(pod, "a");
    object["metadata"]["labels"] = json!({"app": workload});
    object["status"]["podIP"] = json!("127.0.0.1");
    object["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] = json!(claim);
    house.create(object).await;
}

/// Of a StatefulSet and a Deployment; each goes to two repositories.
pub(crate) fn batch(name: &str) -> Value {
    let addon = json!({"name": "workload-addon", "tasks": [{"name": "logical-backup", "params": {"paths": "/data"}}]});
    let repository = |target: &str, place: &str| json!({"name": format!("{target}-{place}"), "backend": "s3",
        "directory": format!("/{place}/{target}"), "encryptionSecret": {"name": "password"}, "deletionPolicy": "Delete"});
    let target = |target: &str| json!({"name": target, "addon": addon, "repositories": [repository(target, "near"), repository(target, "far")]});
    json!({"apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupBatch", "metadata": {"name": name, "namespace": "demo"}, "spec": {
        "targets": [
            {"name": "db", "appRef": {"apiGroup": "apps", "kind": "StatefulSet", "name": "pg"}},
            {"name": "web", "appRef": {"apiGroup": "apps", "kind": "Deployment", "name": "front"}},
        ],
        "backends": [{"name": "s3", "storageRef": {"name": "store"}, "retentionPolicy": {"name": "keep"}}],
        "sessions": [{"name": "daily", "scheduler": {"schedule": "0 0 1 1 *", "jobTemplate": {"backoffLimit": 1}},
            "targets": [target("db"), target("web")]}],
    }})
}

async fn shop() -> (House, Agent, tokio::task::JoinHandle<()>) {
    let house = House::start().await;
    let (agent, task) = Agent::start(&house, "a");
    house.furnish().await;
    house.create(house::policy(1)).await;
    house.create(workload("StatefulSet", "pg")).await;
    pod_of(&house, "pg", "pg-0").await;
    (house, agent, task)
}

const REPOSITORIES: [&str; 4] = ["db-far", "db-near", "web-far", "web-near"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_applications_in_one_session_with_hooks_around_it() {
    let (house, agent, _task) = shop().await;
    let (port, mut requests) = listen("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    for name in ["freeze", "thaw"] {
        let mut template = template(name, json!({"httpGet": {"path": format!("/{name}"), "port": port}}));
        template["spec"]["executor"]["pod"]["selector"] = json!("app=pg");
        house.create(template).await;
    }
    let mut batch = batch("shop");
    batch["spec"]["sessions"][0]["hooks"] = json!({
        "preBackup": [{"name": "freeze", "hookTemplate": {"name": "freeze"}}],
        "postBackup": [{"name": "thaw", "hookTemplate": {"name": "thaw"}}],
    });
    house.create(batch).await;
    // One of its targets is not there yet.
    house.until_phase("BackupBatch", "shop", "NotReady").await;
    house
        .until("the targets to be looked for", || async {
            let targets = house.get("BackupBatch", "shop").await.unwrap()["status"]["targets"].clone();
            targets[0]["found"] == true && targets[1]["found"] == false
        })
        .await;
    assert!(house.list("BackupSession").await.is_empty());
    house.create(workload("Deployment", "front")).await;
    pod_of(&house, "front", "front-1").await;
    house.until_phase("BackupBatch", "shop", "Ready").await;

    let name = session_of(&house, "shop").await;
    assert!(requests.recv().await.unwrap().starts_with("GET /freeze "));
    assert!(requests.recv().await.unwrap().starts_with("GET /thaw "));
    house.until_phase("BackupSession", &name, "Succeeded").await;
    assert!(requests.try_recv().is_err(), "the hooks are around the whole: each runs once");
    let session = house.get("BackupSession", &name).await.unwrap();
    assert_eq!(session["spec"]["invoker"]["kind"], "BackupBatch");
    assert_eq!(session["status"]["totalSnapshots"], 4);
    assert_eq!(house.list("BackupSession").await.len(), 1);
    assert_eq!(house.names("Repository").await, REPOSITORIES);
    assert_eq!(agent.directories(), ["far/db", "far/web", "near/db", "near/web"]);
    for (repository, kind, component) in [("db-near", "StatefulSet", "dump-pod-0"), ("web-far", "Deployment", "dump")] {
        let snapshot = house.get("Snapshot", &format!("{repository}-{name}")).await.unwrap();
        assert_eq!(snapshot["status"]["phase"], "Succeeded");
        assert_eq!(snapshot["spec"]["appRef"]["kind"], kind);
        assert_eq!(snapshot["status"]["components"][component]["phase"], "Succeeded", "{}", snapshot["status"]);
    }

    // Another one by hand: retention is applied to each repository, the history is kept short.
    house.until_phase("BackupBatch", "shop", "Ready").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    by_hand(&house, "again", "BackupBatch").await;
    house.until_phase("BackupSession", "again", "Succeeded").await;
    house.until("the older Snapshots to go", || async { house.names("Snapshot").await == REPOSITORIES.map(|name| format!("{name}-again")) }).await;
    house.until("the older session to go", || async { house.names("BackupSession").await == ["again"] }).await;
    let session = house.get("BackupSession", "again").await.unwrap();
    let applied = session["status"]["retentionPolicy"].as_array().unwrap().iter().filter(|applied| applied["phase"] == "Applied").count();
    assert_eq!(applied, 4);

    // A batch that is deleted takes with it what it was told to.
    let repository = house.get("Repository", "db-far").await.unwrap();
    assert_eq!(repository["metadata"]["ownerReferences"][0]["kind"], "BackupBatch");
}

async fn by_hand(house: &House, name: &str, kind: &str) {
    house
        .create(json!({"apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupSession", "metadata": {"name": name, "namespace": "demo"},
            "spec": {"invoker": {"apiGroup": "core.kubestash.com", "kind": kind, "name": "shop"}, "session": "daily"}}))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_pauses_every_invoker_of_its_target() {
    let (house, agent, _task) = shop().await;
    house.create(workload("Deployment", "front")).await;
    pod_of(&house, "front", "front-1").await;
    house.create(batch("shop")).await;
    // A configuration of the same application, and of the same name: its sessions would have the batch's names, too.
    let mut configuration = house::configuration("shop");
    configuration["spec"]["target"] = json!({"apiGroup": "apps", "kind": "StatefulSet", "name": "pg", "namespace": "demo"});
    configuration["spec"]["sessions"][0]["addon"] =
        json!({"name": "workload-addon", "tasks": [{"name": "logical-backup", "params": {"paths": "/data"}}]});
    house.create(configuration).await;
    house
        .until("a session of each to succeed", || async {
            let sessions = house.list("BackupSession").await;
            ["BackupBatch", "BackupConfiguration"].iter().all(|kind| {
                sessions.iter().any(|session| session["spec"]["invoker"]["kind"] == *kind && session["status"]["phase"] == "Succeeded")
            })
        })
        .await;
    agent.hold(true);
    let mut restore = house::restore("back");
    restore["spec"]["target"] = json!({"apiGroup": "apps", "kind": "StatefulSet", "name": "pg"});
    restore["spec"]["dataSource"]["repository"] = json!("db-near");
    restore["spec"]["addon"]["name"] = json!("workload-addon");
    house.create(restore).await;
    let paused = |paused: bool| {
        let house = &house;
        move || async move {
            let batch = house.get("BackupBatch", "shop").await.unwrap();
            let configuration = house.get("BackupConfiguration", "shop").await.unwrap();
            batch["spec"]["paused"] == paused && configuration["spec"]["paused"] == paused
        }
    };
    house.until("both to be paused", paused(true)).await;
    by_hand(&house, "meanwhile", "BackupBatch").await;
    house.until_phase("BackupSession", "meanwhile", "Skipped").await;
    house.until("the restore to be with an agent", || async { agent.attempts().len() == 6 }).await;
    agent.let_go();
    house.until_phase("RestoreSession", "back", "Succeeded").await;
    house.until("both to go on", paused(false)).await;
    let restored = house.get("RestoreSession", "back").await.unwrap();
    let mut kinds: Vec<_> = restored["status"]["pausedBackups"].as_array().unwrap().iter().map(|paused| paused["kind"].clone()).collect();
    kinds.sort_by_key(ToString::to_string);
    assert_eq!(kinds, ["BackupBatch", "BackupConfiguration"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_elsewhere_consents_itself_and_may_do_so_later() {
    let (house, _agent, _task) = shop().await;
    house.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "edge"}})).await;
    let mut front = workload("Deployment", "front");
    front["metadata"]["namespace"] = json!("edge");
    house.create(front).await;
    let mut batch = batch("shop");
    batch["spec"]["targets"][1]["appRef"]["namespace"] = json!("edge");
    house.create(batch).await;
    house.until_phase("BackupBatch", "shop", "Invalid").await;
    let invalid = house.get("BackupBatch", "shop").await.unwrap();
    let why = condition(&invalid, "ValidationPassed")["message"].as_str().unwrap();
    assert!(why.starts_with("spec.targets[1].appRef: ") && why.contains("holdfast.dev/granted-to=demo"), "{why}");
    assert!(house.list("Repository").await.is_empty() && house.list("BackupSession").await.is_empty());
    // Nothing else wakes it.
    house.until_phase("BackupStorage", "store", "Ready").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let grant = json!({"metadata": {"annotations": {"holdfast.dev/granted-to": "demo"}}});
    house.patch_in("edge", "Deployment", "front", grant).await;
    house.until_phase("BackupBatch", "shop", "Ready").await;
}

/// A session of the batch, whose backups all run and do not end by themselves.
async fn all_running(house: &House, agent: &Agent) -> String {
    house.create(workload("Deployment", "front")).await;
    pod_of(house, "front", "front-1").await;
    agent.hold(true);
    house.create(batch("shop")).await;
    let name = session_of(house, "shop").await;
    house.until("all to run", || async { agent.attempts().len() == 4 }).await;
    name
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pausing_a_batch_stops_all_of_it() {
    let (house, agent, _task) = shop().await;
    let name = all_running(&house, &agent).await;
    house.patch("BackupBatch", "shop", json!({"spec": {"paused": true}})).await;
    house.until_phase("BackupSession", &name, "Failed").await;
    house.until("its Snapshots to go", || async { house.list("Snapshot").await.is_empty() }).await;
    house.until("the agent to be told", || async { agent.memory.lock().unwrap().cancelled.len() == 4 }).await;
    let session = house.get("BackupSession", &name).await.unwrap();
    let why = condition(&session, "BackupExecutorEnsured")["message"].as_str().unwrap();
    assert!(why.contains("its BackupBatch was paused"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_goes_on_where_a_killed_controller_left_it() {
    let (mut house, agent, _task) = shop().await;
    let name = all_running(&house, &agent).await;
    house.kill_controller().await;
    let house = house.start_controller().await;
    agent.let_go();
    house.until_phase("BackupSession", &name, "Succeeded").await;
    assert_eq!(agent.attempts(), [1; 4], "nothing was begun again");
    assert_eq!(house.list("Snapshot").await.len(), 4);
    assert_eq!(house.list("BackupSession").await.len(), 1);
}
