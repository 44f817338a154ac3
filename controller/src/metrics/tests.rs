use serde_json::{Value, json};

use super::*;

fn encoded(families: Vec<Family>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Families(families)));
    let mut body = String::new();
    text::encode(&mut body, &registry).unwrap();
    body
}

fn read<K: serde::de::DeserializeOwned>(object: Value) -> K {
    serde_json::from_value(object).unwrap()
}

#[test]
fn metrics_have_kubestash_s_names_and_labels() {
    let target = json!({"apiGroup": "apps", "kind": "Deployment", "name": "web", "namespace": "demo"});
    let metadata = |name: &str| json!({"name": name, "namespace": "demo", "creationTimestamp": "2026-11-22T21:59:00Z"});
    let condition = |type_: &str, status: &str| json!({"type": type_, "status": status, "lastTransitionTime": "2026-11-22T21:59:00Z"});
    let configuration = read(json!({"metadata": metadata("app"), "spec": {"target": target, "sessions": [{"name": "daily",
        "scheduler": {"schedule": "0 2 * * *", "jobTemplate": {}}, "addon": {"name": "workload-addon"}}]},
        "status": {"phase": "Ready", "conditions": [condition("SnapshotsHeld", "True")]}}));
    let said = encoded(objects::configurations(std::iter::once(&configuration)));
    let common = r#"namespace="demo",backup_invoker_kind="BackupConfiguration",backup_invoker_name="app",target_kind="Deployment",target_name="web",target_namespace="demo""#;
    for line in [
        format!("core_kubestash_com_backupconfiguration_created{{{common}}} 1795384740.0"),
        format!(r#"core_kubestash_com_backupconfiguration_sessions{{{common},session_name="daily",schedule="0 2 * * *",addon_name="workload-addon"}} 1.0"#),
        format!(r#"core_kubestash_com_backupconfiguration_phase{{{common},phase="Ready"}} 1.0"#),
        format!(r#"core_kubestash_com_backupconfiguration_phase{{{common},phase="Invalid"}} 0.0"#),
        format!(r#"core_kubestash_com_backupconfiguration_conditions{{{common},condition="SnapshotsHeld",status="True"}} 1.0"#),
        format!("holdfast_snapshots_held{{{common}}} 1.0"),
    ] {
        assert!(said.lines().any(|found| found == line), "{line}\n{said}");
    }

    let repository = read(json!({"metadata": metadata("repo"), "spec": {"path": "/web", "appRef": target},
        "status": {"phase": "Ready", "integrity": true, "size": "1.500 GiB", "snapshotCount": 7, "lastBackupTime": "2026-11-22T22:00:00Z"}}));
    let said = encoded(objects::repositories(std::iter::once(&repository)));
    let common = r#"namespace="demo",invoker_kind="Repository",invoker_name="repo",target_kind="Deployment",target_name="web",target_namespace="demo""#;
    for line in [
        format!("storage_kubestash_com_repository_last_successful_backup{{{common}}} 1795384800.0"),
        format!("storage_kubestash_com_repository_size_bytes{{{common}}} 1610612736.0"),
        format!("storage_kubestash_com_repository_snapshot_count_total{{{common}}} 7.0"),
        format!(r#"storage_kubestash_com_repository_info{{{common},path="/web",phase="Ready",integrity="true"}} 1.0"#),
    ] {
        assert!(said.lines().any(|found| found == line), "{line}\n{said}");
    }
}

#[test]
fn sessions_restores_and_storages_say_how_they_stand_and_how_long_they_took() {
    let session = read(json!({"metadata": {"name": "s", "namespace": "demo"}, "spec": {"invoker": {"kind": "BackupBatch", "name": "all"}, "session": "daily"},
        "status": {"phase": "Failed", "duration": "1m10.5s"}}));
    let said = encoded(objects::sessions(std::iter::once(&session)));
    assert!(said.contains(r#"owner_kind="BackupBatch",owner_name="all",phase="Failed"} 1.0"#), "{said}");
    assert!(said.contains("_duration_seconds{") && said.contains("} 70.5\n"), "{said}");
    assert!(!said.contains("backupsession_created"), "nothing is said of what is not known: {said}");
    let restore = read(json!({"metadata": {"name": "r", "namespace": "demo"}, "spec": {"dataSource": {"repository": "repo", "snapshot": "latest"}},
        "status": {"phase": "Running", "totalComponents": 3}}));
    let said = encoded(objects::restores(std::iter::once(&restore)));
    assert!(said.contains(r#"repository="repo",snapshot="latest",addon_name="",phase="Running"} 1.0"#), "{said}");
    assert!(said.contains("component_count_total{") && said.contains("} 3.0\n"), "{said}");
    let storage = read(json!({"metadata": {"name": "st", "namespace": "demo"}, "spec": {}, "status": {"phase": "NotReady", "totalSize": "17 B"}}));
    let said = encoded(objects::storages(std::iter::once(&storage)));
    assert!(said.contains(r#"phase="NotReady"} 1.0"#) && said.contains("backupstorage_size_bytes{") && said.contains("} 17.0\n"), "{said}");
}

#[test]
fn a_label_is_one_value_whatever_is_in_it() {
    let mut family = Family::new("it", "What it is");
    family.add(&Vec::new(), &[("name", "a\"} 5\nother{x=\"\\")], Some(1.0));
    let said = encoded(vec![family, Family::new("empty", "Nothing")]);
    assert_eq!(said.lines().collect::<Vec<_>>(), ["# HELP it What it is", "# TYPE it gauge", r#"it{name="a\"} 5\nother{x=\"\\"} 1.0"#, "# EOF"]);
}
