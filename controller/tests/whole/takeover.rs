//! Leaderships that end, and begin again in the same process; the tests are the other replica.

use std::time::Duration;

use holdfast_controller::repository::maintenance::Pace;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::agent::Agent;
use crate::functions::{hooked, pod, pods, say};
use crate::house::{self, House};
use crate::{backed_up, session_of};

/// The agent hears who leads when all that the leadership before has begun has stopped.
async fn until_led(house: &House, agent: &Agent, epoch: u64) {
    house.until(&format!("the agent to hear of leadership {epoch}"), || async { agent.memory.lock().unwrap().epoch == epoch }).await;
}

async fn change_lease(house: &House, spec: Value) {
    house.patch_in("holdfast", "Lease", "holdfast", json!({"spec": spec})).await;
}

async fn epoch_of_lease(house: &House) -> u64 {
    house.get_in("holdfast", "Lease", "holdfast").await.unwrap()["spec"]["leaseTransitions"].as_u64().unwrap()
}

/// The other replica leads; for so long as this one waits for what it renews no more.
async fn take_lease(house: &House, agent: &Agent) {
    let epoch = epoch_of_lease(house).await + 1;
    change_lease(house, json!({"holderIdentity": "controller-1", "leaseTransitions": epoch})).await;
    until_led(house, agent, 0).await;
}

async fn give_lease_back(house: &House, agent: &Agent) {
    let epoch = epoch_of_lease(house).await + 1;
    change_lease(house, json!({"holderIdentity": ""})).await;
    until_led(house, agent, epoch).await;
}

async fn status(house: &House) -> String {
    let mut stream = TcpStream::connect(house.health).await.unwrap();
    stream.write_all(b"GET /statusz HTTP/1.1\r\nhost: controller\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_is_deleted_stops_nothing() {
    let (mut house, agent, _task) = backed_up().await;
    house.kill_controller().await;
    let mut house = house.start_controller().await;
    until_led(&house, &agent, 2).await;
    house.delete_in("holdfast", "Lease", "holdfast").await;
    until_led(&house, &agent, 3).await;
    house.back_up("one", "after").await;
    // Nor when nobody but the agents knows any more how high the epoch had risen.
    house.kill_controller().await;
    house.delete_in("holdfast", "Lease", "holdfast").await;
    let house = house.start_controller().await;
    until_led(&house, &agent, 4).await;
    house.back_up("one", "later").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_keeps_no_list_of_what_it_might_do() {
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "holdfast", "namespace": "holdfast"},
        "spec": {"holderIdentity": "controller-1", "leaseTransitions": 5, "leaseDurationSeconds": 15}});
    let house = House::start_with(Pace::default(), holdfast_api::crd::all(), &[lease]).await;
    let (agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    house.create(house::configuration("one")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let said = status(&house).await;
    assert!(said.contains("leading_epoch 0") && said.contains("objects_queued 0"), "{said}");
    give_lease_back(&house, &agent).await;
    let session = session_of(&house, "one").await;
    house.until_phase("BackupSession", &session, "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_no_longer_leads_runs_no_hook_again() {
    let house = House::start().await;
    let (agent, _task) = Agent::start(&house, "a");
    hooked(&house, json!({"maxRetry": 3})).await;
    let pod = pod(&house, &Value::Null).await;
    take_lease(&house, &agent).await;
    // The other has seen its end.
    house.delete("Pod", pod["metadata"]["name"].as_str().unwrap()).await;
    change_lease(&house, json!({"renewTime": "2026-11-26T12:00:00.000000Z"})).await;
    // Longer than the pause before another try.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(pods(&house).await.is_empty(), "it ran again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leads_again_goes_on_with_the_pods_that_are_there() {
    let house = House::start().await;
    let (agent, _task) = Agent::start(&house, "a");
    hooked(&house, json!({})).await;
    let first = pod(&house, &Value::Null).await;
    let session = session_of(&house, "one").await;
    take_lease(&house, &agent).await;
    give_lease_back(&house, &agent).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let uids: Vec<Value> = pods(&house).await.iter().map(|pod| pod["metadata"]["uid"].clone()).collect();
    assert_eq!(uids, [first["metadata"]["uid"].clone()]);
    say(&house, &first, "Succeeded", json!({"exitCode": 0})).await;
    house.until_phase("BackupSession", &session, "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_went_while_another_led_holds_nothing_up() {
    let (house, agent, _task) = backed_up().await;
    agent.hold(true);
    house.begin("one", "held").await;
    house.until("the backup to run", || async { agent.attempts().len() == 2 }).await;
    take_lease(&house, &agent).await;
    house.delete("BackupSession", "held").await;
    house.until_gone("BackupSession", "held").await;
    agent.let_go();
    give_lease_back(&house, &agent).await;
    house.back_up("one", "next").await;
}
