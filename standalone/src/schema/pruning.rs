//! Drops the fields that a schema does not know.

use serde_json::Value;

use super::Schema;

/// `apiVersion`, `kind` and `metadata` belong to every object, whatever its schema says.
pub(super) fn prune_root(schema: &Schema, object: &mut Value) {
    prune_fields(schema, object, true);
}

fn prune(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(_) => prune_fields(schema, value, schema.embedded_resource),
        Value::Array(items) => {
            if let Some(of_item) = &schema.items {
                items.iter_mut().for_each(|item| prune(of_item, item));
            }
        }
        _ => {}
    }
}

fn prune_fields(schema: &Schema, value: &mut Value, is_resource: bool) {
    let Some(fields) = value.as_object_mut() else {
        return;
    };
    fields.retain(|name, field| {
        if is_resource && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            return true;
        }
        match schema.field(name) {
            Some(of_field) => {
                prune(of_field, field);
                true
            }
            None => schema.allows_unknown(),
        }
    });
}
