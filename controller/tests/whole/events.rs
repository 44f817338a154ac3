//! What people are told of in Events, as turning points come.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::agent::Agent;
use crate::house::{self, House};
use crate::{backed_up, session_of};

/// Kind of what an Event is about, its type and reason.
type Told = (String, String, String);

async fn told(house: &House) -> BTreeSet<Told> {
    let text = |event: &Value, field: &str| event.pointer(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let events = house.list("Event").await;
    events.iter().map(|event| (text(event, "/regarding/kind"), text(event, "/type"), text(event, "/reason"))).collect()
}

/// Each of these, as `Kind Type Reason`.
async fn is_told_of(house: &House, wanted: &[&str]) {
    for one in wanted {
        let words: Vec<&str> = one.split(' ').collect();
        let wanted: Told = (words[0].into(), words[1].into(), words[2].into());
        house.until(&format!("an Event {one}"), || async { told(house).await.contains(&wanted) }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_well_is_told_of() {
    let (house, agent, _task) = backed_up().await;
    let normal = ["BackupStorage Normal Ready", "Repository Normal Ready", "BackupConfiguration Normal Ready", "BackupSession Normal Succeeded"];
    is_told_of(&house, &normal).await;
    agent.hold(true);
    house.create(house::restore("back")).await;
    is_told_of(&house, &["RestoreSession Normal BackupsPaused"]).await;
    agent.let_go();
    is_told_of(&house, &["RestoreSession Normal Succeeded", "BackupConfiguration Normal Resumed"]).await;
    let warnings: Vec<Told> = told(&house).await.into_iter().filter(|(_, type_, _)| type_ == "Warning").collect();
    assert!(warnings.is_empty(), "on a good day: {warnings:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_is_told_of() {
    let house = House::start().await;
    let (agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    house.create(house::policy(1)).await;
    agent.memory.lock().unwrap().full = Some("one".into());
    let mut configuration = house::configuration("one");
    configuration["spec"]["sessions"][0]["retryConfig"] = json!({"maxRetry": 1, "delay": "1s"});
    house.create(configuration).await;
    let first = session_of(&house, "one").await;
    house.until_phase("BackupSession", &first, "Failed").await;
    agent.memory.lock().unwrap().full = None;
    is_told_of(&house, &["BackupSession Warning Failed", "BackupSession Normal Retried"]).await;
    house
        .until("the retry to be over", || async {
            house.list("BackupSession").await.iter().any(|session| session["status"]["phase"] == "Succeeded")
        })
        .await;
    agent.hold(true);
    house.begin("one", "cancelled").await;
    house.until("it to run", || async { agent.was_told("one-repo-cancelled") }).await;
    house.patch("BackupConfiguration", "one", json!({"spec": {"paused": true}})).await;
    is_told_of(&house, &["BackupSession Warning Cancelled"]).await;
    agent.let_go();
    house.begin("one", "skipped").await;
    is_told_of(&house, &["BackupSession Warning Skipped"]).await;
    let mut nothing = house::restore("nothing");
    nothing["spec"]["dataSource"]["snapshot"] = json!("nobody-has-taken-it");
    house.create(nothing).await;
    house.create(json!({"apiVersion": "storage.kubestash.com/v1alpha1", "kind": "BackupStorage", "metadata": {"name": "bare", "namespace": "demo"},
        "spec": {"storage": {"provider": "s3", "s3": {"bucket": "c", "endpoint": "https://s3", "prefix": "q", "secretName": "nobody"}}}})).await;
    is_told_of(&house, &["BackupStorage Warning NotReady", "RestoreSession Normal Waiting"]).await;
}
