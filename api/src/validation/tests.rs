use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::backup_configuration::Surroundings;
use super::*;
use crate::{
    BackupConfiguration, BackupSession, BackupStorage, Repository, RestoreSession, RetentionPolicy,
};

mod kinds;
mod surroundings;

static NO_LABELS: BTreeMap<String, String> = BTreeMap::new();
const DEMO: Namespace<'static> = Namespace {
    name: "demo",
    labels: &NO_LABELS,
};

/// An object of the namespace `demo` unless it says otherwise.
fn object<K: DeserializeOwned + kube::Resource>(name: &str, spec: Value) -> K {
    in_namespace("demo", name, spec)
}

fn in_namespace<K: DeserializeOwned + kube::Resource>(
    namespace: &str,
    name: &str,
    spec: Value,
) -> K {
    let object = json!({ "metadata": { "name": name, "namespace": namespace }, "spec": spec });
    serde_json::from_value(object).expect("a well-formed object")
}

fn paths(result: Result<(), FieldErrors>) -> Vec<String> {
    match result {
        Ok(()) => Vec::new(),
        Err(errors) => errors
            .errors()
            .iter()
            .map(|error| error.path.clone())
            .collect(),
    }
}

fn configuration() -> Value {
    json!({
        "target": { "apiGroup": "apps", "kind": "Deployment", "name": "web", "namespace": "demo" },
        "backends": [{
            "name": "s3",
            "storageRef": { "name": "s3-storage", "namespace": "demo" },
            "retentionPolicy": { "name": "keep", "namespace": "demo" },
        }],
        "sessions": [{
            "name": "frequent",
            "scheduler": { "schedule": "*/5 * * * *", "jobTemplate": { "backoffLimit": 1 } },
            "repositories": [{ "name": "web-repo", "backend": "s3", "directory": "/demo/web" }],
            "addon": { "name": "workload-addon", "tasks": [{ "name": "logical-backup", "params": { "paths": "/data" } }] },
        }],
    })
}

fn check(
    spec: Value,
    storages: &[&BackupStorage],
    repositories: &[&Repository],
) -> Result<(), FieldErrors> {
    let configuration: BackupConfiguration = object("web", spec);
    let surroundings = Surroundings {
        namespace: DEMO,
        storages,
        retention_policies: &[],
        hook_templates: &[],
        repositories,
    };
    backup_configuration::validate(&configuration, surroundings)
}

/// Checks a configuration with one field changed (or removed, by null).
fn check_with(pointer: &str, value: Value) -> Vec<String> {
    paths(check(with(configuration(), pointer, value), &[], &[]))
}

/// Sets (or removes, by null) one field, or adds to a list.
fn with(mut spec: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    match (spec.pointer_mut(parent).expect("the parent exists"), value) {
        (Value::Object(fields), Value::Null) => _ = fields.remove(key).expect("a field to remove"),
        (Value::Object(fields), value) => _ = fields.insert(key.to_owned(), value),
        (Value::Array(items), value) => items.push(value),
        (other, _) => panic!("{other} has no fields"),
    }
    spec
}

#[test]
fn a_whole_configuration_is_valid() {
    assert_eq!(check(configuration(), &[], &[]), Ok(()));
}

#[test]
fn every_part_of_a_configuration_is_needed() {
    for (pointer, path) in [
        ("/backends/0/storageRef", "spec.backends[0].storageRef"),
        (
            "/backends/0/retentionPolicy",
            "spec.backends[0].retentionPolicy",
        ),
        ("/sessions", "spec.sessions"),
        ("/sessions/0/name", "spec.sessions[0].name"),
        ("/sessions/0/scheduler", "spec.sessions[0].scheduler"),
        ("/sessions/0/addon", "spec.sessions[0].addon"),
        ("/sessions/0/addon/name", "spec.sessions[0].addon.name"),
        ("/sessions/0/addon/tasks", "spec.sessions[0].addon.tasks"),
        (
            "/sessions/0/addon/tasks/0/name",
            "spec.sessions[0].addon.tasks[0].name",
        ),
        ("/sessions/0/repositories", "spec.sessions[0].repositories"),
        (
            "/sessions/0/repositories/0/name",
            "spec.sessions[0].repositories[0].name",
        ),
        (
            "/sessions/0/repositories/0/directory",
            "spec.sessions[0].repositories[0].directory",
        ),
    ] {
        assert_eq!(check_with(pointer, Value::Null), [path], "{pointer}");
    }
    assert_eq!(
        check_with("/backends", Value::Null),
        ["spec.backends", "spec.sessions[0].repositories[0].backend"]
    );
}

