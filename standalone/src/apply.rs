//! Server-side apply: fields are merged one by one, and each has owners.
//!
//! Simplified against the real server, each where its answer would otherwise differ silently:
//! - Owners are recorded from an object's first apply on (what was there before belongs to `before-first-apply`, as on a
//!   real server for objects without managedFields).
//! - Every list is one field. A list that a real server would merge item by item (a keyed list or a set of a custom
//!   resource, any list of a built-in kind) is written only if nobody else owns it; else the answer is 501.

mod fields;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};

use crate::{
    apply::fields::{FieldPath, at, describe, leaves, merge, overlaps, remove},
    failure::{Cause, Failure},
    kind::{Kind, Shape},
    metadata,
    state::{State, now},
    store::Key,
    write::{Part, WriteOptions},
};

const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// One entry of `metadata.managedFields`.
#[derive(Debug, Clone, PartialEq)]
struct Owner {
    manager: String,
    operation: &'static str,
    subresource: &'static str,
    time: Value,
    fields: BTreeSet<FieldPath>,
}

impl Owner {
    fn is(&self, manager: &str, operation: &str, part: Part) -> bool {
        self.manager == manager
            && self.operation == operation
            && self.subresource == subresource(part)
    }
}

fn subresource(part: Part) -> &'static str {
    match part {
        Part::Main => "",
        Part::Status => "status",
    }
}

/// An object after an apply, and whether the apply created it.
pub(crate) struct Applied {
    pub(crate) object: Arc<Value>,
    pub(crate) created: bool,
}

/// Merges `config` into the object, which is created if there is none.
pub(crate) fn apply(
    state: &mut State,
    kind: &Kind,
    key: &Key,
    mut config: Value,
    part: Part,
    force: bool,
    options: &WriteOptions,
) -> Result<Applied, Failure> {
    kind.stamp_type(&mut config)?;
    if config["metadata"]
        .get("managedFields")
        .is_some_and(|fields| !fields.is_null())
    {
        return Err(Failure::bad_request("metadata.managedFields must be nil"));
    }
    match metadata::text(&config, "name") {
        "" => config["metadata"]["name"] = json!(key.name),
        name if name != key.name => {
            return Err(Failure::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                key.name
            )));
        }
        _ => {}
    }
    restrict(kind, &mut config, part);
    let wanted = leaves(&config);
    let Some(old) = state.store.get(&kind.group_resource(), key) else {
        if part == Part::Status {
            return Err(Failure::not_found(kind, &key.name));
        }
        let owner = new_owner(&options.manager, "Apply", part, wanted);
        config["metadata"]["managedFields"] = render(kind, &[owner]);
        let namespace = kind.namespaced.then_some(key.namespace.as_str());
        return Ok(Applied {
            object: state.create(kind, namespace, config, options)?,
            created: true,
        });
    };

    let mut owners = owners_of(&old);
    settle_conflicts(
        kind,
        &old,
        &config,
        &wanted,
        &mut owners,
        part,
        force,
        &options.manager,
    )?;
    let mut new = (*old).clone();
    merge(&mut new, &config);
    claim(&mut new, &mut owners, wanted, part, &options.manager);
    new["metadata"]["managedFields"] = render(kind, &owners);
    let applied = WriteOptions {
        owners_settled: true,
        ..options.clone()
    };
    Ok(Applied {
        object: state.update(kind, &old, new, part, &applied)?,
        created: false,
    })
}

/// An apply to one part says nothing about the other.
fn restrict(kind: &Kind, config: &mut Value, part: Part) {
    let Some(fields) = config.as_object_mut() else {
        return;
    };
    match part {
        Part::Main if kind.has_status => {
            fields.remove("status");
        }
        Part::Main => {}
        Part::Status => fields.retain(|name, _| {
            matches!(name.as_str(), "apiVersion" | "kind" | "metadata" | "status")
        }),
    }
    if part == Part::Status
        && let Some(metadata) = config["metadata"].as_object_mut()
    {
        metadata.retain(|name, _| {
            matches!(
                name.as_str(),
                "name" | "namespace" | "uid" | "resourceVersion"
            )
        });
    }
}

/// Refuses what others own with another value, or takes it from them.
#[expect(clippy::too_many_arguments, reason = "one apply, taken apart")]
fn settle_conflicts(
    kind: &Kind,
    old: &Value,
    config: &Value,
    wanted: &BTreeSet<FieldPath>,
    owners: &mut [Owner],
    part: Part,
    force: bool,
    manager: &str,
) -> Result<(), Failure> {
    let mut causes = Vec::new();
    for owner in owners
        .iter_mut()
        .filter(|owner| !owner.is(manager, "Apply", part))
    {
        let disputed: Vec<FieldPath> = owner
            .fields
            .iter()
            .filter(|path| {
                wanted.iter().any(|wish| overlaps(path, wish)) && at(old, path) != at(config, path)
            })
            .cloned()
            .collect();
        for path in disputed {
            if at(old, &path).is_array() && !is_atomic_list(kind, &path) {
                return Err(Failure::not_implemented(format!(
                    "an apply to the list {} that has another owner",
                    describe(&path)
                )));
            }
            let message = format!("conflict with \"{}\"", owner.manager);
            causes.push(Cause {
                field: describe(&path),
                reason: "FieldManagerConflict",
                message,
            });
            owner.fields.remove(&path);
        }
    }
    if causes.is_empty() || force {
        return Ok(());
    }
    let lines: Vec<_> = causes
        .iter()
        .map(|cause| format!("{}: {}", cause.message, cause.field))
        .collect();
    let plural = if causes.len() == 1 { "" } else { "s" };
    let mut failure = Failure::new(
        409,
        "Conflict",
        format!(
            "Apply failed with {} conflict{plural}: {}",
            causes.len(),
            lines.join("\n")
        ),
    );
    failure.details = Some(json!({"causes": causes.iter().map(|cause| {
        json!({"reason": cause.reason, "message": cause.message, "field": cause.field})
    }).collect::<Vec<_>>()}));
    Err(failure)
}

