//! What objects say that only an agent or a server gets to see.

use holdfast_proto::v1;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::agent::Agent;
use crate::house::{self, House};
use crate::{condition, session_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_storage_says_of_its_server_reaches_the_agent() {
    let house = House::start().await;
    let (agent, _task) = Agent::start(&house, "a");
    house
        .create(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3", "namespace": "demo"},
            "stringData": {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "CA_CERT_DATA": "-----BEGIN CERTIFICATE-----"}}))
        .await;
    let mut storage = house::storage();
    storage["spec"]["storage"]["s3"]["insecureTLS"] = json!(true);
    storage["spec"]["storage"]["s3"]["maxConnections"] = json!(7);
    house.create(storage).await;
    house.until_phase("BackupStorage", "store", "Ready").await;
    let assigned = agent.memory.lock().unwrap().assigned.clone();
    let probed = assigned.iter().find_map(|assign| match &assign.spec {
        Some(v1::assign::Spec::ProbeStorage(probe)) => probe.backend.as_ref()?.kind.clone(),
        _ => None,
    });
    let Some(v1::backend::Kind::S3(s3)) = probed else { panic!("no probe") };
    assert_eq!((s3.ca_pem.as_slice(), s3.insecure_tls, s3.max_connections), (b"-----BEGIN CERTIFICATE-----".as_slice(), true, 7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_of_another_namespace_opens_no_repository_until_it_grants_its_use() {
    let house = House::start().await;
    let (agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    house.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "vault"}})).await;
    house
        .create(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password", "namespace": "vault"}, "stringData": {"RESTIC_PASSWORD": "theirs"}}))
        .await;
    house.until_phase("BackupStorage", "store", "Ready").await;
    house
        .create(json!({"apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Repository", "metadata": {"name": "sly", "namespace": "demo"},
            "spec": {"path": "/sly", "storageRef": {"name": "store", "namespace": "demo"}, "encryptionSecret": {"name": "password", "namespace": "vault"}}}))
        .await;
    house
        .until("the Secret to be refused", || async {
            let repository = house.get("Repository", "sly").await.unwrap();
            condition(&repository, "RepositoryInitialized")["message"].as_str().is_some_and(|message| message.contains("kubectl -n vault annotate secret password holdfast.dev/granted-to=demo"))
        })
        .await;
    let opened = |assign: &v1::Assign| matches!(assign.spec, Some(v1::assign::Spec::InitRepository(_)));
    assert!(!agent.memory.lock().unwrap().assigned.iter().any(opened), "the password left its namespace");
    house.patch_in("vault", "Secret", "password", json!({"metadata": {"annotations": {"holdfast.dev/granted-to": "other, demo"}}})).await;
    house.until_phase("Repository", "sly", "Ready").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_storages_in_one_place_the_older_one_is_used() {
    let house = House::start().await;
    let (_agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    house.until_phase("BackupStorage", "store", "Ready").await;
    // Created in the same second or later: then its name decides.
    let mut twin = house::storage();
    twin["metadata"]["name"] = json!("twin");
    house.create(twin).await;
    house.until_phase("BackupStorage", "twin", "NotReady").await;
    let twin = house.get("BackupStorage", "twin").await.unwrap();
    let message = condition(&twin, "BackendInitialized")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("spec.storage") && message.contains("demo/store"), "{message}");
    assert_eq!(house.get("BackupStorage", "store").await.unwrap()["status"]["phase"], "Ready");
}

/// A configuration with a hook before its backup, of a template in another namespace.
async fn hooked(house: &House, template: serde_json::Value, hook: serde_json::Value) {
    house.furnish().await;
    house.create(template).await;
    let mut configuration = house::configuration("one");
    configuration["spec"]["sessions"][0]["hooks"] = json!({"preBackup": [hook]});
    configuration["spec"]["sessions"][0]["sessionHistoryLimit"] = json!(10);
    house.create(configuration).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_template_is_asked_again_whenever_it_runs() {
    let house = House::start().await;
    let (agent, _task) = Agent::start(&house, "a");
    let (port, _requests) = crate::hooks::listen("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
    house.create(crate::hooks::web()).await;
    house.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "vault"}})).await;
    let mut template = crate::hooks::template("freeze", json!({"httpGet": {"path": "/freeze", "port": port}}));
    template["metadata"]["namespace"] = json!("vault");
    template["spec"]["usagePolicy"] = json!({"allowedNamespaces": {"from": "All"}});
    hooked(&house, template, json!({"name": "freeze", "hookTemplate": {"name": "freeze", "namespace": "vault"}})).await;
    let session = session_of(&house, "one").await;
    house.until_phase("BackupSession", &session, "Succeeded").await;
    let same = json!({"spec": {"usagePolicy": {"allowedNamespaces": {"from": "Same"}}}});
    house.patch_in("vault", "HookTemplate", "freeze", same).await;
    house.begin("one", "later").await;
    house.until_phase("BackupSession", "later", "Failed").await;
    let refused = house.get("BackupSession", "later").await.unwrap();
    let said = condition(&refused, "PreBackupHooksExecutionSucceeded")["message"].as_str().unwrap().to_owned();
    assert!(said.contains("the usagePolicy of HookTemplate vault/freeze does not allow this namespace"), "{said}");

    // What has not begun is refused before it does anything.
    house.until_phase("BackupConfiguration", "one", "Invalid").await;
    let mut restore = house::restore("back");
    restore["spec"]["hooks"] = json!({"postRestore": [{"name": "thaw", "hookTemplate": {"name": "freeze", "namespace": "vault"}}]});
    house.create(restore).await;
    house.until_phase("RestoreSession", "back", "Invalid").await;
    assert!(agent.restores().is_empty(), "the volume was written over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_is_tried_again_and_each_try_ends_in_time() {
    let house = House::start().await;
    let (agent, _task) = Agent::start(&house, "a");
    // Never answers the first request, refuses the second, and takes the third.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut silent = Vec::new();
        for answer in [None, Some("HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"), Some("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")] {
            let (mut stream, _) = listener.accept().await.unwrap();
            match answer {
                None => silent.push(stream),
                Some(answer) => {
                    let mut piece = [0; 4096];
                    let _ = stream.read(&mut piece).await.unwrap();
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        }
        let (stream, _) = listener.accept().await.unwrap();
        silent.push(stream);
        std::future::pending::<()>().await;
    });
    house.create(crate::hooks::web()).await;
    let template = crate::hooks::template("freeze", json!({"httpGet": {"path": "/freeze", "port": port}}));
    hooked(&house, template, json!({"name": "freeze", "hookTemplate": {"name": "freeze"}, "timeout": "1s", "maxRetry": 2})).await;
    let session = session_of(&house, "one").await;
    house.until_within(std::time::Duration::from_secs(40), "the third try", || async {
        house.get("BackupSession", &session).await.unwrap()["status"]["phase"] == "Succeeded"
    }).await;
    assert_eq!(agent.attempts().len(), 1);
    // Without tries left its time is its end.
    house.patch("BackupConfiguration", "one", json!({"spec": {"sessions": [{"name": "daily", "scheduler": {"schedule": "0 0 1 1 *", "jobTemplate": {"backoffLimit": 1}},
        "addon": {"name": "pvc-addon", "tasks": [{"name": "logical-backup"}]}, "sessionHistoryLimit": 10,
        "hooks": {"preBackup": [{"name": "freeze", "hookTemplate": {"name": "freeze"}, "timeout": "1s"}]},
        "repositories": [{"name": "one-repo", "backend": "s3", "directory": "/one", "encryptionSecret": {"name": "password"}}]}]}})).await;
    house.begin("one", "later").await;
    house.until_phase("BackupSession", "later", "Failed").await;
    let failed = house.get("BackupSession", "later").await.unwrap();
    let said = condition(&failed, "PreBackupHooksExecutionSucceeded")["message"].as_str().unwrap().to_owned();
    assert!(said.contains("it did not end within 1 s"), "{said}");
}
