//! Blueprints: an annotation makes a backup, and takes it back.

use serde_json::{Value, json};

use crate::agent::Agent;
use crate::house::House;
use crate::session_of;

pub(crate) fn blueprint() -> Value {
    json!({"apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupBlueprint", "metadata": {"name": "plan", "namespace": "demo"},
    "spec": {"backupConfigurationTemplate": {
        "backends": [{"name": "s3", "storageRef": {"name": "store"}, "retentionPolicy": {"name": "keep"}}],
        "sessions": [{
            "name": "daily",
            "scheduler": {"schedule": "${schedule}", "jobTemplate": {"backoffLimit": 1}},
            "addon": {"name": "pvc-addon", "tasks": [{"name": "logical-backup"}]},
            "repositories": [{"name": "${targetName}-repo", "backend": "s3", "directory": "/claims/${targetName}",
                "encryptionSecret": {"name": "password"}}],
        }],
    }}})
}

pub(crate) fn asks(name: Value) -> Value {
    json!({"metadata": {"annotations": {
        "blueprint.kubestash.com/name": name, "variables.kubestash.com/schedule": "0 0 1 1 *",
    }}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_annotation_makes_a_backup_and_takes_it_back() {
    let house = House::start().await;
    let (_agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    // In the wrong order: the claim asks for a blueprint that comes later.
    house.patch("PersistentVolumeClaim", "data", asks(json!("plan"))).await;
    house.create(blueprint()).await;
    let made = "persistentvolumeclaim-data";
    house.until_phase("BackupConfiguration", made, "Ready").await;
    let session = session_of(&house, made).await;
    house.until_phase("BackupSession", &session, "Succeeded").await;
    let configuration = house.get("BackupConfiguration", made).await.unwrap();
    assert_eq!(configuration["spec"]["sessions"][0]["repositories"][0]["directory"], "/claims/data");
    assert_eq!(configuration["metadata"]["labels"]["kubestash.com/invoker-name"], "plan");

    house.patch("PersistentVolumeClaim", "data", json!({"metadata": {"annotations": {"variables.kubestash.com/schedule": "0 0 2 2 *"}}})).await;
    house
        .until("the changed schedule", || async {
            let made = house.get("BackupConfiguration", made).await.unwrap();
            made["spec"]["sessions"][0]["scheduler"]["schedule"] == "0 0 2 2 *"
        })
        .await;
    house.patch("PersistentVolumeClaim", "data", asks(Value::Null)).await;
    house.until("the withdrawal", || async { house.get("BackupConfiguration", made).await.is_none() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_asks_for_all_its_claims_from_another() {
    let house = House::start().await;
    let (_agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    house.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "annotations": {
        "blueprint.kubestash.com/name": "plan", "blueprint.kubestash.com/namespace": "demo",
        "variables.kubestash.com/schedule": "0 0 1 1 *", "holdfast.dev/blueprint-selector": "!scratch",
    }}})).await;
    for (name, labels) in [("orders", json!({})), ("cache", json!({"scratch": "yes"}))] {
        house.create(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": "shop", "labels": labels},
            "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": format!("pv-{name}"), "resources": {"requests": {"storage": "1Gi"}}}})).await;
    }
    let mut plan = blueprint();
    plan["spec"]["usagePolicy"] = json!({"allowedNamespaces": {"from": "All"}});
    house.create(plan).await;
    // Ready: the claim's own namespace has asked for it.
    house.until_phase("BackupConfiguration", "shop-persistentvolumeclaim-orders", "Ready").await;
    assert_eq!(house.list("BackupConfiguration").await.len(), 1, "the selected claim, and no other");
}
