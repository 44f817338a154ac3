//! The kinds that KubeStash's webhooks check little or not at all.

use super::*;
use crate::{BackupBlueprint, BackupVerificationSession, BackupVerifier, HookTemplate};

pub(super) const NOTHING: Surroundings<'static> = Surroundings {
    namespace: DEMO,
    storages: &[],
    retention_policies: &[],
    hook_templates: &[],
    repositories: &[],
};

pub(super) fn batch() -> Value {
    json!({
        "targets": [
            { "name": "db", "appRef": { "apiGroup": "apps", "kind": "StatefulSet", "name": "db", "namespace": "demo" } },
            { "name": "web", "appRef": { "apiGroup": "apps", "kind": "Deployment", "name": "web", "namespace": "demo" } },
        ],
        "backends": [{
            "name": "s3",
            "storageRef": { "name": "s3-storage", "namespace": "demo" },
            "retentionPolicy": { "name": "keep", "namespace": "demo" },
        }],
        "sessions": [{
            "name": "all",
            "scheduler": { "schedule": "0 3 * * *", "jobTemplate": { "backoffLimit": 1 } },
            "targets": [
                {
                    "name": "db",
                    "addon": { "name": "workload-addon", "tasks": [{ "name": "logical-backup" }] },
                    "repositories": [{ "name": "db-repo", "backend": "s3", "directory": "/demo/db" }],
                },
                {
                    "name": "web",
                    "addon": { "name": "workload-addon", "tasks": [{ "name": "logical-backup" }] },
                    "repositories": [{ "name": "web-repo", "backend": "s3", "directory": "/demo/web" }],
                },
            ],
        }],
    })
}

fn check_batch(spec: Value, repositories: &[&Repository]) -> Vec<String> {
    let around = Surroundings {
        repositories,
        ..NOTHING
    };
    paths(backup_batch::validate(&object("all", spec), around))
}

#[test]
fn a_batch_is_checked_where_kubestash_checks_nothing() {
    assert_eq!(check_batch(batch(), &[]), [""; 0]);
    for (pointer, value, path) in [
        ("/targets/0/name", Value::Null, "spec.targets[0].name"),
        ("/targets/0/appRef", Value::Null, "spec.targets[0].appRef"),
        ("/sessions", Value::Null, "spec.sessions"),
        ("/sessions/0/scheduler", Value::Null, "spec.sessions[0].scheduler"),
        ("/sessions/0/targets", Value::Null, "spec.sessions[0].targets"),
        ("/sessions/0/targets/0/name", json!("ghost"), "spec.sessions[0].targets[0].name"),
        ("/sessions/0/targets/0/addon", Value::Null, "spec.sessions[0].targets[0].addon"),
        (
            "/sessions/0/targets/1/repositories/0/directory",
            json!("/demo/db"),
            "spec.sessions[0].targets[1].repositories[0].directory",
        ),
        (
            "/sessions/0/targets/0/repositories/0/backend",
            json!("tape"),
            "spec.sessions[0].targets[0].repositories[0].backend",
        ),
        ("/sessions/0/backupTimeout", json!("soon"), "spec.sessions[0].backupTimeout"),
        ("/sessions/0/targets/1/name", json!("db"), "spec.sessions[0].targets[1].name"),
        ("/targets/1/name", json!("db"), "spec.targets[1].name"),
        (
            "/sessions/0/targets/1/repositories",
            json!([{ "name": "db-repo", "backend": "s3", "directory": "/demo/db" }]),
            "spec.sessions[0].targets[1].repositories[0].name",
        ),
    ] {
        let found = check_batch(with(batch(), pointer, value), &[]);
        assert!(found.iter().any(|found| found == path), "{pointer}: {found:?}");
    }
}

#[test]
fn a_repository_of_a_batch_holds_one_application_whatever_the_session() {
    let mut spec = batch();
    let mut other = spec["sessions"][0].clone();
    other["name"] = json!("web-only");
    other["targets"] = json!([other["targets"][1]]);
    spec["sessions"].as_array_mut().expect("sessions").push(other);
    assert_eq!(check_batch(spec.clone(), &[]), [""; 0], "the same application in two sessions");
    let theirs = json!({ "name": "db-repo", "backend": "s3", "directory": "/demo/db" });
    spec["sessions"][1]["targets"][0]["repositories"][0] = theirs;
    assert_eq!(check_batch(spec, &[]), ["spec.sessions[1].targets[0].repositories[0].name"]);
}

#[test]
fn a_batch_may_not_take_another_applications_repository() {
    let repository: Repository = object(
        "db-repo",
        json!({
            "appRef": { "apiGroup": "apps", "kind": "StatefulSet", "name": "other", "namespace": "demo" },
            "storageRef": { "name": "s3-storage", "namespace": "demo" },
            "path": "/demo/db",
        }),
    );
    let found = check_batch(batch(), &[&repository]);
    assert_eq!(found, ["spec.sessions[0].targets[0].repositories[0].name"]);
}