#[test]
fn wrong_values_are_named() {
    for (pointer, value, path) in [
        (
            "/sessions/0/backupTimeout",
            json!("1 day"),
            "spec.sessions[0].backupTimeout",
        ),
        (
            "/sessions/0/retryConfig",
            json!({ "delay": "-1m" }),
            "spec.sessions[0].retryConfig.delay",
        ),
        (
            "/sessions/0/repositories/0/backend",
            json!("gcs"),
            "spec.sessions[0].repositories[0].backend",
        ),
        (
            "/sessions/0/repositories/0/directory",
            json!("/demo/../web"),
            "spec.sessions[0].repositories[0].directory",
        ),
        (
            "/sessions/0/repositories/0/directory",
            json!("/"),
            "spec.sessions[0].repositories[0].directory",
        ),
        (
            "/sessions/0/hooks",
            json!({ "preBackup": [{ "timeout": "x" }] }),
            "spec.sessions[0].hooks.preBackup[0].timeout",
        ),
        (
            "/backends/-",
            json!({ "name": "s3", "storageRef": { "name": "g" }, "retentionPolicy": { "name": "keep" } }),
            "spec.backends[1].name",
        ),
        (
            "/sessions/0/repositories/-",
            json!({ "name": "web-repo", "backend": "s3", "directory": "/demo/web" }),
            "spec.sessions[0].repositories[1].name",
        ),
    ] {
        assert_eq!(check_with(pointer, value), [path], "{pointer}");
    }
    for (pointer, value) in [
        (
            "/backends/-",
            json!({ "name": "gcs", "storageRef": { "name": "g" }, "retentionPolicy": { "name": "keep" } }),
        ),
        (
            "/sessions/0/repositories/-",
            json!({ "name": "far-repo", "backend": "s3", "directory": "/demo/far" }),
        ),
        ("/sessions/0/backupTimeout", json!("1h")),
    ] {
        assert_eq!(check_with(pointer, value), [""; 0], "{pointer}");
    }
    let error = check_with(
        "/sessions/0/addon/tasks/-",
        json!({ "name": "logical-backup" }),
    );
    assert_eq!(error, ["spec.sessions[0].addon.tasks[1].name"]);
}

#[test]
fn a_repository_without_a_backend_takes_the_only_one() {
    assert!(check_with("/sessions/0/repositories/0/backend", Value::Null).is_empty());
    let mut spec = configuration();
    let second = json!({ "name": "gcs", "storageRef": { "name": "g" }, "retentionPolicy": { "name": "keep" } });
    spec["backends"]
        .as_array_mut()
        .expect("a list")
        .push(second);
    spec["sessions"][0]["repositories"][0]
        .as_object_mut()
        .expect("fields")
        .remove("backend");
    assert_eq!(
        paths(check(spec, &[], &[])),
        ["spec.sessions[0].repositories[0].backend"]
    );
}

