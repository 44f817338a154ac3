//! Fills the defaults of a schema, and drops nulls where null means absent.

use serde_json::Value;

use super::Schema;

pub(super) fn fill(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, of_field) in &schema.properties {
                let absent = match fields.get(name) {
                    None => true,
                    Some(Value::Null) => !of_field.nullable,
                    Some(_) => false,
                };
                if absent {
                    fields.remove(name);
                    if let Some(default) = &of_field.default {
                        fields.insert(name.clone(), default.clone());
                    }
                }
            }
            for (name, field) in fields.iter_mut() {
                if let Some(of_field) = schema.field(name) {
                    fill(of_field, field);
                }
            }
        }
        Value::Array(items) => {
            if let Some(of_item) = &schema.items {
                items.iter_mut().for_each(|item| fill(of_item, item));
            }
        }
        _ => {}
    }
}
