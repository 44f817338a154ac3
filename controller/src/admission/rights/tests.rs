//! One hostile object for each escalation that DESIGN.md names, beside a harmless one.

use serde_json::{Value, json};

use super::*;

pub(super) const OWN: &str = "demo";

pub(super) fn read<K: serde::de::DeserializeOwned>(spec: Value) -> K {
    let object = json!({"metadata": {"name": "it", "namespace": OWN}, "spec": spec});
    serde_json::from_value(object).expect("a well-formed object")
}

pub(super) fn asked(rights: &[Right]) -> Vec<String> {
    rights
        .iter()
        .map(|right| {
            let resource = [right.resource.as_str(), right.subresource].join("/");
            format!("{} {} {}/{}", right.verb, resource.trim_end_matches('/'), right.namespace, right.name)
        })
        .collect()
}

pub(super) fn nothing() -> Known<'static> {
    Known { templates: &|_, _| None, may_be_pod: &|_, _, _| false }
}

#[test]
fn a_storage_sends_its_secret_to_its_endpoint() {
    let of = |endpoint: &str| {
        let s3 = json!({"endpoint": endpoint, "bucket": "b", "secretName": "keys"});
        backup_storage(&read(json!({"storage": {"provider": "s3", "s3": s3}})), OWN)
    };
    let here = of("https://s3.example.com");
    assert_eq!(asked(&here), ["get secrets demo/keys"]);
    assert!(changed(here.clone(), &here).is_empty(), "what stays is not asked for again");
    assert_eq!(changed(of("https://evil.example.com"), &here).len(), 1, "the same Secret to another endpoint is asked for");
    assert!(backup_storage(&read(json!({"storage": {"provider": "s3", "s3": {"bucket": "b"}}})), OWN).is_empty());
}

#[test]
fn a_volume_as_storage_is_mounted_as_by_a_pod() {
    let local = json!({"hostPath": {"path": "/"}, "mountPath": "/"});
    let rights = backup_storage(&read(json!({"storage": {"provider": "local", "local": local}})), OWN);
    assert_eq!(asked(&rights), ["create pods demo/"]);
}

pub(super) fn configuration(target_namespace: &str, session: Value) -> BackupConfiguration {
    let target = json!({"apiGroup": "apps", "kind": "Deployment", "name": "web", "namespace": target_namespace});
    let mut session = session;
    session["name"] = json!("daily");
    read(json!({"target": target, "sessions": [session]}))
}

#[test]
fn a_target_elsewhere_must_be_visible_to_the_user() {
    let session = json!({});
    let rights = backup_configuration(&configuration("victim", session.clone()), OWN, &nothing());
    assert_eq!(asked(&rights), ["get deployments victim/web"]);
    assert!(backup_configuration(&configuration(OWN, session), OWN, &nothing()).is_empty());
}

#[test]
fn a_password_must_be_readable_by_the_user() {
    let session = json!({"repositories": [{"name": "r", "encryptionSecret": {"name": "s", "namespace": "victim"}}]});
    let rights = backup_configuration(&configuration(OWN, session), OWN, &nothing());
    assert_eq!(asked(&rights), ["get secrets victim/s"]);
    assert_eq!(rights[0].path, "spec.sessions[0].repositories[0].encryptionSecret");
}

#[test]
fn a_job_template_is_a_pod() {
    let addon = json!({"name": "a", "jobTemplate": {"spec": {"serviceAccountName": "admin"}}});
    let rights = backup_configuration(&configuration(OWN, json!({"addon": addon})), OWN, &nothing());
    assert_eq!(asked(&rights), ["create pods demo/"]);
    let empty = json!({"name": "a", "jobTemplate": {}});
    assert!(backup_configuration(&configuration(OWN, json!({"addon": empty})), OWN, &nothing()).is_empty());
}

