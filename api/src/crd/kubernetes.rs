//! Kubernetes' own types: the generated schemas lack marks and defaults that its API, and so KubeStash's, has.

use serde_json::{Map, Value, json};

const CORE: &str = "io.k8s.api.core.v1.";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";

const QUANTITY_PATTERN: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

/// Types that are replaced as a whole.
const ATOMIC_TYPES: [&str; 15] = [
    "ConfigMapEnvSource",
    "ConfigMapKeySelector",
    "ConfigMapProjection",
    "ConfigMapVolumeSource",
    "LabelSelector",
    "LocalObjectReference",
    "NodeSelector",
    "NodeSelectorTerm",
    "ObjectFieldSelector",
    "OwnerReference",
    "ResourceFieldSelector",
    "SecretEnvSource",
    "SecretKeySelector",
    "SecretProjection",
    "TypedLocalObjectReference",
];

/// Types whose name may be left out, for the sake of old clients: it is then empty.
const NAME_DEFAULTS_TO_EMPTY: [&str; 8] = [
    "ConfigMapEnvSource",
    "ConfigMapKeySelector",
    "ConfigMapProjection",
    "ConfigMapVolumeSource",
    "LocalObjectReference",
    "SecretEnvSource",
    "SecretKeySelector",
    "SecretProjection",
];

/// Lists that are replaced as a whole.
const ATOMIC_LISTS: [(&str, &str); 34] = [
    ("Capabilities", "add"),
    ("Capabilities", "drop"),
    ("CephFSVolumeSource", "monitors"),
    ("ConfigMapProjection", "items"),
    ("ConfigMapVolumeSource", "items"),
    ("Container", "args"),
    ("Container", "command"),
    ("Container", "envFrom"),
    ("DownwardAPIProjection", "items"),
    ("DownwardAPIVolumeSource", "items"),
    ("ExecAction", "command"),
    ("FCVolumeSource", "targetWWNs"),
    ("FCVolumeSource", "wwids"),
    ("HTTPGetAction", "httpHeaders"),
    ("ISCSIVolumeSource", "portals"),
    ("LabelSelector", "matchExpressions"),
    ("LabelSelectorRequirement", "values"),
    (
        "NodeAffinity",
        "preferredDuringSchedulingIgnoredDuringExecution",
    ),
    ("NodeSelector", "nodeSelectorTerms"),
    ("NodeSelectorRequirement", "values"),
    ("NodeSelectorTerm", "matchExpressions"),
    ("NodeSelectorTerm", "matchFields"),
    ("PersistentVolumeClaimSpec", "accessModes"),
    ("PersistentVolumeClaimStatus", "accessModes"),
    ("PodDNSConfig", "nameservers"),
    ("PodDNSConfig", "options"),
    ("PodDNSConfig", "searches"),
    ("PodSecurityContext", "supplementalGroups"),
    ("PodSecurityContext", "sysctls"),
    ("ProjectedVolumeSource", "sources"),
    ("RBDVolumeSource", "monitors"),
    ("SecretProjection", "items"),
    ("SecretVolumeSource", "items"),
    ("TopologySpreadConstraint", "matchLabelKeys"),
];

/// Values of fields that are left out.
const DEFAULTS: [(&str, &str, Word); 10] = [
    ("AzureDiskVolumeSource", "fsType", Word::Text("ext4")),
    ("AzureDiskVolumeSource", "readOnly", Word::Bool(false)),
    ("ContainerPort", "protocol", Word::Text("TCP")),
    ("GRPCAction", "service", Word::Text("")),
    ("ISCSIVolumeSource", "iscsiInterface", Word::Text("default")),
    (
        "RBDVolumeSource",
        "keyring",
        Word::Text("/etc/ceph/keyring"),
    ),
    ("RBDVolumeSource", "pool", Word::Text("rbd")),
    ("RBDVolumeSource", "user", Word::Text("admin")),
    ("ScaleIOVolumeSource", "fsType", Word::Text("xfs")),
    (
        "ScaleIOVolumeSource",
        "storageMode",
        Word::Text("ThinProvisioned"),
    ),
];

enum Word {
    Text(&'static str),
    Bool(bool),
}

/// Completes the definition `name`, if it is one of Kubernetes' own, and drops the descriptions in it.
pub(super) fn amend(name: &str, definition: &mut Value) {
    match name {
        QUANTITY => {
            *definition = int_or_string();
            definition["pattern"] = QUANTITY_PATTERN.into();
        }
        INT_OR_STRING => *definition = int_or_string(),
        _ => {
            let Some(type_) = name.strip_prefix(CORE).or_else(|| name.strip_prefix(META)) else {
                return;
            };
            drop_descriptions(definition);
            mark(type_, definition);
        }
    }
}

fn int_or_string() -> Value {
    json!({ "anyOf": [{ "type": "integer" }, { "type": "string" }], "x-kubernetes-int-or-string": true })
}

fn drop_descriptions(schema: &mut Value) {
    let Value::Object(fields) = schema else {
        return;
    };
    fields.remove("description");
    for key in ["items", "additionalProperties"] {
        fields.get_mut(key).into_iter().for_each(drop_descriptions);
    }
    // A property may itself be called `description`: only the schemas inside are looked at.
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.values_mut().for_each(drop_descriptions);
    }
}