#[test]
fn a_directory_has_one_owner() {
    let mut spec = configuration();
    let second = json!({ "name": "other-repo", "backend": "s3", "directory": "demo/web/" });
    spec["sessions"][0]["repositories"]
        .as_array_mut()
        .expect("a list")
        .push(second);
    assert_eq!(
        paths(check(spec, &[], &[])),
        ["spec.sessions[0].repositories[1].directory"]
    );

    let storage_ref = json!({ "name": "s3-storage", "namespace": "demo" });
    let stranger: Repository = in_namespace(
        "other",
        "x",
        json!({ "path": "demo/web", "storageRef": storage_ref }),
    );
    assert_eq!(
        paths(check(configuration(), &[], &[&stranger])),
        ["spec.sessions[0].repositories[0].directory"]
    );
    let elsewhere: Repository = in_namespace(
        "other",
        "x",
        json!({ "path": "demo/web", "storageRef": { "name": "s3-storage" } }),
    );
    assert_eq!(
        check(configuration(), &[], &[&elsewhere]),
        Ok(()),
        "a storage of that name in another namespace"
    );
}

#[test]
fn an_existing_repository_stays_what_it_is() {
    let own = json!({
        "path": "demo/web",
        "storageRef": { "name": "s3-storage", "namespace": "demo" },
        "appRef": { "apiGroup": "apps", "kind": "Deployment", "name": "web", "namespace": "demo" },
    });
    assert_eq!(
        check(configuration(), &[], &[&object("web-repo", own.clone())]),
        Ok(())
    );
    for (field, value, path) in [
        (
            "path",
            json!("demo/old"),
            "spec.sessions[0].repositories[0].directory",
        ),
        (
            "storageRef",
            json!({ "name": "gcs" }),
            "spec.sessions[0].repositories[0].name",
        ),
        (
            "appRef",
            json!({ "kind": "Deployment", "name": "api" }),
            "spec.sessions[0].repositories[0].name",
        ),
    ] {
        let mut own = own.clone();
        own[field] = value;
        assert_eq!(
            paths(check(configuration(), &[], &[&object("web-repo", own)])),
            [path],
            "{field}"
        );
    }
}

#[test]
fn a_repository_that_exists_does_not_hide_a_stranger_in_its_directory() {
    let storage_ref = json!({ "name": "s3-storage", "namespace": "demo" });
    let place = json!({ "path": "demo/web", "storageRef": storage_ref });
    let own: Repository = object("web-repo", place.clone());
    let stranger: Repository = in_namespace("other", "web-repo", place);
    let found = paths(check(configuration(), &[], &[&own, &stranger]));
    assert_eq!(found, ["spec.sessions[0].repositories[0].directory"]);
}

#[test]
fn one_name_is_one_repository_in_all_sessions() {
    let mut spec = configuration();
    let mut second = spec["sessions"][0].clone();
    second["name"] = json!("daily");
    spec["sessions"]
        .as_array_mut()
        .expect("a list")
        .push(second);
    assert_eq!(check(spec.clone(), &[], &[]), Ok(()));
    spec["sessions"][1]["repositories"][0]["directory"] = json!("/demo/elsewhere");
    assert_eq!(
        paths(check(spec, &[], &[])),
        ["spec.sessions[1].repositories[0].name"]
    );
}

#[test]
fn a_storage_of_another_namespace_must_allow_its_use() {
    let mut spec = configuration();
    spec["backends"][0]["storageRef"]["namespace"] = json!("backup");
    let closed: BackupStorage = in_namespace("backup", "s3-storage", json!({}));
    let error = check(spec.clone(), &[&closed], &[]).expect_err("not allowed");
    assert_eq!(
        error.to_string(),
        "spec.backends[0].storageRef: \"backup/s3-storage\" may not be used from namespace \"demo\": \
         its usagePolicy does not allow it"
    );
    let open: BackupStorage = in_namespace(
        "backup",
        "s3-storage",
        json!({ "usagePolicy": { "allowedNamespaces": { "from": "All" } } }),
    );
    assert_eq!(check(spec, &[&open], &[]), Ok(()));
}

