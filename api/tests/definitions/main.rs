//! The generated definitions against KubeStash's: every field, name and column, and what an API server asks of them.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what it expected"
)]

use std::any::TypeId;
use std::collections::BTreeMap;
use std::path::PathBuf;

use holdfast_api::crd::{self, KINDS};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

mod fields;
mod samples;

/// A definition in a `kubectl apply` annotation has to stay below 262,144 bytes, with room for what else is there.
const MAX_DEFINITION_BYTES: usize = 250_000;

#[test]
fn every_field_is_kubestash_s_or_a_named_addition() {
    let fixture = fields::fixture();
    assert_eq!(fixture.len(), 14, "the fixture has all kinds");
    let mut differences = Vec::new();
    for kind in KINDS {
        let ours = fields::of_definition(&kind.definition(), &fixture);
        differences.extend(fields::differences(
            &kind.definition_name(),
            &ours,
            &fixture[&kind.definition_name()],
        ));
    }
    assert_eq!(
        differences,
        fields::ADDITIONS,
        "(left: found; right: named)\n{}",
        differences.join("\n")
    );
}

/// kind, plural, short name, categories, scope, status subresource, columns: as KubeStash has them. Ours beside them are wide.
const NAMES: &str = "\
Addon addons.addons.kubestash.com - kubestash,appscode,all Cluster no | Age=.metadata.creationTimestamp
Function functions.addons.kubestash.com fn kubestash,appscode,all Cluster no | Age=.metadata.creationTimestamp
BackupBatch backupbatches.core.kubestash.com - kubestash,appscode,all Namespaced yes | Age=.metadata.creationTimestamp
BackupBlueprint backupblueprints.core.kubestash.com - kubestash,appscode,all Namespaced no | Age=.metadata.creationTimestamp
BackupConfiguration backupconfigurations.core.kubestash.com bc kubestash,appscode,all Namespaced yes | Phase=.status.phase; Paused=.spec.paused; Age=.metadata.creationTimestamp
BackupSession backupsessions.core.kubestash.com - kubestash,appscode,all Namespaced yes | Invoker-Type=.spec.invoker.kind; Invoker-Name=.spec.invoker.name; Phase=.status.phase; Duration=.status.duration; Age=.metadata.creationTimestamp
BackupVerificationSession backupverificationsession.core.kubestash.com - kubestash,appscode,all Namespaced yes | Phase=.status.phase; Duration=.status.duration; Age=.metadata.creationTimestamp
BackupVerifier backupverifier.core.kubestash.com - kubestash,appscode,all Namespaced no | Age=.metadata.creationTimestamp
HookTemplate hooktemplates.core.kubestash.com - kubestash,appscode,all Namespaced no | Executor=.spec.executor.type; Timeout=.spec.timeout; Age=.metadata.creationTimestamp
RestoreSession restoresessions.core.kubestash.com restore kubestash,appscode,all Namespaced yes | Repository=.spec.dataSource.repository; Phase=.status.phase; Duration=.status.duration; Age=.metadata.creationTimestamp
BackupStorage backupstorages.storage.kubestash.com - kubestash,appscode,all Namespaced yes | Provider=.spec.storage.provider; Default=.spec.default; Deletion-Policy=.spec.deletionPolicy; Total-Size=.status.totalSize; Phase=.status.phase; Age=.metadata.creationTimestamp
Repository repositories.storage.kubestash.com repo kubestash,appscode,all Namespaced yes | Integrity=.status.integrity; Snapshot-Count=.status.snapshotCount; Size=.status.size; Phase=.status.phase; Last-Successful-Backup=.status.lastBackupTime; Age=.metadata.creationTimestamp
RetentionPolicy retentionpolicies.storage.kubestash.com - kubestash,appscode Namespaced no | Max-Retention-Period=.spec.maxRetentionPeriod; Default=.spec.default; Age=.metadata.creationTimestamp
Snapshot snapshots.storage.kubestash.com - kubestash,appscode Namespaced yes | Repository=.spec.repository; Session=.spec.session; Snapshot-Time=.status.snapshotTime; Deletion-Policy=.spec.deletionPolicy; Phase=.status.phase; Age=.metadata.creationTimestamp
";

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn names_of(definition: &Value) -> String {
    let spec = &definition["spec"];
    let version = &spec["versions"][0];
    let categories: Vec<_> = spec["names"]["categories"]
        .as_array()
        .expect("categories")
        .iter()
        .map(text)
        .collect();
    let columns = version["additionalPrinterColumns"]
        .as_array()
        .expect("columns")
        .iter()
        .filter(|column| column["priority"] != 1);
    let columns: Vec<_> = columns
        .map(|column| format!("{}={}", text(&column["name"]), text(&column["jsonPath"])))
        .collect();
    format!(
        "{} {} {} {} {} {} | {}\n",
        text(&spec["names"]["kind"]),
        text(&definition["metadata"]["name"]),
        text(&spec["names"]["shortNames"][0]),
        categories.join(","),
        text(&spec["scope"]),
        if version["subresources"]["status"].is_object() {
            "yes"
        } else {
            "no"
        },
        columns.join("; "),
    )
}

