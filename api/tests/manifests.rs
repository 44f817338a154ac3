//! Manifests as users of KubeStash write them: read without loss, and valid.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what it expected"
)]

use std::collections::BTreeMap;

use holdfast_api::addon::tasks::canonical_name;
use holdfast_api::usage_policy::Namespace;
use holdfast_api::validation::backup_configuration::Surroundings;
use holdfast_api::{
    BackupBlueprint, BackupConfiguration, BackupSession, BackupStorage, BackupVerifier, Function,
    HookTemplate, RestoreSession, RetentionPolicy, defaults, validation,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn documents(kind: &str) -> Vec<Value> {
    let all: Vec<Value> =
        serde_saphyr::from_multiple(include_str!("fixtures/manifests.yaml")).expect("YAML");
    let found: Vec<Value> = all
        .into_iter()
        .filter(|document| document["kind"] == kind)
        .collect();
    assert!(!found.is_empty(), "no {kind} in the fixture");
    found
}

/// What our types write of a manifest: nulls dropped, as the API server drops them, and quantities as strings.
fn normalized(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                fields
                    .map(|(name, value)| match (name.as_str(), value) {
                        ("cpu", Value::Number(number)) => (name.clone(), number.to_string().into()),
                        _ => (name.clone(), normalized(value)),
                    })
                    .collect(),
            )
        }
        Value::Array(items) => items.iter().map(normalized).collect(),
        other => other.clone(),
    }
}

fn read<K: DeserializeOwned + Serialize>(kind: &str) -> Vec<K> {
    let read = |document: &Value| {
        let object: K = serde_json::from_value(document.clone()).expect(kind);
        assert_eq!(
            serde_json::to_value(&object).expect(kind),
            normalized(document)
        );
        object
    };
    documents(kind).iter().map(read).collect()
}

#[test]
fn manifests_are_read_without_loss() {
    read::<BackupBlueprint>("BackupBlueprint");
    read::<BackupConfiguration>("BackupConfiguration");
    read::<BackupSession>("BackupSession");
    read::<BackupStorage>("BackupStorage");
    read::<BackupVerifier>("BackupVerifier");
    read::<Function>("Function");
    read::<HookTemplate>("HookTemplate");
    read::<RestoreSession>("RestoreSession");
    read::<RetentionPolicy>("RetentionPolicy");
}

#[test]
fn manifests_are_valid() {
    let labels = BTreeMap::new();
    let namespace = Namespace {
        name: "default",
        labels: &labels,
    };
    for configuration in read::<BackupConfiguration>("BackupConfiguration") {
        let surroundings = Surroundings {
            namespace,
            storages: &[],
            retention_policies: &[],
            hook_templates: &[],
            repositories: &[],
        };
        assert_eq!(
            validation::backup_configuration::validate(&configuration, surroundings),
            Ok(())
        );
        let addon = configuration.spec.sessions[0]
            .addon
            .as_ref()
            .expect("an addon");
        assert_eq!(
            addon.tasks[0].name.as_deref().map(canonical_name),
            Some("logical-backup")
        );
    }
    for restore in read::<RestoreSession>("RestoreSession") {
        assert_eq!(
            validation::restore_session::validate(&restore, namespace, &[]),
            Ok(())
        );
    }
    for mut storage in read::<BackupStorage>("BackupStorage") {
        defaults::backup_storage(&mut storage);
        assert_eq!(validation::backup_storage::validate(&storage, &[]), Ok(()));
    }
    for mut policy in read::<RetentionPolicy>("RetentionPolicy") {
        defaults::retention_policy(&mut policy);
        assert_eq!(validation::retention_policy::validate(&policy, &[]), Ok(()));
    }
    for session in read::<BackupSession>("BackupSession") {
        assert_eq!(validation::backup_session::validate(&session), Ok(()));
    }
}
