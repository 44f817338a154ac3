//! A stored object as it is made again; or why it is not. Pure, and total: nothing in the object is what its kind says, until an API server
//! has looked at it.

use serde_json::{Map, Value, json};

use crate::manifests::resources::Resource;
use crate::manifests::{RBAC, RestoreOrder, strip};

/// Why an object is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skipped {
    /// The order does not take it.
    NotAsked,
    /// Something in the cluster makes it, or it is of the cluster that it was in.
    MadeByOthers,
}

/// Never restored, beside what is not stored: KubeStash's DefaultNonRestorableResources, and what tells of a backup instead of being its object.
const NEVER: [(&str, &str); 11] = [
    ("nodes", ""),
    ("csinodes", "storage.k8s.io"),
    ("csistoragecapacities", "storage.k8s.io"),
    ("volumeattachments", "storage.k8s.io"),
    ("leases", "coordination.k8s.io"),
    ("backupsessions", "core.kubestash.com"),
    ("restoresessions", "core.kubestash.com"),
    ("backupverificationsession", "core.kubestash.com"),
    ("backupverifier", "core.kubestash.com"),
    ("repositories", "storage.kubestash.com"),
    ("snapshots", "storage.kubestash.com"),
];
/// Made again by the controller that owns them.
const OWNED: [&str; 6] = ["Pod", "ReplicaSet", "ControllerRevision", "Job", "EndpointSlice", "ReplicationController"];
/// Annotations that bind an object to its cluster.
const OF_CLUSTER: [&str; 8] = [
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
    "pv.kubernetes.io/provisioned-by",
    "volume.kubernetes.io/selected-node",
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
    "deployment.kubernetes.io/revision",
    "endpoints.kubernetes.io/last-change-trigger-time",
];
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// An object as it is to be made.
pub(super) fn prepared(mut object: Value, resource: &Resource, order: &RestoreOrder) -> Result<Value, Skipped> {
    let (plural, group) = (resource.api.plural.as_str(), resource.api.group.as_str());
    let namespace = resource.namespaced.then(|| object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned());
    if !is_asked_for(&object, resource, namespace.as_deref(), order) {
        return Err(Skipped::NotAsked);
    }
    let is_never_made = NEVER.contains(&(plural, group)) || !strip::is_stored(plural, group);
    if is_never_made || is_made_by_others(&object) || (plural == "persistentvolumes" && !order.choice.volumes) {
        return Err(Skipped::MadeByOthers);
    }
    // A stored namespace is not made if all of its objects go to another.
    if plural == "namespaces" && group.is_empty() && order.namespace.is_some() {
        return Err(Skipped::NotAsked);
    }
    let moved = order.namespace.as_deref().filter(|_| resource.namespaced).filter(|target| namespace.as_deref() != Some(*target));
    reset_metadata(&mut object, moved);
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    match (group, plural) {
        ("", "namespaces") => _ = object["spec"].take(),
        ("", "persistentvolumeclaims") => claim(&mut object, order),
        ("", "persistentvolumes") => volume(&mut object, order),
        ("", "services") => service(&mut object, moved.is_some()),
        ("", "serviceaccounts") => remove(&mut object, "secrets"),
        ("", "pods") => _ = object["spec"].as_object_mut().map(|spec| spec.remove("nodeName")),
        ("batch", "jobs") => job(&mut object),
        (RBAC, "rolebindings" | "clusterrolebindings") => subjects(&mut object, namespace.as_deref(), moved),
        ("apps", "statefulsets") => templates(&mut object, order),
        _ => {}
    }
    Ok(object)
}

fn is_asked_for(object: &Value, resource: &Resource, namespace: Option<&str>, order: &RestoreOrder) -> bool {
    let (plural, group) = (resource.api.plural.as_str(), resource.api.group.as_str());
    let selection = &order.choice.selection;
    let is_namespace = plural == "namespaces" && group.is_empty();
    let place = if is_namespace { object["metadata"]["name"].as_str() } else { namespace };
    // The namespace that objects are in comes with them.
    let is_in_scope = resource.namespaced || is_namespace || selection.cluster;
    is_in_scope
        && (order.choice.rbac || group != RBAC)
        && place.is_none_or(|place| selection.takes_namespace(place))
        && selection.takes_resource(plural, group)
        && (is_namespace || selection.takes_labels(&object["metadata"]["labels"]))
}

