use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_api::{BackupConfiguration, BackupVerificationSession, BackupVerifier, RestoreSession, Snapshot};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Observed;
use super::plan::plan;
use crate::action::{Action, Created};
use crate::function::Run;
use crate::runs::Standing;
use crate::object::Kind;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-11-22T22:00:05Z")
}

fn session(name: &str, status: Value) -> BackupVerificationSession {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "demo", "uid": format!("{name}-uid"), "resourceVersion": "4", "creationTimestamp": "2026-11-22T22:00:00Z"},
        "spec": {"invoker": {"kind": "BackupConfiguration", "name": "web"}, "session": "daily", "repository": "repo", "snapshot": "repo-s", "retryLeft": 2},
        "status": status,
    }))
    .unwrap()
}

fn snapshot(components: &[&str], verification: Value) -> Snapshot {
    let component = json!({"phase": "Succeeded", "resticStats": [{"summary": {"id": "e", "hostPath": "/data", "size": "3.000 GiB"}}]});
    let components: serde_json::Map<String, Value> = components.iter().map(|name| ((*name).to_owned(), component.clone())).collect();
    serde_json::from_value(json!({
        "metadata": {"name": "repo-s", "namespace": "demo"}, "spec": {"repository": "repo", "session": "daily"},
        "status": {"phase": "Succeeded", "components": components, "verificationStatus": verification},
    }))
    .unwrap()
}

fn verifier(task: Value) -> BackupVerifier {
    serde_json::from_value(json!({
        "metadata": {"name": "try", "namespace": "demo"},
        "spec": {
            "type": "RestoreOnly", "scheduler": {"schedule": "@daily", "jobTemplate": {}}, "retryConfig": {"maxRetry": 2, "delay": "1m"},
            "restoreOption": {
                "target": {"apiGroup": "apps", "kind": "Deployment", "name": "web"},
                "addonInfo": {"name": "workload-addon", "tasks": [task]},
            },
        },
    }))
    .unwrap()
}

fn task() -> Value {
    json!({"name": "logical-backup-restore", "targetVolumes": {
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        "volumeClaimTemplates": [{"metadata": {"name": "data", "labels": {"team": "a"}}, "spec": {"storageClassName": "cheap", "accessModes": ["ReadWriteOnce"]}}],
    }})
}

fn restore(status: Value) -> Arc<RestoreSession> {
    let value = json!({"metadata": {"name": "try-1", "namespace": "demo", "uid": "r-uid", "creationTimestamp": "2026-11-22T22:00:01Z"}, "spec": {}, "status": status});
    Arc::new(serde_json::from_value(value).unwrap())
}

fn observed(status: Value) -> Observed {
    let invoker: BackupConfiguration =
        serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "demo", "uid": "web-uid"}, "spec": {}})).unwrap();
    Observed {
        session: Arc::new(session("try-1", status)),
        invoker: Some(invoker.into()),
        verifier: Ok(Arc::new(verifier(task()))),
        snapshot: Ok(Arc::new(snapshot(&["dump"], Value::Null))),
        restore: None,
        unbound: Vec::new(),
        check: None,
        siblings: Vec::new(),
        has_turn: true,
        source: None,
    }
}

fn status(actions: &[Action]) -> Value {
    let mut patches = actions.iter().filter_map(|action| if let Action::Status(patch) = action { Some(patch.clone()) } else { None });
    patches.next().unwrap_or(Value::Null)
}

fn made(actions: &[Action]) -> Vec<RestoreSession> {
    let created = actions.iter().filter_map(|action| if let Action::Create(object) = action { Some(object.as_ref()) } else { None });
    created.filter_map(|object| if let Created::RestoreSession(restore) = object { Some(restore.as_ref().clone()) } else { None }).collect()
}

fn marked(actions: &[Action]) -> Option<Value> {
    actions.iter().find_map(|action| match action {
        Action::StatusOf { key, status } if key.kind == Kind::Snapshot && key.name == "repo-s" => Some(status["verificationStatus"].clone()),
        _ => None,
    })
}

