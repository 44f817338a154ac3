use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use super::*;
use crate::backup_storage::{Backend, BackupStorageSpec, S3Backend};

fn storage(
    namespace: &str,
    name: &str,
    from: FromNamespaces,
    label: Option<&str>,
) -> BackupStorage {
    let selector = label.map(|label| LabelSelector {
        match_labels: Some(BTreeMap::from([("team".to_owned(), label.to_owned())])),
        ..LabelSelector::default()
    });
    let allowed = AllowedNamespaces {
        from: Some(from),
        selector,
    };
    let spec = BackupStorageSpec {
        default: Some(true),
        usage_policy: Some(UsagePolicy {
            allowed_namespaces: Some(allowed),
        }),
        ..BackupStorageSpec::default()
    };
    let mut storage = BackupStorage::new(name, spec);
    storage.metadata.namespace = Some(namespace.to_owned());
    storage
}

#[test]
fn the_nearest_default_is_taken() {
    let labels = BTreeMap::from([("team".to_owned(), "blue".to_owned())]);
    let demo = Namespace {
        name: "demo",
        labels: &labels,
    };
    let own = storage("demo", "own", FromNamespaces::Same, None);
    let blue = storage("backup", "blue", FromNamespaces::Selector, Some("blue"));
    let red = storage("backup", "red", FromNamespaces::Selector, Some("red"));
    let all = storage("backup", "all", FromNamespaces::All, None);
    let all_too = storage("attic", "all", FromNamespaces::All, None);
    let foreign = storage("backup", "own", FromNamespaces::Same, None);
    for (candidates, expected) in [
        (vec![&all, &foreign, &blue, &own], Some(&own)),
        (vec![&all, &foreign, &red, &blue], Some(&blue)),
        (vec![&all, &red, &foreign, &all_too], Some(&all_too)),
        (vec![&red, &foreign], None),
        (vec![], None),
    ] {
        assert_eq!(default_storage(demo, &candidates), expected);
    }
    let mut not_default = own.clone();
    not_default.spec.default = None;
    assert_eq!(default_storage(demo, &[&not_default]), None);
}

#[test]
fn a_configuration_gets_default_storage_and_policy() {
    let labels = BTreeMap::new();
    let demo = Namespace {
        name: "demo",
        labels: &labels,
    };
    let own = storage("demo", "own", FromNamespaces::Same, None);
    let mut policy = RetentionPolicy::new("keep", Default::default());
    policy.metadata.namespace = Some("demo".into());
    policy.spec.default = Some(true);
    let mut configuration = BackupConfiguration::default();
    backup_configuration(&mut configuration, demo, &[&own], &[]);
    assert_eq!(configuration.spec.backends.len(), 1);
    assert_eq!(configuration.spec.backends[0].name, None);
    assert_eq!(
        configuration.spec.backends[0].storage_ref,
        Some(reference(&own))
    );
    assert_eq!(configuration.spec.backends[0].retention_policy, None);
    backup_configuration(&mut configuration, demo, &[&own], &[&policy]);
    assert_eq!(
        configuration.spec.backends[0].retention_policy,
        Some(reference(&policy))
    );
    let before = configuration.clone();
    backup_configuration(&mut configuration, demo, &[&own], &[&policy]);
    assert_eq!(configuration, before);
}

#[test]
fn a_storage_loses_one_slash_and_gets_a_policy() {
    let s3 = S3Backend {
        bucket: Some("backups/".into()),
        endpoint: Some("https://s3.example//".into()),
        prefix: Some("/demo".into()),
        ..S3Backend::default()
    };
    let backend = Backend {
        provider: Some("s3".into()),
        s3: Some(s3),
        ..Backend::default()
    };
    let mut storage = BackupStorage::new(
        "s3",
        BackupStorageSpec {
            storage: Some(backend),
            ..Default::default()
        },
    );
    backup_storage(&mut storage);
    assert_eq!(
        storage.spec.usage_policy,
        Some(UsagePolicy::same_namespace())
    );
    let s3 = storage
        .spec
        .storage
        .and_then(|backend| backend.s3)
        .expect("an S3 backend");
    assert_eq!(s3.bucket.as_deref(), Some("backups"));
    assert_eq!(s3.endpoint.as_deref(), Some("https://s3.example/"));
    assert_eq!(s3.prefix.as_deref(), Some("/demo"));
}

#[test]
fn a_policy_keeps_one_failed_snapshot() {
    let mut policy = RetentionPolicy::default();
    retention_policy(&mut policy);
    assert_eq!(
        policy.spec.failed_snapshots,
        Some(FailedSnapshotsKeepPolicy { last: Some(1) })
    );
    policy.spec.failed_snapshots = Some(FailedSnapshotsKeepPolicy { last: Some(0) });
    retention_policy(&mut policy);
    assert_eq!(
        policy.spec.failed_snapshots,
        Some(FailedSnapshotsKeepPolicy { last: Some(0) })
    );
}

#[test]
fn blueprints_and_hook_templates_are_for_their_own_namespace_unless_they_say_so() {
    let own = Some(UsagePolicy::same_namespace());
    let all = Some(UsagePolicy {
        allowed_namespaces: Some(AllowedNamespaces {
            from: Some(FromNamespaces::All),
            selector: None,
        }),
    });
    let mut blueprint = BackupBlueprint::new("b", Default::default());
    backup_blueprint(&mut blueprint);
    assert_eq!(blueprint.spec.usage_policy, own);
    let mut template = HookTemplate::new("h", Default::default());
    hook_template(&mut template);
    assert_eq!(template.spec.usage_policy, own);
    blueprint.spec.usage_policy = all.clone();
    backup_blueprint(&mut blueprint);
    template.spec.usage_policy = all.clone();
    hook_template(&mut template);
    assert_eq!(
        (blueprint.spec.usage_policy, template.spec.usage_policy),
        (all.clone(), all)
    );
}
