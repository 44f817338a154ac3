use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ServiceAccount};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions, PropagationPolicy},
};
use serde_json::{Value, json};

use crate::ground::{Ground, causes, create, eventually, refusal, status, value, widget};

/// A pod needs its service account, which a cluster without controllers does not make.
pub(crate) async fn default_account(ground: &Ground) {
    match create(
        &ground.api::<ServiceAccount>(),
        json!({"metadata": {"name": "default"}}),
    )
    .await
    {
        Ok(_) => {}
        Err(error) => assert_eq!(status(error).reason, "AlreadyExists"),
    }
}

pub(crate) fn pod(name: &str, node: Option<&str>) -> Value {
    let spec = json!({"nodeName": node, "automountServiceAccountToken": false,
        "nodeSelector": {"two-server": "never-scheduled"}, "containers": [{"name": "main", "image": "none"}]});
    json!({"metadata": {"name": name}, "spec": spec})
}

fn owned(name: &str, owner: &Value, blocks: bool) -> Value {
    json!({"metadata": {"name": name, "ownerReferences": [{
        "apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"], "blockOwnerDeletion": blocks,
    }]}})
}

async fn gone(ground: &Ground, name: &str) {
    let maps = ground.api::<ConfigMap>();
    eventually(&format!("{name} is gone"), async || {
        maps.get_opt(name).await.unwrap().is_none().then_some(())
    })
    .await;
}

