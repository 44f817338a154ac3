use serde_json::json;

use super::*;

fn blueprint(template: Value) -> BackupBlueprint {
    let object = json!({
        "metadata": { "name": "plan", "namespace": "vault" },
        "spec": { "backupConfigurationTemplate": template },
    });
    serde_json::from_value(object).expect("a well-formed blueprint")
}

/// As in KubeStash's guide for workloads.
fn template() -> Value {
    json!({
        "deletionPolicy": "OnDelete",
        "backends": [{
            "name": "s3-backend",
            "storageRef": { "name": "s3-storage" },
            "retentionPolicy": { "name": "keep", "namespace": "policies" },
        }],
        "sessions": [{
            "name": "frequent-backup",
            "scheduler": { "schedule": "${schedule}", "jobTemplate": { "backoffLimit": 1 } },
            "repositories": [{
                "name": "${repoName:=repo}",
                "backend": "s3-backend",
                "directory": "/apps/${namespace}/${targetName}",
                "encryptionSecret": { "name": "encrypt-secret" },
            }],
            "addon": { "name": "workload-addon", "tasks": [{ "name": "logical-backup", "params": { "paths": "${targetedPaths}" } }] },
        }, {
            "name": "weekly",
            "scheduler": { "schedule": "0 0 * * 0", "jobTemplate": {} },
            "repositories": [{ "name": "weekly", "directory": "/weekly/${targetName}" }],
            "addon": { "name": "workload-addon", "tasks": [{ "name": "logical-backup" }] },
        }],
    })
}

fn application(annotations: &[(&str, &str)]) -> Application {
    let annotations = annotations
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Application {
        group: "apps",
        kind: "Deployment",
        namespace: "demo".to_owned(),
        name: "web".to_owned(),
        annotations,
    }
}

const VARIABLES: [(&str, &str); 2] = [
    ("variables.kubestash.com/schedule", "*/5 * * * *"),
    ("variables.kubestash.com/targetedPaths", "/data"),
];

#[test]
fn a_blueprint_makes_a_configuration_of_an_application() {
    let made = configuration(&blueprint(template()), &application(&VARIABLES)).expect("a configuration");
    assert_eq!(made.metadata.name.as_deref(), Some("demo-deployment-web"));
    assert_eq!(made.metadata.namespace.as_deref(), Some("vault"));
    let labels = made.metadata.labels.expect("labels");
    assert_eq!(labels["kubestash.com/invoker-kind"], "BackupBlueprint");
    assert_eq!(labels["kubestash.com/invoker-name"], "plan");
    let annotations = made.metadata.annotations.expect("annotations");
    assert_eq!(annotations[APPLICATION], "Deployment/demo/web");
    assert_eq!(annotations[DELETION_POLICY], "OnDelete");
    let spec = serde_json::to_value(&made.spec).expect("JSON");
    assert_eq!(spec["target"], json!({ "apiGroup": "apps", "kind": "Deployment", "name": "web", "namespace": "demo" }));
    assert_eq!(spec["backends"][0]["storageRef"], json!({ "name": "s3-storage", "namespace": "vault" }));
    assert_eq!(spec["backends"][0]["retentionPolicy"]["namespace"], "policies");
    let session = &spec["sessions"][0];
    assert_eq!(session["scheduler"]["schedule"], "*/5 * * * *");
    assert_eq!(session["repositories"][0]["name"], "repo");
    assert_eq!(session["repositories"][0]["directory"], "/apps/demo/web");
    assert_eq!(session["repositories"][0]["encryptionSecret"], json!({ "name": "encrypt-secret" }), "that of the configuration's namespace");
    assert_eq!(session["addon"]["tasks"][0]["params"]["paths"], "/data");
}

#[test]
fn in_the_applications_own_namespace_the_name_is_short() {
    let mut template = template();
    template["namespace"] = json!("demo");
    let made = configuration(&blueprint(template), &application(&VARIABLES)).expect("a configuration");
    assert_eq!(made.metadata.name.as_deref(), Some("deployment-web"));
    assert_eq!(made.metadata.namespace.as_deref(), Some("demo"));
}