/// What the manager applied before and no longer names goes away, unless somebody else owns it too.
fn claim(
    new: &mut Value,
    owners: &mut Vec<Owner>,
    wanted: BTreeSet<FieldPath>,
    part: Part,
    manager: &str,
) {
    let mine = owners
        .iter()
        .position(|owner| owner.is(manager, "Apply", part));
    if let Some(mine) = mine {
        let given_up: Vec<FieldPath> = owners[mine]
            .fields
            .iter()
            .filter(|path| !wanted.iter().any(|wish| overlaps(path, wish)))
            .filter(|path| {
                !owners
                    .iter()
                    .enumerate()
                    .any(|(at, owner)| at != mine && owner.fields.contains(*path))
            })
            .cloned()
            .collect();
        given_up.iter().for_each(|path| remove(new, path));
        if owners[mine].fields != wanted {
            owners[mine] = new_owner(manager, "Apply", part, wanted);
        }
    } else {
        owners.push(new_owner(manager, "Apply", part, wanted));
    }
    owners.retain(|owner| !owner.fields.is_empty());
}

/// A write other than an apply owns what it changed, if owners are recorded for the object at all.
pub(crate) fn note_update(kind: &Kind, old: &Value, new: &mut Value, part: Part, manager: &str) {
    let recorded = old["metadata"].get("managedFields").cloned();
    match recorded {
        Some(recorded) => new["metadata"]["managedFields"] = recorded,
        None => {
            new["metadata"]
                .as_object_mut()
                .and_then(|fields| fields.remove("managedFields"));
            return;
        }
    }
    let (was, is) = (leaves(old), leaves(new));
    let changed: BTreeSet<FieldPath> = is
        .iter()
        .filter(|path| at(old, path) != at(new, path))
        .cloned()
        .collect();
    let removed: BTreeSet<FieldPath> = was.into_iter().filter(|path| !is.contains(path)).collect();
    if changed.is_empty() && removed.is_empty() {
        return;
    }
    let mut owners = owners_of(old);
    for owner in &mut owners {
        owner
            .fields
            .retain(|path| !changed.contains(path) && !removed.contains(path));
    }
    match owners
        .iter_mut()
        .find(|owner| owner.is(manager, "Update", part))
    {
        Some(owner) => {
            owner.fields.extend(changed);
            owner.time = metadata::seconds(now());
        }
        None => owners.push(new_owner(manager, "Update", part, changed)),
    }
    owners.retain(|owner| !owner.fields.is_empty());
    new["metadata"]["managedFields"] = render(kind, &owners);
}

fn is_atomic_list(kind: &Kind, path: &FieldPath) -> bool {
    match &kind.shape {
        Shape::Builtin(_) => false,
        Shape::Custom(_) if path.first().is_some_and(|step| step == "metadata") => false,
        Shape::Custom(schema) => schema.is_atomic_list(path),
    }
}

fn new_owner(
    manager: &str,
    operation: &'static str,
    part: Part,
    fields: BTreeSet<FieldPath>,
) -> Owner {
    let time = metadata::seconds(now());
    Owner {
        manager: manager.to_owned(),
        operation,
        subresource: subresource(part),
        time,
        fields,
    }
}

fn owners_of(object: &Value) -> Vec<Owner> {
    let recorded = object["metadata"]["managedFields"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if recorded.is_empty() {
        return vec![new_owner(
            BEFORE_FIRST_APPLY,
            "Update",
            Part::Main,
            leaves(object),
        )];
    }
    let owner = |entry: &Value| Owner {
        manager: entry["manager"].as_str().unwrap_or_default().to_owned(),
        operation: if entry["operation"] == "Apply" {
            "Apply"
        } else {
            "Update"
        },
        subresource: if entry["subresource"] == "status" {
            "status"
        } else {
            ""
        },
        time: entry["time"].clone(),
        fields: fields::parse(&entry["fieldsV1"]),
    };
    recorded.iter().map(owner).collect()
}

fn render(kind: &Kind, owners: &[Owner]) -> Value {
    let entry = |owner: &Owner| {
        let mut entry = json!({
            "manager": owner.manager, "operation": owner.operation, "apiVersion": kind.api_version(),
            "time": owner.time, "fieldsType": "FieldsV1", "fieldsV1": fields::render(&owner.fields),
        });
        if !owner.subresource.is_empty() {
            entry["subresource"] = json!(owner.subresource);
        }
        entry
    };
    Value::Array(owners.iter().map(entry).collect())
}
