//! What is known of each kind of object that this server holds: its names, scope, subresources and shape.

use std::sync::Arc;

use serde_json::Value;

use crate::{failure::Failure, schema::Schema};

/// Decodes into the typed object and back, which drops unknown fields and refuses wrong types.
pub(crate) type Canonical = fn(Value) -> Result<Value, serde_json::Error>;

/// Where a kind's fields are described.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    /// A built-in type of Kubernetes, as k8s-openapi has it.
    Builtin(Canonical),
    /// A custom resource: its structural schema.
    Custom(Arc<Schema>),
}

/// Which changes move `metadata.generation`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generation {
    /// The kind has none.
    Absent,
    /// Every change outside metadata and (with a status subresource) status.
    Counted,
}

/// One served kind of object.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    pub(crate) has_status: bool,
    pub(crate) generation: Generation,
    /// A PUT without a resourceVersion overwrites. Custom resources and Leases refuse it.
    pub(crate) unconditional_update: bool,
    /// Fields beside metadata.name and metadata.namespace that a field selector may name.
    pub(crate) field_labels: &'static [&'static str],
    pub(crate) shape: Shape,
}

impl Kind {
    /// `pods`, `backupstorages.storage.kubestash.com`: the key of the store, and the name in messages.
    pub(crate) fn group_resource(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    pub(crate) fn is_custom(&self) -> bool {
        matches!(self.shape, Shape::Custom(_))
    }

    pub(crate) fn is_core(&self, plural: &str) -> bool {
        self.group.is_empty() && self.plural == plural
    }

    /// The object may carry its type or leave it out (built-ins only), but never carry another.
    pub(crate) fn stamp_type(&self, object: &mut Value) -> Result<(), Failure> {
        let Some(fields) = object.as_object_mut() else {
            return Err(Failure::bad_request("the body is not a JSON object"));
        };
        for (field, expected) in [
            ("apiVersion", self.api_version()),
            ("kind", self.kind.clone()),
        ] {
            match fields.get(field).and_then(Value::as_str) {
                Some(found) if found == expected => {}
                Some("") | None if !self.is_custom() => {
                    fields.insert(field.to_owned(), Value::String(expected));
                }
                Some("") | None => {
                    return Err(Failure::bad_request(format!("Object '{field}' is missing")));
                }
                Some(found) => {
                    return Err(Failure::bad_request(format!(
                        "{field} in the data ({found}) does not match the expected {field} ({expected})"
                    )));
                }
            }
        }
        Ok(())
    }
}
