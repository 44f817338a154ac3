//! The three patches that compute a new object from the old one. Server-side apply is in `apply`.

use json_patch::PatchOperation;
use serde_json::{Map, Value};

use crate::{
    failure::{Cause, Failure},
    kind::Kind,
    metadata,
};

pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";
pub(crate) const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
pub(crate) const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// The object after the patch.
pub(crate) fn patched(
    kind: &Kind,
    old: &Value,
    content_type: &str,
    patch: Value,
) -> Result<Value, Failure> {
    let mut new = old.clone();
    match content_type {
        MERGE_PATCH => json_patch::merge(&mut new, &patch),
        JSON_PATCH => {
            let operations: Vec<PatchOperation> =
                serde_json::from_value(patch).map_err(|error| {
                    Failure::bad_request(format!("the body is not a JSON patch: {error}"))
                })?;
            let operations = checked(&new, operations);
            json_patch::patch(&mut new, &operations).map_err(|error| {
                let cause = Cause::invalid("patch", &Value::Null, error.to_string());
                Failure::invalid(kind, metadata::text(old, "name"), &[cause])
            })?;
        }
        STRATEGIC_PATCH if !kind.is_custom() => merge_strategically(&mut new, &patch, "")?,
        other => {
            let message = format!("the body of the request was in an unknown format: {other:?}");
            return Err(Failure::new(415, "UnsupportedMediaType", message));
        }
    }
    Ok(new)
}

/// A test that an absent field is null holds on a real server: Go's JSON has no other absence.
fn checked(old: &Value, operations: Vec<PatchOperation>) -> Vec<PatchOperation> {
    let holds = |operation: &PatchOperation| match operation {
        PatchOperation::Test(test) => {
            test.value.is_null() && old.pointer(test.path.as_str()).is_none()
        }
        _ => false,
    };
    operations
        .into_iter()
        .filter(|operation| !holds(operation))
        .collect()
}

/// Lists that Kubernetes merges by a key of their items, by field name; the key is the same wherever the name occurs.
const MERGED_LISTS: [(&str, &str); 8] = [
    ("containers", "name"),
    ("initContainers", "name"),
    ("volumes", "name"),
    ("env", "name"),
    ("volumeMounts", "mountPath"),
    ("conditions", "type"),
    ("ownerReferences", "uid"),
    ("imagePullSecrets", "name"),
];

/// Lists of plain values that Kubernetes unites.
const UNITED_LISTS: [&str; 1] = ["finalizers"];
/// Lists that a patch replaces.
const REPLACED_LISTS: [&str; 4] = ["args", "command", "accessModes", "tolerations"];

fn merge_strategically(value: &mut Value, patch: &Value, path: &str) -> Result<(), Failure> {
    let Value::Object(changes) = patch else {
        *value = patch.clone();
        return Ok(());
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    for (name, change) in changes {
        if name.starts_with('$') {
            return Err(Failure::not_implemented(format!(
                "the strategic merge directive {name}"
            )));
        }
        let path = format!("{path}.{name}");
        match change {
            Value::Null => {
                value.as_object_mut().and_then(|fields| fields.remove(name));
            }
            Value::Array(items) => merge_list(&mut value[name], name, items, &path)?,
            _ => merge_strategically(&mut value[name], change, &path)?,
        }
    }
    Ok(())
}

fn merge_list(value: &mut Value, name: &str, items: &[Value], path: &str) -> Result<(), Failure> {
    let Some(list) = value.as_array_mut().filter(|list| !list.is_empty()) else {
        *value = Value::Array(items.to_vec());
        return Ok(());
    };
    if let Some((_, key)) = MERGED_LISTS.iter().find(|(merged, _)| *merged == name) {
        for item in items {
            match list.iter_mut().find(|known| known[key] == item[key]) {
                Some(known) => merge_strategically(known, item, path)?,
                None => list.push(item.clone()),
            }
        }
        return Ok(());
    }
    if UNITED_LISTS.contains(&name) {
        for item in items {
            if !list.contains(item) {
                list.push(item.clone());
            }
        }
        return Ok(());
    }
    if !REPLACED_LISTS.contains(&name) && list.as_slice() != items {
        return Err(Failure::not_implemented(format!(
            "a strategic merge of the list {path}"
        )));
    }
    *value = Value::Array(items.to_vec());
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn strategic_merge_joins_lists_by_key_and_removes_by_null() {
        let mut pod = json!({"metadata": {"finalizers": ["a"], "labels": {"x": "1"}},
            "spec": {"containers": [{"name": "a", "image": "1", "args": ["x"]}]}});
        let patch = json!({"metadata": {"finalizers": ["b"], "labels": {"x": null, "y": "2"}},
            "spec": {"containers": [{"name": "a", "image": "2"}, {"name": "b"}]}});
        merge_strategically(&mut pod, &patch, "").unwrap();
        assert_eq!(
            pod,
            json!({"metadata": {"finalizers": ["a", "b"], "labels": {"y": "2"}},
                "spec": {"containers": [{"name": "a", "image": "2", "args": ["x"]}, {"name": "b"}]}})
        );
    }

    #[test]
    fn a_list_of_unknown_strategy_is_refused_rather_than_guessed() {
        let mut service = json!({"spec": {"ports": [{"port": 1}]}});
        let failure =
            merge_strategically(&mut service, &json!({"spec": {"ports": [{"port": 2}]}}), "")
                .unwrap_err();
        assert_eq!(failure.code, 501);
        let failure =
            merge_strategically(&mut service, &json!({"spec": {"$patch": "replace"}}), "")
                .unwrap_err();
        assert_eq!(failure.code, 501);
    }
}