fn deleted(actions: &[Action]) -> Vec<String> {
    actions.iter().filter_map(|action| if let Action::Delete { key, .. } = action { Some(key.name.clone()) } else { None }).collect()
}

fn condition(status: &Value, type_: &str) -> Value {
    let mut all = status["conditions"].as_array().into_iter().flatten();
    all.find(|condition| condition["type"] == type_).cloned().unwrap_or_default()
}

#[test]
fn a_try_restores_into_claims_of_its_own_and_names_no_target() {
    let actions = plan(&observed(Value::Null), now());
    let restore = made(&actions).remove(0);
    assert!(restore.spec.target.is_none(), "what the verifier names is never written to, and no backup of it pauses");
    assert_eq!(restore.spec.data_source.as_ref().unwrap().snapshot.as_deref(), Some("repo-s"));
    assert_eq!(restore.metadata.owner_references.as_ref().unwrap()[0].uid, "try-1-uid");
    let volumes = restore.spec.addon.as_ref().unwrap().tasks[0].target_volumes.clone().unwrap();
    assert!(volumes.volumes.is_empty() && volumes.volume_mounts.is_empty());
    let template = &volumes.volume_claim_templates[0];
    let metadata = template.metadata.as_ref().unwrap();
    assert_eq!((metadata.name.as_deref(), metadata.labels["team"].as_str()), (Some("try-1"), "a"), "named after the session, whatever the verifier says");
    assert_eq!(template.spec.as_ref().unwrap().storage_class_name.as_deref(), Some("cheap"));
    assert_eq!(status(&actions)["phase"], "Running");
}

#[test]
fn its_claims_are_like_what_was_backed_up() {
    let mut plain = observed(Value::Null);
    plain.verifier = Ok(Arc::new(verifier(json!({"name": "logical-backup-restore"}))));
    let spec = |observed: &Observed| {
        let restore = made(&plan(observed, now())).remove(0);
        let volumes = restore.spec.addon.unwrap().tasks[0].target_volumes.clone().unwrap();
        let template = volumes.volume_claim_templates[0].clone();
        (template.metadata.unwrap().name.unwrap(), serde_json::to_value(template.spec.unwrap()).unwrap())
    };
    // 3 GiB, a quarter, and 256 MiB.
    assert_eq!(spec(&plain).1, json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "4096Mi"}}}));
    plain.source = serde_json::from_value(json!({"accessModes": ["ReadWriteMany"], "storageClassName": "fast", "volumeName": "pv-data",
        "resources": {"requests": {"storage": "9Gi"}}}))
    .unwrap();
    assert_eq!(spec(&plain).1, json!({"accessModes": ["ReadWriteMany"], "storageClassName": "fast", "resources": {"requests": {"storage": "9Gi"}}}));
    plain.snapshot = Ok(Arc::new(snapshot(&["dump-pod-0", "dump-pod-1"], Value::Null)));
    assert_eq!(spec(&plain).0, "try-1-${POD_ORDINAL}");
    plain.snapshot = Ok(Arc::new(snapshot(&["dump", "manifest"], Value::Null)));
    assert_eq!(spec(&plain).0, "try-1", "manifests are not tried out");
    plain.snapshot = Ok(Arc::new(snapshot(&["dump-node-a", "dump-node-b"], Value::Null)));
    let actions = plan(&plain, now());
    assert!(made(&actions).is_empty() && status(&actions)["phase"] == "Failed");
}

