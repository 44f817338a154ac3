//! Restores that meet in one volume, that fail while others of them write, and that lose what they read from.

use std::time::Duration;

use serde_json::{Value, json};

use crate::batch::{pod_of, workload};
use crate::hooks::{listen, template};
use crate::house::{self, House};
use crate::{agent::Agent, backed_up, condition, session_of};

/// What a restore says that it waits for.
async fn waits_for(house: &House, name: &str) -> String {
    let restore = house.get("RestoreSession", name).await.unwrap();
    condition(&restore, "Waiting")["message"].as_str().unwrap_or_default().to_owned()
}

async fn is_paused(house: &House) -> bool {
    house.get("BackupConfiguration", "one").await.unwrap()["spec"]["paused"] == true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_waits_for_the_one_in_its_volume_also_for_one_that_was_deleted() {
    let (house, agent, _task) = backed_up().await;
    agent.hold(true);
    agent.memory.lock().unwrap().slow_to_stop = true;
    house.create(house::restore("back")).await;
    house.until("the restore to be with an agent", || async { agent.restores().len() == 1 }).await;
    house.delete("RestoreSession", "back").await;
    house.until("the agent to be told", || async { agent.memory.lock().unwrap().cancelled.len() == 1 }).await;
    // The same again under its name, and another one.
    for name in ["back", "beside"] {
        house.create(house::restore(name)).await;
        house.until("what it waits for to be said", || async { agent.restores().len() > 1 || !waits_for(&house, name).await.is_empty() }).await;
        assert_eq!(agent.restores().len(), 1, "two write to one volume");
        assert_eq!(waits_for(&house, name).await, "component dump: PersistentVolumeClaim demo/data is being restored by RestoreSession demo/back");
    }
    agent.stop_at_last();
    house.until("the next one to be with an agent", || async { agent.restores().len() == 2 }).await;
    house.until("it to say no longer that it waits", || async { waits_for(&house, "back").await.is_empty() }).await;
    assert_eq!((agent.restores().len(), waits_for(&house, "beside").await.is_empty()), (2, false), "one after the other");
    agent.let_go();
    for name in ["back", "beside"] {
        house.until_phase("RestoreSession", name, "Succeeded").await;
    }
    assert_eq!((agent.restores().len(), waits_for(&house, "beside").await.as_str()), (3, ""));
}

/// A restore of two pods of a StatefulSet that are both with the agent, with a hook after it.
async fn of_two_pods(hook: &str, port: u16) -> (House, Agent, tokio::task::JoinHandle<()>) {
    let house = House::start().await;
    let (agent, task) = Agent::start(&house, "a");
    house.furnish().await;
    house.create(house::policy(5)).await;
    let mut pg = workload("StatefulSet", "pg");
    pg["spec"]["replicas"] = json!(2);
    house.create(pg).await;
    for pod in ["pg-0", "pg-1"] {
        pod_of(&house, "pg", pod).await;
    }
    let target = json!({"apiGroup": "apps", "kind": "StatefulSet", "name": "pg"});
    let mut configuration = house::configuration("one");
    configuration["spec"]["target"] = target.clone();
    configuration["spec"]["sessions"][0]["addon"] = json!({"name": "workload-addon", "tasks": [{"name": "logical-backup", "params": {"paths": "/data"}}]});
    house.create(configuration).await;
    let session = session_of(&house, "one").await;
    house.until_phase("BackupSession", &session, "Succeeded").await;
    let mut after = template(hook, json!({"httpGet": {"path": format!("/{hook}"), "port": port}}));
    after["spec"]["executor"]["pod"]["selector"] = json!("app=pg");
    house.create(after).await;
    agent.hold(true);
    let mut restore = house::restore("back");
    restore["spec"]["target"] = target;
    restore["spec"]["addon"]["name"] = json!("workload-addon");
    restore["spec"]["hooks"] = json!({"postRestore": [{"name": hook, "hookTemplate": {"name": hook}}]});
    house.create(restore).await;
    house.until("both components to be with the agent", || async { agent.restores().len() == 2 }).await;
    (house, agent, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_fails_is_over_when_no_other_component_of_it_is_written_any_more() {
    let (port, mut requests) = listen("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    let (house, agent, _task) = of_two_pods("start", port).await;
    house.until("backups to be paused", || async { is_paused(&house).await }).await;
    agent.memory.lock().unwrap().slow_to_stop = true;
    agent.fail_one("dump-pod-0");
    house.until("the other one to be told", || async { agent.memory.lock().unwrap().cancelled.iter().any(|task| task.component == "dump-pod-1") }).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let failing = house.get("RestoreSession", "back").await.unwrap()["status"].clone();
    assert_eq!((&failing["phase"], &failing["components"]["dump-pod-0"]["phase"]), (&json!("Running"), &json!("Failed")));
    assert!(requests.try_recv().is_err(), "the application is started while its volume is written");
    assert!(is_paused(&house).await, "nor is it backed up");
    agent.stop_at_last();
    assert!(requests.recv().await.unwrap().starts_with("GET /start "));
    house.until_phase("RestoreSession", "back", "Failed").await;
    house.until("backups to go on", || async { !is_paused(&house).await }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_whose_snapshot_goes_while_it_runs_fails_and_backups_go_on() {
    let (house, agent, _task) = backed_up().await;
    agent.hold(true);
    house.create(house::restore("back")).await;
    house.until("the restore to be with an agent", || async { agent.restores().len() == 1 }).await;
    house.until_phase("RestoreSession", "back", "Running").await;
    house.until("backups to be paused", || async { is_paused(&house).await }).await;
    let snapshot = house.names("Snapshot").await.remove(0);
    house.delete("Snapshot", &snapshot).await;
    house.until("the agent to be told", || async { !agent.memory.lock().unwrap().cancelled.is_empty() }).await;
    let restore = || async { house.get("RestoreSession", "back").await.unwrap() };
    house.until("it to be missed", || async { condition(&restore().await, "RestoreSourceFound")["status"] == "False" }).await;
    assert_eq!((&restore().await["status"]["phase"], is_paused(&house).await), (&Value::from("Running"), true), "it may be applied again");
    house.clock.advance(Duration::from_secs(61));
    house.until_phase("RestoreSession", "back", "Failed").await;
    let failed = restore().await;
    assert_eq!(failed["status"]["components"]["dump"]["error"], format!("Snapshot {snapshot} does not exist"));
    assert_eq!(condition(&failed, "BackupAtFault")["status"], "False", "{failed}");
    house.until("backups to go on", || async { !is_paused(&house).await }).await;
}
