//! Says what a schema refuses, with the paths and reasons of the real server.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Schema;
use crate::failure::Cause;

pub(super) fn check(schema: &Schema, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    if value.is_null() && schema.nullable {
        return;
    }
    if !has_type(schema, value) {
        causes.push(Cause::wrong_type(
            path,
            value,
            schema.type_.as_deref().unwrap_or("integer or string"),
        ));
        return;
    }
    check_enumeration(schema, value, path, causes);
    check_junctors(schema, value, path, causes);
    match value {
        Value::String(text) => check_text(schema, text, path, causes),
        Value::Number(_) => check_number(schema, value, path, causes),
        Value::Array(items) => check_items(schema, items, path, causes),
        Value::Object(fields) => {
            check_required(schema, value, path, causes);
            if schema
                .max_properties
                .is_some_and(|most| fields.len() as u64 > most)
            {
                causes.push(Cause::invalid(path, value, "must not have more properties"));
            }
            for (name, field) in fields {
                if let Some(of_field) = schema.field(name) {
                    check(of_field, field, &join(path, name), causes);
                }
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn has_type(schema: &Schema, value: &Value) -> bool {
    if schema.int_or_string {
        return value.is_i64() || value.is_u64() || value.is_string();
    }
    match schema.type_.as_deref() {
        Some("string") => value.is_string(),
        Some("integer") => {
            value.is_i64()
                || value.is_u64()
                || value.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => true,
    }
}

fn check_enumeration(schema: &Schema, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    if let Some(allowed) = &schema.enumeration
        && !allowed.contains(value)
    {
        causes.push(Cause::unsupported(path, value, allowed));
    }
}

fn check_junctors(schema: &Schema, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let accepts = |branch: &&Schema| {
        let mut refused = Vec::new();
        check(branch, value, path, &mut refused);
        refused.is_empty()
    };
    schema
        .all_of
        .iter()
        .for_each(|branch| check(branch, value, path, causes));
    if !schema.any_of.is_empty() && !schema.any_of.iter().any(|branch| accepts(&branch)) {
        causes.push(Cause::invalid(
            path,
            value,
            format!("{path} in body must validate at least one schema (anyOf)"),
        ));
    }
    if !schema.one_of.is_empty() && schema.one_of.iter().filter(accepts).count() != 1 {
        causes.push(Cause::invalid(
            path,
            value,
            format!("{path} in body must validate one and only one schema (oneOf)"),
        ));
    }
    if schema.not.as_deref().is_some_and(|branch| accepts(&branch)) {
        causes.push(Cause::invalid(
            path,
            value,
            format!("{path} in body must not validate the schema (not)"),
        ));
    }
}

/// Says one thing about a string, the first: as the real server does.
fn check_text(schema: &Schema, text: &str, path: &str, causes: &mut Vec<Cause>) {
    let value = || Value::String(text.to_owned());
    let length = text.chars().count() as u64;
    if let Some(least) = schema.min_length.filter(|least| length < *least) {
        causes.push(Cause::invalid(
            path,
            &value(),
            format!("{path} in body should be at least {least} chars long"),
        ));
        return;
    }
    if let Some(most) = schema.max_length.filter(|most| length > *most) {
        let message = format!("Too long: may not be more than {most} bytes");
        causes.push(Cause {
            field: path.to_owned(),
            reason: "FieldValueTooLong",
            message,
        });
        return;
    }
    if let Some(pattern) = &schema.pattern
        && !regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
    {
        causes.push(Cause::invalid(
            path,
            &value(),
            format!("{path} in body should match '{pattern}'"),
        ));
        return;
    }
    if schema.format.as_deref() == Some("date-time") && text.parse::<jiff::Timestamp>().is_err() {
        causes.push(Cause::invalid(
            path,
            &value(),
            format!("{path} in body must be of type date-time: {text:?}"),
        ));
    }
}

fn check_number(schema: &Schema, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(number) = value.as_f64() else { return };
    if let Some(least) = schema.minimum.filter(|least| number < *least) {
        causes.push(Cause::invalid(
            path,
            value,
            format!("{path} in body should be greater than or equal to {least}"),
        ));
    }
    if let Some(most) = schema.maximum.filter(|most| number > *most) {
        causes.push(Cause::invalid(
            path,
            value,
            format!("{path} in body should be less than or equal to {most}"),
        ));
    }
}

fn check_items(schema: &Schema, items: &[Value], path: &str, causes: &mut Vec<Cause>) {
    let count = items.len() as u64;
    if let Some(least) = schema.min_items.filter(|least| count < *least) {
        let message =
            format!("Invalid value: {count}: {path} in body should have at least {least} items");
        causes.push(Cause {
            field: path.to_owned(),
            reason: "FieldValueInvalid",
            message,
        });
    }
    if let Some(most) = schema.max_items.filter(|most| count > *most) {
        let message = format!("Too many: {count}: must have at most {most} items");
        causes.push(Cause {
            field: path.to_owned(),
            reason: "FieldValueTooMany",
            message,
        });
    }
    for (at, item) in items.iter().enumerate() {
        if let Some(of_item) = &schema.items {
            check(of_item, item, &format!("{path}[{at}]"), causes);
        }
    }
    let mut seen = BTreeSet::new();
    for (at, item) in items.iter().enumerate() {
        let identity = match schema.list_type.as_deref() {
            Some("set") => item.to_string(),
            Some("map") => schema
                .list_map_keys
                .iter()
                .map(|key| format!("{key}={};", item[key]))
                .collect(),
            _ => return,
        };
        if !seen.insert(identity) {
            let message = format!("Duplicate value: {item}");
            causes.push(Cause {
                field: format!("{path}[{at}]"),
                reason: "FieldValueDuplicate",
                message,
            });
        }
    }
}

fn check_required(schema: &Schema, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let missing = schema
        .required
        .iter()
        .filter(|name| value.get(name.as_str()).is_none());
    causes.extend(missing.map(|name| Cause::required(join(path, name), "")));
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
