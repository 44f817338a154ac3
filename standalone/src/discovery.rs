//! What a client asks before it speaks of objects: version, health, groups and resources.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{kind::Kind, state::State};

/// The answer to a discovery path, if it is one.
pub(crate) fn answer(state: &State, path: &str) -> Option<Value> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
    match segments.as_slice() {
        ["version"] => Some(
            json!({"major": "1", "minor": "36", "gitVersion": "v1.36.0+standalone", "platform": "linux"}),
        ),
        ["healthz" | "livez" | "readyz"] => Some(json!("ok")),
        ["api"] => Some(json!({"kind": "APIVersions", "versions": ["v1"]})),
        ["apis"] => {
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups(state)}))
        }
        ["apis", group] => groups(state)
            .into_iter()
            .find(|known| known["name"] == *group),
        ["api", "v1"] => resources(state, "", "v1"),
        ["apis", group, version] => resources(state, group, version),
        _ => None,
    }
}

fn groups(state: &State) -> Vec<Value> {
    let versions: BTreeMap<&str, &str> = state
        .kinds
        .values()
        .filter(|kind| !kind.group.is_empty())
        .map(|kind| (kind.group.as_str(), kind.version.as_str()))
        .collect();
    let group = |(name, version): (&str, &str)| {
        let served = json!({"groupVersion": format!("{name}/{version}"), "version": version});
        json!({"kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": [served], "preferredVersion": served})
    };
    versions.into_iter().map(group).collect()
}

fn resources(state: &State, group: &str, version: &str) -> Option<Value> {
    let served = state
        .kinds
        .values()
        .filter(|kind| kind.group == group && kind.version == version);
    let listed: Vec<Value> = served.flat_map(|kind| describe(kind)).collect();
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    (!listed.is_empty()).then(
        || json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}),
    )
}

fn describe(kind: &Kind) -> Vec<Value> {
    let verbs = [
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch",
    ];
    let mut described = vec![json!({
        "name": kind.plural, "singularName": kind.singular, "kind": kind.kind, "namespaced": kind.namespaced,
        "verbs": verbs, "shortNames": kind.short_names, "categories": kind.categories,
    })];
    if kind.has_status {
        described.push(json!({
            "name": format!("{}/status", kind.plural), "singularName": "", "kind": kind.kind,
            "namespaced": kind.namespaced, "verbs": ["get", "patch", "update"],
        }));
    }
    described
}
