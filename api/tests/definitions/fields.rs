//! Fields of a definition as lines, to be compared with the table of KubeStash's fields.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What we add to KubeStash's definitions: each line is what [`differences`] says of it.
pub(crate) const ADDITIONS: [&str; 3] = [
    "restoresessions.core.kubestash.com .status.components{}.progress.secondsLeft: ours integer/int64, KubeStash's nothing",
    "snapshots.storage.kubestash.com .status.components{}.driver: \
     ours string enum=Restic|WalG|VolumeSnapshotter|Solr|Medusa|ClickHouseBackup|Neo4jAdmin|Holdfast, \
     KubeStash's string enum=Restic|WalG|VolumeSnapshotter|Solr|Medusa|ClickHouseBackup|Neo4jAdmin",
    "snapshots.storage.kubestash.com .status.components{}.resticStats[].progress.secondsLeft: ours integer/int64, \
     KubeStash's nothing",
];

/// Types that the table writes as one line, with the fields they must have; the others are known by name only.
const COLLAPSED: [(&str, &str); 7] = [
    ("core/v1.EnvFromSource", "configMapRef prefix secretRef"),
    ("core/v1.Lifecycle", "postStart preStop stopSignal"),
    (
        "core/v1.Probe",
        "exec failureThreshold grpc httpGet initialDelaySeconds periodSeconds successThreshold tcpSocket \
         terminationGracePeriodSeconds timeoutSeconds",
    ),
    ("core/v1.ResourceRequirements", "claims limits requests"),
    (
        "core/v1.SecurityContext",
        "allowPrivilegeEscalation appArmorProfile capabilities privileged procMount readOnlyRootFilesystem runAsGroup \
         runAsNonRoot runAsUser seLinuxOptions seccompProfile windowsOptions",
    ),
    (
        "core/v1.VolumeSource(+name)",
        "awsElasticBlockStore azureDisk azureFile cephfs cinder configMap csi downwardAPI emptyDir ephemeral fc flexVolume \
         flocker gcePersistentDisk glusterfs hostPath iscsi nfs persistentVolumeClaim photonPersistentDisk portworxVolume \
         projected quobyte rbd scaleIO secret storageos vsphereVolume",
    ),
    ("Condition", "lastTransitionTime message reason status type"),
];

/// Fields that a collapsed type may have besides.
const BESIDES: [(&str, &str); 2] = [
    ("core/v1.VolumeSource(+name)", "name volumeClaimTemplate"),
    ("Condition", "observedGeneration severity lastProbeTime"),
];

/// Path to type and constraints.
pub(crate) type Fields = BTreeMap<String, String>;

/// The table, by name of the definition.
pub(crate) fn fixture() -> BTreeMap<String, Fields> {
    let mut kinds: BTreeMap<String, Fields> = BTreeMap::new();
    for line in include_str!("../fixtures/kubestash-fields.tsv")
        .lines()
        .skip(1)
    {
        let mut columns = line.split('\t');
        let mut column = || columns.next().unwrap_or_default();
        let (crd, path, type_, constraints) = (column(), column(), column(), column());
        let name = crd.split('/').next().unwrap_or_default().to_owned();
        kinds.entry(name).or_default().insert(
            path.to_owned(),
            format!("{type_} {constraints}").trim_end().to_owned(),
        );
    }
    kinds
}

/// The fields of a definition; a type that the table collapses is collapsed here, if it is that type.
pub(crate) fn of_definition(definition: &Value, fixture: &BTreeMap<String, Fields>) -> Fields {
    let table = &fixture[definition["metadata"]["name"].as_str().expect("a name")];
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut fields = Fields::new();
    for part in ["spec", "status"] {
        properties(
            &format!(".{part}"),
            &schema["properties"][part],
            table,
            &mut fields,
        );
    }
    fields
}

