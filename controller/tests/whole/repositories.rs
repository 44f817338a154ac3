//! Several repositories in one session.

use std::time::Duration;

use serde_json::{Value, json};

use crate::agent::Agent;
use crate::house::{self, House};
use crate::session_of;

/// To a near and a far repository, tried again at once.
fn configuration() -> Value {
    let mut configuration = house::configuration("one");
    let session = &mut configuration["spec"]["sessions"][0];
    session["retryConfig"] = json!({"maxRetry": 2, "delay": "1s"});
    session["sessionHistoryLimit"] = json!(10);
    let mut far = session["repositories"][0].clone();
    far["name"] = json!("one-far");
    far["directory"] = json!("/far");
    session["repositories"].as_array_mut().unwrap().push(far);
    configuration
}

async fn retry_of(house: &House, name: &str) -> String {
    let others = || async {
        let mut names = house.names("BackupSession").await;
        names.retain(|other| other.as_str() > name);
        names
    };
    house.until("a retry", || async { !others().await.is_empty() }).await;
    others().await.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_gets_its_snapshot_and_a_retry_sends_only_what_is_missing() {
    let house = House::start().await;
    let (agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    house.create(house::policy(5)).await;
    agent.memory.lock().unwrap().full = Some("far".into());
    house.create(configuration()).await;
    let first = session_of(&house, "one").await;
    house.until_phase("BackupSession", &first, "Failed").await;
    let near = house.get("Snapshot", &format!("one-repo-{first}")).await.unwrap();
    let far = house.get("Snapshot", &format!("one-far-{first}")).await.unwrap();
    assert_eq!((&near["status"]["phase"], &far["status"]["phase"]), (&json!("Succeeded"), &json!("Failed")));
    let second = retry_of(&house, &first).await;
    house.until_phase("BackupSession", &second, "Failed").await;
    agent.memory.lock().unwrap().full = None;
    let third = retry_of(&house, &second).await;
    house.until_phase("BackupSession", &third, "Succeeded").await;
    for name in [&second, &third] {
        let session = house.get("BackupSession", name).await.unwrap();
        assert_eq!(session["status"]["totalSnapshots"], 1);
        assert_eq!(session["status"]["snapshots"][0]["repository"], "one-far", "{}", session["status"]);
    }
    assert_eq!(agent.directories(), ["far", "far", "far", "one"], "the good one was sent again");
    house
        .until("the Repository's numbers, which may be late", || async {
            house.get("Repository", "one-repo").await.unwrap()["status"]["snapshotCount"] == 1
        })
        .await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(house.list("BackupSession").await.len(), 3, "nothing is left to retry");
}
