//! A session of several targets.

use holdfast_api::BackupBatch;
use serde_json::json;

use super::*;

fn batch() -> BackupBatch {
    let hook = |name: &str| json!([{"name": name, "hookTemplate": {"name": name}}]);
    serde_json::from_value(json!({
        "metadata": {"name": "shop", "namespace": "demo", "uid": "shop-uid"},
        "spec": {
            "targets": [
                {"name": "db", "appRef": {"apiGroup": "apps", "kind": "StatefulSet", "name": "pg", "namespace": "edge"}},
                {"name": "web", "appRef": {"apiGroup": "apps", "kind": "Deployment", "name": "front", "namespace": "edge"}},
            ],
            "sessions": [{"name": "nightly", "hooks": {"preBackup": hook("freeze"), "postBackup": hook("thaw")}, "targets": [
                {"name": "db", "repositories": [{"name": "db-near"}, {"name": "db-far"}]},
                {"name": "web", "repositories": [{"name": "web-near"}]},
            ]}],
        },
        "status": {"phase": "Ready"},
    }))
    .unwrap()
}

fn of_batch(status: Value) -> Observed {
    let mut session = session("s", status);
    session.spec.invoker = serde_json::from_value(json!({"kind": "BackupBatch", "name": "shop"})).unwrap();
    session.spec.session = Some("nightly".into());
    Observed { invoker: Some(batch().into()), ..observed(session) }
}

#[test]
fn it_makes_a_snapshot_for_each_target_and_repository() {
    let (status, actions) = after(&of_batch(Value::Null), now());
    assert_eq!(created(&actions), ["db-near-s", "db-far-s", "web-near-s"]);
    let listed: Vec<_> = status
        .snapshots
        .iter()
        .map(|listed| {
            let app = listed.app_ref.clone().unwrap();
            (listed.repository.clone().unwrap(), app.name, app.namespace.unwrap())
        })
        .collect();
    let expected = [("db-near", "pg"), ("db-far", "pg"), ("web-near", "front")];
    assert_eq!(listed, expected.map(|(repository, app)| (repository.to_owned(), app.to_owned(), "edge".to_owned())));
    let Action::Create(first) = &actions[0] else { panic!("{actions:?}") };
    let Created::Snapshot(first) = first.as_ref() else { panic!("{first:?}") };
    assert_eq!(first.metadata.labels.as_ref().unwrap()["kubestash.com/app-ref-name"], "pg");
}

#[test]
fn its_hooks_are_around_the_whole() {
    let begun = after(&of_batch(Value::Null), now()).0;
    let mut seen = of_batch(serde_json::to_value(&begun).unwrap());
    Arc::make_mut(&mut seen.session).metadata.finalizers = Some(vec![holdfast_api::labels::FINALIZER.into()]);
    let call = |seen: &Observed| {
        plan(seen, now()).into_iter().find_map(|action| match action {
            Action::Hook(call) => Some(*call),
            _ => None,
        })
    };
    let freeze = call(&seen).unwrap();
    assert_eq!(freeze.hook.name.as_deref(), Some("freeze"));
    assert_eq!((freeze.namespace.as_str(), freeze.target_namespace.as_str()), ("demo", "edge"), "its targets are all in one namespace");
    assert_eq!((freeze.summary.target.name.as_str(), freeze.summary.invoker.kind.as_deref()), ("na", Some("BackupBatch")));
    seen.hooks.insert(freeze.id, crate::hooks::Standing::Ended(Ok(())));
    seen.snapshots = ["db-near-s", "db-far-s"].map(|name| snapshot(name, "Succeeded", "Succeeded")).into();
    assert!(call(&seen).is_none(), "one target has not ended");
    let (name, last) = snapshot("web-near-s", "Failed", "Failed");
    seen.snapshots.insert(name, last);
    let thaw = call(&seen).unwrap();
    assert_eq!((thaw.hook.name.as_deref(), thaw.summary.phase.as_str()), (Some("thaw"), "Failed"), "one phase for all");
}

#[test]
fn a_retry_of_a_batch_is_for_the_targets_that_failed() {
    let mut second = of_batch(Value::Null);
    let mut session = second.session.as_ref().clone();
    session.metadata.annotations = Some([(super::super::retry::ONLY.to_owned(), "web-near,db-far".to_owned())].into());
    second.session = Arc::new(session);
    assert_eq!(created(&plan(&second, now())), ["db-far-s", "web-near-s"]);
}