#[test]
fn a_blueprint_needs_a_template_and_may_use_its_storage() {
    let check = |spec: Value, storages: &[&BackupStorage]| {
        let blueprint: BackupBlueprint = object("plan", spec);
        let around = Surroundings { storages, ..NOTHING };
        paths(backup_blueprint::validate(&blueprint, around))
    };
    let template = json!({ "backupConfigurationTemplate": {
        "backends": [{ "storageRef": { "name": "s3", "namespace": "vault" } }],
        "sessions": [{ "name": "daily" }],
    } });
    assert_eq!(check(json!({}), &[]), ["spec.backupConfigurationTemplate"]);
    assert_eq!(check(template.clone(), &[]), [""; 0], "the storage may come later");
    let closed: BackupStorage = in_namespace("vault", "s3", json!({ "storage": { "provider": "s3" } }));
    assert_eq!(
        check(template.clone(), &[&closed]),
        ["spec.backupConfigurationTemplate.backends[0].storageRef"]
    );
    let open: BackupStorage =
        in_namespace("vault", "s3", json!({ "usagePolicy": { "allowedNamespaces": { "from": "All" } } }));
    assert_eq!(check(template, &[&open]), [""; 0]);
    let selector = json!({ "allowedNamespaces": { "from": "Selector" } });
    let found = check(json!({ "usagePolicy": selector, "backupConfigurationTemplate": { "sessions": [{}] } }), &[]);
    assert_eq!(found, ["spec.usagePolicy.allowedNamespaces.selector"]);
}

fn hook() -> Value {
    json!({
        "params": [{ "name": "message" }],
        "action": { "exec": { "command": ["true"] } },
        "executor": { "type": "Pod", "pod": { "selector": "app=web, tier=front" } },
    })
}

#[test]
fn a_hook_has_one_action_and_a_place() {
    let check = |spec: Value| {
        let template: HookTemplate = object("hook", spec);
        paths(hook_template::validate(&template))
    };
    assert_eq!(check(hook()), [""; 0]);
    for selector in ["web", "!web", "tier in (front, back),app==web", "tier notin (front),app!=web,example.com/a.b=", "size>3"] {
        assert_eq!(check(with(hook(), "/executor/pod/selector", json!(selector))), [""; 0], "{selector}");
    }
    for selector in ["we b", "tier in front", "tier into (front)", "in (front)", "a=b,,c=d", "a=b c", "tier in (front"] {
        assert_eq!(check(with(hook(), "/executor/pod/selector", json!(selector))), ["spec.executor.pod.selector"], "{selector}");
    }
    for (pointer, value, path) in [
        ("/executor", Value::Null, "spec.executor"),
        ("/executor/type", Value::Null, "spec.executor.type"),
        ("/executor/pod", Value::Null, "spec.executor.pod.selector"),
        ("/executor/pod/selector", json!("=web"), "spec.executor.pod.selector"),
        ("/executor/type", json!("Function"), "spec.executor.function.name"),
        ("/executor/type", json!("Operator"), "spec.action"),
        ("/action", Value::Null, "spec.action"),
        ("/action/exec", Value::Null, "spec.action"),
        ("/action/httpGet", json!({ "port": 80 }), "spec.action"),
        ("/params/0", json!({ "name": "message" }), "spec.params[1].name"),
    ] {
        let found = check(with(hook(), pointer, value));
        assert!(found.iter().any(|found| found == path), "{pointer}: {found:?}");
    }
    let function = json!({ "executor": { "type": "Function", "function": { "name": "f" } } });
    assert_eq!(check(function), [""; 0], "a Function is an action of its own");
}

#[test]
fn a_verifier_needs_a_schedule_which_kubestash_refuses_by_mistake() {
    let check = |spec: Value| {
        let verifier: BackupVerifier = object("verifier", spec);
        paths(backup_verifier::validate(&verifier))
    };
    let whole = json!({
        "scheduler": { "schedule": "0 5 * * *", "jobTemplate": {} },
        "restoreOption": { "addonInfo": { "name": "pvc-addon", "tasks": [{ "name": "logical-backup-restore" }] } },
        "type": "Script", "function": "verify", "script": { "location": "/verify.sh" },
    });
    assert_eq!(check(whole.clone()), [""; 0]);
    for (pointer, value, path) in [
        ("/scheduler", Value::Null, "spec.scheduler"),
        ("/restoreOption", Value::Null, "spec.restoreOption"),
        ("/restoreOption/addonInfo/name", Value::Null, "spec.restoreOption.addonInfo.name"),
        ("/type", Value::Null, "spec.type"),
        ("/type", json!("Query"), "spec.query"),
        ("/function", Value::Null, "spec.function"),
        ("/script", Value::Null, "spec.script.location"),
        ("/retryConfig", json!({ "delay": "soon" }), "spec.retryConfig.delay"),
    ] {
        assert_eq!(check(with(whole.clone(), pointer, value)), [path], "{pointer}");
    }
    assert_eq!(check(with(whole, "/retryConfig", json!({ "delay": "1m" }))), [""; 0]);
}

#[test]
fn what_a_verification_tries_stays() {
    let session = |snapshot: &str| -> BackupVerificationSession { object("try", json!({ "snapshot": snapshot })) };
    assert_eq!(backup_verification_session::validate_update(&session("a"), &session("a")), Ok(()));
    assert_eq!(paths(backup_verification_session::validate_update(&session("a"), &session("b"))), ["spec"]);
}