#[test]
fn storages_name_their_place_and_share_it_with_none() {
    let s3 = |name: &str, prefix: &str| -> BackupStorage {
        object(
            name,
            json!({ "storage": { "provider": "s3", "s3": { "bucket": "b", "prefix": prefix } } }),
        )
    };
    let (one, two, three) = (s3("one", "demo"), s3("two", "/demo/"), s3("three", "other"));
    assert_eq!(backup_storage::validate(&one, &[&one, &three]), Ok(()));
    assert_eq!(
        paths(backup_storage::validate(&one, &[&one, &two, &three])),
        ["spec.storage"]
    );
    for (spec, path) in [
        (json!({}), "spec.storage"),
        (json!({ "storage": {} }), "spec.storage.provider"),
        (
            json!({ "storage": { "provider": "S3" } }),
            "spec.storage.provider",
        ),
        (
            json!({ "storage": { "provider": "s3" } }),
            "spec.storage.s3",
        ),
        (
            json!({ "storage": { "provider": "gcs", "gcs": {} } }),
            "spec.storage.gcs.bucket",
        ),
        (
            json!({ "storage": { "provider": "azure", "azure": { "container": "c" } } }),
            "spec.storage.azure.storageAccount",
        ),
    ] {
        assert_eq!(
            paths(backup_storage::validate(&object("x", spec.clone()), &[])),
            [path],
            "{spec}"
        );
    }
}

#[test]
fn an_endpoint_tells_two_buckets_of_one_name_apart() {
    let at = |name: &str, endpoint: &str| -> BackupStorage {
        let s3 = json!({ "endpoint": endpoint, "bucket": "b", "prefix": "demo" });
        object(name, json!({ "storage": { "provider": "s3", "s3": s3 } }))
    };
    let one = at("one", "https://s3.example.com");
    let (other, same) = (at("other", "https://minio.demo"), at("same", "https://s3.example.com/"));
    assert_eq!(backup_storage::validate(&one, &[&one, &other]), Ok(()));
    assert_eq!(
        paths(backup_storage::validate(&one, &[&one, &other, &same])),
        ["spec.storage"]
    );
}

#[test]
fn a_namespace_has_one_default() {
    let default: BackupStorage = object(
        "a",
        json!({ "default": true, "storage": { "provider": "local", "local": {} } }),
    );
    let second: BackupStorage = object(
        "b",
        json!({ "default": true, "storage": { "provider": "local", "local": {} } }),
    );
    assert_eq!(
        paths(backup_storage::validate(&second, &[&default, &second])),
        ["spec.default"]
    );
    let elsewhere: BackupStorage = in_namespace("other", "a", json!({ "default": true }));
    assert_eq!(
        backup_storage::validate(&second, &[&elsewhere, &second]),
        Ok(())
    );
    let (one, two): (RetentionPolicy, RetentionPolicy) = (
        object("a", json!({ "default": true, "maxRetentionPeriod": "2mo" })),
        object("b", json!({ "default": true, "maxRetentionPeriod": "2mo" })),
    );
    assert_eq!(
        paths(retention_policy::validate(&one, &[&one, &two])),
        ["spec.default"]
    );
}

#[test]
fn a_storage_that_holds_repositories_stays() {
    let mut old: BackupStorage = object(
        "a",
        json!({ "storage": { "provider": "s3", "s3": { "bucket": "old" } } }),
    );
    let new: BackupStorage = object(
        "a",
        json!({ "storage": { "provider": "s3", "s3": { "bucket": "new" } } }),
    );
    assert_eq!(backup_storage::validate_update(&old, &new), Ok(()));
    old.status =
        serde_json::from_value(json!({ "repositories": [{ "name": "r" }] })).expect("a status");
    assert_eq!(
        paths(backup_storage::validate_update(&old, &new)),
        ["spec.storage"]
    );
    assert_eq!(backup_storage::validate_update(&old, &old), Ok(()));
}

