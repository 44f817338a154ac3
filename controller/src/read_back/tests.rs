use holdfast_api::condition::kinds::snapshot as kinds;
use holdfast_api::driver::Driver;
use holdfast_api::snapshot::{ComponentPhase, SnapshotPhase};
use holdfast_api::Repository;
use holdfast_proto::v1::{ReadView, SourceResult, StoredSnapshot};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::backup_session::retention::bytes;
use crate::repository::ledger;

const KUBESTASH_REPOSITORY: &str = include_str!("../../../agent/tests/views/kubestash-repository.yaml");
const KUBESTASH_SNAPSHOT: &str = include_str!("../../../agent/tests/views/kubestash-snapshot.yaml");
const KUBESTASH_NAME: &str = "gcs-demo-repo-sample-backup-sts-demo-session-1702543201";

fn now() -> Timestamp {
    "2026-11-26T12:00:00Z".parse().unwrap()
}

fn storage() -> Named {
    Named::new("infra", "store")
}

fn view(path: &str, document: &Value) -> ReadView {
    ReadView { path: path.into(), json: serde_json::to_vec(document).unwrap(), stored: Vec::new() }
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

fn told_repository() -> Value {
    json!({"apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Repository",
        "metadata": {"name": "repo", "namespace": "demo", "uid": "old", "finalizers": ["kubestash.com/cleanup"]},
        "spec": {"path": "/demo/app", "storageRef": {"name": "other", "namespace": "victim"}, "deletionPolicy": "WipeOut", "paused": true,
            "encryptionSecret": {"name": "password", "namespace": "demo"}, "appRef": {"apiGroup": "apps", "kind": "Deployment", "name": "app", "namespace": "demo"}}})
}

fn repository() -> Repository {
    let mut repository = super::repository::from_view(&view("demo/app/repository.yaml", &told_repository()), &storage()).unwrap();
    repository.metadata.uid = Some("new".into());
    repository
}

#[test]
fn a_repository_comes_back_as_its_view_says_and_where_its_view_lies() {
    let mut repository = repository();
    assert_eq!(repository.spec.path.as_deref(), Some("/demo/app"));
    let storage_ref = repository.spec.storage_ref.take().unwrap();
    assert_eq!((storage_ref.name.as_str(), storage_ref.namespace.as_deref()), ("store", Some("infra")));
    assert_eq!(repository.spec.app_ref.unwrap().name, "app");
    // Nothing of the old cluster, and nothing that wipes out or is held up.
    assert_eq!((repository.spec.deletion_policy, repository.spec.paused), (None, None));
    assert!(repository.metadata.finalizers.is_none() && repository.metadata.owner_references.is_none());
    assert_eq!(repository.metadata.annotations.unwrap()[FROM], "infra/store");
    assert!(repository.status.is_none());
}

#[test]
fn a_repository_of_kubestash_comes_back() {
    let repository = super::repository::from_view(&view("demo/sts/repository.yaml", &yaml(KUBESTASH_REPOSITORY)), &storage()).unwrap();
    assert_eq!((repository.metadata.name.as_deref(), repository.metadata.namespace.as_deref()), (Some("gcs-demo-repo"), Some("demo")));
    assert_eq!(repository.spec.encryption_secret.unwrap().name, "encrypt-secret");
    assert_eq!(repository.metadata.labels.unwrap()["kubestash.com/invoker-name"], "sample-backup-sts");
}

#[test]
fn a_hostile_repository_view_gets_nothing_that_is_not_its_own() {
    let made = |path: &str, change: Value| {
        let mut told = told_repository();
        json_patch::merge(&mut told, &change);
        super::repository::from_view(&view(path, &told), &storage())
    };
    // A Secret of another namespace, the place of somebody else's data, a storage that is not this one.
    let stolen = made("mine/repository.yaml", json!({"spec": {"encryptionSecret": {"name": "password", "namespace": "victim"}, "path": "/victim/data"}})).unwrap();
    assert_eq!(stolen.spec.encryption_secret.unwrap().namespace.as_deref(), Some("demo"));
    assert_eq!(stolen.spec.path.as_deref(), Some("/mine"));
    assert_eq!(stolen.spec.storage_ref.unwrap().namespace.as_deref(), Some("infra"));
    let labels = json!({"metadata": {"labels": {"app": "web", "holdfast.dev/x": "y", "kubestash.com/invoker-name": "a b"}, "annotations": {"forget.holdfast.dev/s": "u e-1"},
        "ownerReferences": [{"apiVersion": "v1", "kind": "Secret", "name": "x", "uid": "u"}]}});
    let labelled = made("demo/app/repository.yaml", labels).unwrap();
    assert_eq!(labelled.metadata.labels, None);
    assert_eq!(labelled.metadata.annotations.unwrap().keys().collect::<Vec<_>>(), [FROM]);
    assert_eq!(labelled.metadata.owner_references, None);
    for app in [json!({"name": "a b"}), json!({"kind": "x/y"}), json!({"apiGroup": "g".repeat(1000)}), json!({"namespace": "Up"})] {
        let other = made("demo/app/repository.yaml", json!({"spec": {"appRef": app}})).unwrap();
        assert_eq!(other.spec.app_ref, None);
    }
    for (path, change) in [
        ("demo/app/repository.yaml", json!({"metadata": {"name": "../x"}})),
        ("demo/app/repository.yaml", json!({"metadata": {"name": "X"}})),
        ("demo/app/repository.yaml", json!({"metadata": {"name": null}})),
        ("demo/app/repository.yaml", json!({"metadata": {"namespace": "kube.system"}})),
        ("demo/app/repository.yaml", json!({"metadata": {"namespace": ""}})),
        ("demo/app/repository.yaml", json!({"spec": {"encryptionSecret": {"name": "a/b"}}})),
        ("demo/app/repository.yaml", json!({"kind": "Secret"})),
        ("demo/app/repository.yaml", json!({"apiVersion": "v1"})),
        ("demo/app/repository.yaml", json!({"spec": "none"})),
        ("../repository.yaml", json!({})),
        ("repository.yaml", json!({})),
        ("demo//app/repository.yaml", json!({})),
    ] {
        assert!(made(path, change.clone()).is_err(), "{path} {change}");
    }
    let broken = ReadView { path: "a/repository.yaml".into(), json: b"{".to_vec(), stored: Vec::new() };
    assert!(super::repository::from_view(&broken, &storage()).is_err());
}

fn stored(id: &str, component: &str, bytes: u64) -> StoredSnapshot {
    StoredSnapshot {
        id: id.into(),
        host: "demo/Deployment/app".into(),
        session: "daily".into(),
        component: component.into(),
        sources: vec![SourceResult { container_path: "/data".into(), bytes, bytes_added: 7, started_unix_ms: 1_000_000, ended_unix_ms: 1_003_500, ..SourceResult::default() }],
        started_unix_ms: 1_000_000,
        ended_unix_ms: 1_003_500,
        unreadable_count: 0,
    }
}

fn told_snapshot(components: Value) -> Value {
    json!({"apiVersion": "storage.kubestash.com/v1alpha1", "kind": "Snapshot",
        "metadata": {"name": "s-1", "namespace": "demo", "uid": "old", "labels": {"x": "y"}},
        "spec": {"snapshotID": "01HHKQQ59XN4979HMDFNCANA9V", "type": "FullBackup", "repository": "repo", "session": "daily", "backupSession": "s", "version": "v1",
            "deletionPolicy": "WipeOut", "paused": true, "appRef": {"apiGroup": "apps", "kind": "Deployment", "name": "app", "namespace": "demo"}},
        "status": {"phase": "Succeeded", "snapshotTime": "2030-01-01T00:00:00Z", "size": "3.000 MiB", "integrity": true, "verificationStatus": "Verified",
            "totalComponents": 1, "components": components}})
}

fn held(id: &str, phase: &str) -> Value {
    json!({"driver": "Holdfast", "phase": phase, "path": "anywhere", "integrity": true, "size": "3.000 MiB",
        "resticStats": [{"summary": {"id": id, "hostPath": "/etc", "size": "9.000 GiB"}}]})
}

fn snapshot_view(document: &Value, stored: Vec<StoredSnapshot>) -> ReadView {
    ReadView { stored, ..view("demo/app/snapshots/s-1.yaml", document) }
}

#[test]
fn a_snapshot_comes_back_with_what_the_repository_vouches_for() {
    let view = snapshot_view(&told_snapshot(json!({"dump": held("e-2", "Succeeded")})), vec![stored("e-1", "dump", 9), stored("e-2", "dump", 4096)]);
    let (snapshot, status) = snapshot::from_view(&view, &repository(), now()).unwrap();
    assert_eq!(status.phase, Some(SnapshotPhase::Succeeded));
    let dump = &status.components["dump"];
    assert_eq!((dump.path.as_deref(), dump.duration.as_deref()), (Some("repository/v1/daily/dump"), Some("3.5s")));
    let summary = dump.restic_stats[0].summary.as_ref().unwrap();
    assert_eq!((summary.id.as_deref(), summary.host_path.as_deref(), summary.size.as_deref()), (Some("e-2"), Some("/data"), Some("4.000 KiB")));
    assert_eq!(status.size.as_deref(), Some("3.000 MiB"));
    // When it was taken is the repository's word, that it was checked nobody's.
    assert_eq!(status.snapshot_time.unwrap().0.as_second(), 1_003);
    assert_eq!((status.integrity, status.verification_status, dump.integrity), (None, None, None));
    assert_eq!((snapshot.spec.deletion_policy, snapshot.spec.paused), (None, None));
    assert_eq!(snapshot.metadata.owner_references.as_ref().unwrap()[0].uid, "new");
    assert!(!snapshot.metadata.labels.as_ref().unwrap().contains_key("x"));
    assert_eq!(snapshot.spec.snapshot_id.as_deref(), Some("01HHKQQ59XN4979HMDFNCANA9V"));
    assert!(is_read_back(&snapshot.metadata) && crate::snapshot::plan::is_settled(&snapshot));
}

#[test]
fn a_snapshot_without_a_view_is_made_from_the_repository() {
    let stored = vec![stored("e-1", "dump-pod-0", 1), stored("e-2", "dump-pod-1", 2), StoredSnapshot { unreadable_count: 3, ..stored("e-3", "dump-pod-1", 4) }];
    let view = ReadView { path: "demo/app/snapshots/s-1.yaml".into(), json: Vec::new(), stored };
    let (snapshot, status) = snapshot::from_view(&view, &repository(), now()).unwrap();
    assert_eq!((status.phase, status.total_components), (Some(SnapshotPhase::Succeeded), Some(2)));
    let object = holdfast_api::Snapshot { status: Some(status.clone()), ..snapshot };
    assert_eq!(ledger::engine_ids(&object), ["e-1".to_owned(), "e-3".to_owned()].into(), "the newest attempt counts");
    assert_eq!(object.spec.session.as_deref(), Some("daily"));
    let app = object.spec.app_ref.unwrap();
    assert_eq!((app.api_group.as_deref(), app.kind.as_deref(), app.name.as_str(), app.namespace.as_deref()), (Some("apps"), Some("Deployment"), "app", Some("demo")));
    let gaps = condition_of(&status, kinds::FILES_UNREADABLE);
    assert_eq!(gaps, "component dump-pod-1: 3 files could not be read");
    assert!(condition_of(&status, kinds::SNAPSHOT_METADATA_UPLOADED).contains("lost"));
}

fn condition_of(status: &holdfast_api::snapshot::SnapshotStatus, type_: &str) -> String {
    holdfast_api::condition::get(&status.conditions, type_).and_then(|condition| condition.message.clone()).unwrap_or_default()
}

#[test]
fn what_kubestash_stored_is_shown_and_is_not_ours() {
    let mut of_sts = repository();
    of_sts.metadata.name = Some("gcs-demo-repo".into());
    let view = view(&format!("demo/sts/snapshots/{KUBESTASH_NAME}.yaml"), &yaml(KUBESTASH_SNAPSHOT));
    let (snapshot, status) = snapshot::from_view(&view, &of_sts, now()).unwrap();
    assert_eq!(status.phase, Some(SnapshotPhase::Succeeded));
    assert_eq!(status.components["dump-pod-0"].driver, Some(Driver::Restic));
    let object = std::sync::Arc::new(holdfast_api::Snapshot { status: Some(status), ..snapshot });
    // Both shapes of its numbers.
    assert_eq!(bytes(&object).keys().map(String::as_str).collect::<Vec<_>>(), ["dump-pod-0", "dump-pod-1"]);
    assert!(!ledger::is_ours(&object) && ledger::engine_ids(&object).is_empty(), "retention leaves it alone");
}

#[test]
fn a_hostile_snapshot_view_makes_nothing_that_the_repository_does_not_hold() {
    let made = |components: Value, stored: Vec<StoredSnapshot>| snapshot::from_view(&snapshot_view(&told_snapshot(components), stored), &repository(), now());
    // Another's data under this name; data that is not there; nothing at all.
    for forged in [json!({"dump": held("e-9", "Succeeded")}), json!({}), json!({"dump": {"phase": "Succeeded"}}), json!({"dump": {"driver": "Holdfast", "phase": "Succeeded"}})] {
        let why = made(forged.clone(), Vec::new()).unwrap_err();
        assert!(why.contains("holds nothing") || why.contains("has no time"), "{forged}: {why}");
    }
    let (_, status) = made(json!({"dump": held("e-9", "Succeeded")}), vec![stored("e-1", "other", 1)]).unwrap();
    assert_eq!(status.phase, Some(SnapshotPhase::Failed));
    assert_eq!(status.components["dump"].phase, Some(ComponentPhase::Failed));
    // One component's data under the name of another.
    let (_, status) = made(json!({"dump": held("e-1", "Succeeded")}), vec![stored("e-1", "other", 1)]).unwrap();
    assert_eq!(status.components["dump"].phase, Some(ComponentPhase::Failed));
    // A component that the view hides; one of another tool that it adds.
    let (_, status) = made(
        json!({"a": held("e-1", "Succeeded"), "evil": {"driver": "Restic", "phase": "Succeeded", "path": "repository/v1/x/y"}}),
        vec![stored("e-1", "a", 1), stored("e-2", "b", 1)],
    )
    .unwrap();
    assert_eq!(status.components.keys().map(String::as_str).collect::<Vec<_>>(), ["a", "b"]);
    // Whose files they are decides which of their attributes come back.
    let mut forged = told_snapshot(json!({"dump": held("e-1", "Succeeded")}));
    forged["spec"]["appRef"]["namespace"] = json!("demo");
    let theirs = StoredSnapshot { host: "elsewhere/Deployment/app".into(), ..stored("e-1", "dump", 1) };
    let (snapshot, _) = snapshot::from_view(&snapshot_view(&forged, vec![theirs]), &repository(), now()).unwrap();
    assert_eq!(snapshot.spec.app_ref.unwrap().namespace.as_deref(), Some("elsewhere"));
    let of_the_cluster = StoredSnapshot { host: "demo//na".into(), ..stored("e-1", "dump", 1) };
    let (snapshot, _) = snapshot::from_view(&snapshot_view(&forged, vec![of_the_cluster]), &repository(), now()).unwrap();
    assert_eq!(snapshot.spec.app_ref, Some(holdfast_api::TypedObjectReference::not_applicable()));
    let nobody = StoredSnapshot { host: "laptop".into(), ..stored("e-1", "dump", 1) };
    assert!(snapshot::from_view(&snapshot_view(&forged, vec![nobody]), &repository(), now()).is_err());
}

#[test]
fn a_snapshot_view_in_one_directory_makes_no_snapshot_of_another_repository() {
    let good = told_snapshot(json!({"dump": held("e-1", "Succeeded")}));
    for (pointer, value) in [
        ("/spec/repository", json!("victim-repo")),
        ("/metadata/namespace", json!("victim")),
        ("/metadata/name", json!("s-2")),
        ("/kind", json!("Repository")),
        ("/status/components/dump/driver", json!(7)),
    ] {
        let mut forged = good.clone();
        *forged.pointer_mut(pointer).unwrap() = value;
        let made = snapshot::from_view(&snapshot_view(&forged, vec![stored("e-1", "dump", 1)]), &repository(), now());
        assert!(made.is_err(), "{pointer}");
    }
    for path in ["demo/app/snapshots/S.yaml", "demo/app/snapshots/a b.yaml", "demo/app/snapshots/.yaml", "demo/app/snapshots/s-1"] {
        let view = ReadView { path: path.into(), json: Vec::new(), stored: vec![stored("e-1", "dump", 1)] };
        assert!(snapshot::from_view(&view, &repository(), now()).is_err(), "{path}");
    }
}

#[test]
fn a_snapshot_that_had_not_ended_or_comes_from_the_future_stays_away() {
    let mut running = told_snapshot(json!({}));
    running["status"]["phase"] = json!("Running");
    assert_eq!(snapshot::from_view(&snapshot_view(&running, Vec::new()), &repository(), now()).unwrap_err(), "it had not ended");
    let failed = |time: &str| {
        let mut failed = told_snapshot(json!({"dump": {"driver": "Holdfast", "phase": "Failed", "error": "no\nspace"}}));
        failed["status"]["phase"] = json!("Failed");
        failed["status"]["snapshotTime"] = json!(time);
        snapshot::from_view(&snapshot_view(&failed, Vec::new()), &repository(), now())
    };
    let (_, status) = failed("2026-11-01T00:00:00Z").unwrap();
    assert_eq!((status.phase, status.components["dump"].error.as_deref()), (Some(SnapshotPhase::Failed), Some("nospace")));
    assert!(failed("2030-01-01T00:00:00Z").unwrap_err().contains("not come yet"));
    for (name, is_good) in [("repo-app-daily-1795694400", true), ("repo-app-daily-1895694400", false), ("repo-app-2", true)] {
        let view = ReadView { path: format!("demo/app/snapshots/{name}.yaml"), json: Vec::new(), stored: vec![stored("e-1", "dump", 1)] };
        assert_eq!(snapshot::from_view(&view, &repository(), now()).is_ok(), is_good, "{name}");
    }
}

#[test]
fn a_page_is_followed_only_by_one_behind_it() {
    assert!(goes_on("", "") && goes_on("a", "") && goes_on("", "a") && goes_on("a", "a/b") && goes_on("a/b", "a-b"));
    assert!(!goes_on("a", "a") && !goes_on("a-b", "a/b") && !goes_on("b", "a") && !goes_on("", &"a".repeat(5000)));
}

#[test]
fn a_time_that_somebody_asks_for_counts_when_it_has_come() {
    let metadata = |time: &str| ObjectMeta { annotations: Some([(ASKED.to_owned(), time.to_owned())].into()), ..ObjectMeta::default() };
    assert!(asked(&metadata("2026-11-26T11:00:00Z"), now()).is_some());
    assert!(asked(&metadata("2026-11-26T13:00:00Z"), now()).is_none());
    assert!(asked(&metadata("yes"), now()).is_none() && asked(&ObjectMeta::default(), now()).is_none());
}