#[test]
fn what_restores_is_verified_and_everything_that_was_made_goes() {
    let mut observed = observed(json!({"phase": "Running"}));
    observed.restore = Some(Ok(restore(json!({"phase": "Succeeded"}))));
    let actions = plan(&observed, now());
    assert_eq!(marked(&actions), Some(json!("Verified")));
    let status = status(&actions);
    assert_eq!((&status["phase"], &status["duration"]), (&json!("Succeeded"), &json!("5s")));
    for (type_, reason) in [
        ("RestoreSucceeded", "SuccessfullyRestoredBackup"),
        ("BackupVerified", "SuccessfullyVerifiedBackup"),
        ("VerificationSessionHistoryCleaned", "SuccessfullyCleanedVerificationSessionHistory"),
    ] {
        let found = condition(&status, type_);
        assert_eq!((&found["status"], &found["reason"]), (&json!("True"), &json!(reason)));
    }
    assert_eq!(deleted(&actions), ["try-1"]);
    let position = |what: fn(&Action) -> bool| actions.iter().position(what).unwrap();
    let (mark, write) = (position(|action| matches!(action, Action::StatusOf { .. })), position(|action| matches!(action, Action::Status(_))));
    assert!(mark < write && write < position(|action| matches!(action, Action::Delete { .. })), "{actions:?}");
    // A crash in between leaves nothing: it goes when the session is looked at again.
    let mut ended = observed.clone();
    ended.session = Arc::new(session("try-1", status));
    assert_eq!(deleted(&plan(&ended, now())), ["try-1"]);
}

#[test]
fn what_does_not_restore_is_told_where_people_look() {
    let mut failed = observed(json!({"phase": "Running"}));
    failed.restore = Some(Ok(restore(json!({"phase": "Failed", "components": {"dump": {"phase": "Failed", "error": "packs/data/ab is rotten"}}}))));
    let actions = plan(&failed, now());
    assert_eq!(marked(&actions), Some(json!("VerificationFailed")));
    assert_eq!((status(&actions)["phase"].clone(), deleted(&actions)), (json!("Failed"), vec!["try-1".to_owned()]));
    let found = condition(&status(&actions), "RestoreSucceeded");
    assert_eq!((&found["reason"], &found["message"]), (&json!("FailedToRestoreBackup"), &json!("component dump: packs/data/ab is rotten")));
    let told = actions.iter().find_map(|action| if let Action::About(about, note) = action { Some((about.kind.clone(), note.clone())) } else { None });
    let (kind, note) = told.unwrap();
    assert!(kind.as_deref() == Some("BackupConfiguration") && note.warning && note.reason == "VerificationFailed" && note.message.contains("rotten"));
}

#[test]
fn what_could_not_be_tried_is_not_called_bad() {
    let mut invalid = observed(json!({"phase": "Running"}));
    let conditions = json!([{"type": "ValidationPassed", "status": "False", "message": "no such task", "lastTransitionTime": "2026-11-22T22:00:00Z"}]);
    invalid.restore = Some(Ok(restore(json!({"phase": "Invalid", "conditions": conditions}))));
    let mut stuck = observed(json!({"phase": "Running"}));
    stuck.restore = Some(Ok(restore(json!({"phase": "Running"}))));
    stuck.unbound = vec!["try-1".into()];
    let mut full = observed(json!({"phase": "Running"}));
    let blameless = json!([{"type": "BackupAtFault", "status": "False", "message": "no space", "lastTransitionTime": "2026-11-22T22:00:00Z"}]);
    full.restore = Some(Ok(restore(json!({"phase": "Failed", "conditions": blameless, "components": {"dump": {"phase": "Failed", "error": "the volume is full"}}}))));
    let mut no_verifier = observed(Value::Null);
    no_verifier.verifier = Err("BackupVerifier demo/try does not exist".into());
    let mut taken = observed(Value::Null);
    taken.restore = Some(Err("RestoreSession try-1 is there already".into()));
    let late = at("2026-11-22T23:00:02Z");
    for (observed, when, why) in
        [(&invalid, now(), "no such task"), (&full, now(), "component dump: the volume is full"), (&stuck, late, "no volume was found for PersistentVolumeClaim try-1"), (&no_verifier, now(), "does not exist"), (&taken, now(), "there already")]
    {
        let actions = plan(observed, when);
        assert_eq!((marked(&actions), status(&actions)["phase"].clone()), (Some(json!("NotVerified")), json!("Failed")), "{why}");
        assert!(condition(&status(&actions), "RestoreSucceeded")["message"].as_str().unwrap().contains(why), "{why}");
    }
    assert!(matches!(&plan(&stuck, now())[..], [Action::Later(_)]), "it has an hour");
    stuck.restore = Some(Ok(restore(json!({"phase": "Running", "restoreDeadline": "2026-11-23T22:00:00Z"}))));
    assert!(plan(&stuck, late).is_empty(), "it has begun, and has its own deadline");
    // What an earlier try found still holds.
    no_verifier.snapshot = Ok(Arc::new(snapshot(&["dump"], json!("VerificationFailed"))));
    assert_eq!(marked(&plan(&no_verifier, now())), None);
}