fn is_made_by_others(object: &Value) -> bool {
    let kind = object["kind"].as_str().unwrap_or_default();
    let owners = object["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_controlled = owners.iter().any(|owner| owner["controller"] == true);
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let annotations = &object["metadata"]["annotations"];
    (is_controlled && OWNED.contains(&kind))
        || (kind == "ConfigMap" && name == "kube-root-ca.crt")
        || strip::is_token(object)
        || (kind == "Endpoints" && annotations.get("endpoints.kubernetes.io/last-change-trigger-time").is_some())
        || (kind == "Pod" && annotations.get("kubernetes.io/config.mirror").is_some())
}

/// Name, namespace, labels and annotations: everything else is of another life. Who owns it now is known to [`super::owners`].
fn reset_metadata(object: &mut Value, moved: Option<&str>) {
    let old = object["metadata"].take();
    let mut metadata = Map::new();
    for field in ["name", "namespace", "labels", "annotations"] {
        if let Some(value) = old.get(field).filter(|value| !value.is_null()) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    if let Some(namespace) = moved {
        metadata.insert("namespace".into(), json!(namespace));
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        for name in OF_CLUSTER {
            annotations.remove(name);
        }
    }
    object["metadata"] = Value::Object(metadata);
}

fn remove(object: &mut Value, field: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove(field);
    }
}

/// A claim finds a new volume, unless its own comes with it. What filled it once does not again: that is what the volume's backup is for.
fn claim(object: &mut Value, order: &RestoreOrder) {
    if let Some(annotation) = object["metadata"].pointer_mut(&format!("/annotations/{}", CLASS_ANNOTATION.replace('/', "~1"))) {
        mapped(annotation, order);
    }
    let Some(spec) = object["spec"].as_object_mut() else { return };
    if !order.choice.volumes {
        spec.remove("volumeName");
    }
    spec.remove("dataSource");
    spec.remove("dataSourceRef");
    if let Some(class) = spec.get_mut("storageClassName") {
        mapped(class, order);
    }
}

fn volume(object: &mut Value, order: &RestoreOrder) {
    let Some(spec) = object["spec"].as_object_mut() else { return };
    if let Some(claim) = spec.get_mut("claimRef").and_then(Value::as_object_mut) {
        claim.remove("uid");
        claim.remove("resourceVersion");
        if let Some(namespace) = &order.namespace {
            claim.insert("namespace".into(), json!(namespace));
        }
    }
    if let Some(class) = spec.get_mut("storageClassName") {
        mapped(class, order);
    }
}

fn templates(object: &mut Value, order: &RestoreOrder) {
    let templates = object.pointer_mut("/spec/volumeClaimTemplates").and_then(Value::as_array_mut);
    for template in templates.into_iter().flatten() {
        if let Some(class) = template.pointer_mut("/spec/storageClassName") {
            mapped(class, order);
        }
        remove(template, "status");
    }
}

fn mapped(class: &mut Value, order: &RestoreOrder) {
    if let Some(new) = class.as_str().and_then(|old| order.choice.storage_classes.get(old)) {
        *class = json!(new);
    }
}

/// Addresses are given anew. Ports of the nodes stay, except where the service they are of may still be there.
fn service(object: &mut Value, is_moved: bool) {
    let Some(spec) = object["spec"].as_object_mut() else { return };
    if spec.get("clusterIP").and_then(Value::as_str) != Some("None") {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    spec.remove("healthCheckNodePort");
    if is_moved {
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            remove(port, "nodePort");
        }
    }
}

/// The selector and labels that the API server has made for it.
fn job(object: &mut Value) {
    if object["spec"]["manualSelector"] == true {
        return;
    }
    let Some(spec) = object["spec"].as_object_mut() else { return };
    spec.remove("selector");
    let Some(labels) = spec.get_mut("template").and_then(|template| template.pointer_mut("/metadata/labels")).and_then(Value::as_object_mut) else { return };
    for label in ["controller-uid", "batch.kubernetes.io/controller-uid", "job-name", "batch.kubernetes.io/job-name"] {
        labels.remove(label);
    }
}

/// Accounts of a namespace that moves move with it.
fn subjects(object: &mut Value, from: Option<&str>, to: Option<&str>) {
    let (Some(from), Some(to)) = (from, to) else { return };
    for subject in object["subjects"].as_array_mut().into_iter().flatten() {
        if subject["namespace"] == from {
            subject["namespace"] = json!(to);
        }
    }
}
