//! Hooks, from the configuration to the request that is made or refused.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::agent::Agent;
use crate::house::{self, House};
use crate::{condition, session_of};

pub(crate) fn template(name: &str, action: Value) -> Value {
    json!({"apiVersion": "core.kubestash.com/v1alpha1", "kind": "HookTemplate", "metadata": {"name": name, "namespace": "demo"},
        "spec": {"action": action, "executor": {"type": "Pod", "pod": {"selector": "app in (web, front),!away"}}}})
}

/// Answers one request after the other, and remembers them.
pub(crate) async fn listen(answer: &'static str) -> (u16, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, requests) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let mut piece = [0; 4096];
            while !request.ends_with(b"}") && !request.ends_with(b"\r\n\r\n") {
                let count = stream.read(&mut piece).await.unwrap();
                if count == 0 {
                    break;
                }
                request.extend_from_slice(&piece[..count]);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            let _ = sender.send(String::from_utf8_lossy(&request).into_owned());
        }
    });
    (port, requests)
}

/// The pod that hooks reach; its address is this machine's own, as a kubelet may say of a pod on the host's network.
pub(crate) fn web() -> Value {
    let mut pod = house::pod("web", "a");
    pod["metadata"]["labels"] = json!({"app": "web"});
    pod["status"]["podIP"] = json!("127.0.0.1");
    pod
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_with_hooks_around_it() {
    let house = House::start().await;
    let (agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    house.create(web()).await;
    let (port, mut requests) = listen("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    house.create(template("freeze", json!({"httpGet": {"path": "/freeze", "port": port}}))).await;
    let body = r#"{"text": "{{ if eq .Status.Phase `Succeeded` }}{{ .Target.Name }} is safe{{ end }}"}"#;
    house.create(template("tell", json!({"httpPost": {"path": "/tell", "port": port, "body": body}}))).await;
    let mut configuration = house::configuration("one");
    configuration["spec"]["sessions"][0]["hooks"] = json!({
        "preBackup": [{"name": "freeze", "hookTemplate": {"name": "freeze"}}],
        "postBackup": [{"name": "tell", "hookTemplate": {"name": "tell"}, "executionPolicy": "OnSuccess"}],
    });
    house.create(configuration).await;
    let first = requests.recv().await.unwrap();
    assert!(first.starts_with("GET /freeze "), "{first}");
    let name = session_of(&house, "one").await;
    house.until_phase("BackupSession", &name, "Succeeded").await;
    let last = requests.recv().await.unwrap();
    assert!(last.starts_with("POST /tell ") && last.ends_with(r#"{"text":"data is safe"}"#), "{last}");
    let session = house.get("BackupSession", &name).await.unwrap();
    assert_eq!(session["status"]["hooks"]["preHooks"], json!([{"name": "freeze", "phase": "Succeeded"}]));
    assert_eq!(session["status"]["hooks"]["postHooks"], json!([{"name": "tell", "phase": "Succeeded"}]));
    assert_eq!(condition(&session, "PostBackupHooksExecutionSucceeded")["reason"], "SuccessfullyExecutedPostBackupHooks");
    assert_eq!(agent.attempts().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_fails_before_it_stops_the_backup() {
    let house = House::start().await;
    let (agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    house.create(web()).await;
    let (port, _requests) = listen("HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    house.create(template("freeze", json!({"httpGet": {"path": "/freeze", "port": port}}))).await;
    let mut configuration = house::configuration("one");
    configuration["spec"]["sessions"][0]["hooks"] = json!({"preBackup": [{"name": "freeze", "hookTemplate": {"name": "freeze"}}]});
    house.create(configuration).await;
    let name = session_of(&house, "one").await;
    house.until_phase("BackupSession", &name, "Failed").await;
    let session = house.get("BackupSession", &name).await.unwrap();
    let failed = condition(&session, "PreBackupHooksExecutionSucceeded");
    assert_eq!(failed["status"], "False");
    assert!(failed["message"].as_str().unwrap().contains("answered 500"), "{failed}");
    assert!(agent.attempts().is_empty(), "nothing was backed up");
}

/// How a session with this hook before its backup ends.
async fn ends(house: &House, name: &str, action: Value) -> String {
    house.create(template(name, action)).await;
    let mut configuration = house::configuration(name);
    configuration["spec"]["sessions"][0]["hooks"] = json!({"preBackup": [{"name": "knock", "hookTemplate": {"name": name}}]});
    house.create(configuration).await;
    let session = session_of(house, name).await;
    let ended = || async { ["Succeeded", "Failed"].map(Value::from).contains(&house.get("BackupSession", &session).await.unwrap()["status"]["phase"]) };
    house.until("the session to end", ended).await;
    let session = house.get("BackupSession", &session).await.unwrap();
    format!("{}: {}", session["status"]["phase"], condition(&session, "PreBackupHooksExecutionSucceeded"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_is_knocked_at_and_no_redirect_is_followed() {
    let house = House::start().await;
    let (_agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    house.create(web()).await;
    let (elsewhere, mut followed) = listen("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    let redirect = format!("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{elsewhere}/inside\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let (port, mut asked) = listen(redirect.leak()).await;
    let end = ends(&house, "redirect", json!({"httpGet": {"path": "/", "port": port}})).await;
    assert!(end.starts_with("\"Succeeded\""), "{end}");
    assert!(next(&mut asked).await.starts_with("GET / "));
    assert!(followed.try_recv().is_err(), "it was led elsewhere");

    let open = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = open.local_addr().unwrap().port();
    let end = ends(&house, "open", json!({"tcpSocket": {"port": port}})).await;
    assert!(end.starts_with("\"Succeeded\""), "{end}");
    drop(open);
    let end = ends(&house, "closed", json!({"tcpSocket": {"port": port}})).await;
    assert!(end.starts_with("\"Failed\"") && end.contains(&port.to_string()), "{end}");
}

/// What was asked next, within 60 s.
async fn next(requests: &mut tokio::sync::mpsc::UnboundedReceiver<String>) -> String {
    let next = tokio::time::timeout(std::time::Duration::from_secs(60), requests.recv()).await;
    next.expect("a request in time").unwrap()
}

/// A session that its agent has begun, between a hook that stops the application and one that lets it go on.
async fn frozen() -> (House, Agent, String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let house = House::start().await;
    let (agent, _task) = Agent::start(&house, "a");
    agent.hold(true);
    house.furnish().await;
    house.create(web()).await;
    let (port, mut requests) = listen("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    house.create(template("freeze", json!({"httpGet": {"path": "/freeze", "port": port}}))).await;
    house.create(template("thaw", json!({"httpGet": {"path": "/thaw", "port": port}}))).await;
    let mut configuration = house::configuration("one");
    configuration["spec"]["sessions"][0]["hooks"] = json!({
        "preBackup": [{"name": "freeze", "hookTemplate": {"name": "freeze"}}],
        "postBackup": [{"name": "thaw", "hookTemplate": {"name": "thaw"}}],
    });
    house.create(configuration).await;
    let name = session_of(&house, "one").await;
    assert!(next(&mut requests).await.starts_with("GET /freeze "));
    house.until("the agent to be at work", || async { !agent.attempts().is_empty() }).await;
    (house, agent, name, requests)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_frozen_is_thawed_before_a_deleted_session_goes() {
    let (house, _agent, name, mut requests) = frozen().await;
    house.delete("BackupSession", &name).await;
    assert!(next(&mut requests).await.starts_with("GET /thaw "));
    house.until("the session to go", || async { house.get("BackupSession", &name).await.is_none() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_frozen_is_thawed_when_its_configuration_is_deleted() {
    let (house, _agent, name, mut requests) = frozen().await;
    house.delete("BackupConfiguration", "one").await;
    // As the garbage collector does, which standalone has not.
    house.delete("BackupSession", &name).await;
    assert!(next(&mut requests).await.starts_with("GET /thaw "));
    house.until("the session to go", || async { house.get("BackupSession", &name).await.is_none() }).await;
}
