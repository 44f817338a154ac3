//! A custom resource's structural schema: what it holds, and the three passes every write goes through
//! (prune, default, validate), in the order of the real server.
//!
//! Not evaluated: CEL rules (`x-kubernetes-validations`), so a CRD that has any is refused with 501; and ratcheting: an
//! update that leaves an invalid old field as it was is refused here, where a real server lets it pass.

mod defaulting;
mod pruning;
#[cfg(test)]
mod tests;
mod validation;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::failure::{Cause, Failure};

/// One node of an `openAPIV3Schema`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Schema {
    #[serde(rename = "type")]
    type_: Option<String>,
    format: Option<String>,
    #[serde(default)]
    properties: BTreeMap<String, Schema>,
    additional_properties: Option<AdditionalProperties>,
    items: Option<Box<Schema>>,
    #[serde(default)]
    required: Vec<String>,
    #[serde(rename = "enum")]
    enumeration: Option<Vec<Value>>,
    default: Option<Value>,
    #[serde(default)]
    nullable: bool,
    pattern: Option<String>,
    min_length: Option<u64>,
    max_length: Option<u64>,
    minimum: Option<f64>,
    maximum: Option<f64>,
    min_items: Option<u64>,
    max_items: Option<u64>,
    max_properties: Option<u64>,
    #[serde(default)]
    all_of: Vec<Schema>,
    #[serde(default)]
    any_of: Vec<Schema>,
    #[serde(default)]
    one_of: Vec<Schema>,
    not: Option<Box<Schema>>,
    #[serde(rename = "x-kubernetes-preserve-unknown-fields", default)]
    preserve_unknown_fields: bool,
    #[serde(rename = "x-kubernetes-embedded-resource", default)]
    embedded_resource: bool,
    #[serde(rename = "x-kubernetes-int-or-string", default)]
    int_or_string: bool,
    #[serde(rename = "x-kubernetes-list-type")]
    list_type: Option<String>,
    #[serde(rename = "x-kubernetes-list-map-keys", default)]
    list_map_keys: Vec<String>,
    #[serde(rename = "x-kubernetes-validations", default)]
    cel_rules: Vec<Value>,
}

/// `additionalProperties` is a schema or a yes/no.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum AdditionalProperties {
    Allowed(bool),
    Schema(Box<Schema>),
}

impl Schema {
    /// Reads a CRD version's `openAPIV3Schema`.
    pub(crate) fn parse(schema: &Value) -> Result<Self, Failure> {
        let schema: Self = serde_json::from_value(schema.clone()).map_err(|error| {
            Failure::bad_request(format!("openAPIV3Schema cannot be read: {error}"))
        })?;
        if schema.has_cel_rules() {
            return Err(Failure::not_implemented(
                "CEL rules (x-kubernetes-validations) in a CustomResourceDefinition",
            ));
        }
        Ok(schema)
    }

    /// Makes the object as the server stores it: unknown fields gone, defaults filled.
    pub(crate) fn normalize(&self, object: &mut Value) {
        pruning::prune_root(self, object);
        defaulting::fill(self, object);
    }

    /// What the schema refuses in the object.
    pub(crate) fn validate(&self, object: &Value) -> Vec<Cause> {
        let mut causes = Vec::new();
        validation::check(self, object, "", &mut causes);
        causes
    }

    fn has_cel_rules(&self) -> bool {
        let additional = match &self.additional_properties {
            Some(AdditionalProperties::Schema(schema)) => Some(&**schema),
            _ => None,
        };
        !self.cel_rules.is_empty()
            || self
                .properties
                .values()
                .chain(self.items.as_deref())
                .chain(additional)
                .any(Self::has_cel_rules)
    }

    /// The schema of a named field: a property, or what additionalProperties says.
    fn field(&self, name: &str) -> Option<&Schema> {
        match (self.properties.get(name), &self.additional_properties) {
            (Some(schema), _) => Some(schema),
            (None, Some(AdditionalProperties::Schema(schema))) => Some(schema),
            _ => None,
        }
    }

    /// Whether a list at this path is replaced as a whole: what a list is unless the schema says otherwise.
    pub(crate) fn is_atomic_list(&self, path: &[String]) -> bool {
        let found = path
            .iter()
            .try_fold(self, |schema, step| schema.field(step));
        found.is_none_or(|schema| matches!(schema.list_type.as_deref(), None | Some("atomic")))
    }

    fn allows_unknown(&self) -> bool {
        self.preserve_unknown_fields
            || matches!(
                self.additional_properties,
                Some(AdditionalProperties::Allowed(true))
            )
    }
}
