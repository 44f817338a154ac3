//! What runs, or has ended, while nobody leads.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;

use crate::agent::Agent;
use crate::house::{self, House};
use crate::session_of;

async fn cut_off(agent: &Agent, dialing: JoinHandle<()>) {
    dialing.abort();
    let _ = dialing.await;
    agent.hang_up();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_ends_well_while_nobody_leads_is_good_though_its_time_is_over_by_then() {
    let mut house = House::start().await;
    let (agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    agent.hold(true);
    let mut configuration = house::configuration("one");
    configuration["spec"]["sessions"][0]["backupTimeout"] = json!("1m");
    house.create(configuration).await;
    let session = session_of(&house, "one").await;
    house
        .until("its time to be counted", || async { house.get("BackupSession", &session).await.unwrap()["status"]["backupDeadline"].is_string() })
        .await;
    house.kill_controller().await;
    agent.let_go();
    house.clock.advance(Duration::from_secs(61));
    let house = house.start_controller().await;
    house.until_phase("BackupSession", &session, "Succeeded").await;
    assert_eq!(agent.attempts(), [1], "the backup ran again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_controller_goes_on_with_the_newer_attempt_though_the_older_is_heard_of_first() {
    let mut house = House::start().await;
    let (first, dialing) = Agent::start(&house, "a");
    let (second, other) = Agent::start(&house, "b");
    house.furnish().await;
    first.hold(true);
    second.hold(true);
    house.create(house::configuration("one")).await;
    let session = session_of(&house, "one").await;
    house.until("the backup to run", || async { first.attempts() == [1] }).await;
    // Its node is cut off and its pod goes elsewhere, so that it is begun again there.
    cut_off(&first, dialing).await;
    house.delete("Pod", "app").await;
    house.create(house::pod("app-2", "b")).await;
    house.until("it to run on the other node", || async { second.attempts() == [1] }).await;
    house.kill_controller().await;
    cut_off(&second, other).await;
    let house = house.start_controller().await;
    let _dialing = first.keep_dialing(&house, "a");
    house.until("the older one to be stopped", || async { first.memory.lock().unwrap().cancelled.len() == 1 }).await;
    let _other = second.keep_dialing(&house, "b");
    second.let_go();
    house.until_phase("BackupSession", &session, "Succeeded").await;
    assert!(second.memory.lock().unwrap().cancelled.is_empty(), "the newer one was stopped");
    assert_eq!((first.attempts(), second.attempts()), (vec![1], vec![1]), "the backup ran again");
}
