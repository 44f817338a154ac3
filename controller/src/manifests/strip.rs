//! What of an object is stored: not what its API server has set, nor objects that mean nothing elsewhere.

use serde_json::Value;

/// Of `metadata`: true of this one life of the object only.
const OF_ONE_LIFE: [&str; 9] = [
    "managedFields", "uid", "resourceVersion", "generation", "creationTimestamp", "selfLink", "deletionTimestamp",
    "deletionGracePeriodSeconds", "generateName",
];
/// Resources that nobody brings back: they report what happens, or belong to machines.
const NEVER: [(&str, &str); 2] = [("events", ""), ("events", "events.k8s.io")];

/// Whether objects of a resource are stored at all.
pub(super) fn is_stored(plural: &str, group: &str) -> bool {
    !NEVER.contains(&(plural, group))
}

/// An object as it is stored; none if it is not worth it: a pod or Job that has done its work, a token, something on its way out.
pub(super) fn stripped(mut object: Value) -> Option<Value> {
    if has_ended(&object) || is_token(&object) || !object["metadata"]["deletionTimestamp"].is_null() {
        return None;
    }
    let fields = object.as_object_mut()?;
    fields.remove("status");
    let metadata = fields.get_mut("metadata")?.as_object_mut()?;
    for field in OF_ONE_LIFE {
        metadata.remove(field);
    }
    Some(object)
}

fn has_ended(object: &Value) -> bool {
    match object["kind"].as_str() {
        Some("Pod") => matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed")),
        Some("Job") => {
            let conditions = object["status"]["conditions"].as_array();
            let is_end = |condition: &Value| {
                matches!(condition["type"].as_str(), Some("Complete" | "Failed")) && condition["status"] == "True"
            };
            conditions.is_some_and(|conditions| conditions.iter().any(is_end))
        }
        _ => false,
    }
}

/// A token is of one cluster, and of one life of its account.
pub(super) fn is_token(object: &Value) -> bool {
    object["kind"] == "Secret" && object["type"] == "kubernetes.io/service-account-token"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_server_has_set_is_not_stored() {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}, "status": {"x": 1}, "metadata": {
            "name": "web", "namespace": "shop", "labels": {"app": "web"}, "annotations": {"note": "1"}, "finalizers": ["f"],
            "uid": "u", "resourceVersion": "7", "generation": 2, "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": [],
            "ownerReferences": [{"kind": "ReplicaSet", "controller": true}]}});
        assert_eq!(stripped(object), Some(json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}, "metadata": {
            "name": "web", "namespace": "shop", "labels": {"app": "web"}, "annotations": {"note": "1"}, "finalizers": ["f"],
            "ownerReferences": [{"kind": "ReplicaSet", "controller": true}]}})));
    }

    #[test]
    fn what_has_ended_is_not_stored() {
        for object in [
            json!({"kind": "Pod", "metadata": {}, "status": {"phase": "Succeeded"}}),
            json!({"kind": "Job", "metadata": {}, "status": {"conditions": [{"type": "Complete", "status": "True"}]}}),
            json!({"kind": "Secret", "metadata": {}, "type": "kubernetes.io/service-account-token"}),
            json!({"kind": "ConfigMap", "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
            json!("no object"),
        ] {
            assert_eq!(stripped(object.clone()), None, "{object}");
        }
        assert!(stripped(json!({"kind": "Job", "metadata": {}, "status": {"conditions": [{"type": "Suspended", "status": "True"}]}})).is_some());
    }
}
