//! In which order objects are made: KubeStash's, so that each finds what it needs; roles and services come before the pods.

use serde_json::Value;

/// Kinds whose turn is before all others', in their order.
const FIRST: [&str; 21] = [
    "CustomResourceDefinition", "Namespace", "StorageClass", "VolumeSnapshotClass", "VolumeSnapshotContent", "VolumeSnapshot",
    "PersistentVolume", "PersistentVolumeClaim", "ServiceAccount", "Secret", "ConfigMap", "LimitRange", "PriorityClass",
    "ClusterRole", "Role", "ClusterRoleBinding", "RoleBinding", "Service", "Pod", "ReplicaSet", "Deployment",
];

/// Lower is earlier.
pub(super) fn rank(object: &Value) -> usize {
    let kind = object["kind"].as_str().unwrap_or_default();
    // Kinds of others that are called the same have their turn with the rest.
    let group = object["apiVersion"].as_str().unwrap_or_default().rsplit_once('/').map_or("", |(group, _)| group);
    let is_builtin = group.is_empty() || group == "apps" || group.ends_with(".k8s.io");
    FIRST.iter().position(|first| *first == kind).filter(|_| is_builtin).unwrap_or(FIRST.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn what_others_need_comes_first() {
        let rank = |api_version: &str, kind: &str| super::rank(&json!({"apiVersion": api_version, "kind": kind}));
        let order = [
            rank("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
            rank("v1", "Namespace"),
            rank("storage.k8s.io/v1", "StorageClass"),
            rank("v1", "PersistentVolumeClaim"),
            rank("v1", "Secret"),
            rank("v1", "Service"),
            rank("v1", "Pod"),
            rank("apps/v1", "StatefulSet"),
        ];
        assert!(order.is_sorted() && order[0] == 0, "{order:?}");
        assert_eq!(rank("serving.knative.dev/v1", "Service"), rank("example.com/v1", "Widget"));
    }
}
