//! A cluster in which KubeStash is installed, or was.

use std::time::Duration;

use holdfast_controller::repository::maintenance::Pace;
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::house::{self, House};
use crate::session_of;

fn operator(name: &str, component: Option<&str>) -> Value {
    let mut labels = json!({"app.kubernetes.io/name": "kubestash-operator", "app.kubernetes.io/instance": "kubestash"});
    if let Some(component) = component {
        labels["component"] = json!(component);
    }
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "kubestash", "labels": labels},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "operator", "image": "operator"}]}}},
        "status": {"replicas": 1, "readyReplicas": 1}})
}

async fn two_operators() -> House {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kubestash"}});
    let before = [namespace, operator("kubestash-operator", None), operator("kubestash-operator-webhook-server", Some("webhook-server"))];
    House::start_with(Pace::default(), holdfast_api::crd::all(), &before).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_done_while_kubestash_s_operator_is_at_work() {
    let house = two_operators().await;
    let (agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    house.create(house::configuration("one")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(house.get("BackupConfiguration", "one").await.unwrap()["status"].is_null() && house.names("Repository").await.is_empty());
    assert!(agent.memory.lock().unwrap().assigned.is_empty());
    house.patch_in("kubestash", "Deployment", "kubestash-operator", json!({"spec": {"replicas": 0}})).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(house.names("Repository").await.is_empty(), "its last pod is still ready");
    house.patch_status_in("kubestash", "Deployment", "kubestash-operator", json!({"readyReplicas": 0})).await;
    let first = session_of(&house, "one").await;
    house.until_phase("BackupSession", &first, "Succeeded").await;
    // It comes back.
    house.patch_in("kubestash", "Deployment", "kubestash-operator", json!({"spec": {"replicas": 1}})).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    house.create(json!({"apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupSession", "metadata": {"name": "theirs", "namespace": "demo"},
        "spec": {"invoker": {"apiGroup": "core.kubestash.com", "kind": "BackupConfiguration", "name": "one"}, "session": "daily"}})).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(house.get("BackupSession", "theirs").await.unwrap()["status"].is_null());
}

/// KubeStash's definitions do not have our driver.
fn their_definitions() -> Vec<Value> {
    let mut definitions = holdfast_api::crd::all();
    let mut removed = 0;
    for definition in &mut definitions {
        removed += forget_driver(definition);
    }
    assert_eq!(removed, 1);
    definitions
}

fn forget_driver(value: &mut Value) -> usize {
    match value {
        Value::Array(items) => {
            let before = items.len();
            items.retain(|item| item != "Holdfast");
            before - items.len() + items.iter_mut().map(forget_driver).sum::<usize>()
        }
        Value::Object(fields) => fields.values_mut().map(forget_driver).sum(),
        _ => 0,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubestash_s_own_definitions_take_our_snapshots() {
    let house = House::start_with(Pace::default(), their_definitions(), &[]).await;
    let (_agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    house.create(house::configuration("one")).await;
    let first = session_of(&house, "one").await;
    house.until_phase("BackupSession", &first, "Succeeded").await;
    let snapshot = house.list("Snapshot").await.remove(0);
    assert_eq!(snapshot["status"]["components"]["dump"]["driver"], "Restic", "a word that they know");
    assert_eq!(snapshot["metadata"]["annotations"]["holdfast.dev/driver"], "Holdfast");
    // Ours all the same: it is restored, and a policy counts and removes it.
    house.create(house::restore("back")).await;
    house.until_phase("RestoreSession", "back", "Succeeded").await;
    house.create(house::policy(1)).await;
    let resumed = || async { house.get("BackupConfiguration", "one").await.unwrap()["spec"]["paused"] != true };
    house.until("the configuration to resume after the restore", resumed).await;
    house.back_up("one", "s2").await;
    house.until_gone("Snapshot", snapshot["metadata"]["name"].as_str().unwrap()).await;
}
