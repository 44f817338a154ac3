//! What was refused heals when what it was refused for comes, or is mended.

use serde_json::{Value, json};

use crate::house;
use crate::{backed_up, condition};

fn addon(restore_tasks: Value) -> Value {
    let backup = json!([{"name": "nightly", "function": "pvc-backup", "parameters": [{"name": "paths", "default": "/kubestash-data"}]}]);
    json!({"apiVersion": "addons.kubestash.com/v1alpha1", "kind": "Addon", "metadata": {"name": "mine"},
        "spec": {"backupTasks": backup, "restoreTasks": restore_tasks}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_was_there_before_its_task_heals_when_that_comes() {
    let (house, _agent, _task) = backed_up().await;
    house.create(addon(json!([]))).await;
    let mut restore = house::restore("back");
    restore["spec"]["addon"] = json!({"name": "mine", "tasks": [{"name": "morning"}]});
    house.create(restore).await;
    house.until_phase("RestoreSession", "back", "Invalid").await;
    let refused = house.get("RestoreSession", "back").await.unwrap();
    assert!(condition(&refused, "ValidationPassed")["message"].as_str().unwrap().contains("morning"), "{refused}");
    assert_ne!(house.get("BackupConfiguration", "one").await.unwrap()["spec"]["paused"], true, "what is refused pauses nothing");
    house.patch_in("", "Addon", "mine", json!({"spec": {"restoreTasks": [{"name": "morning", "function": "pvc-restore"}]}})).await;
    house.until_phase("RestoreSession", "back", "Succeeded").await;
    // The same, wrong to the end of the catalog: what it names is mended instead.
    let mut restore = house::restore("again");
    restore["spec"]["addon"] = json!({"name": "mine", "tasks": [{"name": "evening"}]});
    house.create(restore).await;
    house.until_phase("RestoreSession", "again", "Invalid").await;
    house.patch("RestoreSession", "again", json!({"spec": {"addon": {"tasks": [{"name": "morning"}]}}})).await;
    house.until_phase("RestoreSession", "again", "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_is_mended_means_the_snapshot_that_it_names_now() {
    let (house, _agent, _task) = backed_up().await;
    let first = house.names("Snapshot").await.remove(0);
    house.back_up("one", "by-hand").await;
    let mut restore = house::restore("back");
    restore["spec"]["dataSource"] = json!({"snapshot": first, "repository": "one-repo", "components": ["dump-pod-7"]});
    house.create(restore).await;
    house.until_phase("RestoreSession", "back", "Invalid").await;
    let refused = house.get("RestoreSession", "back").await.unwrap();
    assert_eq!(refused["metadata"]["annotations"]["holdfast.dev/snapshot"], json!(first), "{refused}");
    house.patch("RestoreSession", "back", json!({"spec": {"dataSource": {"snapshot": "one-repo-by-hand", "components": ["dump"]}}})).await;
    house.until_phase("RestoreSession", "back", "Succeeded").await;
    let mended = house.get("RestoreSession", "back").await.unwrap();
    assert_eq!(mended["metadata"]["annotations"]["holdfast.dev/snapshot"], "one-repo-by-hand");
}