#[test]
fn a_policy_says_what_stays() {
    for (spec, expected) in [
        (json!({ "maxRetentionPeriod": "2mo" }), &[][..]),
        (json!({ "successfulSnapshots": { "last": 3 } }), &[]),
        (json!({}), &["spec.maxRetentionPeriod"]),
        (
            json!({ "maxRetentionPeriod": "2 months" }),
            &["spec.maxRetentionPeriod"],
        ),
        (
            json!({ "successfulSnapshots": { "daily": -1 } }),
            &["spec.successfulSnapshots.daily"],
        ),
        (
            json!({ "maxRetentionPeriod": "1d", "usagePolicy": { "allowedNamespaces": { "from": "Selector" } } }),
            &["spec.usagePolicy.allowedNamespaces.selector"],
        ),
    ] {
        let policy: RetentionPolicy = object("keep", spec.clone());
        assert_eq!(
            paths(retention_policy::validate(&policy, &[])),
            expected,
            "{spec}"
        );
    }
}

#[test]
fn a_restore_says_what_it_restores() {
    let addon =
        json!({ "name": "workload-addon", "tasks": [{ "name": "logical-backup-restore" }] });
    for (source, expected) in [
        (json!({ "repository": "r", "snapshot": "latest" }), &[][..]),
        (json!({ "snapshot": "r-web-1" }), &[]),
        (
            json!({ "repository": "r", "pitr": { "targetTime": "2026-01-01T00:00:00Z" } }),
            &[],
        ),
        (
            json!({ "snapshot": "latest" }),
            &["spec.dataSource.repository"],
        ),
        (json!({ "repository": "r" }), &["spec.dataSource.snapshot"]),
        (
            json!({ "pitr": {} }),
            &[
                "spec.dataSource.pitr.targetTime",
                "spec.dataSource.repository",
            ],
        ),
        (
            json!({ "repository": "r", "snapshot": "latest", "pitr": { "targetTime": "2026-01-01T00:00:00Z" } }),
            &["spec.dataSource.snapshot"],
        ),
    ] {
        let restore: RestoreSession = object("r", json!({ "dataSource": source, "addon": addon }));
        assert_eq!(
            paths(restore_session::validate(&restore, DEMO, &[])),
            expected,
            "{source}"
        );
    }
    for (timeout, expected) in [("30m", &[][..]), ("soon", &["spec.restoreTimeout"])] {
        let source = json!({ "repository": "r", "snapshot": "latest" });
        let restore: RestoreSession = object(
            "r",
            json!({ "dataSource": source, "addon": addon, "restoreTimeout": timeout }),
        );
        assert_eq!(
            paths(restore_session::validate(&restore, DEMO, &[])),
            expected,
            "{timeout}"
        );
    }
    let empty: RestoreSession = object("r", json!({}));
    assert_eq!(
        paths(restore_session::validate(&empty, DEMO, &[])),
        ["spec.dataSource", "spec.addon"]
    );
}

#[test]
fn paths_and_sessions_do_not_change() {
    let (old, new): (Repository, Repository) = (
        object("r", json!({ "path": "a" })),
        object("r", json!({ "path": "b" })),
    );
    assert_eq!(
        paths(repository::validate_update(&old, &new)),
        ["spec.path"]
    );
    assert_eq!(repository::validate_update(&old, &old), Ok(()));
    let invoker = json!({ "kind": "BackupConfiguration", "name": "web" });
    let (old, new): (BackupSession, BackupSession) = (
        object("s", json!({ "invoker": invoker, "session": "daily" })),
        object("s", json!({ "invoker": invoker, "session": "hourly" })),
    );
    assert_eq!(paths(backup_session::validate_update(&old, &new)), ["spec"]);
    assert_eq!(backup_session::validate(&old), Ok(()));
    let odd: BackupSession = object("s", json!({ "invoker": { "kind": "Pod", "name": "web" } }));
    assert_eq!(
        paths(backup_session::validate(&odd)),
        ["spec.invoker.kind", "spec.session"]
    );
}

#[test]
fn a_long_list_of_errors_is_cut() {
    let sessions: Vec<Value> = (0..12).map(|_| json!({ "name": "same" })).collect();
    let error = check(json!({ "sessions": sessions }), &[], &[])
        .expect_err("many errors")
        .to_string();
    assert!(error.contains("more") && error.len() < 2000, "{error}");
}