#[test]
fn what_is_verified_is_skipped_and_takes_no_place_in_the_history() {
    let ended = |name: &str, phase: &str, second: u32| {
        let mut session = session(name, json!({"phase": phase}));
        session.metadata.creation_timestamp = serde_json::from_value(json!(format!("2026-11-22T21:00:{second:02}Z"))).unwrap();
        Arc::new(session)
    };
    let mut observed = observed(Value::Null);
    observed.snapshot = Ok(Arc::new(snapshot(&["dump"], json!("Verified"))));
    observed.siblings = vec![ended("ran-1", "Succeeded", 1), ended("ran-2", "Succeeded", 2), ended("skipped-1", "Skipped", 3), ended("runs", "Running", 4)];
    let actions = plan(&observed, now());
    let found = condition(&status(&actions), "BackupVerificationSkipped");
    assert_eq!((&found["status"], &found["reason"], &status(&actions)["phase"]), (&json!("True"), &json!("SnapshotAlreadyVerified"), &json!("Skipped")));
    assert!(made(&actions).is_empty() && marked(&actions).is_none());
    assert_eq!(deleted(&actions), ["ran-1", "skipped-1"]);
    observed.snapshot = Ok(Arc::new(snapshot(&["dump"], Value::Null)));
    observed.restore = Some(Ok(restore(json!({"phase": "Succeeded"}))));
    let mut gone = deleted(&plan(&observed, now()));
    gone.sort();
    assert_eq!(gone, ["ran-1", "ran-2", "try-1"], "the newest that was skipped stays; try-1 is the restore");
}

#[test]
fn a_failed_try_is_followed_by_another_until_none_is_left() {
    let ended = json!({"phase": "Failed", "conditions": [
        {"type": "VerificationSessionHistoryCleaned", "status": "True", "lastTransitionTime": "2026-11-22T22:00:05Z"}]});
    let mut observed = observed(ended.clone());
    let created = |actions: &[Action]| {
        actions.iter().find_map(|action| match action {
            Action::Create(object) => match object.as_ref() {
                Created::Verification(again) => Some(again.clone()),
                _ => None,
            },
            _ => None,
        })
    };
    assert!(matches!(&plan(&observed, at("2026-11-22T22:01:00Z"))[..], [Action::Later(_)]), "a minute is to pass");
    let actions = plan(&observed, at("2026-11-22T22:01:05Z"));
    let again = created(&actions).unwrap();
    assert_eq!(again.metadata.name.as_deref(), Some("repo-daily-1795384865"));
    assert_eq!((again.spec.retry_left, again.spec.snapshot.as_deref()), (Some(1), Some("repo-s")));
    assert_eq!(status(&actions)["retried"], true);
    let later = at("2026-11-22T22:05:00Z");
    let mut newer = session("newer", Value::Null);
    newer.metadata.creation_timestamp = serde_json::from_value(json!("2026-11-22T22:00:30Z")).unwrap();
    observed.siblings = vec![Arc::new(newer)];
    assert!(plan(&observed, later).is_empty(), "one has come meanwhile");
    observed.siblings.clear();
    let mut last = session("try-1", ended);
    last.spec.retry_left = Some(0);
    observed.session = Arc::new(last);
    assert!(plan(&observed, later).is_empty());
}

#[test]
fn it_waits_for_its_turn_and_not_for_ever() {
    let mut observed = observed(Value::Null);
    observed.has_turn = false;
    let actions = plan(&observed, now());
    assert!(made(&actions).is_empty() && actions.iter().any(|action| matches!(action, Action::Later(_))));
    assert_eq!(status(&plan(&observed, at("2026-11-23T22:00:01Z")))["phase"], "Failed");
}

