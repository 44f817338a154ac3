use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::ground::{Ground, causes, create, value, widget};

pub(crate) async fn unknown_fields_are_pruned(ground: &Ground) {
    let spec = json!({"size": 1, "unheardOf": true, "template": {"any": {"thing": 1}}, "parts": [{"name": "a", "x": 1}]});
    let created = ground.widget("a", spec).await;
    assert_eq!(
        created["spec"],
        json!({"size": 1, "color": "red", "template": {"any": {"thing": 1}}, "policy": {"from": "Same"},
            "parts": [{"name": "a", "count": 1}]})
    );
}

pub(crate) async fn defaults_are_filled_on_every_write(ground: &Ground) {
    let created = ground.widget("a", json!({"size": 1, "color": null})).await;
    assert_eq!(
        created["spec"],
        json!({"size": 1, "color": "red", "policy": {"from": "Same"}})
    );
    let patch = Patch::Merge(json!({"spec": {"color": null, "parts": [{"name": "late"}]}}));
    let patched = value(
        &ground
            .widgets()
            .patch("a", &PatchParams::default(), &patch)
            .await
            .unwrap(),
    );
    assert_eq!(patched["spec"]["color"], "red");
    assert_eq!(
        patched["spec"]["parts"],
        json!([{"name": "late", "count": 1}])
    );
}

pub(crate) async fn what_the_schema_refuses_is_named(ground: &Ground) {
    let cases: [(Value, &str, &str); 9] = [
        (json!({}), "spec.size", "FieldValueRequired"),
        (json!({"size": 0}), "spec.size", "FieldValueInvalid"),
        (json!({"size": "1"}), "spec.size", "FieldValueTypeInvalid"),
        (
            json!({"size": 1, "color": "blue"}),
            "spec.color",
            "FieldValueNotSupported",
        ),
        (
            json!({"size": 1, "name": "longerthan8"}),
            "spec.name",
            "FieldValueTooLong",
        ),
        (
            json!({"size": 1, "name": "A"}),
            "spec.name",
            "FieldValueInvalid",
        ),
        (
            json!({"size": 1, "limit": true}),
            "spec.limit",
            "FieldValueTypeInvalid",
        ),
        (
            json!({"size": 1, "labels": {"a": 1}}),
            "spec.labels.a",
            "FieldValueTypeInvalid",
        ),
        (
            json!({"size": 1, "parts": [{"name": "a"}, {}]}),
            "spec.parts[1].name",
            "FieldValueRequired",
        ),
    ];
    for (spec, field, reason) in cases {
        let refused = causes(create(&ground.widgets(), widget("a", spec.clone())).await);
        assert_eq!(refused, [(field.to_owned(), reason.to_owned())], "{spec}");
    }
    let both = causes(
        create(
            &ground.widgets(),
            widget("a", json!({"size": 0, "color": "blue"})),
        )
        .await,
    );
    assert_eq!(both.len(), 2);
}
