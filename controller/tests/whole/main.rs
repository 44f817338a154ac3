//! The controller as a whole: a real one on an in-process API server, agents over real gRPC with TLS.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says with them what it expects")]

mod admission;
mod adoption;
mod agent;
mod batch;
mod beside_kubestash;
mod blueprint;
mod clock;
mod daemon_set;
mod elsewhere;
mod events;
mod faults;
mod first_use;
mod function_tasks;
mod functions;
mod hooks;
mod house;
mod manifests;
mod own_claims;
mod read_back;
mod refused;
mod removal;
mod repositories;
mod restores;
mod settings;
mod takeover;
mod verification;

use std::time::{Duration, Instant};

use agent::Agent;
use holdfast_proto::v1;
use house::House;
use serde_json::{Value, json};

async fn session_of(house: &House, configuration: &str) -> String {
    house
        .until("a session", || async {
            house.list("BackupSession").await.iter().any(|session| session["spec"]["invoker"]["name"] == configuration)
        })
        .await;
    let sessions = house.list("BackupSession").await;
    let session = sessions.iter().find(|session| session["spec"]["invoker"]["name"] == configuration).unwrap();
    session["metadata"]["name"].as_str().unwrap().to_owned()
}

/// A house after its first backup.
async fn backed_up() -> (House, Agent, tokio::task::JoinHandle<()>) {
    let house = House::start().await;
    let (agent, task) = Agent::start(&house, "a");
    house.furnish().await;
    house.create(house::policy(5)).await;
    house.create(house::configuration("one")).await;
    let session = session_of(&house, "one").await;
    house.until_phase("BackupSession", &session, "Succeeded").await;
    (house, agent, task)
}