#[test]
fn names_and_columns_are_kubestash_s() {
    let ours: String = crd::all().iter().map(names_of).collect();
    assert_eq!(ours, NAMES);
}

#[test]
fn types_and_definitions_agree_on_their_names() {
    fn check<K>(kinds: &mut BTreeMap<String, &crd::Kind>)
    where
        K: kube::Resource<DynamicType = (), Scope: 'static>,
    {
        let kind = kinds
            .remove(K::kind(&()).as_ref())
            .expect("a definition of the kind");
        assert_eq!(
            (K::group(&()), K::plural(&())),
            (kind.group.into(), kind.plural.into())
        );
        let cluster = TypeId::of::<K::Scope>() == TypeId::of::<kube::core::ClusterResourceScope>();
        assert_eq!(
            if cluster { "Cluster" } else { "Namespaced" },
            kind.scope,
            "{}",
            kind.kind
        );
    }
    let mut kinds: BTreeMap<_, _> = KINDS
        .iter()
        .map(|kind| (kind.kind.to_owned(), kind))
        .collect();
    check::<holdfast_api::Addon>(&mut kinds);
    check::<holdfast_api::Function>(&mut kinds);
    check::<holdfast_api::BackupBatch>(&mut kinds);
    check::<holdfast_api::BackupBlueprint>(&mut kinds);
    check::<holdfast_api::BackupConfiguration>(&mut kinds);
    check::<holdfast_api::BackupSession>(&mut kinds);
    check::<holdfast_api::BackupVerificationSession>(&mut kinds);
    check::<holdfast_api::BackupVerifier>(&mut kinds);
    check::<holdfast_api::HookTemplate>(&mut kinds);
    check::<holdfast_api::RestoreSession>(&mut kinds);
    check::<holdfast_api::BackupStorage>(&mut kinds);
    check::<holdfast_api::Repository>(&mut kinds);
    check::<holdfast_api::RetentionPolicy>(&mut kinds);
    check::<holdfast_api::Snapshot>(&mut kinds);
    assert!(
        kinds.is_empty(),
        "definitions without a type: {:?}",
        kinds.keys()
    );
}

#[test]
fn a_plain_apply_has_room_for_every_definition() {
    for definition in crd::all() {
        let bytes = definition.to_string().len();
        assert!(
            bytes < MAX_DEFINITION_BYTES,
            "{} has {bytes} bytes",
            text(&definition["metadata"]["name"])
        );
    }
}

#[test]
fn the_files_in_deploy_are_fresh() {
    let directory = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/crds"));
    let mut files: Vec<_> = std::fs::read_dir(&directory)
        .expect("deploy/crds")
        .map(|file| file.expect("a file").path())
        .collect();
    files.sort();
    assert_eq!(files.len(), KINDS.len(), "{files:?}");
    for kind in KINDS {
        let path = directory.join(format!("{}_{}.yaml", kind.group, kind.plural));
        let yaml = std::fs::read_to_string(&path).expect("a definition's file");
        let options = serde_saphyr::options! { budget: None };
        let file: Value = serde_saphyr::from_str_with_options(&yaml, options).expect("YAML");
        assert!(
            file == kind.definition(),
            "{} is stale: cargo run -p holdfast-api --example crdgen",
            path.display()
        );
    }
}

/// What an API server demands of a structural schema, and what KubeStash's schemas never hold.
fn check_structural(path: &str, schema: &Value) {
    const KEYS: [&str; 17] = [
        "additionalProperties",
        "anyOf",
        "default",
        "description",
        "enum",
        "format",
        "items",
        "minimum",
        "pattern",
        "properties",
        "required",
        "type",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-map-keys",
        "x-kubernetes-list-type",
        "x-kubernetes-map-type",
        "x-kubernetes-preserve-unknown-fields",
    ];
    let fields = schema
        .as_object()
        .unwrap_or_else(|| panic!("{path}: {schema}"));
    for key in fields.keys() {
        assert!(KEYS.contains(&key.as_str()), "{path} has {key}");
    }
    let int_or_string = fields.contains_key("x-kubernetes-int-or-string");
    assert_eq!(fields.contains_key("anyOf"), int_or_string, "{path}");
    assert_ne!(
        fields.contains_key("type"),
        int_or_string,
        "{path} has no single type"
    );
    assert!(
        int_or_string || schema["type"].is_string(),
        "{path}: {}",
        schema["type"]
    );
    match text(&schema["type"]) {
        "array" => check_structural(&format!("{path}[]"), &schema["items"]),
        "integer" => assert!(
            ["int32", "int64", "-"].contains(&text(&schema["format"])),
            "{path}"
        ),
        _ => {}
    }
    assert_eq!(
        fields.contains_key("items"),
        schema["type"] == "array",
        "{path}"
    );
    assert!(
        !(fields.contains_key("properties") && fields.contains_key("additionalProperties")),
        "{path}"
    );
    if let Some(values) = fields.get("additionalProperties") {
        check_structural(&format!("{path}{{}}"), values);
    }
    let none = serde_json::Map::new();
    let properties = fields.get("properties").map_or(&none, |properties| {
        properties.as_object().expect("properties")
    });
    for (name, property) in properties {
        check_structural(&format!("{path}.{name}"), property);
    }
    for name in fields
        .get("required")
        .map_or(&Vec::new(), |required| required.as_array().expect("a list"))
    {
        assert!(
            properties.contains_key(text(name)),
            "{path} requires {name}, which it has not"
        );
    }
    for key in fields
        .get("x-kubernetes-list-map-keys")
        .map_or(&Vec::new(), |keys| keys.as_array().expect("a list"))
    {
        let required = schema["items"]["required"]
            .as_array()
            .is_some_and(|required| required.contains(key));
        assert!(required, "{path}: key {key} is not required");
    }
    if let (Some(default), Some(words)) = (fields.get("default"), fields.get("enum")) {
        assert!(
            words.as_array().expect("words").contains(default),
            "{path}: default {default}"
        );
    }
}

