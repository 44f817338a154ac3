use serde_json::json;

use super::super::tasks::{TaskPurpose, canonical_name};
use super::super::{Addon, AddonSpec, ParameterDefinition, Task};
use super::*;

fn task() -> Task {
    let parameter = |name: &str, required, default: Option<&str>| ParameterDefinition {
        name: Some(name.into()),
        required: Some(required),
        default: default.map(Into::into),
        ..ParameterDefinition::default()
    };
    Task {
        name: Some("logical-backup".into()),
        parameters: vec![
            parameter(name::PATHS, true, None),
            parameter(name::EXCLUDE, false, None),
            parameter(name::ENABLE_CACHE, false, Some("true")),
        ],
        ..Task::default()
    }
}

fn given(value: Value) -> BTreeMap<String, Value> {
    serde_json::from_value(value).expect("an object")
}

#[test]
fn defaults_fill_what_is_not_given() {
    let values = task()
        .parameters(&given(json!({ "paths": "/data,/log" })))
        .expect("valid parameters");
    assert_eq!(
        values,
        BTreeMap::from([
            ("paths".into(), "/data,/log".into()),
            ("enableCache".into(), "true".into())
        ])
    );
    let values = task()
        .parameters(&given(
            json!({ "paths": "/a", "enableCache": false, "exclude": null }),
        ))
        .expect("valid");
    assert_eq!(values["enableCache"], "false");
    assert!(!values.contains_key("exclude"));
}

#[test]
fn every_problem_is_named_at_once() {
    let error = task()
        .parameters(&given(json!({ "path": "/data", "exclude": ["a"] })))
        .expect_err("three problems");
    assert_eq!(error.missing, ["paths"]);
    assert_eq!(error.undeclared, ["path"]);
    assert_eq!(error.not_scalar, ["exclude"]);
    assert_eq!(
        error.to_string(),
        "task \"logical-backup\": required parameters are missing: paths; unknown parameters: path (the task has \
         paths, exclude, enableCache); parameters must be strings: exclude"
    );
}

#[test]
fn an_empty_value_does_not_satisfy_a_requirement() {
    let error = task()
        .parameters(&given(json!({ "paths": "" })))
        .expect_err("no paths");
    assert_eq!(error.missing, ["paths"]);
}

#[test]
fn lists_are_separated_by_commas() {
    assert_eq!(
        comma_separated(" /data/a b, /log ,,"),
        ["/data/a b", "/log"]
    );
    assert!(comma_separated(" , ").is_empty());
}

#[test]
fn tasks_are_found_by_name_and_by_old_name() {
    let mut addon = Addon::new(
        "pvc-addon",
        AddonSpec {
            backup_tasks: vec![task()],
            restore_tasks: Vec::new(),
        },
    );
    assert_eq!(
        addon.task(TaskPurpose::Backup, "logical-backup"),
        Ok(&addon.spec.backup_tasks[0])
    );
    assert_eq!(
        addon.task(TaskPurpose::Backup, "LogicalBackup"),
        Ok(&addon.spec.backup_tasks[0])
    );
    let error = addon
        .task(TaskPurpose::Backup, "dump")
        .expect_err("no such task");
    assert_eq!(
        error.to_string(),
        "addon \"pvc-addon\" has no backup task \"dump\"; it has logical-backup"
    );
    let error = addon
        .task(TaskPurpose::Restore, "LogicalBackup")
        .expect_err("no such task");
    assert_eq!(
        error.to_string(),
        "addon \"pvc-addon\" has no restore task \"LogicalBackup\"; it has none"
    );
    addon.spec.backup_tasks.push(Task {
        name: Some("LogicalBackup".into()),
        ..Task::default()
    });
    assert_eq!(
        addon.task(TaskPurpose::Backup, "LogicalBackup"),
        Ok(&addon.spec.backup_tasks[1])
    );
    assert_eq!(
        canonical_name("VolumeSnapshotRestore"),
        "volume-snapshot-restore"
    );
}
