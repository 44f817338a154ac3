use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::ground::{Ground, causes, status, value, widget};

async fn apply(ground: &Ground, manager: &str, spec: Value) -> kube::Result<Value> {
    let params = PatchParams::apply(manager);
    let applied = ground
        .widgets()
        .patch("a", &params, &Patch::Apply(widget("a", spec)))
        .await;
    applied.map(|object| value(&object))
}

pub(crate) async fn applying_creates_and_then_owns(ground: &Ground) {
    let created = apply(ground, "one", json!({"size": 1})).await.unwrap();
    assert_eq!(
        (&created["spec"]["size"], &created["metadata"]["generation"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(created["metadata"]["managedFields"][0]["manager"], "one");
    let again = apply(ground, "one", json!({"size": 1})).await.unwrap();
    assert_eq!(
        again["metadata"]["resourceVersion"],
        created["metadata"]["resourceVersion"]
    );
    let changed = apply(ground, "one", json!({"size": 2})).await.unwrap();
    assert_eq!(
        (&changed["spec"]["size"], &changed["metadata"]["generation"]),
        (&json!(2), &json!(2))
    );
}

pub(crate) async fn what_is_no_longer_applied_goes_away(ground: &Ground) {
    apply(
        ground,
        "one",
        json!({"size": 1, "name": "abc", "labels": {"a": "1", "b": "2"}}),
    )
    .await
    .unwrap();
    apply(ground, "two", json!({"size": 1, "labels": {"c": "3"}}))
        .await
        .unwrap();
    let applied = apply(ground, "one", json!({"size": 1, "labels": {"a": "1"}}))
        .await
        .unwrap();
    assert_eq!(applied["spec"].get("name"), None);
    assert_eq!(applied["spec"]["labels"], json!({"a": "1", "c": "3"}));
}

pub(crate) async fn others_fields_conflict_unless_forced(ground: &Ground) {
    apply(ground, "one", json!({"size": 1})).await.unwrap();
    let refused = apply(ground, "two", json!({"size": 2})).await;
    assert_eq!(
        causes(refused),
        [(".spec.size".to_owned(), "FieldManagerConflict".to_owned())]
    );
    let refused = status(apply(ground, "two", json!({"size": 2})).await.unwrap_err());
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));

    let forced = PatchParams::apply("two").force();
    let patch = Patch::Apply(widget("a", json!({"size": 2})));
    ground.widgets().patch("a", &forced, &patch).await.unwrap();
    assert_eq!(
        causes(apply(ground, "one", json!({"size": 1})).await).len(),
        1
    );

    // A plain write takes the field as well.
    let patch = Patch::Merge(json!({"spec": {"size": 5}}));
    ground
        .widgets()
        .patch(
            "a",
            &PatchParams {
                field_manager: Some("three".into()),
                ..PatchParams::default()
            },
            &patch,
        )
        .await
        .unwrap();
    assert_eq!(
        causes(apply(ground, "two", json!({"size": 2})).await).len(),
        1
    );
}

pub(crate) async fn status_is_applied_apart(ground: &Ground) {
    apply(ground, "one", json!({"size": 1})).await.unwrap();
    let mut object = widget("a", json!({"size": 7}));
    object["status"] = json!({"phase": "Ready"});
    let params = PatchParams::apply("one");
    let applied = value(
        &ground
            .widgets()
            .patch_status("a", &params, &Patch::Apply(object))
            .await
            .unwrap(),
    );
    assert_eq!(
        (&applied["spec"]["size"], &applied["status"]["phase"]),
        (&json!(1), &json!("Ready"))
    );
    let applied = apply(ground, "one", json!({"size": 2})).await.unwrap();
    assert_eq!(
        (&applied["spec"]["size"], &applied["status"]["phase"]),
        (&json!(2), &json!("Ready"))
    );
}
