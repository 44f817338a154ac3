//! A cluster is lost, with all its objects; another one is given the Secrets and the storage.

use serde_json::{Value, json};

use crate::agent::{Agent, Bucket};
use crate::condition;
use crate::house::{self, House};

const KUBESTASH_REPOSITORY: &str = include_str!("../../../agent/tests/views/kubestash-repository.yaml");
const KUBESTASH_SNAPSHOT: &str = include_str!("../../../agent/tests/views/kubestash-snapshot.yaml");

/// What a cluster leaves in its bucket: three Snapshots of one Repository.
async fn lost() -> (Bucket, Vec<Value>) {
    let house = House::start().await;
    let (agent, task) = Agent::start(&house, "a");
    house.furnish().await;
    house.create(house::configuration("one")).await;
    let first = crate::session_of(&house, "one").await;
    house.until_phase("BackupSession", &first, "Succeeded").await;
    house.back_up("one", "s2").await;
    house.back_up("one", "s3").await;
    let snapshots = house.list("Snapshot").await;
    assert_eq!(snapshots.len(), 3);
    task.abort();
    let bucket = agent.memory.lock().unwrap().bucket.clone();
    // First sessions are named by their second: another cluster's must not be of this one.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    (bucket, snapshots)
}

/// Another cluster, in which nothing is yet, and its agent with the bucket.
async fn another(bucket: Bucket) -> (House, Agent) {
    let house = House::start().await;
    let (agent, _) = Agent::start(&house, "a");
    agent.memory.lock().unwrap().bucket = Bucket { page: 2, ..bucket };
    (house, agent)
}

async fn until_read(house: &House, repository: &str) {
    house
        .until("the Snapshots to be read back", || async {
            house.get("Repository", repository).await.is_some_and(|repository| condition(&repository, "SnapshotsReadBack")["status"] == "True")
        })
        .await;
}

