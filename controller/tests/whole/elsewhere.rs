//! Restores from Repositories of other namespaces.

use std::time::Duration;

use serde_json::{Value, json};

use crate::agent::Agent;
use crate::house::{self, House};

/// A restore in `annex` of what `demo` has backed up, into a claim of `annex`.
fn restore(name: &str) -> Value {
    let mut restore = house::restore(name);
    restore["metadata"]["namespace"] = json!("annex");
    restore["spec"]["dataSource"]["namespace"] = json!("demo");
    restore["spec"]["dataSource"]["encryptionSecret"] = json!({"name": "password", "namespace": "demo"});
    restore
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_elsewhere_grants_its_use_itself_and_may_do_so_later() {
    let house = House::start().await;
    let (agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    house.create(house::configuration("one")).await;
    let first = crate::session_of(&house, "one").await;
    house.until_phase("BackupSession", &first, "Succeeded").await;
    house.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "annex"}})).await;
    house.create(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "annex"}, "spec": {"volumeName": "pv-annex"}})).await;
    let mut pod = house::pod("app", "a");
    pod["metadata"]["namespace"] = json!("annex");
    house.create(pod).await;

    house.create(restore("back")).await;
    house
        .until("the restore to wait", || async { house.get_in("annex", "RestoreSession", "back").await.unwrap()["status"]["phase"] == "Pending" })
        .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(agent.restores().is_empty(), "nobody has granted it");
    let waiting = house.get_in("annex", "RestoreSession", "back").await.unwrap();
    assert!(!waiting.to_string().contains("one-repo-"), "nor is the Snapshot's name told: {waiting}");
    let granted = |to: &str| json!({"metadata": {"annotations": {"holdfast.dev/granted-to": to}}});
    house.patch("Repository", "one-repo", granted("annexe")).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(agent.restores().is_empty(), "that is another namespace");

    house.patch("Repository", "one-repo", granted("vault, annex")).await;
    house
        .until("the restore to succeed", || async { house.get_in("annex", "RestoreSession", "back").await.unwrap()["status"]["phase"] == "Succeeded" })
        .await;
    let tasks = agent.restores();
    assert_eq!(tasks.len(), 1);
    assert_eq!(tasks[0].targets[0].volume.as_ref().unwrap().pvc_namespace, "annex");
    assert!(!tasks[0].same_namespace, "device nodes and the like stay where they were");
    let done = house.get_in("annex", "RestoreSession", "back").await.unwrap();
    assert_eq!(done["status"]["dependencies"][0]["namespace"], "demo");

    // The grant is one Repository's, whichever Snapshot is named, by whatever field.
    house.create(house::configuration("two")).await;
    let second = crate::session_of(&house, "two").await;
    house.until_phase("BackupSession", &second, "Succeeded").await;
    let others = house.list("Snapshot").await.into_iter().find(|snapshot| snapshot["spec"]["repository"] == "two-repo").unwrap();
    let others = others["metadata"]["name"].as_str().unwrap().to_owned();
    let mut by_name = restore("by-name");
    by_name["spec"]["dataSource"]["snapshot"] = json!(others);
    let mut by_annotation = restore("by-annotation");
    by_annotation["metadata"]["annotations"] = json!({"holdfast.dev/snapshot": others});
    for sly in [by_name, by_annotation] {
        let name = sly["metadata"]["name"].as_str().unwrap().to_owned();
        house.create(sly).await;
        house
            .until("the other Repository's Snapshot to be refused", || async {
                let restore = house.get_in("annex", "RestoreSession", &name).await.unwrap();
                restore["status"]["phase"] == "Invalid" && restore.to_string().contains("is not one of Repository demo/one-repo")
            })
            .await;
    }
    assert_eq!(agent.restores().len(), 1, "nothing of it was restored");

    let mut thief = restore("thief");
    thief["spec"]["dataSource"]["encryptionSecret"]["name"] = json!("s3");
    house.create(thief).await;
    house
        .until("the other Secret to be refused", || async { house.get_in("annex", "RestoreSession", "thief").await.unwrap()["status"]["phase"] == "Invalid" })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_usage_policy_that_is_withdrawn_closes_what_was_open() {
    let house = House::start().await;
    let (agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    house.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "vault"}})).await;
    house.create(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3", "namespace": "vault"},
        "stringData": {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}})).await;
    let mut storage = house::storage();
    storage["metadata"]["namespace"] = json!("vault");
    storage["spec"]["storage"]["s3"]["prefix"] = json!("vault");
    storage["spec"]["usagePolicy"] = json!({"allowedNamespaces": {"from": "All"}});
    house.create(storage).await;
    let mut configuration = house::configuration("one");
    configuration["spec"]["backends"][0]["storageRef"]["namespace"] = json!("vault");
    house.create(configuration).await;
    let first = crate::session_of(&house, "one").await;
    house.until_phase("BackupSession", &first, "Succeeded").await;
    house.create(house::restore("before")).await;
    house.until_phase("RestoreSession", "before", "Succeeded").await;
    house.patch_in("vault", "BackupStorage", "store", json!({"spec": {"usagePolicy": {"allowedNamespaces": {"from": "Same"}}}})).await;
    house
        .until("the storage to be seen as closed", || async {
            house.get("BackupConfiguration", "one").await.is_some_and(|configuration| configuration["status"]["phase"] != "Ready")
        })
        .await;
    house.create(house::restore("after")).await;
    house.until_phase("RestoreSession", "after", "Failed").await;
    let error = house.get("RestoreSession", "after").await.unwrap()["status"]["components"]["dump"]["error"].to_string();
    assert!(error.contains("BackupStorage vault/store does not allow its use from namespace demo"), "{error}");
    assert_eq!(agent.restores().len(), 1, "no agent was given the storage's keys");
}
