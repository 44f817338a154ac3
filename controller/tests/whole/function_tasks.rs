//! Tasks of backups and restores that pods do; the tests are the kubelet, and the plugin.

use serde_json::{Value, json};

use crate::agent::Agent;
use crate::functions::{goes_on_with, pods, say};
use crate::house::{self, House};
use crate::session_of;

/// An Addon with tasks that pods do, and one that our agents do.
async fn addon(house: &House) {
    let pod = |name: &str, driver: Value| json!({"name": name, "function": "dump", "driver": driver, "parameters": [{"name": "table", "default": "all"}]});
    let files = |name: &str, function: &str| json!({"name": name, "function": function, "parameters": [{"name": "paths", "default": "/kubestash-data"}]});
    let tasks = json!({
        "backupTasks": [pod("nightly", json!(null)), pod("logical-backup", json!("Restic")), files("files", "files")],
        "restoreTasks": [pod("morning", json!(null)), files("files-back", "files-back")],
    });
    house.create(json!({"apiVersion": "addons.kubestash.com/v1alpha1", "kind": "Addon", "metadata": {"name": "mine"}, "spec": tasks})).await;
    let function = |name: &str, task: Value, spec: Value| {
        json!({"apiVersion": "addons.kubestash.com/v1alpha1", "kind": "Function",
            "metadata": {"name": name, "annotations": task}, "spec": spec})
    };
    house.create(function("files", json!({"holdfast.dev/agent-task": "backup"}), json!({}))).await;
    house.create(function("files-back", json!({"holdfast.dev/agent-task": "restore"}), json!({}))).await;
    let args = json!(["--session=${backupSession:=}${restoreSession:=}", "--snapshot=${snapshot}", "--repo=${repoName}", "--table=${table}", "--claim=${PVC_NAME}"]);
    house.create(function("dump", Value::Null, json!({"image": "dump:1", "args": args}))).await;
}

fn configuration(tasks: &[&str]) -> Value {
    let mut configuration = house::configuration("one");
    let tasks: Vec<Value> = tasks.iter().map(|name| json!({"name": name})).collect();
    let template = json!({"spec": {"serviceAccountName": "dumper"}});
    configuration["spec"]["sessions"][0]["addon"] = json!({"name": "mine", "tasks": tasks, "jobTemplate": template});
    configuration
}

async fn begun(tasks: &[&str]) -> (House, Agent, String) {
    let house = House::start().await;
    let (agent, task) = Agent::start(&house, "a");
    drop(task);
    house.furnish().await;
    addon(&house).await;
    house.create(configuration(tasks)).await;
    let session = session_of(&house, "one").await;
    (house, agent, session)
}

async fn pod(house: &House) -> Value {
    house.until("the task's pod", || async { !pods(house).await.is_empty() }).await;
    pods(house).await.remove(0)
}

async fn until_no_pod(house: &House) {
    house.until("the task's pod to be gone", || async { pods(house).await.is_empty() }).await;
}