fn condition<'a>(object: &'a Value, type_: &str) -> &'a Value {
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    conditions.find(|condition| condition["type"] == type_).unwrap_or(&Value::Null)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_storage_to_restore() {
    let house = House::start().await;
    let (agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    house.until_phase("BackupStorage", "store", "Ready").await;
    house.create(house::configuration("one")).await;
    house.until_phase("BackupConfiguration", "one", "Ready").await;
    let name = session_of(&house, "one").await;
    let start = Instant::now();
    house.until_phase("BackupSession", &name, "Succeeded").await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());

    let session = house.get("BackupSession", &name).await.unwrap();
    let order: Vec<_> = session["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|condition| condition["type"].as_str().unwrap())
        .collect();
    assert_eq!(order, ["SnapshotsEnsured", "BackupExecutorEnsured", "SessionHistoryCleaned", "MetricsPushed"]);
    let snapshot_name = format!("one-repo-{name}");
    let snapshot = house.get("Snapshot", &snapshot_name).await.unwrap();
    assert_eq!(condition(&snapshot, "RecentSnapshotListUpdated")["status"], "True");
    let dump = &snapshot["status"]["components"]["dump"];
    assert_eq!(dump["driver"], "Holdfast");
    assert_eq!(dump["path"], "repository/v1/daily/dump");
    assert_eq!(dump["resticStats"][0]["summary"]["hostPath"], "/kubestash-data");
    assert_eq!(dump["resticStats"][0]["summary"]["uploaded"], "1024 B");
    assert_eq!(snapshot["status"]["size"], "3.000 MiB");
    assert_eq!(snapshot["spec"]["snapshotID"].as_str().unwrap().len(), 26);
    house
        .until("the Repository's numbers, which may be late", || async {
            let status = &house.get("Repository", "one-repo").await.unwrap()["status"];
            status["snapshotCount"] == 1 && status["recentSnapshots"][0]["phase"] == "Succeeded"
        })
        .await;
    let repository = house.get("Repository", "one-repo").await.unwrap();
    assert!(repository["status"].get("integrity").is_none(), "nothing was checked");

    // What went to the agent: secrets from their Secrets, the volume by its UID, an attempt of this leadership.
    let assigned = agent.memory.lock().unwrap().assigned.clone();
    let backup = assigned.iter().find_map(|assign| match &assign.spec {
        Some(v1::assign::Spec::Backup(task)) => Some((assign, task)),
        _ => None,
    });
    let (assign, task) = backup.unwrap();
    assert!(assign.epoch > 0 && u64::from(assign.task.as_ref().unwrap().attempt >> 20) == assign.epoch);
    let access = task.repository.as_ref().unwrap();
    assert_eq!((access.directory.as_str(), access.password.as_slice()), ("one", b"hush".as_slice()));
    let volume = task.sources[0].volume.as_ref().unwrap();
    assert_eq!((volume.pv_name.as_str(), volume.pod_name.as_str()), ("pv-data", "app"));
    assert!(snapshot["metadata"]["annotations"].get("holdfast.dev/attempts").is_none(), "{:#}", snapshot["metadata"]);
    let views: Vec<String> = assigned
        .iter()
        .filter_map(|assign| match &assign.spec {
            Some(v1::assign::Spec::WriteViews(views)) => Some(views.put.iter().map(|view| view.path.clone())),
            _ => None,
        })
        .flatten()
        .collect();
    for path in
        ["metadata.yaml".to_owned(), "one/repository.yaml".to_owned(), format!("one/snapshots/{snapshot_name}.yaml")]
    {
        assert!(views.contains(&path), "{path} is not among {views:?}");
    }

    agent.hold(true);
    house.create(house::restore("back")).await;
    house.until("the restore to begin", || async { agent.attempts().len() == 2 }).await;
    house
        .until("backups to be paused", || async {
            house.get("BackupConfiguration", "one").await.unwrap()["spec"]["paused"] == true
        })
        .await;
    agent.let_go();
    house.until_phase("RestoreSession", "back", "Succeeded").await;
    house
        .until("backups to go on", || async {
            house.get("BackupConfiguration", "one").await.unwrap()["spec"]["paused"] == false
        })
        .await;
    let restored = house.get("RestoreSession", "back").await.unwrap();
    assert_eq!(restored["status"]["components"]["dump"]["phase"], "Succeeded");
    assert_eq!(restored["metadata"]["annotations"]["holdfast.dev/attempts"], r#"{"dump":{"attempt":1,"node":"a"}}"#, "it was not persisted");
    assert_eq!(restored["status"]["pausedBackups"][0]["name"], "one");
    house
        .until("every result to be acknowledged", || async {
            let memory = agent.memory.lock().unwrap();
            memory.acknowledged == memory.assigned.len()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_on_one_node_in_five_seconds() {
    let house = House::start().await;
    let (_agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    house.until_phase("BackupStorage", "store", "Ready").await;
    for index in 0..20 {
        house.create(house::configuration(&format!("c{index}"))).await;
    }
    let start = Instant::now();
    house
        .until("twenty sessions to succeed", || async {
            house.list("BackupSession").await.iter().filter(|session| session["status"]["phase"] == "Succeeded").count()
                == 20
        })
        .await;
    println!("twenty sessions, from their configurations on: {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_secret_is_named_and_heals() {
    let house = House::start().await;
    let (_agent, _task) = Agent::start(&house, "a");
    house.create(house::storage()).await;
    // It is NotReady, too, while nobody has looked yet.
    house
        .until("the Secret to be missed", || async {
            house.get("BackupStorage", "store").await.unwrap().to_string().contains("BackendSecretNotAvailable")
        })
        .await;
    let storage = house.get("BackupStorage", "store").await.unwrap();
    assert_eq!(condition(&storage, "BackendSecretFound")["reason"], "BackendSecretNotAvailable");
    assert!(
        condition(&storage, "BackendInitialized")["message"]
            .as_str()
            .unwrap()
            .contains("Secret demo/s3 does not exist")
    );
    house.secrets().await;
    house.until_phase("BackupStorage", "store", "Ready").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleting_a_running_session_or_pausing_its_invoker_leaves_nothing() {
    let house = House::start().await;
    let (agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    agent.hold(true);
    for (round, name) in ["one", "two"].into_iter().enumerate() {
        house.create(house::configuration(name)).await;
        let session = session_of(&house, name).await;
        house.until("the backup to run", || async { agent.attempts().len() == round + 1 }).await;
        if round == 0 {
            house.delete("BackupSession", &session).await;
        } else {
            house.patch("BackupConfiguration", name, json!({"spec": {"paused": true}})).await;
            house.until_phase("BackupSession", &session, "Failed").await;
        }
        house.until("its snapshot to go", || async { house.list("Snapshot").await.is_empty() }).await;
        house
            .until("the agent to be told", || async { agent.memory.lock().unwrap().cancelled.len() == round + 1 })
            .await;
    }
    // One at a time: a session beside a running one is skipped.
    house.create(house::configuration("three")).await;
    let first = session_of(&house, "three").await;
    house.until("the backup to run", || async { agent.attempts().len() == 3 }).await;
    let mut second = house.get("BackupSession", &first).await.unwrap();
    second["metadata"] = json!({"name": "by-hand", "namespace": "demo"});
    second.as_object_mut().unwrap().remove("status");
    house.create(second).await;
    house.until_phase("BackupSession", "by-hand", "Skipped").await;
    agent.let_go();
    house.until_phase("BackupSession", &first, "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_controller_loses_no_running_backup() {
    let mut house = House::start().await;
    let (agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    agent.hold(true);
    house.create(house::configuration("one")).await;
    let session = session_of(&house, "one").await;
    house.until("the backup to run", || async { agent.attempts() == [1] }).await;
    house.kill_controller().await;
    // It ends while nobody listens.
    agent.let_go();
    let house = house.start_controller().await;
    house.until_phase("BackupSession", &session, "Succeeded").await;
    assert_eq!(agent.attempts(), [1], "the backup ran again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_goes_takes_its_backup_with_it_to_the_next_node() {
    let house = House::start().await;
    let (first, _task) = Agent::start(&house, "a");
    let (second, _other) = Agent::start(&house, "b");
    house.furnish().await;
    first.hold(true);
    second.hold(true);
    house.create(house::configuration("one")).await;
    let session = session_of(&house, "one").await;
    house.until("the backup to run", || async { first.attempts() == [1] }).await;
    house.delete("Pod", "app").await;
    house.until("the volume to be let go", || async { !first.memory.lock().unwrap().released.is_empty() }).await;
    house.create(house::pod("app-2", "b")).await;
    house.until("the backup to run on the other node", || async { second.attempts() == [1] }).await;
    second.let_go();
    house.until_phase("BackupSession", &session, "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_agents_are_let_in() {
    let house = House::start().await;
    for token in ["", "nonsense"] {
        let status = agent::dial(&house, token).await.map(|_| ()).unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unauthenticated, "{status}");
    }
    let other = house.standalone.mint_token("holdfast/holdfast-agent", "agent-a", "a", "somebody-else").unwrap();
    assert_eq!(agent::dial(&house, &other).await.map(|_| ()).unwrap_err().code(), tonic::Code::Unauthenticated);
    let good = house.standalone.mint_token("holdfast/holdfast-agent", "agent-a", "a", "holdfast").unwrap();
    let (_sender, mut stream) = agent::dial(&house, &good).await.unwrap();
    let Some(v1::controller_message::Kind::Welcome(welcome)) = stream.message().await.unwrap().unwrap().kind else {
        panic!()
    };
    assert_eq!(welcome.node, "a");
}