/// One whose restore has succeeded, and whose verifier looks at it with a Function.
fn checked(spec: Value) -> Observed {
    let mut observed = observed(json!({"phase": "Running"}));
    observed.restore = Some(Ok(restore(json!({"phase": "Succeeded"}))));
    let mut verifier: Value = serde_json::to_value(verifier(task())).unwrap();
    verifier["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    observed.verifier = Ok(Arc::new(serde_json::from_value(verifier).unwrap()));
    observed
}

fn run(actions: &[Action]) -> Option<Run> {
    actions.iter().find_map(|action| if let Action::Function(run) = action { Some(run.as_ref().clone()) } else { None })
}

/// The container, and the claims of its pod by where it mounts them.
fn pod_of(run: &Run) -> (k8s_openapi::api::core::v1::Container, BTreeMap<String, String>) {
    let function: holdfast_api::Function =
        serde_json::from_value(json!({"metadata": {"name": "look"}, "spec": {"image": "look:1", "args": ["--q=${query:=}", "--of=${snapshot}"]}})).unwrap();
    let mut spec = function.pod(&run.wanted).unwrap().spec;
    let container = spec.containers.remove(0);
    let claims: BTreeMap<String, String> = spec
        .volumes
        .into_iter()
        .flatten()
        .filter_map(|volume| Some((volume.name, volume.persistent_volume_claim?.claim_name)))
        .collect();
    let mounts = container.volume_mounts.clone().unwrap_or_default();
    (container, mounts.into_iter().filter_map(|mount| Some((mount.mount_path, claims.get(&mount.name)?.clone()))).collect())
}

#[test]
fn a_script_runs_beside_what_was_restored_and_its_exit_decides() {
    let script = json!({"type": "Script", "function": "look", "script": {"location": "/scripts/look.sh", "args": ["$(HOME)", "-x"]},
        "volumes": [{"name": "scripts", "configMap": {"name": "scripts"}}],
        "volumeMounts": [{"name": "scripts", "mountPath": "/scripts"}, {"name": "scripts", "mountPath": "/kubestash-data"}]});
    let mut observed = checked(script);
    let actions = plan(&observed, now());
    let run = run(&actions).unwrap();
    assert_eq!((run.function.as_str(), run.owner.uid.as_str()), ("look", "try-1-uid"));
    let (container, claims) = pod_of(&run);
    assert_eq!(container.command.unwrap(), ["/scripts/look.sh", "$$(HOME)", "-x"], "word for word");
    assert_eq!(claims, [("/kubestash-data".to_owned(), "try-1".to_owned())].into(), "what was restored, whatever else is mounted there");
    let status_of = status(&actions);
    assert_eq!(status_of["phase"], Value::Null, "it was Running, and is");
    for type_ in ["RestoreSucceeded", "VerificationExecutorEnsured"] {
        assert_eq!(condition(&status_of, type_)["status"], "True");
    }
    assert!(marked(&actions).is_none() && deleted(&actions).is_empty(), "nobody knows yet");
    let position = |what: fn(&Action) -> bool| actions.iter().position(what).unwrap();
    assert!(position(|action| matches!(action, Action::Status(_))) < position(|action| matches!(action, Action::Function(_))));

    observed.check = Some(Standing::Running);
    assert!(plan(&observed, now()).is_empty());
    observed.check = Some(Standing::Ended(Ok(())));
    let actions = plan(&observed, now());
    assert_eq!((marked(&actions), deleted(&actions)), (Some(json!("Verified")), vec!["try-1".to_owned()]));
    observed.check = Some(Standing::Ended(Err("Function look: container function ended with code 3: a table is missing".into())));
    let actions = plan(&observed, now());
    assert_eq!((marked(&actions), deleted(&actions)), (Some(json!("VerificationFailed")), vec!["try-1".to_owned()]));
    let refuted = condition(&status(&actions), "BackupVerified");
    assert_eq!((&refuted["status"], &refuted["reason"]), (&json!("False"), &json!("FailedToVerifyBackup")));
    assert!(refuted["message"].as_str().unwrap().contains("a table is missing"));
    assert_eq!((status(&actions)["phase"].clone(), condition(&status(&actions), "RestoreSucceeded")["status"].clone()), (json!("Failed"), json!("True")));
}

#[test]
fn queries_are_given_to_the_function_and_each_component_has_its_place() {
    let mut observed = checked(json!({"type": "Query", "function": "look", "query": {"mySQL": [{"database": "shop"}]}}));
    observed.snapshot = Ok(Arc::new(snapshot(&["dump-pod-0", "dump-pod-1"], Value::Null)));
    let (container, claims) = pod_of(&run(&plan(&observed, now())).unwrap());
    let query = r#"{"mySQL":[{"database":"shop"}]}"#;
    assert_eq!(container.args.unwrap(), [format!("--q={query}"), "--of=repo-s".to_owned()]);
    assert!(container.env.unwrap().iter().any(|variable| variable.name == "QUERY" && variable.value.as_deref() == Some(query)));
    let of = |ordinal: u32| (format!("/kubestash-data/dump-pod-{ordinal}"), format!("try-1-{ordinal}"));
    assert_eq!(claims, [of(0), of(1)].into());
}

#[test]
fn what_went_before_it_was_looked_at_is_not_restored_again() {
    let restored = json!([{"type": "RestoreSucceeded", "status": "True", "lastTransitionTime": "2026-11-22T22:00:00Z"}]);
    let mut observed = checked(json!({"type": "Script", "function": "look", "script": {"location": "/s"}}));
    observed.restore = None;
    observed.session = Arc::new(session("try-1", json!({"phase": "Running", "conditions": restored})));
    let actions = plan(&observed, now());
    assert!(made(&actions).is_empty());
    assert_eq!(marked(&actions), Some(json!("NotVerified")));
}

#[test]
fn one_that_was_changed_tries_nothing_and_is_not_tried_again() {
    let changed = |status: Value| {
        let mut observed = observed(status);
        let mut session = observed.session.as_ref().clone();
        session.metadata.generation = Some(2);
        observed.session = Arc::new(session);
        observed
    };
    let actions = plan(&changed(Value::Null), now());
    let creates = |actions: &[Action]| actions.iter().any(|action| matches!(action, Action::Create(_)));
    assert!(!creates(&actions) && creates(&plan(&observed(Value::Null), now())));
    assert!(format!("{actions:?}").contains("its spec was changed"), "{actions:?}");
    let ended = json!({"phase": "Failed", "conditions": [
        {"type": "VerificationSessionHistoryCleaned", "status": "True", "lastTransitionTime": "2026-11-22T22:00:05Z"}]});
    let later = at("2026-11-22T22:01:05Z");
    assert!(!creates(&plan(&changed(ended.clone()), later)) && creates(&plan(&observed(ended), later)));
}

#[test]
fn of_several_paths_each_is_where_the_application_has_it() {
    let mut observed = checked(json!({"type": "Script", "function": "look", "script": {"location": "/look.sh"}}));
    let with = |components: &[&str]| {
        let mut snapshot = snapshot(components, Value::Null);
        for component in snapshot.status.as_mut().unwrap().components.values_mut() {
            for path in ["/etc/app", "/a/../../etc"] {
                let mut stats = component.restic_stats[0].clone();
                stats.summary.as_mut().unwrap().host_path = Some(path.into());
                component.restic_stats.push(stats);
            }
        }
        Ok(Arc::new(snapshot))
    };
    observed.snapshot = with(&["dump"]);
    let (_, claims) = pod_of(&run(&plan(&observed, now())).unwrap());
    let expected = [("data", "try-1"), ("etc/app", "try-1-path-1"), ("path-2", "try-1-path-2")];
    assert_eq!(claims, expected.map(|(path, claim)| (format!("/kubestash-data/{path}"), claim.to_owned())).into());
    observed.snapshot = with(&["dump-pod-0", "dump-pod-1"]);
    let (_, claims) = pod_of(&run(&plan(&observed, now())).unwrap());
    assert_eq!(claims["/kubestash-data/dump-pod-1/etc/app"], "try-1-1-path-1");
    assert_eq!(claims.len(), 6);
}
