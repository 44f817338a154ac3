//! What `holdfast takeover` changes of KubeStash's, and gives back.

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::batch::v1::CronJob;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams, TypeMeta};
use serde_json::json;

use crate::ground::{Ground, create, value};

pub(crate) async fn a_schedule_is_suspended_and_the_rest_of_it_stays(ground: &Ground) {
    let schedules = ground.api::<CronJob>();
    let pod = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}});
    let spec = json!({"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": pod}}});
    create(&schedules, json!({"metadata": {"name": "a"}, "spec": spec})).await.unwrap();
    let patch = json!({"metadata": {"annotations": {"holdfast.dev/suspended": "true"}}, "spec": {"suspend": true}});
    schedules.patch("a", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    let patch = json!({"metadata": {"annotations": {"holdfast.dev/suspended": null}}, "spec": {"suspend": false}});
    let found = value(&schedules.get("a").await.unwrap());
    assert_eq!((&found["spec"]["suspend"], &found["spec"]["schedule"]), (&json!(true), &json!("0 0 1 1 *")));
    assert_eq!(found["metadata"]["generation"], 2);
    let resumed = value(&schedules.patch("a", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap());
    assert_eq!(resumed["spec"]["suspend"], false);
    assert!(resumed["metadata"]["annotations"]["holdfast.dev/suspended"].is_null());
}

pub(crate) async fn webhooks_are_made_again_from_what_a_list_says(ground: &Ground) {
    let resource = ApiResource::erase::<ValidatingWebhookConfiguration>(&());
    let all: Api<DynamicObject> = Api::all_with(ground.client.clone(), &resource);
    // Of a group that nobody has: they are in nobody's way.
    let rules = json!([{"apiGroups": ["nobody.example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["things"]}]);
    let webhooks = json!([{"name": "a.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "rules": rules,
        "clientConfig": {"service": {"name": "s", "namespace": "n"}}}]);
    let name = &ground.namespace;
    let object = json!({"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name, "labels": {"kept": "yes"}}, "webhooks": webhooks});
    all.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    let listed = all.list(&ListParams::default().limit(500)).await.unwrap();
    let mut kept = listed.into_iter().find(|found| found.metadata.name.as_ref() == Some(name)).unwrap();
    assert_eq!(kept.data["webhooks"][0]["rules"][0]["apiGroups"], json!(["nobody.example.com"]));
    kept.types = Some(TypeMeta { api_version: resource.api_version.clone(), kind: resource.kind.clone() });
    kept.metadata = ObjectMeta { name: kept.metadata.name, labels: kept.metadata.labels, ..ObjectMeta::default() };
    all.delete(name, &DeleteParams::default()).await.unwrap();
    assert!(all.get_opt(name).await.unwrap().is_none());
    let again = all.create(&PostParams::default(), &kept).await.unwrap();
    assert_eq!((&again.data["webhooks"], again.metadata.labels), (&kept.data["webhooks"], kept.metadata.labels));
    all.delete(name, &DeleteParams::default()).await.unwrap();
}
