//! Retention and deletion, seen from outside: what goes, what stays, and that nothing waits for a backend that is away.

use std::time::Duration;

use holdfast_controller::repository::maintenance::Pace;
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::condition;
use crate::house::{self, House};

/// Everything at once, and a backend that is away is given up soon.
const HASTY: Pace = Pace {
    interval: Duration::from_millis(300),
    settle: Duration::from_millis(200),
    wait: Duration::from_secs(1),
    retry: Duration::from_millis(300),
    check: Duration::ZERO,
    patience: Duration::from_secs(2),
};

/// A house with a policy that keeps two, and the configuration `one` after its first backup.
async fn furnished(pace: Pace, deletion_policy: &str) -> (House, Agent, tokio::task::JoinHandle<()>) {
    let house = House::start_at(pace).await;
    let (agent, task) = Agent::start(&house, "a");
    house.furnish().await;
    house.create(house::policy(2)).await;
    let mut configuration = house::configuration("one");
    configuration["spec"]["sessions"][0]["sessionHistoryLimit"] = json!(20);
    configuration["spec"]["sessions"][0]["repositories"][0]["deletionPolicy"] = json!(deletion_policy);
    house.create(configuration).await;
    let first = crate::session_of(&house, "one").await;
    house.until_phase("BackupSession", &first, "Succeeded").await;
    (house, agent, task)
}

fn annotations(object: &Value) -> Vec<String> {
    object["metadata"]["annotations"].as_object().map(|all| all.keys().cloned().collect()).unwrap_or_default()
}

