//! Backups that are tried out: from a verifier's schedule to what is left of it, which is the verdict and nothing else.

use std::time::Duration;

use holdfast_controller::repository::maintenance::Pace;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::agent::Agent;
use crate::{condition, functions};
use crate::house::{self, House};

const TRY: &str = "BackupVerificationSession";

fn verifier(schedule: &str) -> Value {
    json!({"apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupVerifier", "metadata": {"name": "try", "namespace": "demo"}, "spec": {
        "type": "RestoreOnly", "scheduler": {"schedule": schedule, "jobTemplate": {}},
        "restoreOption": {
            "target": {"kind": "PersistentVolumeClaim", "name": "data"},
            "addonInfo": {"name": "pvc-addon", "tasks": [{"name": "logical-backup-restore"}]},
        },
    }})
}

/// Does for pods that hold claims what a kubelet and a provisioner do.
pub(crate) fn kubelet(house: &House) -> JoinHandle<()> {
    let client = house.client.clone();
    tokio::spawn(async move {
        use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
        use kube::api::{Api, ListParams, Patch};
        let pods: Api<Pod> = Api::namespaced(client.clone(), "demo");
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(client, "demo");
        loop {
            for pod in pods.list(&ListParams::default().labels("holdfast.dev/holder")).await.unwrap() {
                let name = pod.metadata.name.clone().unwrap();
                if pod.spec.as_ref().unwrap().node_name.is_some() {
                    continue;
                }
                for volume in pod.spec.as_ref().unwrap().volumes.iter().flatten() {
                    let claim = &volume.persistent_volume_claim.as_ref().unwrap().claim_name;
                    let bound = json!({"spec": {"volumeName": format!("pv-{claim}")}});
                    let _ = claims.patch(claim, &Default::default(), &Patch::Merge(bound)).await;
                }
                // Whoever has removed it meanwhile does not want it to run.
                let _ = pods.patch(&name, &Default::default(), &Patch::Merge(json!({"spec": {"nodeName": "a"}}))).await;
                let running = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
                let _ = pods.patch_status(&name, &Default::default(), &Patch::Merge(running)).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}

/// The configuration `one`, whose backups are tried out every second once there is a verifier, after its first backup.
async fn backed_up(pace: Pace) -> (House, Agent, Vec<JoinHandle<()>>) {
    let house = House::start_with_holders(pace).await;
    let (agent, task) = Agent::start(&house, "a");
    let kubelet = kubelet(&house);
    house.furnish().await;
    house.create(house::policy(5)).await;
    let mut configuration = house::configuration("one");
    configuration["spec"]["sessions"][0]["repositories"][0]["backupVerifier"] = json!({"name": "try"});
    house.create(configuration).await;
    let session = crate::session_of(&house, "one").await;
    house.until_phase("BackupSession", &session, "Succeeded").await;
    (house, agent, vec![task, kubelet])
}

async fn verification_status(house: &House) -> Value {
    house.list("Snapshot").await.remove(0)["status"]["verificationStatus"].clone()
}

async fn until_status(house: &House, status: &str) {
    house.until(&format!("the Snapshot to be {status}"), || async { verification_status(house).await == status }).await;
}

/// Nothing is left but the claim that was there before. (Pods that hold claims go a minute after their controller began: `holder::keeper`.)
async fn until_clean(house: &House) {
    house
        .until("what was made for it to go", || async {
            house.names("PersistentVolumeClaim").await == ["data"] && house.list("RestoreSession").await.is_empty()
        })
        .await;
}

/// Tries that ran or run, in order.
async fn ran(house: &House) -> Vec<Value> {
    let mut tries = house.list(TRY).await;
    tries.retain(|session| session["status"]["phase"] != "Skipped");
    tries.sort_by_key(|session| session["metadata"]["name"].to_string());
    tries
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_tried_out_and_what_was_made_for_it_goes() {
    let (house, agent, _tasks) = backed_up(Pace::default()).await;
    // The verifier is not there yet, and the configuration says so; its backups do not wait for that.
    let configuration = || async { house.get("BackupConfiguration", "one").await.unwrap() };
    house
        .until("the verifier to be missed", || async {
            let session = json!({"status": configuration().await["status"]["sessions"][0]});
            condition(&session, "VerificationScheduled")["message"].as_str().is_some_and(|why| why.contains("BackupVerifier demo/try does not exist"))
        })
        .await;
    assert_eq!(configuration().await["status"]["repositories"][0]["verificationConfigured"], false);
    agent.hold(true);
    house.create(verifier("@every 1s")).await;
    house.until("the restore to be with an agent", || async { agent.restores().len() == 1 }).await;
    let task = agent.restores().remove(0);
    let volume = task.targets[0].volume.as_ref().unwrap();
    let tried = ran(&house).await.remove(0);
    let name = tried["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("one-repo-daily-"), "{name}");
    assert_eq!((volume.pvc_name.as_str(), tried["status"]["phase"].as_str()), (name, Some("Running")), "into a claim of its own");
    assert!(configuration().await["spec"]["paused"].is_null(), "no backup waits for a try");
    assert_eq!(configuration().await["status"]["repositories"][0]["verificationConfigured"], true);
    let claim = house.get("PersistentVolumeClaim", name).await.unwrap();
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "1Gi", "like the one that was backed up");
    agent.let_go();
    until_status(&house, "Verified").await;
    house.until_phase(TRY, name, "Succeeded").await;
    assert_eq!(house.list("Snapshot").await[0]["status"]["verificationSession"], name);
    until_clean(&house).await;
    // The next one finds nothing to do, and takes no place in the history.
    house.until("one to be skipped", || async { house.list(TRY).await.iter().any(|session| session["status"]["phase"] == "Skipped") }).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let sessions = house.list(TRY).await;
    assert!(sessions.iter().any(|session| session["metadata"]["name"] == name) && sessions.len() <= 3, "{sessions:?}");
    assert_eq!(agent.restores().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_damaged_fails_its_verification_and_its_repositorys_integrity() {
    let every_moment = Pace { settle: Duration::from_millis(200), check: Duration::from_millis(400), retry: Duration::from_millis(200), ..Pace::default() };
    let (house, agent, _tasks) = backed_up(every_moment).await;
    let repository = || async { house.get("Repository", "one-repo").await.unwrap() };
    house.until("integrity to be known", || async { repository().await["status"]["integrity"] == true }).await;
    house.until("parts behind each other", || async { agent.memory.lock().unwrap().checked.starts_with(&["".into(), "part-1".into(), "part-2".into()]) }).await;
    agent.memory.lock().unwrap().damaged = true;
    house.create(verifier("@every 1s")).await;
    until_status(&house, "VerificationFailed").await;
    house.until("integrity to be lost", || async { repository().await["status"]["integrity"] == false }).await;
    let found = repository().await;
    assert_eq!(condition(&found, "IntegrityChecked")["reason"], "DamageFound");
    assert!(condition(&found, "IntegrityChecked")["message"].as_str().unwrap().contains("packs/data/ab"));
    house.patch("BackupVerifier", "try", json!({"spec": {"scheduler": {"suspend": true}}})).await;
    house.until("the try to end", || async { ran(&house).await.iter().all(|session| session["status"]["phase"] == "Failed") }).await;
    let tried = ran(&house).await.remove(0);
    assert_eq!(condition(&tried, "RestoreSucceeded")["reason"], "FailedToRestoreBackup");
    until_clean(&house).await;
    // Mended, it is tried again and is good.
    agent.memory.lock().unwrap().damaged = false;
    house.patch("BackupVerifier", "try", json!({"spec": {"scheduler": {"suspend": null}}})).await;
    until_status(&house, "Verified").await;
    house.until("integrity to be back", || async { repository().await["status"]["integrity"] == true }).await;
    until_clean(&house).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_goes_on_where_a_killed_controller_left_it() {
    let (mut house, agent, _tasks) = backed_up(Pace::default()).await;
    agent.hold(true);
    house.create(verifier("@every 1s")).await;
    house.until("the restore to be with an agent", || async { agent.restores().len() == 1 }).await;
    house.kill_controller().await;
    let house = house.start_controller().await;
    agent.let_go();
    until_status(&house, "Verified").await;
    assert_eq!((agent.restores().len(), agent.attempts()), (1, vec![1, 1]), "it was not begun again");
    until_clean(&house).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_that_is_deleted_takes_along_what_it_has_made() {
    let (house, agent, _tasks) = backed_up(Pace::default()).await;
    agent.hold(true);
    house.create(verifier("@every 1s")).await;
    house.until("the restore to be with an agent", || async { agent.restores().len() == 1 }).await;
    let name = ran(&house).await[0]["metadata"]["name"].as_str().unwrap().to_owned();
    house.patch("BackupVerifier", "try", json!({"spec": {"scheduler": {"suspend": true}}})).await;
    house.delete(TRY, &name).await;
    house.until("the agent to be told", || async { agent.memory.lock().unwrap().cancelled.len() == 1 }).await;
    until_clean(&house).await;
    assert!(verification_status(&house).await.is_null(), "nobody knows");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_beside_what_was_restored_decides() {
    let (house, _agent, _tasks) = backed_up(Pace::default()).await;
    let mut scripted = verifier("@every 1s");
    scripted["spec"]["type"] = json!("Script");
    scripted["spec"]["function"] = json!("look");
    scripted["spec"]["script"] = json!({"location": "/look", "args": ["-x"]});
    house.create(scripted).await;
    // Without its Function nobody can tell: that is said, and is no verdict on the backup.
    until_status(&house, "NotVerified").await;
    house.create(json!({"apiVersion": "addons.kubestash.com/v1alpha1", "kind": "Function", "metadata": {"name": "look"}, "spec": {"image": "look:1"}})).await;
    for (phase, code, verdict) in [("Failed", 3, "VerificationFailed"), ("Succeeded", 0, "Verified")] {
        house.until("the script to run", || async { !functions::pods(&house).await.is_empty() }).await;
        let pod = functions::pods(&house).await.remove(0);
        let owner = pod["metadata"]["ownerReferences"][0].clone();
        let name = owner["name"].as_str().unwrap();
        assert_eq!((&owner["kind"], &pod["spec"]["containers"][0]["command"]), (&json!(TRY), &json!(["/look", "-x"])));
        let claims: Vec<_> = pod["spec"]["volumes"].as_array().unwrap().iter().filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str()).collect();
        assert_eq!(claims, [name], "the claim of this try, and no other");
        let tried = house.get(TRY, name).await.unwrap();
        assert_eq!((&condition(&tried, "VerificationExecutorEnsured")["status"], &tried["status"]["phase"]), (&json!("True"), &json!("Running")));
        functions::say(&house, &pod, phase, json!({"exitCode": code, "message": "a table is missing"})).await;
        until_status(&house, verdict).await;
        if code != 0 {
            house.until_phase(TRY, name, "Failed").await;
            let tried = house.get(TRY, name).await.unwrap();
            let why = condition(&tried, "BackupVerified");
            assert_eq!((&why["status"], &why["reason"]), (&json!("False"), &json!("FailedToVerifyBackup")));
            assert!(why["message"].as_str().unwrap().contains("a table is missing"), "{why}");
        }
        house.until("its pod to go", || async { functions::pods(&house).await.iter().all(|other| other["metadata"]["uid"] != pod["metadata"]["uid"]) }).await;
    }
    until_clean(&house).await;
}