pub(crate) async fn finalizers_hold_an_object(ground: &Ground) {
    let mut asked = widget("a", json!({"size": 1}));
    asked["metadata"]["finalizers"] = json!(["kubestash.com/cleanup"]);
    create(&ground.widgets(), asked).await.unwrap();
    let widgets = ground.widgets();
    let waiting = value(
        &widgets
            .delete("a", &DeleteParams::default())
            .await
            .unwrap()
            .left()
            .unwrap(),
    );
    assert!(waiting["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(waiting["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(waiting["metadata"]["generation"], 2);
    let again = value(
        &widgets
            .delete("a", &DeleteParams::default())
            .await
            .unwrap()
            .left()
            .unwrap(),
    );
    assert_eq!(
        again["metadata"]["deletionTimestamp"],
        waiting["metadata"]["deletionTimestamp"]
    );

    let finalizers = |list: Value| Patch::Merge(json!({"metadata": {"finalizers": list}}));
    let added = finalizers(json!(["kubestash.com/cleanup", "holdfast.dev/late"]));
    let refused = widgets.patch("a", &PatchParams::default(), &added).await;
    assert_eq!(
        causes(refused),
        [(
            "metadata.finalizers".to_owned(),
            "FieldValueForbidden".to_owned()
        )]
    );
    let status_patch = Patch::Merge(json!({"status": {"phase": "NotReady"}}));
    widgets
        .patch_status("a", &PatchParams::default(), &status_patch)
        .await
        .unwrap();

    let last = widgets
        .patch("a", &PatchParams::default(), &finalizers(json!([])))
        .await
        .unwrap();
    assert!(last.metadata.finalizers.unwrap_or_default().is_empty());
    assert_eq!(refusal(widgets.get("a").await).0, 404);
}

pub(crate) async fn preconditions_are_met_or_nothing_happens(ground: &Ground) {
    let object = ground.widget("a", json!({"size": 1})).await;
    let widgets = ground.widgets();
    let uid = |uid: &str| {
        DeleteParams::default().preconditions(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        })
    };
    let other = widgets
        .delete("a", &uid("00000000-0000-4000-8000-000000000000"))
        .await;
    let refused = status(other.map(|_| ()).unwrap_err());
    assert_eq!((refused.code, refused.reason.as_str()), (409, "Conflict"));
    let done = widgets
        .delete("a", &uid(object["metadata"]["uid"].as_str().unwrap()))
        .await
        .unwrap();
    let status = done.right().unwrap();
    assert!(status.is_success());
    assert_eq!(status.details.unwrap().name, "a");
    assert_eq!(
        refusal(
            widgets
                .delete("a", &DeleteParams::default())
                .await
                .map(|_| ())
        ),
        (404, "NotFound".into())
    );
}

pub(crate) async fn a_scheduled_pod_waits_for_its_kubelet(ground: &Ground) {
    default_account(ground).await;
    let pods = ground.api::<Pod>();
    create(&pods, pod("here", Some("no-such-node-1")))
        .await
        .unwrap();
    create(&pods, pod("nowhere", None)).await.unwrap();
    let waiting = pods
        .delete("here", &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert!(waiting.metadata.deletion_timestamp.is_some());
    assert_eq!(waiting.metadata.deletion_grace_period_seconds, Some(30));
    assert!(pods.get_opt("here").await.unwrap().is_some());
    pods.delete("nowhere", &DeleteParams::default())
        .await
        .unwrap();
    assert!(pods.get_opt("nowhere").await.unwrap().is_none());
    pods.delete("here", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    assert!(pods.get_opt("here").await.unwrap().is_none());
}

pub(crate) async fn a_collection_is_deleted_by_label(ground: &Ground) {
    let maps = ground.api::<ConfigMap>();
    for (name, label) in [("a", "x"), ("b", "x"), ("c", "y")] {
        create(
            &maps,
            json!({"metadata": {"name": name, "labels": {"group": label}}}),
        )
        .await
        .unwrap();
    }
    maps.delete_collection(
        &DeleteParams::default(),
        &ListParams::default().labels("group=x"),
    )
    .await
    .unwrap();
    let left = maps
        .list(&ListParams::default().labels("group"))
        .await
        .unwrap();
    assert_eq!(
        left.items
            .iter()
            .map(ResourceExt::name_any)
            .collect::<Vec<_>>(),
        ["c"]
    );
}

pub(crate) async fn dependents_follow_their_owner(ground: &Ground) {
    let owner = ground.widget("owner", json!({"size": 1})).await;
    let maps = ground.api::<ConfigMap>();
    create(&maps, owned("child", &owner, false)).await.unwrap();
    create(&maps, json!({"metadata": {"name": "stranger"}}))
        .await
        .unwrap();
    ground
        .widgets()
        .delete("owner", &DeleteParams::background())
        .await
        .unwrap();
    assert_eq!(refusal(ground.widgets().get("owner").await).0, 404);
    gone(ground, "child").await;
    assert!(maps.get_opt("stranger").await.unwrap().is_some());
}

pub(crate) async fn foreground_waits_for_dependents(ground: &Ground) {
    let owner = ground.widget("owner", json!({"size": 1})).await;
    let maps = ground.api::<ConfigMap>();
    let mut child = owned("child", &owner, true);
    child["metadata"]["finalizers"] = json!(["holdfast.dev/hold"]);
    create(&maps, child).await.unwrap();
    let foreground = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Foreground),
        ..DeleteParams::default()
    };
    let waiting = ground
        .widgets()
        .delete("owner", &foreground)
        .await
        .unwrap()
        .left()
        .unwrap();
    assert_eq!(waiting.metadata.finalizers.unwrap(), ["foregroundDeletion"]);
    eventually("the dependent is being deleted", async || {
        maps.get("child")
            .await
            .unwrap()
            .metadata
            .deletion_timestamp
            .map(|_| ())
    })
    .await;
    assert!(ground.widgets().get_opt("owner").await.unwrap().is_some());
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("child", &PatchParams::default(), &release)
        .await
        .unwrap();
    gone(ground, "child").await;
    eventually("the owner is gone", async || {
        ground
            .widgets()
            .get_opt("owner")
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
}

pub(crate) async fn a_namespace_takes_its_content(ground: &Ground) {
    ground.widget("a", json!({"size": 1})).await;
    let namespaces = Api::<Namespace>::all(ground.client.clone());
    let ending = namespaces
        .delete(&ground.namespace, &DeleteParams::default())
        .await
        .unwrap()
        .left()
        .unwrap();
    assert_eq!(ending.status.unwrap().phase.as_deref(), Some("Terminating"));
    eventually("the namespace is gone", async || {
        namespaces
            .get_opt(&ground.namespace)
            .await
            .unwrap()
            .is_none()
            .then_some(())
    })
    .await;
    assert_eq!(refusal(ground.widgets().get("a").await).0, 404);
}