#[test]
fn manifests_are_read_and_made_as_an_account_that_the_user_may_be() {
    let addon = |task: Value| json!({"name": "a", "tasks": [task]});
    let backup = |task: Value| backup_configuration(&configuration(OWN, json!({"addon": addon(task)})), OWN, &nothing());
    assert!(backup(json!({"name": "logical-backup"})).is_empty());
    let silent = backup(json!({"name": "manifest-backup"}));
    assert_eq!(asked(&silent), ["create pods demo/"], "the account `default`, which nobody has named");
    let more = backup(json!({"name": "manifest-backup", "params": {"IncludeResources": "secrets"}}));
    assert_eq!(changed(more, &silent).len(), 1, "another selection is another look");
    assert!(changed(silent.clone(), &silent).is_empty());

    let template = |tasks: Value| {
        let addon = json!({"name": "a", "tasks": tasks, "jobTemplate": {"spec": {"serviceAccountName": "admin"}}});
        backup_configuration(&configuration(OWN, json!({"addon": addon})), OWN, &nothing())
    };
    let volumes = template(json!([{"name": "logical-backup"}]));
    let both = template(json!([{"name": "logical-backup"}, {"name": "manifest-backup"}]));
    assert_eq!(changed(both, &volumes).len(), 1, "with it the account comes to count");

    let batch = json!({"sessions": [{"name": "s", "targets": [{"name": "t", "addon": addon(json!({"name": "manifest-backup"}))}]}]});
    assert_eq!(asked(&backup_batch(&read(batch), OWN, &nothing())), ["create pods demo/"]);
    let restore = json!({"addon": addon(json!({"name": "manifest-restore"})), "manifestOptions": {"workload": {"restoreNamespace": "victim"}}});
    assert_eq!(asked(&restore_session(&read(restore), OWN, &nothing())), ["create pods demo/"], "what it may do elsewhere is its own rights' matter");
}

#[test]
fn a_task_that_a_pod_does_is_a_pod_of_the_user() {
    let pods = Known { may_be_pod: &|_, info, task| info.name.as_deref() == Some("db") && task.name.as_deref() == Some("dump"), ..nothing() };
    let session = |addon: Value| backup_configuration(&configuration(OWN, json!({"addon": addon})), OWN, &pods);
    let plain = session(json!({"name": "db", "tasks": [{"name": "dump"}]}));
    assert_eq!(asked(&plain), ["create pods demo/"], "as the account `default`, which nobody has named");
    assert_eq!(plain[0].path, "spec.sessions[0].addon.tasks");
    assert!(session(json!({"name": "db", "tasks": [{"name": "files"}]})).is_empty());
    assert!(changed(plain.clone(), &plain).is_empty(), "what stays is not asked for again");
    for other in [
        json!({"name": "db", "tasks": [{"name": "dump", "params": {"args": "--all"}}]}),
        json!({"name": "db", "tasks": [{"name": "dump", "addonVolumes": [{"name": "v", "source": {"hostPath": {"path": "/"}}}]}]}),
        json!({"name": "db", "tasks": [{"name": "dump"}], "containerRuntimeSettings": {"securityContext": {"privileged": true}}}),
        json!({"name": "db", "tasks": [{"name": "dump"}], "jobTemplate": {"spec": {"serviceAccountName": "admin"}}}),
    ] {
        assert_eq!(changed(session(other.clone()), &plain).len(), 1, "another pod: {other}");
    }
    let template = json!({"spec": {"serviceAccountName": "admin"}});
    let files = session(json!({"name": "db", "tasks": [{"name": "files"}], "jobTemplate": template}));
    let both = session(json!({"name": "db", "tasks": [{"name": "files"}, {"name": "dump"}], "jobTemplate": template}));
    assert_eq!(changed(both, &files).len(), 1, "with it the account comes to count");
    let restore = json!({"addon": {"name": "db", "tasks": [{"name": "dump"}]}});
    assert_eq!(asked(&restore_session(&read(restore), OWN, &pods)), ["create pods demo/"]);
}

#[test]
fn a_restore_reads_snapshots_and_writes_over_targets() {
    let target = json!({"apiGroup": "apps", "kind": "StatefulSet", "name": "db", "namespace": "victim"});
    let source = json!({
        "namespace": "other", "repository": "repo", "snapshot": "latest",
        "encryptionSecret": {"name": "s", "namespace": "other"},
    });
    let rights = restore_session(&read(json!({"target": target, "dataSource": source})), OWN, &nothing());
    assert_eq!(
        asked(&rights),
        ["update statefulsets victim/db", "get snapshots other/", "get repositories other/repo", "get secrets other/s"]
    );
    let own = json!({"dataSource": {"repository": "repo", "snapshot": "latest"}});
    assert!(restore_session(&read(own), OWN, &nothing()).is_empty());
}