#[test]
fn every_schema_is_structural() {
    for definition in crd::all() {
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        check_structural(text(&definition["spec"]["names"]["kind"]), schema);
    }
}

/// Paths of our own fields without a description, down to where Kubernetes' types begin.
fn undescribed(path: &str, schema: &Value, found: &mut Vec<String>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return;
    };
    for (name, property) in properties {
        let path = format!("{path}.{name}");
        if property.get("description").is_none() {
            found.push(path.clone());
        }
        let inner = property
            .get("items")
            .or_else(|| property.get("additionalProperties"))
            .unwrap_or(property);
        let ours = inner
            .get("properties")
            .and_then(Value::as_object)
            .is_some_and(|properties| {
                properties
                    .values()
                    .any(|property| property.get("description").is_some())
            });
        if ours {
            undescribed(&path, inner, found);
        }
    }
}

#[test]
fn our_fields_explain_themselves() {
    let mut found = Vec::new();
    for definition in crd::all() {
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        for part in ["spec", "status"] {
            let kind = text(&definition["spec"]["names"]["kind"]);
            undescribed(
                &format!("{kind}.{part}"),
                &schema["properties"][part],
                &mut found,
            );
        }
    }
    assert!(
        found.is_empty(),
        "fields without a description: {}",
        found.join(", ")
    );
}

/// Takes out of a sample a field that Kubernetes' types of our version have not, and an open phase that no one writes.
fn without_added_fields(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("podCertificate");
            if fields.get("phase").is_some_and(|phase| phase == "text") {
                fields.insert("phase".to_owned(), "Ready".into());
            }
            fields.values_mut().for_each(without_added_fields);
        }
        Value::Array(items) => items.iter_mut().for_each(without_added_fields),
        _ => {}
    }
}

/// What the API server keeps, our types read and write: nothing is renamed, dropped or made up on the way.
#[test]
fn every_field_of_a_definition_survives_its_type() {
    fn check<K>()
    where
        K: kube::Resource<DynamicType = ()> + DeserializeOwned + Serialize,
    {
        let kind = KINDS
            .iter()
            .find(|kind| kind.kind == K::kind(&()))
            .expect("a definition of the kind");
        let definition = kind.definition();
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let mut sample = samples::sample(schema);
        without_added_fields(&mut sample);
        sample["apiVersion"] = K::api_version(&()).into();
        sample["kind"] = kind.kind.into();
        sample["metadata"] = serde_json::json!({ "name": "sample" });
        let object: K = serde_json::from_value(sample.clone()).expect(kind.kind);
        let written = serde_json::to_value(&object).expect(kind.kind);
        assert_eq!(written, sample, "{}", kind.kind);
        let empty: K =
            serde_json::from_value(serde_json::json!({ "metadata": { "name": "empty" } }))
                .expect("no spec");
        assert_eq!(
            serde_json::to_value(&empty).expect("JSON")["spec"],
            serde_json::json!({})
        );
    }
    check::<holdfast_api::Addon>();
    check::<holdfast_api::Function>();
    check::<holdfast_api::BackupBatch>();
    check::<holdfast_api::BackupBlueprint>();
    check::<holdfast_api::BackupConfiguration>();
    check::<holdfast_api::BackupSession>();
    check::<holdfast_api::BackupVerificationSession>();
    check::<holdfast_api::BackupVerifier>();
    check::<holdfast_api::HookTemplate>();
    check::<holdfast_api::RestoreSession>();
    check::<holdfast_api::BackupStorage>();
    check::<holdfast_api::Repository>();
    check::<holdfast_api::RetentionPolicy>();
    check::<holdfast_api::Snapshot>();
}
