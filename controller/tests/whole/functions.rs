//! Functions that run as pods, as hooks; the tests are the kubelet.

use holdfast_api::names;
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::house::{self, House};
use crate::{condition, session_of};

fn function(spec: Value) -> Value {
    json!({"apiVersion": "addons.kubestash.com/v1alpha1", "kind": "Function", "metadata": {"name": "flush"}, "spec": spec})
}

fn template() -> Value {
    json!({"apiVersion": "core.kubestash.com/v1alpha1", "kind": "HookTemplate", "metadata": {"name": "flush", "namespace": "demo"},
        "spec": {"params": [{"name": "word"}], "executor": {"type": "Function", "function": {"name": "flush"}}}})
}

/// A configuration with the Function before its backup.
pub(crate) async fn hooked(house: &House, hook: Value) {
    house.furnish().await;
    house.create(template()).await;
    house.create(function(json!({"image": "flush:1", "args": ["--session=${backupSession:=}", "${word:=nothing}"]}))).await;
    let mut before = json!({"name": "flush", "hookTemplate": {"name": "flush"}});
    before.as_object_mut().unwrap().extend(hook.as_object().unwrap().clone());
    let mut configuration = house::configuration("one");
    configuration["spec"]["sessions"][0]["hooks"] = json!({"preBackup": [before]});
    house.create(configuration).await;
}

pub(crate) async fn pods(house: &House) -> Vec<Value> {
    let mut pods = house.list("Pod").await;
    pods.retain(|pod| pod["metadata"]["labels"]["holdfast.dev/function"] == "true");
    pods
}

/// The Function's pod; another than `before`.
pub(crate) async fn pod(house: &House, before: &Value) -> Value {
    house
        .until("the Function's pod", || async { pods(house).await.iter().any(|pod| pod["metadata"]["uid"] != *before) })
        .await;
    pods(house).await.remove(0)
}

/// What a kubelet says of it.
pub(crate) async fn say(house: &House, pod: &Value, phase: &str, terminated: Value) {
    let state = json!({"terminated": terminated});
    let container = json!({"name": "function", "image": "flush:1", "imageID": "", "ready": false, "restartCount": 0, "state": state});
    let status = json!({"phase": phase, "containerStatuses": [container]});
    house.patch_status_in("demo", "Pod", pod["metadata"]["name"].as_str().unwrap(), status).await;
}

