use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::ground::{Ground, create, refusal, value};

async fn merge(ground: &Ground, patch: Value) -> kube::Result<Value> {
    let patched = ground
        .widgets()
        .patch("a", &PatchParams::default(), &Patch::Merge(patch))
        .await;
    patched.map(|object| value(&object))
}

async fn merge_status(ground: &Ground, patch: Value) -> kube::Result<Value> {
    let patched = ground
        .widgets()
        .patch_status("a", &PatchParams::default(), &Patch::Merge(patch))
        .await;
    patched.map(|object| value(&object))
}

pub(crate) async fn merge_patch_removes_by_null_and_keeps_the_rest(ground: &Ground) {
    ground
        .widget(
            "a",
            json!({"size": 1, "color": "green", "labels": {"a": "1", "b": "2"}}),
        )
        .await;
    let patched = merge(
        ground,
        json!({"spec": {"size": 2, "labels": {"a": null, "c": "3"}}}),
    )
    .await
    .unwrap();
    assert_eq!(patched["spec"]["labels"], json!({"b": "2", "c": "3"}));
    assert_eq!(
        (&patched["spec"]["size"], &patched["spec"]["color"]),
        (&json!(2), &json!("green"))
    );
    assert_eq!(patched["metadata"]["generation"], 2);
    let annotated = merge(
        ground,
        json!({"metadata": {"annotations": {"holdfast.dev/attempt": "3"}}}),
    )
    .await
    .unwrap();
    assert_eq!(annotated["metadata"]["generation"], 2);
    let refused = merge(ground, json!({"spec": {"size": null}})).await;
    assert_eq!(refusal(refused), (422, "Invalid".into()));
}

pub(crate) async fn a_merge_patch_with_a_stale_revision_conflicts(ground: &Ground) {
    let first = ground.widget("a", json!({"size": 1})).await;
    let revision = first["metadata"]["resourceVersion"].clone();
    let patch = |phase: &str| json!({"metadata": {"resourceVersion": revision}, "status": {"phase": phase}});
    merge_status(ground, patch("Ready")).await.unwrap();
    assert_eq!(
        refusal(merge_status(ground, patch("NotReady")).await),
        (409, "Conflict".into())
    );
    let annotate = json!({"metadata": {"resourceVersion": revision, "annotations": {"a": "b"}}});
    assert_eq!(
        refusal(merge(ground, annotate).await),
        (409, "Conflict".into())
    );
}

pub(crate) async fn a_status_patch_leaves_unknown_neighbours(ground: &Ground) {
    ground.widget("a", json!({"size": 1})).await;
    merge_status(ground, json!({"status": {"message": "of another writer"}}))
        .await
        .unwrap();
    let patched = merge_status(
        ground,
        json!({"status": {"phase": "Ready"}, "spec": {"size": 9}}),
    )
    .await
    .unwrap();
    assert_eq!(
        patched["status"],
        json!({"phase": "Ready", "message": "of another writer"})
    );
    assert_eq!(patched["spec"]["size"], 1);
    assert_eq!(patched["metadata"]["generation"], 1);
    let refused = merge_status(ground, json!({"status": {"phase": "Nonsense"}})).await;
    assert_eq!(refusal(refused), (422, "Invalid".into()));
}

pub(crate) async fn json_patch_tests_and_changes(ground: &Ground) {
    ground.widget("a", json!({"size": 1})).await;
    let patch = |was: u32, is: u32| {
        Patch::<()>::Json(
            serde_json::from_value(json!([
                {"op": "test", "path": "/spec/size", "value": was},
                {"op": "replace", "path": "/spec/size", "value": is},
            ]))
            .unwrap(),
        )
    };
    let widgets = ground.widgets();
    let patched = widgets
        .patch("a", &PatchParams::default(), &patch(1, 2))
        .await
        .unwrap();
    assert_eq!(value(&patched)["spec"]["size"], 2);
    let refused = widgets
        .patch("a", &PatchParams::default(), &patch(1, 3))
        .await;
    assert_eq!(refusal(refused), (422, "Invalid".into()));
}

pub(crate) async fn strategic_merge_is_for_builtins(ground: &Ground) {
    ground.widget("a", json!({"size": 1})).await;
    let patch = Patch::Strategic(json!({"metadata": {"labels": {"a": "b"}}}));
    let refused = ground
        .widgets()
        .patch("a", &PatchParams::default(), &patch)
        .await;
    assert_eq!(refusal(refused), (415, "UnsupportedMediaType".into()));

    let pods = ground.api::<Pod>();
    crate::delete::default_account(ground).await;
    create(&pods, crate::delete::pod("a", None)).await.unwrap();
    let patch = Patch::Strategic(
        json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}),
    );
    let patched = pods
        .patch_status("a", &PatchParams::default(), &patch)
        .await
        .unwrap();
    let status = patched.status.unwrap();
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert!(
        status
            .conditions
            .unwrap()
            .iter()
            .any(|condition| condition.type_ == "Ready")
    );
    assert_eq!(patched.spec.unwrap().containers.len(), 1);
}

pub(crate) async fn patching_nothing_is_not_found(ground: &Ground) {
    assert_eq!(
        refusal(merge(ground, json!({"spec": {"size": 2}})).await),
        (404, "NotFound".into())
    );
    assert_eq!(
        refusal(merge_status(ground, json!({"status": {}})).await),
        (404, "NotFound".into())
    );
}