#[test]
fn a_verifier_runs_a_function_and_restores() {
    let verifier = json!({
        "function": "f",
        "restoreOption": {"target": {"kind": "PersistentVolumeClaim", "name": "data", "namespace": "victim"}},
    });
    let mut verifier = verifier;
    let before = backup_verifier(&read(verifier.clone()), OWN, &nothing());
    assert_eq!(asked(&before), ["create pods demo/", "update persistentvolumeclaims victim/data"]);
    verifier["runtimeSettings"] = json!({"pod": {"serviceAccountName": "admin"}});
    let rights = backup_verifier(&read(verifier), OWN, &nothing());
    assert_eq!(asked(&changed(rights, &before)), ["create pods demo/"], "another ServiceAccount is another pod");
}

#[test]
fn whoever_has_backups_tried_out_must_be_allowed_the_claims_and_the_pods_of_a_verifier_elsewhere() {
    let of = |verifier: Value| {
        let repository = json!({"name": "r", "backupVerifier": verifier});
        let rights = backup_configuration(&read(json!({"sessions": [{"name": "s", "repositories": [repository]}]})), OWN, &nothing());
        asked(&rights)
    };
    assert_eq!(of(json!({"name": "v"})), ["create persistentvolumeclaims demo/"]);
    assert_eq!(of(json!({"name": "v", "namespace": "demo"})), ["create persistentvolumeclaims demo/"]);
    assert_eq!(of(json!({"name": "v", "namespace": "other"})), ["create persistentvolumeclaims demo/", "create pods demo/"]);
    assert!(of(Value::Null).is_empty());
    let by_hand = json!({"repository": "r", "snapshot": "s"});
    assert_eq!(asked(&backup_verification_session(&read(by_hand), OWN)), ["create persistentvolumeclaims demo/"]);
}

#[test]
fn a_batch_is_asked_as_configurations_are() {
    let batch = json!({
        "targets": [{"name": "t", "appRef": {"kind": "PersistentVolumeClaim", "name": "data", "namespace": "victim"}}],
        "sessions": [{
            "name": "s",
            "targets": [{"name": "t", "repositories": [{"name": "r", "encryptionSecret": {"name": "k", "namespace": "victim"}}]}],
        }],
    });
    let rights = backup_batch(&read(batch), OWN, &nothing());
    assert_eq!(asked(&rights), ["get persistentvolumeclaims victim/data", "get secrets victim/k"]);
}

#[test]
fn a_blueprint_for_another_namespace_is_a_configuration_there() {
    let of = |repository: Value| {
        let template = json!({"namespace": "victim", "sessions": [{"name": "s", "repositories": [repository]}]});
        asked(&backup_blueprint(&read(json!({"backupConfigurationTemplate": template})), OWN, &nothing()))
    };
    let secret = of(json!({"name": "r", "encryptionSecret": {"name": "k"}}));
    assert_eq!(secret, ["create backupconfigurations victim/", "get secrets victim/k"]);
    let verifier = of(json!({"name": "r", "backupVerifier": {"name": "v"}}));
    let expected = ["create backupconfigurations victim/", "create persistentvolumeclaims victim/", "create pods victim/"];
    assert_eq!(verifier, expected, "the blueprint's own verifier is one of another namespace there");
}

#[test]
fn kinds_have_the_plurals_of_the_api() {
    for (kind, expected) in [("Deployment", "deployments"), ("Redis", "redises"), ("Proxy", "proxies"), ("Pgbox", "pgboxes")] {
        assert_eq!(plural(kind), expected);
    }
}

#[test]
fn a_repositorys_password_must_be_readable_by_the_user() {
    let of = |secret: &str, storage: &str| {
        let spec = json!({"path": "/p", "storageRef": {"name": storage}, "encryptionSecret": {"name": secret}});
        repository(&read(spec), OWN)
    };
    let here = of("password", "store");
    assert_eq!(asked(&here), ["get secrets demo/password"]);
    assert!(changed(here.clone(), &here).is_empty());
    assert_eq!(changed(of("password", "elsewhere"), &here).len(), 1, "the same password for what lies in another place");
    assert!(repository(&read(json!({"path": "/p"})), OWN).is_empty());
}