#[test]
fn an_application_chooses_sessions() {
    let with = |names: &str| {
        let mut annotations = VARIABLES.to_vec();
        annotations.push(("blueprint.kubestash.com/session-names", names));
        configuration(&blueprint(template()), &application(&annotations))
    };
    let names = |made: BackupConfiguration| -> Vec<String> {
        made.spec.sessions.into_iter().filter_map(|session| session.name).collect()
    };
    assert_eq!(with("weekly").map(names), Ok(vec!["weekly".to_owned()]));
    assert_eq!(with("weekly, frequent-backup").map(names).map(|names| names.len()), Ok(2));
    assert_eq!(with("weekly,daily"), Err(Refusal::NoSuchSession("daily".to_owned())));
}

#[test]
fn what_is_missing_is_named_with_its_field_and_annotation() {
    let refusal = configuration(&blueprint(template()), &application(&VARIABLES[1..])).expect_err("no schedule");
    assert_eq!(
        refusal.to_string(),
        "spec.backupConfigurationTemplate.sessions[0].scheduler.schedule: variable \"schedule\" has no value; \
         set it by an annotation variables.kubestash.com/<name>"
    );
    let mut only_claims = blueprint(template());
    only_claims.spec.subjects =
        serde_json::from_value(json!([{ "apiVersion": "v1", "kind": "PersistentVolumeClaim" }])).expect("subjects");
    let refusal = configuration(&only_claims, &application(&VARIABLES));
    assert_eq!(refusal, Err(Refusal::NotASubject("Deployment")));
    assert_eq!(configuration(&blueprint(Value::Null), &application(&VARIABLES)), Err(Refusal::NoTemplate));
}

#[test]
fn variables_never_reach_references_namespaces_or_pods() {
    for (pointer, value) in [
        ("/sessions/0/repositories/0/encryptionSecret/name", json!("${secret}")),
        ("/sessions/0/repositories/0/encryptionSecret/namespace", json!("${namespace}")),
        ("/sessions/0/repositories/0/backupVerifier", json!({ "name": "${v}" })),
        ("/sessions/0/hooks", json!({ "preBackup": [{ "hookTemplate": { "name": "${hook}" } }] })),
        ("/sessions/0/addon/jobTemplate", json!({ "spec": { "serviceAccountName": "${account}" } })),
        ("/sessions/0/scheduler/jobTemplate/template", json!({ "spec": { "serviceAccountName": "${account}" } })),
        ("/sessions/0/addon/tasks/0/variables", json!([{ "name": "KEY", "valueFrom": { "secretKeyRef": { "name": "${v}", "key": "k" } } }])),
        ("/sessions/0/hooks", json!({ "preBackup": [{ "name": "h", "hookTemplate": { "name": "h" }, "variables": [{ "name": "K", "valueFrom": { "secretKeyRef": { "name": "${v}", "key": "k" } } }] }] })),
        ("/sessions/0/addon/name", json!("${v}")),
        ("/sessions/0/addon/tasks/0/addonVolumes", json!([{ "name": "${v}", "source": {} }])),
    ] {
        let mut hostile = template();
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
        hostile.pointer_mut(parent).expect("the parent")[key] = value;
        let variables = [VARIABLES.as_slice(), &[
            ("variables.kubestash.com/secret", "s"), ("variables.kubestash.com/hook", "h"),
            ("variables.kubestash.com/account", "a"), ("variables.kubestash.com/v", "v"),
        ]]
        .concat();
        let refusal = configuration(&blueprint(hostile), &application(&variables));
        assert!(matches!(refusal, Err(Refusal::Unreached(_))), "{pointer}: {refusal:?}");
    }
}

#[test]
fn a_value_stays_inside_its_string() {
    let hostile = "x\", \"encryptionSecret\": {\"name\": \"other\"}, \"y\": \"${schedule}";
    let variables = [VARIABLES.as_slice(), &[("variables.kubestash.com/repoName", hostile)]].concat();
    let made = configuration(&blueprint(template()), &application(&variables)).expect("a configuration");
    let repository = &made.spec.sessions[0].repositories[0];
    assert_eq!(repository.name.as_deref(), Some(hostile));
    assert_eq!(repository.encryption_secret.as_ref().map(|secret| secret.name.as_str()), Some("encrypt-secret"));
}
