//! An object with every field of a definition set.

use serde_json::{Map, Value, json};

/// A value for a schema: every property is there, every list and map has one entry.
pub(crate) fn sample(schema: &Value) -> Value {
    if schema["x-kubernetes-int-or-string"] == true {
        return if schema["pattern"].is_string() {
            json!("1Gi")
        } else {
            json!(8080)
        };
    }
    match schema["type"].as_str().unwrap_or_default() {
        "object" => object(schema),
        "array" => json!([sample(&schema["items"])]),
        "integer" => json!(7),
        "number" => json!(1.5),
        "boolean" => json!(true),
        _ if schema["format"] == "date-time" => json!("2026-11-22T21:00:00Z"),
        _ => schema["enum"]
            .get(0)
            .cloned()
            .unwrap_or_else(|| json!("text")),
    }
}

fn object(schema: &Value) -> Value {
    if let Some(values) = schema.get("additionalProperties") {
        return json!({ "key": sample(values) });
    }
    if schema["x-kubernetes-preserve-unknown-fields"] == true {
        return json!({ "key": { "any": ["thing", 1, true] } });
    }
    let none = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&none);
    Value::Object(
        properties
            .iter()
            .map(|(name, schema)| (name.clone(), sample(schema)))
            .collect(),
    )
}