fn forgotten(agent: &Agent) -> Vec<String> {
    agent.memory.lock().unwrap().forgotten.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_policy_no_longer_keeps_goes_and_its_space_is_freed_later() {
    let (house, agent, _task) = furnished(HASTY, "Retain").await;
    for number in 2..=4 {
        // Snapshots of one second are ordered by name.
        house.back_up("one", &format!("s{number}")).await;
    }
    let session = house.get("BackupSession", "s4").await.unwrap();
    assert_eq!(session["status"]["retentionPolicy"], json!([{"phase": "Applied", "ref": {"name": "keep"}, "repository": "one-repo"}]));
    house.until("two Snapshots to be left", || async { house.names("Snapshot").await == ["one-repo-s3", "one-repo-s4"] }).await;
    house.until("the others to be forgotten", || async { forgotten(&agent) == ["e-1", "e-2"] }).await;
    let removed = agent.memory.lock().unwrap().views_removed.clone();
    assert!(removed.contains(&"one/snapshots/one-repo-s2.yaml".to_owned()), "{removed:?}");
    house.until("two prunes", || async { agent.memory.lock().unwrap().prunes >= 2 }).await;
    house
        .until("the Repository to say so", || async {
            let repository = house.get("Repository", "one-repo").await.unwrap();
            condition(&repository, "SpaceFreed")["message"] == "deleted 3 packs of 3.000 MiB" && annotations(&repository) == ["holdfast.dev/maintenance"]
        })
        .await;
    let repository = house.get("Repository", "one-repo").await.unwrap();
    assert_eq!(condition(&repository, "SnapshotsForgotten")["status"], "True");
    house
        .until("the Repository's numbers, which may be late", || async {
            house.get("Repository", "one-repo").await.unwrap()["status"]["snapshotCount"] == 2
        })
        .await;
    // The first prune finds what is unused, the second deletes it; then there is nothing to do. On a slow machine the first Snapshot's prunes are over
    // before the second is forgotten.
    let prunes = || agent.memory.lock().unwrap().prunes;
    let mut ended = 0;
    while ended != prunes() {
        ended = prunes();
        assert!(ended <= 4, "nothing was removed since");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(ended == 2 || ended == 4, "{ended} prunes");
    assert_eq!(forgotten(&agent), ["e-1", "e-2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_is_away_holds_up_nothing_and_loses_nothing() {
    let pace = Pace { settle: Duration::from_secs(3600), ..HASTY };
    let (mut house, agent, _task) = furnished(pace, "Retain").await;
    agent.memory.lock().unwrap().away = true;
    house.back_up("one", "s2").await;
    house.back_up("one", "s3").await;
    house.until("two Snapshots to be left", || async { house.names("Snapshot").await == ["one-repo-s2", "one-repo-s3"] }).await;
    house
        .until("the Repository to say why", || async {
            let repository = house.get("Repository", "one-repo").await.unwrap();
            condition(&repository, "SnapshotsForgotten")["message"] == "nobody answers"
        })
        .await;
    house.kill_controller().await;
    let house = house.start_controller().await;
    agent.memory.lock().unwrap().away = false;
    house.until("the first to be forgotten", || async { forgotten(&agent) == ["e-1"] }).await;
    house
        .until("the note of it to go", || async {
            annotations(&house.get("Repository", "one-repo").await.unwrap()) == ["holdfast.dev/maintenance"]
        })
        .await;
    assert_eq!(agent.memory.lock().unwrap().prunes, 0, "its time has not come");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_there_before_a_volume_shrank_is_held_until_somebody_says_so() {
    let (house, agent, _task) = furnished(HASTY, "Retain").await;
    agent.memory.lock().unwrap().bytes = 0;
    for number in 2..=5 {
        tokio::time::sleep(Duration::from_millis(1100)).await;
        house.back_up("one", &format!("s{number}")).await;
    }
    house.until("what came after to go", || async { forgotten(&agent) == ["e-2", "e-3"] }).await;
    let names = house.names("Snapshot").await;
    assert_eq!(names.len(), 3, "{names:?}");
    let session = house.get("BackupSession", "s5").await.unwrap();
    assert_eq!(condition(&session, "SnapshotsHeld")["reason"], "VolumeShrank");
    house
        .until("the configuration to say so", || async {
            let configuration = house.get("BackupConfiguration", "one").await.unwrap();
            condition(&configuration, "SnapshotsHeld")["message"].as_str().is_some_and(|message| message.contains("retention holds one-repo-one-daily"))
        })
        .await;
    // The command that the message gives.
    let configuration = house.get("BackupConfiguration", "one").await.unwrap();
    let message = condition(&configuration, "SnapshotsHeld")["message"].as_str().unwrap().to_owned();
    let (_, command) = message.split_once("kubectl -n demo annotate --overwrite backupconfiguration one ").unwrap();
    let (key, value) = command.split_once('=').unwrap();
    house.patch("BackupConfiguration", "one", json!({"metadata": {"annotations": {key: value}}})).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    house.back_up("one", "s6").await;
    house.until("two to be left", || async { house.names("Snapshot").await == ["one-repo-s5", "one-repo-s6"] }).await;
    house
        .until("nothing to be held", || async {
            condition(&house.get("BackupConfiguration", "one").await.unwrap(), "SnapshotsHeld").is_null()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_policy_removes_nothing_and_a_wrong_one_fails_the_session() {
    let (house, agent, _task) = furnished(HASTY, "Retain").await;
    house.delete("RetentionPolicy", "keep").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    house.back_up("one", "s2").await;
    let session = house.get("BackupSession", "s2").await.unwrap();
    assert_eq!(session["status"]["retentionPolicy"][0]["phase"], "Pending");
    let mut wrong = house::policy(1);
    wrong["spec"]["maxRetentionPeriod"] = json!("soon");
    house.create(wrong).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    house.begin("one", "s3").await;
    house.until_phase("BackupSession", "s3", "Failed").await;
    let session = house.get("BackupSession", "s3").await.unwrap();
    assert_eq!(session["status"]["retentionPolicy"][0]["phase"], "FailedToApply");
    assert_eq!(house.names("Snapshot").await.len(), 3);
    assert!(forgotten(&agent).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_deleted_takes_its_data_along_only_with_wipe_out() {
    let (house, agent, _task) = furnished(HASTY, "Retain").await;
    house.back_up("one", "s2").await;
    let first = house.names("Snapshot").await.into_iter().find(|name| name != "one-repo-s2").unwrap();
    house.delete("Snapshot", &first).await;
    house.until_gone("Snapshot", &first).await;
    house.patch("Snapshot", "one-repo-s2", json!({"spec": {"deletionPolicy": "WipeOut"}})).await;
    let finalizers = || async { house.get("Snapshot", "one-repo-s2").await.unwrap()["metadata"]["finalizers"].clone() };
    house.until("its finalizer", || async { finalizers().await == json!(["kubestash.com/cleanup"]) }).await;
    house.patch("Snapshot", "one-repo-s2", json!({"spec": {"deletionPolicy": "Delete"}})).await;
    house.until("no finalizer", || async { finalizers().await.is_null() }).await;
    house.patch("Snapshot", "one-repo-s2", json!({"spec": {"deletionPolicy": "WipeOut"}})).await;
    house.until("its finalizer", || async { !finalizers().await.is_null() }).await;
    agent.memory.lock().unwrap().away = true;
    house.delete("Snapshot", "one-repo-s2").await;
    house.until_gone("Snapshot", "one-repo-s2").await;
    agent.memory.lock().unwrap().away = false;
    house.until("its data to be forgotten", || async { forgotten(&agent) == ["e-2"] }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_takes_its_repository_and_the_data_along_as_it_says() {
    for (policy, backend_is_away) in [("Retain", false), ("Delete", false), ("WipeOut", false), ("WipeOut", true)] {
        let (house, agent, _task) = furnished(HASTY, policy).await;
        agent.memory.lock().unwrap().away = backend_is_away;
        house.delete("BackupConfiguration", "one").await;
        house.until_gone("BackupConfiguration", "one").await;
        house.until("its sessions to go", || async { house.list("BackupSession").await.is_empty() }).await;
        if policy == "Retain" {
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert_eq!((house.list("Repository").await.len(), house.list("Snapshot").await.len()), (1, 1));
        } else {
            house.until_gone("Repository", "one-repo").await;
            house.until("its Snapshots to go", || async { house.list("Snapshot").await.is_empty() }).await;
        }
        let wiped = agent.memory.lock().unwrap().wiped.clone();
        let expected: &[&str] = if policy == "WipeOut" && !backend_is_away { &["one"] } else { &[] };
        assert_eq!(wiped, expected, "{policy}, away: {backend_is_away}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wiped_out_waits_for_what_reads_it_and_stops_what_writes_it() {
    let (house, agent, _task) = furnished(HASTY, "WipeOut").await;
    agent.hold(true);
    house.create(house::restore("back")).await;
    house.until("the restore to begin", || async { agent.attempts().len() == 2 }).await;
    house.delete("Repository", "one-repo").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(agent.memory.lock().unwrap().wiped.is_empty(), "a restore still reads it");
    agent.let_go();
    house.until_gone("Repository", "one-repo").await;
    assert_eq!(agent.memory.lock().unwrap().wiped, ["one"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_was_never_opened_there_removes_nothing_there() {
    let (house, agent, _task) = furnished(HASTY, "Retain").await;
    // Somebody else's directory, by a Repository of one's own.
    let thief = |name: &str, path: &str| {
        json!({"apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Repository", "metadata": {"name": name, "namespace": "demo"},
            "spec": {"storageRef": {"name": "store"}, "path": path, "deletionPolicy": "WipeOut", "encryptionSecret": {"name": "password"}}})
    };
    house.create(thief("thief", "/elsewhere")).await;
    house.until_phase("Repository", "thief", "Ready").await;
    house.patch("Repository", "thief", json!({"spec": {"path": "/one"}})).await;
    house.delete("Repository", "thief").await;
    house.until_gone("Repository", "thief").await;
    // With the password it may be opened there, and still it is not this one's alone.
    house.create(thief("guest", "one/")).await;
    house.until_phase("Repository", "guest", "Ready").await;
    house.delete("Repository", "guest").await;
    house.until_gone("Repository", "guest").await;
    assert!(agent.memory.lock().unwrap().wiped.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_takes_the_objects_along_or_everything_in_it() {
    for (policy, backend_is_away) in [("Delete", false), ("WipeOut", false), ("WipeOut", true)] {
        let (house, agent, _task) = furnished(HASTY, "Retain").await;
        if policy == "Delete" {
            // Its own policy does not count then.
            house.patch("Repository", "one-repo", json!({"spec": {"deletionPolicy": "WipeOut"}})).await;
        }
        house.patch("BackupStorage", "store", json!({"spec": {"deletionPolicy": policy}})).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        agent.memory.lock().unwrap().away = backend_is_away;
        // Without its configuration: that would make the Repository anew.
        house.delete("BackupConfiguration", "one").await;
        house.delete("BackupStorage", "store").await;
        house.until_gone("BackupStorage", "store").await;
        let memory = |agent: &Agent| {
            let memory = agent.memory.lock().unwrap();
            (memory.wiped.clone(), memory.views_removed.clone())
        };
        if policy == "Delete" {
            // The objects go, the data stay, and whoever applies the storage again has both.
            house.until_gone("Repository", "one-repo").await;
            house.until("its Snapshots to go", || async { house.names("Snapshot").await.is_empty() }).await;
            assert_eq!(memory(&agent), (Vec::new(), Vec::new()));
            house.create(house::storage()).await;
            house.until("the Snapshot to be back", || async { house.list("Snapshot").await.iter().any(|snapshot| snapshot["status"]["phase"] == "Succeeded") }).await;
        } else {
            house.until_gone("Repository", "one-repo").await;
            let expected: &[&str] = if backend_is_away { &[] } else { &["one"] };
            assert_eq!(memory(&agent).0, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_that_is_deleted_does_not_hang() {
    for backend_is_away in [false, true] {
        let (house, agent, _task) = furnished(HASTY, "WipeOut").await;
        house.patch("BackupStorage", "store", json!({"spec": {"deletionPolicy": "WipeOut"}})).await;
        let snapshots = house.names("Snapshot").await;
        house.patch("Snapshot", &snapshots[0], json!({"spec": {"deletionPolicy": "WipeOut"}})).await;
        house
            .until("the finalizers", || async {
                let held = |object: Value| !object["metadata"]["finalizers"].is_null();
                held(house.get("BackupStorage", "store").await.unwrap())
                    && held(house.get("Snapshot", &snapshots[0]).await.unwrap())
                    && held(house.get("Repository", "one-repo").await.unwrap())
            })
            .await;
        agent.memory.lock().unwrap().away = backend_is_away;
        house.delete("Namespace", "demo").await;
        house.until_gone("Namespace", "demo").await;
        for kind in ["BackupStorage", "Repository", "Snapshot", "BackupConfiguration", "BackupSession"] {
            assert!(house.list(kind).await.is_empty(), "{kind}");
        }
    }
}