fn mark(type_: &str, definition: &mut Value) {
    let Value::Object(fields) = definition else {
        return;
    };
    if ATOMIC_TYPES.contains(&type_) {
        fields.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
    }
    if NAME_DEFAULTS_TO_EMPTY.contains(&type_) {
        set(fields, "name", "default", "".into());
        if let Some(Value::Array(required)) = fields.get_mut("required") {
            required.retain(|name| name != "name");
        }
    }
    for (_, field) in ATOMIC_LISTS.iter().filter(|(name, _)| *name == type_) {
        set(fields, field, "x-kubernetes-list-type", "atomic".into());
    }
    for (_, field, word) in DEFAULTS.iter().filter(|(name, _, _)| *name == type_) {
        let value = match word {
            Word::Text(text) => json!(text),
            Word::Bool(word) => json!(word),
        };
        set(fields, field, "default", value);
    }
    match type_ {
        "PersistentVolumeClaimStatus" => {
            set(
                fields,
                "allocatedResourceStatuses",
                "x-kubernetes-map-type",
                "granular".into(),
            );
            set(fields, "conditions", "x-kubernetes-list-type", "map".into());
            set(
                fields,
                "conditions",
                "x-kubernetes-list-map-keys",
                json!(["type"]),
            );
        }
        "VolumeProjection" => add(fields, "podCertificate", pod_certificate()),
        _ => {}
    }
    if fields
        .get("required")
        .is_some_and(|required| required == &json!([]))
    {
        fields.remove("required");
    }
}

fn set(fields: &mut Map<String, Value>, property: &str, key: &str, value: Value) {
    if let Some(Value::Object(property)) = fields
        .get_mut("properties")
        .and_then(|properties| properties.get_mut(property))
    {
        property.insert(key.to_owned(), value);
    }
}

fn add(fields: &mut Map<String, Value>, property: &str, schema: Value) {
    if let Some(Value::Object(properties)) = fields.get_mut("properties") {
        properties.insert(property.to_owned(), schema);
    }
}

/// A source of projected volumes that KubeStash's schema has and the Kubernetes version of our types has not:
/// without it the API server would drop the field.
fn pod_certificate() -> Value {
    json!({
        "type": "object",
        "required": ["keyType", "signerName"],
        "properties": {
            "certificateChainPath": { "type": "string" },
            "credentialBundlePath": { "type": "string" },
            "keyPath": { "type": "string" },
            "keyType": { "type": "string" },
            "maxExpirationSeconds": { "type": "integer", "format": "int32" },
            "signerName": { "type": "string" },
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use schemars::generate::{SchemaGenerator, SchemaSettings};

    use super::*;
    use crate::{addons, core, storage};

    /// Kubernetes' own types that ours are made of, as schemars writes them.
    fn definitions() -> Map<String, Value> {
        let mut generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
        generator.subschema_for::<addons::FunctionSpec>();
        generator.subschema_for::<core::BackupConfigurationSpec>();
        generator.subschema_for::<core::HookTemplateSpec>();
        generator.subschema_for::<storage::BackupStorageSpec>();
        generator.take_definitions(false)
    }

    #[test]
    fn every_mark_falls_on_a_field_that_exists() {
        let definitions = definitions();
        let find = |type_: &str| {
            [CORE, META]
                .iter()
                .find_map(|prefix| definitions.get(&format!("{prefix}{type_}")))
        };
        let named = NAME_DEFAULTS_TO_EMPTY.iter().map(|type_| (*type_, "name"));
        let defaults = DEFAULTS.iter().map(|(type_, field, _)| (*type_, *field));
        let own = [
            ("PersistentVolumeClaimStatus", "conditions"),
            ("VolumeProjection", "secret"),
        ];
        for (type_, field) in ATOMIC_LISTS
            .into_iter()
            .chain(named)
            .chain(defaults)
            .chain(own)
        {
            let definition = find(type_).unwrap_or_else(|| panic!("no type {type_}"));
            assert!(
                definition["properties"][field].is_object(),
                "{type_} has no {field}"
            );
        }
        for type_ in ATOMIC_TYPES {
            assert!(find(type_).is_some(), "no type {type_}");
        }
    }

    /// A field of our own by the same name would be hidden without a word.
    #[test]
    fn what_is_added_is_not_there_yet() {
        let definitions = definitions();
        let projection = &definitions[&format!("{CORE}VolumeProjection")]["properties"];
        assert!(
            projection.get("podCertificate").is_none(),
            "Kubernetes' type has it now: drop ours"
        );
    }

    #[test]
    fn no_description_is_left_and_no_property_lost() {
        let before = definitions();
        let mut after = before.clone();
        for (name, definition) in &mut after {
            amend(name, definition);
        }
        for (name, definition) in after.iter().filter(|(name, _)| name.starts_with(CORE)) {
            assert!(
                !definition.to_string().contains("\"description\":\""),
                "{name}"
            );
            let properties = |definition: &Value| -> BTreeSet<String> {
                definition["properties"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(name, _)| name.clone())
                    .collect()
            };
            assert!(
                properties(definition).is_superset(&properties(&before[name])),
                "{name}"
            );
        }
    }
}