fn components(snapshot: &Value) -> Value {
    let mut components = snapshot["status"]["components"].clone();
    for component in components.as_object_mut().unwrap().values_mut() {
        // The clock of the agent, not the one of the repository.
        component.as_object_mut().unwrap().remove("duration");
        for stats in component["resticStats"].as_array_mut().unwrap() {
            let summary = stats["summary"].as_object_mut().unwrap();
            summary.remove("startTime");
            summary.remove("endTime");
        }
    }
    components
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_cluster_reads_the_bucket_back_and_restores() {
    let (bucket, before) = lost().await;
    let (house, agent) = another(bucket).await;
    house.furnish().await;
    until_read(&house, "one-repo").await;
    let after = house.list("Snapshot").await;
    assert_eq!(after.len(), 3);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before["metadata"]["name"], after["metadata"]["name"]);
        assert_eq!(after["status"]["phase"], "Succeeded");
        assert_eq!(components(before), components(after));
        assert_eq!(before["status"]["size"], after["status"]["size"]);
        assert_eq!((&before["spec"]["session"], &before["spec"]["snapshotID"], &before["spec"]["appRef"]), (&after["spec"]["session"], &after["spec"]["snapshotID"], &after["spec"]["appRef"]));
        assert_ne!(before["metadata"]["uid"], after["metadata"]["uid"]);
    }
    house.until_phase("Repository", "one-repo", "Ready").await;
    house
        .until("the Repository to add up", || async {
            let repository = house.get("Repository", "one-repo").await.unwrap();
            repository["status"]["snapshotCount"] == 3 && repository["status"]["recentSnapshots"][0]["name"] == "one-repo-s3"
        })
        .await;
    let repository = house.get("Repository", "one-repo").await.unwrap();
    assert_eq!((&repository["spec"]["path"], &repository["spec"]["storageRef"]["name"]), (&json!("/one"), &json!("store")));
    house.create(house::restore("r")).await;
    house.until_phase("RestoreSession", "r", "Succeeded").await;
    assert_eq!(agent.restores()[0].snapshot_id, "e-3");
    let memory = agent.memory.lock().unwrap();
    assert!(memory.forgotten.is_empty() && memory.prunes == 0 && memory.wiped.is_empty(), "nothing goes because a cluster is new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backups_go_on_and_what_was_deleted_stays_deleted_until_somebody_asks() {
    let (bucket, _) = lost().await;
    let (mut house, _agent) = another(bucket).await;
    house.furnish().await;
    // At once, as from a Git repository: it is the configuration that makes the Repository, or the storage.
    house.create(house::configuration("one")).await;
    until_read(&house, "one-repo").await;
    let first = crate::session_of(&house, "one").await;
    house.until_phase("BackupSession", &first, "Succeeded").await;
    house.until("four Snapshots", || async { house.names("Snapshot").await.len() == 4 }).await;
    // A session of a name that there was before is no backup of now.
    house.begin("one", "s2").await;
    house.until_phase("BackupSession", "s2", "Failed").await;
    house.delete("Snapshot", "one-repo-s2").await;
    house.kill_controller().await;
    let house = house.start_controller().await;
    house.back_up("one", "s5").await;
    assert!(house.get("Snapshot", "one-repo-s2").await.is_none());
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let now = jiff::Timestamp::now().to_string();
    house.patch("BackupStorage", "store", json!({"metadata": {"annotations": {"holdfast.dev/read-back": now}}})).await;
    house.until("it to be there again", || async { house.get("Snapshot", "one-repo-s2").await.is_some_and(|snapshot| snapshot["status"]["phase"] == "Succeeded") }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_waited_for_and_what_is_damaged_is_named() {
    let (mut bucket, _) = lost().await;
    let of = |namespace: &str| bucket.views["one/repository.yaml"].replace("namespace: demo", &format!("namespace: {namespace}"));
    let (late, other) = (of("late"), of("late"));
    bucket.views.insert("late/repository.yaml".into(), late);
    bucket.views.insert("late2/repository.yaml".into(), other.replace("one-repo", "two-repo"));
    bucket.views.insert("half/repository.yaml".into(), "kind: [".into());
    bucket.views.insert("one/snapshots/one-repo-s2.yaml".into(), "kind: [".into());
    bucket.views.remove("one/snapshots/one-repo-s3.yaml");
    let (house, _agent) = another(bucket).await;
    house.furnish().await;
    house.patch("BackupStorage", "store", json!({"spec": {"usagePolicy": {"allowedNamespaces": {"from": "All"}}}})).await;
    until_read(&house, "one-repo").await;
    // From what the repository itself holds.
    assert_eq!(house.list("Snapshot").await.iter().filter(|snapshot| snapshot["status"]["phase"] == "Succeeded").count(), 3);
    house
        .until("the storage to say what is missing", || async {
            let storage = house.get("BackupStorage", "store").await.unwrap();
            let errors: Vec<_> = storage["status"]["repositories"].as_array().into_iter().flatten().filter_map(|info| info["error"].as_str()).collect();
            errors.len() == 3 && errors.iter().filter(|error| **error == "its namespace does not exist").count() == 2
        })
        .await;
    assert_eq!(house.get("BackupStorage", "store").await.unwrap()["status"]["phase"], "Ready");
    // Until nothing else has the storage looked at.
    tokio::time::sleep(std::time::Duration::from_secs(7)).await;
    house.create(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "late"}})).await;
    house
        .until("the Repositories of the namespace", || async {
            let storage = house.get("BackupStorage", "store").await.unwrap();
            storage["status"]["repositories"].as_array().into_iter().flatten().filter(|info| info["namespace"] == "late" && info["error"].is_null()).count() == 2
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_secret_is_waited_for() {
    let (bucket, _) = lost().await;
    let (house, _agent) = another(bucket).await;
    house.create(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3", "namespace": "demo"},
        "stringData": {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}}))
        .await;
    house.create(house::storage()).await;
    house.until_phase("Repository", "one-repo", "NotReady").await;
    house
        .until("the reason", || async {
            let repository = house.get("Repository", "one-repo").await.unwrap();
            condition(&repository, "RepositoryInitialized")["message"] == "Secret demo/password does not exist"
        })
        .await;
    house.create(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password", "namespace": "demo"}, "stringData": {"RESTIC_PASSWORD": "hush"}})).await;
    until_read(&house, "one-repo").await;
    assert_eq!(house.list("Snapshot").await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kubestash_wrote_is_shown_and_a_planted_view_makes_no_key() {
    let mut bucket = Bucket::default();
    let of_claim = KUBESTASH_REPOSITORY.replace("apiGroup: apps\n    kind: StatefulSet\n    name: sample-sts", "apiGroup: \"\"\n    kind: PersistentVolumeClaim\n    name: data");
    bucket.views.insert("demo/sts/repository.yaml".into(), of_claim.replace("encrypt-secret", "password"));
    let name = "gcs-demo-repo-sample-backup-sts-demo-session-1702543201";
    bucket.views.insert(format!("demo/sts/snapshots/{name}.yaml"), KUBESTASH_SNAPSHOT.into());
    let (house, agent) = another(bucket).await;
    house.furnish().await;
    until_read(&house, "gcs-demo-repo").await;
    let snapshot = house.get("Snapshot", name).await.unwrap();
    assert_eq!(snapshot["status"]["phase"], "Succeeded");
    assert_eq!(snapshot["status"]["components"]["dump-pod-0"]["driver"], "Restic");
    let repository = house.get("Repository", "gcs-demo-repo").await.unwrap();
    assert_eq!(repository["status"]["phase"], "NotReady");
    assert!(agent.memory.lock().unwrap().bucket.repositories.is_empty(), "a view had a key stored");
    // A configuration that means it has it made, with what KubeStash stored beside it.
    let mut configuration = house::configuration("one");
    configuration["spec"]["sessions"][0]["repositories"][0]["name"] = json!("gcs-demo-repo");
    configuration["spec"]["sessions"][0]["repositories"][0]["directory"] = json!("/demo/sts");
    house.create(configuration).await;
    house.until_phase("Repository", "gcs-demo-repo", "Ready").await;
    let first = crate::session_of(&house, "one").await;
    house.until_phase("BackupSession", &first, "Succeeded").await;
    assert_eq!(house.list("Snapshot").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kubestash_stored_is_restored_while_its_repository_is_not_ours() {
    let mut bucket = Bucket::default();
    let of_claim = |view: &str| view.replace("apiGroup: apps\n    kind: StatefulSet\n    name: sample-sts", "apiGroup: \"\"\n    kind: PersistentVolumeClaim\n    name: data").replace("/source/data", "/kubestash-data");
    bucket.views.insert("demo/sts/repository.yaml".into(), of_claim(KUBESTASH_REPOSITORY).replace("encrypt-secret", "password"));
    let name = "gcs-demo-repo-sample-backup-sts-demo-session-1702543201";
    bucket.views.insert(format!("demo/sts/snapshots/{name}.yaml"), of_claim(KUBESTASH_SNAPSHOT));
    let (house, agent) = another(bucket).await;
    house.furnish().await;
    until_read(&house, "gcs-demo-repo").await;
    let mut restore = house::restore("r");
    restore["spec"]["dataSource"] = json!({"repository": "gcs-demo-repo", "snapshot": "latest", "components": ["dump-pod-1"]});
    house.create(restore).await;
    house.until_phase("RestoreSession", "r", "Succeeded").await;
    let task = agent.restores().remove(0);
    let access = task.repository.unwrap();
    assert_eq!((access.directory.as_str(), access.password.as_slice()), ("demo/sts", &b"hush"[..]));
    assert_eq!((task.snapshot_id.as_str(), task.restic.unwrap().directory.as_str()), ("", "repository/v1/demo-session/dump-pod-1"));
    let target = &task.targets[0];
    assert_eq!((target.snapshot_path.as_str(), target.snapshot_id.as_str()), ("/kubestash-data", "489d5a7614daa663df0c69a53a36d353936b6c8be61b8472694eeabcedbde16f"));
    assert_eq!(house.get("Repository", "gcs-demo-repo").await.unwrap()["status"]["phase"], "NotReady");
    let memory = agent.memory.lock().unwrap();
    assert!(memory.bucket.repositories.is_empty() && memory.forgotten.is_empty() && memory.wiped.is_empty(), "nothing is made or removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_counts_what_was_read_back_and_forgets_what_the_repository_knows_it_by() {
    let (bucket, _) = lost().await;
    let (house, agent) = another(bucket).await;
    house.furnish().await;
    until_read(&house, "one-repo").await;
    house.create(house::policy(2)).await;
    house.create(house::configuration("one")).await;
    let first = crate::session_of(&house, "one").await;
    house.until_phase("BackupSession", &first, "Succeeded").await;
    house.until("two Snapshots to be left", || async { house.names("Snapshot").await.len() == 2 }).await;
    house.until("the others to be forgotten", || async { agent.memory.lock().unwrap().forgotten == ["e-1", "e-2"] }).await;
    assert!(house.names("Snapshot").await.contains(&"one-repo-s3".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_that_dies_in_between_begins_anew_and_nothing_is_missing() {
    let (mut bucket, before) = lost().await;
    // Many pages: as many Repositories again, of which only the first has Snapshots.
    for number in 0..40 {
        let view = bucket.views["one/repository.yaml"].replace("one-repo", &format!("r-{number:02}")).replace("/one", &format!("/r/{number:02}"));
        bucket.views.insert(format!("r/{number:02}/repository.yaml"), view);
    }
    let (mut house, _agent) = another(bucket).await;
    house.furnish().await;
    for wanted in [3, 20] {
        house.until("some of them", || async { house.list("Repository").await.len() >= wanted }).await;
        house.kill_controller().await;
        house = house.start_controller().await;
    }
    house.until("all of them", || async { house.list("Repository").await.len() == 41 }).await;
    until_read(&house, "one-repo").await;
    let good = || async { house.list("Snapshot").await.into_iter().filter(|snapshot| snapshot["status"]["phase"] == "Succeeded").count() };
    house.until("the Snapshots", || async { good().await == before.len() }).await;
}