/// Lines that say where ours and KubeStash's differ.
pub(crate) fn differences(kind: &str, ours: &Fields, theirs: &Fields) -> Vec<String> {
    let paths: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let side = |fields: &Fields, path| {
        fields
            .get(path)
            .cloned()
            .unwrap_or_else(|| "nothing".to_owned())
    };
    let pairs = paths
        .into_iter()
        .map(|path| (path, side(ours, path), side(theirs, path)));
    pairs
        .filter(|(_, ours, theirs)| ours != theirs)
        .map(|(path, ours, theirs)| format!("{kind} {path}: ours {ours}, KubeStash's {theirs}"))
        .collect()
}

fn properties(path: &str, schema: &Value, table: &Fields, fields: &mut Fields) {
    let none = serde_json::Map::new();
    let required: Vec<_> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    for (name, property) in schema["properties"].as_object().unwrap_or(&none) {
        let required = required.iter().any(|required| *required == name);
        field(&format!("{path}.{name}"), property, required, table, fields);
    }
}

fn field(path: &str, schema: &Value, required: bool, table: &Fields, fields: &mut Fields) {
    let expected = table
        .get(path)
        .and_then(|line| line.split(' ').next())
        .unwrap_or_default();
    let collapsed = collapse(expected, schema);
    let type_ = collapsed.clone().unwrap_or_else(|| plain_type(schema));
    let constraints = constraints(schema, required);
    fields.insert(
        path.to_owned(),
        format!("{type_} {constraints}").trim_end().to_owned(),
    );
    if collapsed.is_some() {
        return;
    }
    if let Some(items) = schema.get("items") {
        field(&format!("{path}[]"), items, false, table, fields);
    }
    if let Some(values) = schema.get("additionalProperties") {
        field(&format!("{path}{{}}"), values, false, table, fields);
    }
    properties(path, schema, table, fields);
}

/// The collapsed type if the table expects one here and the schema has its fields.
fn collapse(expected: &str, schema: &Value) -> Option<String> {
    if !(expected.starts_with("core/") || expected.starts_with("meta/") || expected == "Condition")
    {
        return None;
    }
    let found: BTreeSet<&str> = schema["properties"]
        .as_object()?
        .keys()
        .map(String::as_str)
        .collect();
    let listed = |table: &[(&str, &'static str)]| {
        table
            .iter()
            .find(|(name, _)| *name == expected)
            .map(|(_, fields)| fields.split_whitespace().collect::<BTreeSet<_>>())
    };
    let Some(needed) = listed(&COLLAPSED) else {
        return Some(expected.to_owned());
    };
    let allowed = &needed | &listed(&BESIDES).unwrap_or_default();
    (found.is_superset(&needed) && found.is_subset(&allowed)).then(|| expected.to_owned())
}

fn plain_type(schema: &Value) -> String {
    if schema["x-kubernetes-int-or-string"] == true {
        return "int-or-string".to_owned();
    }
    let type_ = schema["type"].as_str().unwrap_or_default();
    match schema["format"].as_str() {
        Some(format) => format!("{type_}/{format}"),
        None if schema["x-kubernetes-preserve-unknown-fields"] == true => {
            format!("{type_}+unknown")
        }
        None => type_.to_owned(),
    }
}

fn constraints(schema: &Value, required: bool) -> String {
    let mut words = Vec::new();
    if let Some(Value::Array(allowed)) = schema.get("enum") {
        let allowed: Vec<_> = allowed
            .iter()
            .map(|word| word.as_str().unwrap_or_default())
            .collect();
        words.push(format!("enum={}", allowed.join("|")));
    }
    match schema.get("default") {
        Some(Value::Bool(true)) => words.push("default=True".to_owned()),
        Some(Value::Bool(false)) => words.push("default=False".to_owned()),
        Some(default) => words.push(format!("default={default}")),
        None => {}
    }
    if let Some(minimum) = schema.get("minimum") {
        words.push(format!("minimum={minimum}"));
    }
    if let Some(Value::String(pattern)) = schema.get("pattern") {
        words.push(format!("pattern={pattern}"));
    }
    for mark in ["x-kubernetes-list-type", "x-kubernetes-map-type"] {
        if let Some(Value::String(mark_value)) = schema.get(mark) {
            words.push(format!("{mark}={mark_value}"));
        }
    }
    if required {
        words.push("required".to_owned());
    }
    words.join(" ")
}