async fn snapshot(house: &House) -> Value {
    house.list("Snapshot").await.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_by_a_pod_beside_one_by_an_agent() {
    let (house, agent, session) = begun(&["files", "nightly"]).await;
    let pod = pod(&house).await;
    let snapshot_name = snapshot(&house).await["metadata"]["name"].as_str().unwrap().to_owned();
    let container = &pod["spec"]["containers"][0];
    let expected = [format!("--session={session}"), format!("--snapshot={snapshot_name}"), "--repo=one-repo".into(), "--table=all".into(), "--claim=data".into()];
    assert_eq!(container["args"], json!(expected));
    assert_eq!(container["env"], json!([{"name": "COMPONENT_NAME", "value": "nightly"}]));
    assert_eq!((&pod["spec"]["serviceAccountName"], &pod["spec"]["restartPolicy"]), (&json!("dumper"), &json!("Never")));
    assert_eq!(pod["metadata"]["labels"]["app.kubernetes.io/component"], "kubestash-backup");
    let owner = &pod["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["name"]), (&json!("BackupSession"), &json!(session)));
    house.until("the agent's part", || async { agent.attempts().len() == 1 }).await;
    assert_ne!(snapshot(&house).await["status"]["phase"], "Succeeded", "the pod has not ended");
    say(&house, &pod, "Succeeded", json!({"exitCode": 0})).await;
    house.until_phase("BackupSession", &session, "Succeeded").await;
    until_no_pod(&house).await;
    let components = snapshot(&house).await["status"]["components"].clone();
    assert_eq!((&components["dump"]["phase"], &components["dump"]["driver"]), (&json!("Succeeded"), &json!("Holdfast")));
    assert_eq!(components["nightly"], json!({"phase": "Succeeded"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_fails_fails_its_component_with_its_last_words() {
    let (house, _agent, session) = begun(&["files", "nightly"]).await;
    let pod = pod(&house).await;
    say(&house, &pod, "Failed", json!({"exitCode": 3, "reason": "Error", "message": "no such table\n"})).await;
    house.until_phase("BackupSession", &session, "Failed").await;
    until_no_pod(&house).await;
    let components = snapshot(&house).await["status"]["components"].clone();
    assert_eq!(components["nightly"]["error"], "Function dump: container function ended with code 3: no such table");
    assert_eq!(components["dump"]["phase"], "Succeeded", "the others go on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_says_itself_how_it_went() {
    let (house, _agent, session) = begun(&["logical-backup"]).await;
    let pod = pod(&house).await;
    assert_eq!(pod["spec"]["containers"][0]["env"][0]["value"], "dump", "as KubeStash's plugins call it");
    let name = snapshot(&house).await["metadata"]["name"].as_str().unwrap().to_owned();
    let stats = json!([{"summary": {"id": "abc", "hostPath": "/dump.sql"}}]);
    let component = json!({"phase": "Succeeded", "size": "7 B", "resticStats": stats});
    house.patch_status_in("demo", "Snapshot", &name, json!({"components": {"dump": component}})).await;
    say(&house, &pod, "Succeeded", json!({"exitCode": 0})).await;
    house.until_phase("BackupSession", &session, "Succeeded").await;
    let dump = snapshot(&house).await["status"]["components"]["dump"].clone();
    assert_eq!((&dump["driver"], &dump["size"], &dump["resticStats"]), (&json!("Restic"), &json!("7 B"), &stats));
    assert_eq!(dump["path"], "repository/v1/daily/dump");
    until_no_pod(&house).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_pod_has_ended_is_not_run_again_by_the_next_controller() {
    let (house, _agent, session) = begun(&["nightly"]).await;
    let first = pod(&house).await;
    goes_on_with(house, &first, &session).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pod_of_a_task_goes_when_its_time_is_over_or_its_session_is_paused() {
    let (house, _agent, session) = begun(&["nightly"]).await;
    pod(&house).await;
    house.patch("BackupConfiguration", "one", json!({"spec": {"paused": true}})).await;
    house.until_phase("BackupSession", &session, "Failed").await;
    until_no_pod(&house).await;
    house.patch("BackupConfiguration", "one", json!({"spec": {"paused": false, "sessions": [timed()]}})).await;
    house.until_phase("BackupConfiguration", "one", "Ready").await;
    house.begin("one", "late").await;
    assert_eq!(pod(&house).await["spec"]["activeDeadlineSeconds"], 1);
    house.until_phase("BackupSession", "late", "Failed").await;
    until_no_pod(&house).await;
    let said = snapshot(&house).await.to_string();
    assert!(said.contains("did not end within 1 s") || said.contains("backupTimeout has passed"), "{said}");
}

fn timed() -> Value {
    let mut session = configuration(&["nightly"])["spec"]["sessions"][0].clone();
    session["backupTimeout"] = json!("1s");
    session
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_repositories_have_their_pods_one_after_the_other() {
    let house = House::start().await;
    let (_agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    addon(&house).await;
    let mut configuration = configuration(&["nightly"]);
    let mut second = configuration["spec"]["sessions"][0]["repositories"][0].clone();
    (second["name"], second["directory"]) = (json!("second-repo"), json!("/second"));
    configuration["spec"]["sessions"][0]["repositories"].as_array_mut().unwrap().push(second);
    house.create(configuration).await;
    let session = session_of(&house, "one").await;
    let first = pod(&house).await;
    assert!(first["spec"]["containers"][0]["args"].to_string().contains("--repo=one-repo"));
    say(&house, &first, "Succeeded", json!({"exitCode": 0})).await;
    house
        .until("the second pod", || async { pods(&house).await.iter().any(|pod| pod["spec"].to_string().contains("--repo=second-repo")) })
        .await;
    let all = pods(&house).await;
    let second = all.iter().find(|pod| pod["spec"].to_string().contains("second-repo")).unwrap();
    say(&house, second, "Succeeded", json!({"exitCode": 0})).await;
    house.until_phase("BackupSession", &session, "Succeeded").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_by_a_pod_takes_its_turn_among_the_tasks() {
    let (house, agent, session) = begun(&["files", "nightly"]).await;
    say(&house, &pod(&house).await, "Succeeded", json!({"exitCode": 0})).await;
    house.until_phase("BackupSession", &session, "Succeeded").await;
    until_no_pod(&house).await;
    let mut restore = house::restore("back");
    let tasks = json!([{"name": "morning"}, {"name": "files-back"}]);
    restore["spec"]["addon"] = json!({"name": "mine", "tasks": tasks, "jobTemplate": {"spec": {"serviceAccountName": "dumper"}}});
    house.create(restore).await;
    let pod = pod(&house).await;
    let name = snapshot(&house).await["metadata"]["name"].as_str().unwrap().to_owned();
    let expected = ["--session=back".to_owned(), format!("--snapshot={name}"), "--repo=one-repo".into(), "--table=all".into(), "--claim=data".into()];
    assert_eq!(pod["spec"]["containers"][0]["args"], json!(expected));
    assert_eq!((&pod["spec"]["serviceAccountName"], &pod["metadata"]["labels"]["app.kubernetes.io/component"]), (&json!("dumper"), &json!("kubestash-restore")));
    assert!(agent.restores().is_empty(), "the volume waits for its turn");
    say(&house, &pod, "Succeeded", json!({"exitCode": 0})).await;
    house.until_phase("RestoreSession", "back", "Succeeded").await;
    assert_eq!(agent.restores().len(), 1);
    until_no_pod(&house).await;
    let components = house.get("RestoreSession", "back").await.unwrap()["status"]["components"].clone();
    assert_eq!((&components["morning"]["phase"], &components["dump"]["phase"]), (&json!("Succeeded"), &json!("Succeeded")));
    // One that fails is the last.
    let mut restore = house::restore("again");
    restore["spec"]["addon"] = json!({"name": "mine", "tasks": tasks});
    house.create(restore).await;
    let pod = self::pod(&house).await;
    say(&house, &pod, "Failed", json!({"exitCode": 1, "reason": "Error", "message": "it cannot be"})).await;
    house.until_phase("RestoreSession", "again", "Failed").await;
    let failed = house.get("RestoreSession", "again").await.unwrap()["status"]["components"].clone();
    assert_eq!(failed["morning"]["error"], "Function dump: container function ended with code 1: it cannot be");
    assert_eq!((agent.restores().len(), &failed["dump"]["phase"]), (1, &json!("Pending")));
    until_no_pod(&house).await;
}
