//! Sets of fields: the leaves of an object, where lists and empty maps are leaves.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Field names from the object's root.
pub(super) type FieldPath = Vec<String>;

/// Fields of metadata that nobody owns.
const SYSTEM_METADATA: [&str; 10] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "generateName",
    "managedFields",
];

/// The fields of the object that somebody can own.
pub(super) fn leaves(object: &Value) -> BTreeSet<FieldPath> {
    let mut found = BTreeSet::new();
    collect(object, &mut Vec::new(), &mut found);
    found
}

fn collect(value: &Value, path: &mut FieldPath, found: &mut BTreeSet<FieldPath>) {
    let inner = value.as_object().filter(|fields| !fields.is_empty());
    let Some(fields) = inner else {
        if !value.is_null() && !path.is_empty() {
            found.insert(path.clone());
        }
        return;
    };
    for (name, field) in fields {
        let is_system = match path.as_slice() {
            [] => matches!(name.as_str(), "apiVersion" | "kind"),
            [parent] => parent == "metadata" && SYSTEM_METADATA.contains(&name.as_str()),
            _ => false,
        };
        if !is_system {
            path.push(name.clone());
            collect(field, path, found);
            path.pop();
        }
    }
}

/// One path is the other, or holds it.
pub(super) fn overlaps(one: &FieldPath, other: &FieldPath) -> bool {
    one.iter().zip(other).all(|(one, other)| one == other)
}

pub(super) fn at<'a>(object: &'a Value, path: &FieldPath) -> &'a Value {
    path.iter().fold(object, |place, step| &place[step])
}

/// Removes the field, and the maps that are empty without it.
pub(super) fn remove(object: &mut Value, path: &FieldPath) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    if !rest.is_empty()
        && let Some(inner) = fields.get_mut(first)
    {
        remove(inner, &rest.to_vec());
        if inner.as_object().is_some_and(|inner| !inner.is_empty()) {
            return;
        }
    }
    fields.remove(first);
}

/// Writes every field of `config` into the object; maps are merged, all else replaced.
pub(super) fn merge(object: &mut Value, config: &Value) {
    match (object, config) {
        (_, Value::Null) => {}
        (Value::Object(fields), Value::Object(wanted)) => {
            for (name, field) in wanted {
                merge(fields.entry(name.as_str()).or_insert(Value::Null), field);
            }
        }
        (object, config) => *object = config.clone(),
    }
}

/// `.spec.name`, as the real server writes it.
pub(super) fn describe(path: &FieldPath) -> String {
    path.iter().map(|step| format!(".{step}")).collect()
}

/// The `fieldsV1` form.
pub(super) fn render(fields: &BTreeSet<FieldPath>) -> Value {
    let mut root = Value::Object(Map::new());
    for path in fields {
        let mut place = &mut root;
        for step in path {
            place = &mut place[format!("f:{step}")];
            if place.is_null() {
                *place = Value::Object(Map::new());
            }
        }
    }
    root
}

/// Reads the `fieldsV1` form.
pub(super) fn parse(fields: &Value) -> BTreeSet<FieldPath> {
    let mut found = BTreeSet::new();
    parse_below(fields, &mut Vec::new(), &mut found);
    found
}

fn parse_below(fields: &Value, path: &mut FieldPath, found: &mut BTreeSet<FieldPath>) {
    let named = fields
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, below)| Some((name.strip_prefix("f:")?, below)));
    let before = found.len();
    for (name, below) in named {
        path.push(name.to_owned());
        parse_below(below, path, found);
        path.pop();
    }
    if found.len() == before && !path.is_empty() {
        found.insert(path.clone());
    }
}