async fn until_no_pod(house: &House) {
    house.until("the Function's pod to be gone", || async { pods(house).await.is_empty() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_runs_as_a_pod_before_a_backup_and_is_removed() {
    let house = House::start().await;
    let (agent, _task) = Agent::start(&house, "a");
    let hostile = "x\", \"hostNetwork\": true, \"y\": \"$(TOKEN)";
    hooked(&house, json!({"params": {"word": hostile}, "runtimeSettings": {"pod": {"serviceAccountName": "flusher"}}})).await;
    let pod = pod(&house, &Value::Null).await;
    let session = session_of(&house, "one").await;
    let args = &pod["spec"]["containers"][0]["args"];
    assert_eq!(*args, json!([format!("--session={session}"), "x\", \"hostNetwork\": true, \"y\": \"$$(TOKEN)"]));
    assert_eq!((&pod["spec"]["hostNetwork"], &pod["spec"]["restartPolicy"]), (&Value::Null, &json!("Never")));
    assert_eq!(pod["spec"]["serviceAccountName"], "flusher");
    assert_eq!(pod["spec"]["activeDeadlineSeconds"], 600);
    let labels = &pod["metadata"]["labels"];
    assert_eq!((&labels["app.kubernetes.io/component"], &labels["kubestash.com/invoker-name"]), (&json!("kubestash-hook"), &json!("one")));
    let owner = &pod["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["name"]), (&json!("BackupSession"), &json!(session)));
    say(&house, &pod, "Running", Value::Null).await;
    assert!(agent.attempts().is_empty(), "nothing is backed up before it has ended");
    say(&house, &pod, "Succeeded", json!({"exitCode": 0})).await;
    house.until_phase("BackupSession", &session, "Succeeded").await;
    until_no_pod(&house).await;
    let session = house.get("BackupSession", &session).await.unwrap();
    assert_eq!(session["status"]["hooks"]["preHooks"], json!([{"name": "flush", "phase": "Succeeded"}]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_fails_is_tried_again_in_another_pod_and_then_stops_the_backup() {
    let house = House::start().await;
    let (agent, _task) = Agent::start(&house, "a");
    hooked(&house, json!({"maxRetry": 1})).await;
    let first = pod(&house, &Value::Null).await;
    say(&house, &first, "Failed", json!({"exitCode": 3, "reason": "Error", "message": "not now\n"})).await;
    until_no_pod(&house).await;
    let second = pod(&house, &first["metadata"]["uid"]).await;
    assert_eq!(second["metadata"]["name"], first["metadata"]["name"], "there is never more than one");
    say(&house, &second, "Failed", json!({"exitCode": 3, "reason": "Error", "message": "it cannot be\n"})).await;
    let session = session_of(&house, "one").await;
    house.until_phase("BackupSession", &session, "Failed").await;
    let session = house.get("BackupSession", &session).await.unwrap();
    let failed = condition(&session, "PreBackupHooksExecutionSucceeded");
    assert_eq!(failed["message"], "hook \"flush\": Function flush: container function ended with code 3: it cannot be");
    assert!(agent.attempts().is_empty(), "nothing was backed up");
    until_no_pod(&house).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_that_does_not_end_in_time_is_stopped() {
    let house = House::start().await;
    let (_agent, _task) = Agent::start(&house, "a");
    hooked(&house, json!({"timeout": "1s"})).await;
    let session = session_of(&house, "one").await;
    house.until_phase("BackupSession", &session, "Failed").await;
    let session = house.get("BackupSession", &session).await.unwrap();
    let failed = condition(&session, "PreBackupHooksExecutionSucceeded");
    assert!(failed["message"].as_str().unwrap().contains("did not end within 1 s: no node has begun with its pod"), "{failed}");
    until_no_pod(&house).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_for_a_function_is_said() {
    let house = House::start().await;
    let (_agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    house.create(template()).await;
    for (name, spec, words) in [
        ("one", None, "Function flush: it does not exist"),
        ("two", Some(json!({"image": "i", "args": ["ok", "${nope}"]})), "Function flush: spec.args[1]: variable \"nope\" has no value"),
    ] {
        if let Some(spec) = spec {
            house.create(function(spec)).await;
        }
        let mut configuration = house::configuration(name);
        configuration["spec"]["sessions"][0]["hooks"] = json!({"preBackup": [{"hookTemplate": {"name": "flush"}}]});
        house.create(configuration).await;
        let session = session_of(&house, name).await;
        house.until_phase("BackupSession", &session, "Failed").await;
        let session = house.get("BackupSession", &session).await.unwrap();
        let failed = condition(&session, "PreBackupHooksExecutionSucceeded");
        assert!(failed["message"].as_str().unwrap().contains(words), "{failed}");
    }
}

/// The controller is killed, this pod ends while nobody watches, and the next controller goes on with it.
pub(crate) async fn goes_on_with(mut house: House, first: &Value, session: &str) {
    house.kill_controller().await;
    say(&house, first, "Succeeded", json!({"exitCode": 0})).await;
    let house = house.start_controller().await;
    house.until_phase("BackupSession", session, "Succeeded").await;
    let seen = pods(&house).await;
    assert!(seen.iter().all(|pod| pod["metadata"]["uid"] == first["metadata"]["uid"]), "it ran again");
    until_no_pod(&house).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_controller_goes_on_with_the_pod_that_is_there() {
    let house = House::start().await;
    let (_agent, _task) = Agent::start(&house, "a");
    hooked(&house, json!({})).await;
    let first = pod(&house, &Value::Null).await;
    let session = session_of(&house, "one").await;
    goes_on_with(house, &first, &session).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pod_of_a_session_that_is_deleted_goes() {
    let house = House::start().await;
    let (_agent, _task) = Agent::start(&house, "a");
    hooked(&house, json!({})).await;
    let pod = pod(&house, &Value::Null).await;
    // Kubernetes would remove it with its owner, too: here that stays.
    let configuration = house.get("BackupConfiguration", "one").await.unwrap();
    let owner = json!({"apiVersion": configuration["apiVersion"], "kind": "BackupConfiguration", "name": "one", "uid": configuration["metadata"]["uid"]});
    house.patch("Pod", pod["metadata"]["name"].as_str().unwrap(), json!({"metadata": {"ownerReferences": [owner]}})).await;
    let session = session_of(&house, "one").await;
    house.delete("BackupSession", &session).await;
    until_no_pod(&house).await;
}

/// An Addon of somebody's own, whose tasks are called as nobody else's.
fn addon() -> Value {
    let task = |name: &str, function: &str| json!({"name": name, "function": function, "parameters": [{"name": "paths", "default": "/kubestash-data"}]});
    json!({"apiVersion": "addons.kubestash.com/v1alpha1", "kind": "Addon", "metadata": {"name": "mine"},
        "spec": {"backupTasks": [task("nightly", "files")], "restoreTasks": [task("morning", "files-back")]}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_of_any_name_is_our_agents_if_its_function_says_so_and_may_come_later() {
    let house = House::start().await;
    let (agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    house.create(addon()).await;
    let mut configuration = house::configuration("one");
    configuration["spec"]["sessions"][0]["addon"] = json!({"name": "mine", "tasks": [{"name": "nightly"}]});
    house.create(configuration).await;
    let named = |name: &str, task: &str| {
        let mut function = function(json!({"image": "of-no-interest:1"}));
        function["metadata"] = json!({"name": name, "annotations": {"holdfast.dev/agent-task": task}});
        function
    };
    let session = session_of(&house, "one").await;
    house
        .until("the Function to be missed", || async {
            house.list("Snapshot").await.iter().any(|snapshot| snapshot.to_string().contains("Function files does not exist"))
        })
        .await;
    house.create(named("files", "backup")).await;
    house.until_phase("BackupSession", &session, "Failed").await;
    house.back_up("one", "by-hand").await;
    assert_eq!(agent.attempts().len(), 1);
    let mut restore = house::restore("back");
    restore["spec"]["addon"] = json!({"name": "mine", "tasks": [{"name": "morning"}]});
    house.create(restore).await;
    house.until("the restore to wait", || async { house.get("RestoreSession", "back").await.unwrap()["status"]["phase"] == "Pending" }).await;
    house.create(named("files-back", "restore")).await;
    house.until_phase("RestoreSession", "back", "Succeeded").await;
    assert!(pods(&house).await.is_empty(), "no pod did any of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_runs_after_a_restore_with_its_name() {
    let house = House::start().await;
    let (_agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    house.create(template()).await;
    house.create(function(json!({"image": "flush:1", "args": ["${restoreSession}", "${invokerKind}", "${backupSession:=none}"]}))).await;
    house.create(house::configuration("one")).await;
    let session = session_of(&house, "one").await;
    house.until_phase("BackupSession", &session, "Succeeded").await;
    let mut restore = house::restore("back");
    restore["spec"]["hooks"] = json!({"postRestore": [{"name": "flush", "hookTemplate": {"name": "flush"}}]});
    house.create(restore).await;
    let pod = pod(&house, &Value::Null).await;
    assert_eq!(pod["spec"]["containers"][0]["args"], json!(["back", "RestoreSession", "none"]));
    say(&house, &pod, "Succeeded", json!({"exitCode": 0})).await;
    house.until_phase("RestoreSession", "back", "Succeeded").await;
    until_no_pod(&house).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_in_its_place_is_not_taken_for_it() {
    let house = House::start().await;
    let (agent, _task) = Agent::start(&house, "a");
    hooked(&house, json!({"maxRetry": 1})).await;
    let ours = pod(&house, &Value::Null).await;
    let session = session_of(&house, "one").await;
    // Somebody who may make pods, but no backups, says in its place that all is well, before it is tried again.
    let name = ours["metadata"]["name"].as_str().unwrap().to_owned();
    house.delete("Pod", &name).await;
    let mut planted = house::pod(&name, "a");
    planted["metadata"]["labels"] = json!({"holdfast.dev/function": "true"});
    planted["status"] = json!({"phase": "Succeeded"});
    house.create(planted).await;
    house.until_phase("BackupSession", &session, "Failed").await;
    let failed = house.get("BackupSession", &session).await.unwrap();
    let failed = condition(&failed, "PreBackupHooksExecutionSucceeded");
    assert!(failed["message"].as_str().unwrap().contains("is somebody else's"), "{failed}");
    assert!(agent.attempts().is_empty(), "nothing was backed up");
    assert!(house.get("Pod", &name).await.is_some(), "somebody else's stays");
    assert!(name.len() <= names::MAX_CHARACTERS);
}
