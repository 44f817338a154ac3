//! Schemas of fields that the derive cannot describe.

use schemars::{Schema, SchemaGenerator, json_schema};

/// An object with any fields, which the API server keeps as they are.
pub(crate) fn free_form(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// A string that KubeStash's schema leaves open, though only a few words make sense.
pub(crate) fn plain_string(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string" })
}

/// An integer without a format: Go's `int`.
pub(crate) fn plain_integer(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer" })
}
