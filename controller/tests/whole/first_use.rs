//! What may not change, where no webhook was there to say so; and what is paused.

use std::time::Duration;

use serde_json::{Value, json};

use crate::agent::Agent;
use crate::house::{self, House};
use crate::{backed_up, condition, session_of};

/// A house whose first backup runs, and its session.
async fn backing_up() -> (House, Agent, String, tokio::task::JoinHandle<()>) {
    let house = House::start().await;
    let (agent, task) = Agent::start(&house, "a");
    house.furnish().await;
    agent.hold(true);
    house.create(house::configuration("one")).await;
    let session = session_of(&house, "one").await;
    house.until("the backup to run", || async { agent.attempts() == [1] }).await;
    (house, agent, session, task)
}

async fn says(house: &House, kind: &str, name: &str, type_: &str, words: &str) {
    house
        .until(words, || async {
            let object = house.get(kind, name).await.unwrap();
            condition(&object, type_)["message"].as_str().is_some_and(|message| message.contains(words))
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_whose_directory_was_changed_is_left_alone_until_it_is_changed_back() {
    let (house, agent, _task) = backed_up().await;
    house.patch("Repository", "one-repo", json!({"spec": {"path": "/somewhere"}})).await;
    says(&house, "Repository", "one-repo", "RepositoryInitialized", "it was first opened in BackupStorage demo/store, directory \"one\"").await;
    house.until_phase("Repository", "one-repo", "NotReady").await;
    house.create(house::restore("back")).await;
    house.until_phase("RestoreSession", "back", "Failed").await;
    let failed = house.get("RestoreSession", "back").await.unwrap();
    assert!(failed["status"].to_string().contains("change it back"), "{}", failed["status"]);
    assert!(!agent.was_told("somewhere"), "nothing is done in the other place");
    house.patch("Repository", "one-repo", json!({"spec": {"path": "/one"}})).await;
    house.until_phase("Repository", "one-repo", "Ready").await;
    house.until_phase("BackupConfiguration", "one", "Ready").await;
    house.back_up("one", "by-hand").await;
    assert_eq!(agent.directories(), ["one", "one"]);
    let repository = house.get("Repository", "one-repo").await.unwrap();
    assert_eq!(*condition(&repository, "SpecKept"), Value::Null, "there is nothing more to say");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_that_holds_repositories_stays_with_its_backend() {
    let (house, agent, _task) = backed_up().await;
    house
        .until_within(Duration::from_secs(30), "the storage to list its repository", || async {
            house.get("BackupStorage", "store").await.unwrap()["status"]["repositories"].as_array().is_some_and(|all| !all.is_empty())
        })
        .await;
    house.patch("BackupStorage", "store", json!({"spec": {"storage": {"s3": {"bucket": "another-bucket"}}}})).await;
    house.until_phase("BackupStorage", "store", "NotReady").await;
    says(&house, "BackupStorage", "store", "BackendInitialized", "the storage holds 1 repositories").await;
    house.create(house::restore("back")).await;
    house.until_phase("RestoreSession", "back", "Failed").await;
    assert!(!agent.was_told("another-bucket"), "nothing is done with the other backend");
    house.patch("BackupStorage", "store", json!({"spec": {"storage": {"s3": {"bucket": "b"}}}})).await;
    house.until_phase("BackupStorage", "store", "Ready").await;
    let storage = house.get("BackupStorage", "store").await.unwrap();
    assert_eq!(condition(&storage, "SpecKept")["status"], "True");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_was_changed_goes_on_as_it_was_begun() {
    let (house, agent, session, _task) = backing_up().await;
    // With what it has begun is written after a moment.
    house.until_phase("BackupSession", &session, "Running").await;
    house.patch("BackupSession", &session, json!({"spec": {"session": "weekly", "invoker": {"name": "another"}}})).await;
    says(&house, "BackupSession", &session, "SpecKept", "it goes on as it was begun").await;
    agent.let_go();
    house.until_phase("BackupSession", &session, "Succeeded").await;
    assert_eq!(agent.attempts(), [1], "nothing was cancelled, and nothing begun again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_was_changed_goes_on_as_it_was_begun() {
    let (mut house, agent, _task) = backed_up().await;
    agent.hold(true);
    house.create(house::restore("back")).await;
    house.until("the restore to run", || async { agent.was_told("RestoreTask") }).await;
    house.patch("RestoreSession", "back", json!({"spec": {"target": {"name": "another"}, "dataSource": {"repository": "another-repo"}}})).await;
    says(&house, "RestoreSession", "back", "SpecKept", "one-repo").await;
    house
        .until("the change to be told of", || async {
            let restore = house.get("RestoreSession", "back").await.unwrap();
            condition(&restore, "SpecKept")["status"] == "False"
        })
        .await;
    // Another controller knows it, too.
    house.kill_controller().await;
    let house = house.start_controller().await;
    agent.let_go();
    house.until_phase("RestoreSession", "back", "Succeeded").await;
    assert!(agent.memory.lock().unwrap().cancelled.is_empty() && !agent.was_told("another"), "something else was restored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_is_paused_is_not_opened_until_it_is_resumed() {
    let house = House::start().await;
    let (agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    house.until_phase("BackupStorage", "store", "Ready").await;
    house
        .create(json!({"apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Repository", "metadata": {"name": "one-repo", "namespace": "demo"},
            "spec": {"paused": true, "path": "/one", "storageRef": {"name": "store", "namespace": "demo"}, "encryptionSecret": {"name": "password"},
                "appRef": {"apiGroup": "", "kind": "PersistentVolumeClaim", "name": "data", "namespace": "demo"}}}))
        .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!agent.was_told("InitRepository"), "it was opened");
    house.patch("Repository", "one-repo", json!({"spec": {"paused": false}})).await;
    house.until_phase("Repository", "one-repo", "Ready").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_paused_begins_nothing_and_goes_on_when_it_is_resumed() {
    let (house, agent, session, _task) = backing_up().await;
    let snapshot = format!("one-repo-{session}");
    house.patch("Snapshot", &snapshot, json!({"spec": {"paused": true}})).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    agent.let_go();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let paused = house.get("Snapshot", &snapshot).await.unwrap();
    assert_ne!(paused["status"]["phase"], "Succeeded", "its end was taken note of");
    assert!(agent.memory.lock().unwrap().cancelled.is_empty(), "what runs is not stopped");
    house.patch("Snapshot", &snapshot, json!({"spec": {"paused": false}})).await;
    house.until_phase("BackupSession", &session, "Succeeded").await;
    assert_eq!(agent.attempts(), [1], "it ran again");
}
