//! From what schemars writes to what an API server takes: a structural schema.

use serde_json::{Map, Value};

/// The schema with every reference replaced by what it refers to, and nothing nullable.
///
/// Descriptions stay where a field has one; those of whole types would be repeated at every use.
pub(super) fn inline(schema: &Value, definitions: &Map<String, Value>) -> Value {
    let inliner = Inliner { definitions };
    let mut whole = inliner.rewrite(schema);
    // The type's own description is worth its bytes once: at the root.
    if let (Value::Object(fields), Some(description)) = (
        &mut whole,
        inliner
            .target(schema)
            .and_then(|target| target.get("description")),
    ) {
        fields.insert("description".to_owned(), description.clone());
    }
    whole
}

struct Inliner<'a> {
    definitions: &'a Map<String, Value>,
}

impl<'a> Inliner<'a> {
    fn rewrite(&self, schema: &Value) -> Value {
        let Value::Object(fields) = schema else {
            return schema.clone();
        };
        let mut rewritten = self.base(schema, fields);
        if let Some(words) = enumerated(fields) {
            rewritten.insert("type".to_owned(), "string".into());
            rewritten.insert("enum".to_owned(), words);
        }
        for (key, value) in fields {
            match (key.as_str(), value) {
                ("$ref" | "oneOf" | "title" | "$schema", _) => {}
                // Kubernetes' int-or-string is the one schema with alternatives that is structural.
                ("anyOf", _) if !fields.contains_key("x-kubernetes-int-or-string") => {}
                ("properties", Value::Object(properties)) => {
                    let properties = properties
                        .iter()
                        .map(|(name, schema)| (name.clone(), self.rewrite(schema)));
                    rewritten.insert(key.clone(), Value::Object(properties.collect()));
                }
                ("items" | "additionalProperties", Value::Object(_)) => {
                    rewritten.insert(key.clone(), self.rewrite(value));
                }
                ("type", Value::Array(types)) => {
                    let mut types = types.iter().filter(|name| **name != "null");
                    rewritten.insert(key.clone(), types.next().cloned().unwrap_or(Value::Null));
                }
                ("enum", Value::Array(words)) => {
                    let words = words.iter().filter(|word| !word.is_null()).cloned();
                    rewritten.insert(key.clone(), words.collect());
                }
                // schemars writes what a list or map is when it is absent; the API server would write it into objects.
                ("default", value)
                    if *value == Value::Array(Vec::new())
                        || *value == Value::Object(Map::new())
                        || value.is_null() => {}
                _ => {
                    rewritten.insert(key.clone(), value.clone());
                }
            }
        }
        Value::Object(rewritten)
    }

    /// What the schema refers to, without the description of the type.
    fn base(&self, schema: &Value, fields: &Map<String, Value>) -> Map<String, Value> {
        let target = self.target(schema).or_else(|| {
            let alternatives = fields.get("anyOf")?.as_array()?;
            alternatives
                .iter()
                .find_map(|alternative| self.target(alternative))
        });
        match target.map(|target| self.rewrite(target)) {
            Some(Value::Object(mut fields)) => {
                fields.remove("description");
                fields
            }
            _ => Map::new(),
        }
    }

    fn target(&self, schema: &Value) -> Option<&'a Value> {
        let name = schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/")?;
        self.definitions.get(name)
    }
}

/// The words of an enum whose variants have descriptions: schemars writes each as an alternative of its own.
fn enumerated(fields: &Map<String, Value>) -> Option<Value> {
    let alternatives = fields.get("oneOf")?.as_array()?;
    alternatives
        .iter()
        .map(|alternative| alternative.get("const").cloned())
        .collect()
}
