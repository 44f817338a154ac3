use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DynamicObject, PostParams};
use serde_json::{Value, json};

use crate::ground::{Ground, causes, create, refusal, status, typed, value};

async fn replace(ground: &Ground, object: &Value) -> kube::Result<DynamicObject> {
    ground
        .widgets()
        .replace("a", &PostParams::default(), &typed(object.clone()))
        .await
}

async fn replace_status(ground: &Ground, object: &Value) -> kube::Result<DynamicObject> {
    ground
        .widgets()
        .replace_status(
            "a",
            &PostParams::default(),
            &typed::<DynamicObject>(object.clone()),
        )
        .await
}

pub(crate) async fn a_stale_revision_conflicts(ground: &Ground) {
    let first = ground.widget("a", json!({"size": 1})).await;
    let mut second = first.clone();
    second["spec"]["size"] = json!(2);
    replace(ground, &second).await.unwrap();
    let refused = status(replace(ground, &second).await.unwrap_err());
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
    assert_eq!(
        refused.message,
        "Operation cannot be fulfilled on widgets.two-server.holdfast.dev \"a\": the object has been modified; \
         please apply your changes to the latest version and try again"
    );
    assert_eq!(
        refusal(replace_status(ground, &first).await),
        (409, "Conflict".into())
    );
}

pub(crate) async fn only_builtins_are_overwritten_without_a_revision(ground: &Ground) {
    let mut widget = ground.widget("a", json!({"size": 1})).await;
    widget["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("resourceVersion");
    let refused = causes(replace(ground, &widget).await);
    assert_eq!(
        refused,
        [(
            "metadata.resourceVersion".to_owned(),
            "FieldValueInvalid".to_owned()
        )]
    );

    let maps = ground.api::<ConfigMap>();
    create(
        &maps,
        json!({"metadata": {"name": "a", "labels": {"old": "1"}}}),
    )
    .await
    .unwrap();
    let new: ConfigMap = typed(json!({"metadata": {"name": "a"}, "data": {"key": "value"}}));
    let written = maps
        .replace("a", &PostParams::default(), &new)
        .await
        .unwrap();
    assert_eq!(written.metadata.labels, None);
    assert_eq!(written.data.unwrap()["key"], "value");
}

pub(crate) async fn spec_and_status_are_written_apart(ground: &Ground) {
    let mut object = ground.widget("a", json!({"size": 1})).await;
    object["spec"]["size"] = json!(2);
    object["status"] = json!({"phase": "Ready"});
    let mut object = value(&replace(ground, &object).await.unwrap());
    assert_eq!(object.get("status"), None);
    assert_eq!(
        (&object["spec"]["size"], &object["metadata"]["generation"]),
        (&json!(2), &json!(2))
    );

    object["spec"]["size"] = json!(3);
    object["status"] = json!({"phase": "Ready"});
    object["metadata"]["labels"] = json!({"with": "status"});
    let mut object = value(&replace_status(ground, &object).await.unwrap());
    assert_eq!(
        (&object["spec"]["size"], &object["metadata"]["generation"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(object["status"]["phase"], "Ready");
    assert_eq!(object["metadata"].get("labels"), None);

    object["metadata"]["labels"] = json!({"by": "metadata"});
    let object = value(&replace(ground, &object).await.unwrap());
    assert_eq!(object["metadata"]["generation"], 2);
    assert_eq!(object["status"]["phase"], "Ready");
}

pub(crate) async fn the_same_again_is_no_write(ground: &Ground) {
    let object = ground.widget("a", json!({"size": 1})).await;
    let again = value(&replace(ground, &object).await.unwrap());
    assert_eq!(
        again["metadata"]["resourceVersion"],
        object["metadata"]["resourceVersion"]
    );
}

pub(crate) async fn another_objects_uid_conflicts(ground: &Ground) {
    let mut object = ground.widget("a", json!({"size": 1})).await;
    object["metadata"]["uid"] = json!("00000000-0000-4000-8000-000000000000");
    assert_eq!(
        refusal(replace(ground, &object).await),
        (409, "Conflict".into())
    );
    let mut renamed = ground.widget("b", json!({"size": 1})).await;
    renamed["metadata"]["name"] = json!("c");
    let widgets = ground.widgets();
    let refused = widgets
        .replace(
            "b",
            &PostParams::default(),
            &typed::<DynamicObject>(renamed),
        )
        .await;
    assert_eq!(refusal(refused).0, 400);
}
