use serde_json::json;

use super::Schema;

fn schema() -> Schema {
    Schema::parse(&json!({
        "type": "object",
        "required": ["spec"],
        "properties": {"spec": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "minLength": 1},
                "policy": {"type": "string", "enum": ["Delete", "WipeOut"], "default": "Delete"},
                "limit": {"x-kubernetes-int-or-string": true},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "usage": {"type": "object", "default": {}, "properties": {"from": {"type": "string", "default": "Same"}}},
                "tasks": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                          "items": {"type": "object", "properties": {"name": {"type": "string"}, "retries": {"type": "integer", "default": 3}}}}
            }
        }}
    }))
    .unwrap()
}

#[test]
fn unknown_fields_are_dropped_and_defaults_filled_at_every_depth() {
    let mut object = json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}, "extra": 1, "spec": {
        "name": "a", "unknown": true, "labels": {"a": "b"}, "free": {"any": [1]}, "policy": null, "tasks": [{"name": "t", "x": 1}]}});
    schema().normalize(&mut object);
    assert_eq!(
        object,
        json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "a"}, "spec": {"name": "a", "labels": {"a": "b"},
            "free": {"any": [1]}, "policy": "Delete", "usage": {"from": "Same"}, "tasks": [{"name": "t", "retries": 3}]}})
    );
}

#[test]
fn each_refusal_names_its_field_and_reason() {
    let refused = |spec: serde_json::Value| {
        let causes = schema().validate(&json!({"spec": spec}));
        causes
            .into_iter()
            .map(|cause| (cause.field, cause.reason))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        refused(json!({})),
        [("spec.name".into(), "FieldValueRequired")]
    );
    assert_eq!(
        refused(json!({"name": ""})),
        [("spec.name".into(), "FieldValueInvalid")]
    );
    assert_eq!(
        refused(json!({"name": 7})),
        [("spec.name".into(), "FieldValueTypeInvalid")]
    );
    assert_eq!(
        refused(json!({"name": "a", "policy": "Keep"})),
        [("spec.policy".into(), "FieldValueNotSupported")]
    );
    assert_eq!(
        refused(json!({"name": "a", "limit": 1.5})),
        [("spec.limit".into(), "FieldValueTypeInvalid")]
    );
    assert_eq!(
        refused(json!({"name": "a", "labels": {"a": 1}})),
        [("spec.labels.a".into(), "FieldValueTypeInvalid")]
    );
    let twice = json!({"name": "a", "tasks": [{"name": "t"}, {"name": "t"}]});
    assert_eq!(
        refused(twice),
        [("spec.tasks[1]".into(), "FieldValueDuplicate")]
    );
    assert_eq!(refused(json!({"name": "a", "limit": "10%"})), []);
}

#[test]
fn a_schema_with_cel_rules_is_not_pretended_to_be_checked() {
    let failure = Schema::parse(
        &json!({"type": "object", "properties": {"spec": {"type": "object",
        "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}}),
    )
    .unwrap_err();
    assert_eq!(failure.code, 501);
}
