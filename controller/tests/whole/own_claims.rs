//! Restores into claims of their own: one for each path of each component.

use holdfast_controller::repository::maintenance::Pace;
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::house::{self, House};
use crate::verification::kubelet;
use crate::{condition, session_of};

/// By the volume: where it is mounted.
const PATHS: [(&str, &str); 2] = [("data", "/data"), ("log", "/var/log")];
const COPIES: [&str; 4] = ["data-copy-0", "data-copy-1", "log-copy-0", "log-copy-1"];

/// A StatefulSet of two, whose pods have two volumes each.
async fn set(house: &House) {
    house
        .create(json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "web", "namespace": "demo"}, "spec": {
            "replicas": 2, "serviceName": "web", "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "app", "image": "app"}]}}}}))
        .await;
    for name in ["web-0", "web-1"] {
        let claim = |volume: &str| format!("{volume}-{name}");
        for (volume, _) in PATHS {
            house.create(json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": claim(volume), "namespace": "demo"},
                "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": format!("pv-{}", claim(volume)), "resources": {"requests": {"storage": "1Gi"}}}})).await;
        }
        let mut pod = house::pod(name, "a");
        pod["metadata"]["labels"] = json!({"app": "web"});
        pod["spec"]["volumes"] = json!(PATHS.map(|(volume, _)| json!({"name": volume, "persistentVolumeClaim": {"claimName": claim(volume)}})));
        pod["spec"]["containers"][0]["volumeMounts"] = json!(PATHS.map(|(volume, path)| json!({"name": volume, "mountPath": path})));
        house.create(pod).await;
    }
}

fn tasks(templates: &[&str]) -> Value {
    let template = |name: &&str| json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let templates: Vec<Value> = templates.iter().map(template).collect();
    json!([{"name": "logical-backup-restore", "targetVolumes": {"volumeClaimTemplates": templates}}])
}

async fn copies(house: &House) -> Vec<String> {
    let mut names = house.names("PersistentVolumeClaim").await;
    names.retain(|name| name.contains("copy"));
    names
}

/// The claims of each pod that holds some.
async fn held(house: &House) -> Vec<Vec<String>> {
    let mut pods = house.list("Pod").await;
    pods.retain(|pod| !pod["metadata"]["labels"]["holdfast.dev/holder"].is_null());
    let claim = |volume: &Value| volume["persistentVolumeClaim"]["claimName"].as_str().unwrap().to_owned();
    let mut held: Vec<Vec<String>> = pods.iter().map(|pod| pod["spec"]["volumes"].as_array().unwrap().iter().map(claim).collect()).collect();
    held.sort();
    held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stateful_set_of_two_volumes_is_restored_into_claims_of_its_own_also_after_a_crash() {
    let mut house = House::start_with_holders(Pace::default()).await;
    let (agent, _task) = Agent::start(&house, "a");
    house.furnish().await;
    house.create(house::policy(5)).await;
    set(&house).await;
    let mut configuration = house::configuration("one");
    configuration["spec"]["target"] = json!({"apiGroup": "apps", "kind": "StatefulSet", "name": "web"});
    configuration["spec"]["sessions"][0]["addon"] =
        json!({"name": "workload-addon", "tasks": [{"name": "logical-backup", "params": {"paths": "/data,/var/log"}}]});
    house.create(configuration).await;
    let session = session_of(&house, "one").await;
    house.until_phase("BackupSession", &session, "Succeeded").await;

    agent.hold(true);
    let mut restore = house::restore("copy");
    restore["spec"].as_object_mut().unwrap().remove("target");
    restore["spec"]["addon"] = json!({"name": "workload-addon", "tasks": tasks(&["data-copy-${POD_ORDINAL}"])});
    house.create(restore).await;
    house.until_phase("RestoreSession", "copy", "Invalid").await;
    let refused = house.get("RestoreSession", "copy").await.unwrap();
    let why = condition(&refused, "ValidationPassed")["message"].as_str().unwrap();
    let expected = "spec.addon.tasks[0].targetVolumes.volumeClaimTemplates: 1 found, and component \"dump-pod-0\" holds 2 paths, [\"/data\", \"/var/log\"]";
    assert!(why.starts_with(expected), "{why}");
    assert!(copies(&house).await.is_empty(), "what is refused makes nothing");
    house.patch("RestoreSession", "copy", json!({"spec": {"addon": {"tasks": tasks(&["data-copy-${POD_ORDINAL}", "log-copy-${POD_ORDINAL}"])}}})).await;

    // As if the controller had ended before it made the last one.
    let both = [["data-copy-0", "log-copy-0"], ["data-copy-1", "log-copy-1"]];
    house.until("the claims and the pods that hold them", || async { copies(&house).await == COPIES && held(&house).await == both }).await;
    house.kill_controller().await;
    house.delete("PersistentVolumeClaim", "log-copy-1").await;
    let house = house.start_controller().await;
    house.until("the claim that is not there", || async { copies(&house).await == COPIES }).await;
    let _kubelet = kubelet(&house);
    house.until("the restores to be with an agent", || async { agent.restores().len() == 2 }).await;
    let places = |task: holdfast_proto::v1::RestoreTask| {
        let place = |target: holdfast_proto::v1::RestoreTarget| (target.snapshot_path, target.volume.unwrap().pvc_name, target.path_in_volume);
        task.targets.into_iter().map(place).collect::<Vec<_>>()
    };
    let mut given: Vec<_> = agent.restores().into_iter().map(places).collect();
    given.sort();
    let expected = |ordinal: u32| PATHS.map(|(volume, path)| (path.to_owned(), format!("{volume}-copy-{ordinal}"), String::new()));
    assert_eq!(given, [expected(0), expected(1)]);

    agent.let_go();
    house.until_phase("RestoreSession", "copy", "Succeeded").await;
    assert_eq!((copies(&house).await, agent.attempts()), (COPIES.map(str::to_owned).to_vec(), vec![1; 4]), "two backups and two restores, each once");
    for name in COPIES {
        let claim = house.get("PersistentVolumeClaim", name).await.unwrap();
        assert!(claim["metadata"]["ownerReferences"].is_null(), "what a person restores stays: {claim}");
        assert_eq!(claim["metadata"]["labels"]["holdfast.dev/made-by"], house.get("RestoreSession", "copy").await.unwrap()["metadata"]["uid"]);
    }
}
