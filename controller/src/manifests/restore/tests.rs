//! Restores of manifests on an in-process API server.

use holdfast_standalone::Standalone;
use kube::api::{Api, DynamicObject};
use kube::core::ApiResource;
use serde_json::json;

use super::*;
use crate::manifests::Choice;
use crate::manifests::identity::Identity;
use crate::manifests::read::{core, resource};
use crate::manifests::selection::Selection;

fn order() -> RestoreOrder {
    RestoreOrder {
        identity: Identity::new("demo", "restorer").unwrap(),
        choice: Choice {
            selection: Selection::everything(),
            rbac: true,
            storage_classes: BTreeMap::from([("gp2".to_owned(), "fast".to_owned())]),
            ..Choice::default()
        },
        namespace: None,
        dry_run: false,
    }
}

fn choosing(change: impl FnOnce(&mut Choice)) -> RestoreOrder {
    let mut order = order();
    change(&mut order.choice);
    order
}

fn file(objects: &[Value]) -> Vec<u8> {
    objects.iter().flat_map(|object| format!("---\n{object}\n").into_bytes()).collect()
}

async fn restored(standalone: &Standalone, order: &RestoreOrder, objects: &[Value]) -> v1::RestoreResult {
    all(&standalone.client(), order, &file(objects), &Arc::default(), &|| true).await.unwrap()
}

async fn find(standalone: &Standalone, api: &ApiResource, namespace: &str, name: &str) -> Option<Value> {
    let objects: Api<DynamicObject> = Api::namespaced_with(standalone.client(), namespace, api);
    objects.get_opt(name).await.unwrap().map(|object| serde_json::to_value(object).unwrap())
}

fn config(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop", "labels": {"app": name}}, "data": {"key": value}})
}

#[tokio::test]
async fn objects_are_made_with_their_namespace_and_a_second_time_they_stand() {
    let standalone = Standalone::new();
    let objects = [
        config("web", "1"),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-x", "namespace": "shop",
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web", "apiVersion": "apps/v1", "uid": "u", "controller": true}]},
            "spec": {"containers": []}}),
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "a"}}, "spec": {"finalizers": ["x"]}}),
    ];
    let first = restored(&standalone, &order(), &objects).await;
    assert_eq!((first.failed_count, first.files), (0, 2), "{first:?}");
    assert!(first.summary.contains("2 made: Namespace shop, ConfigMap shop/web") && first.summary.contains("1 that others make"), "{}", first.summary);
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(standalone.client());
    assert_eq!(namespaces.get("shop").await.unwrap().metadata.labels.unwrap()["team"], "a");

    let changed = [config("web", "2"), config("new", "1")];
    let second = restored(&standalone, &order(), &changed).await;
    assert!(second.summary.contains("1 made: ConfigMap shop/new; 1 left as they stand: ConfigMap shop/web"), "{}", second.summary);
    let maps = core("ConfigMap", "configmaps");
    assert_eq!(find(&standalone, &maps, "shop", "web").await.unwrap()["data"]["key"], "1");
    let third = restored(&standalone, &choosing(|choice| choice.overrides = true), &changed).await;
    assert!(third.summary.contains("2 changed"), "{}", third.summary);
    assert_eq!(find(&standalone, &maps, "shop", "web").await.unwrap()["data"]["key"], "2");
}

#[tokio::test]
async fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let standalone = Standalone::new();
    let run = RestoreOrder { dry_run: true, ..order() };
    let said = restored(&standalone, &run, &[config("web", "1")]).await;
    assert!(said.summary.starts_with("dry run: 1 would be made: ConfigMap shop/web"), "{}", said.summary);
    assert_eq!(find(&standalone, &core("ConfigMap", "configmaps"), "shop", "web").await, None);
    restored(&standalone, &order(), &[config("web", "1")]).await;
    let said = restored(&standalone, &RestoreOrder { dry_run: true, ..choosing(|choice| choice.overrides = true) }, &[config("web", "2"), config("two", "2")]).await;
    assert!(said.summary.contains("1 would be changed: ConfigMap shop/web") && said.summary.contains("1 would be made: ConfigMap shop/two"), "{}", said.summary);
    assert_eq!(find(&standalone, &core("ConfigMap", "configmaps"), "shop", "web").await.unwrap()["data"]["key"], "1");
    assert_eq!(find(&standalone, &core("ConfigMap", "configmaps"), "shop", "two").await, None);
}

#[tokio::test]
async fn the_selection_decides_what_is_made_and_another_namespace_where() {
    let standalone = Standalone::new();
    let parameters = [("ANDedLabelSelectors", "app:web"), ("ExcludeNamespaces", "kube-system")];
    let parameters = parameters.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
    let run = RestoreOrder { namespace: Some("copy".into()), ..choosing(|choice| choice.selection = Selection::of(&parameters).unwrap()) };
    let mut system = config("web", "1");
    system["metadata"]["namespace"] = json!("kube-system");
    let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "gp2", "labels": {"app": "web"}}, "provisioner": "p"});
    let said = restored(&standalone, &run, &[config("web", "1"), config("db", "1"), system, class]).await;
    assert_eq!((said.files, said.failed_count), (1, 0), "{said:?}");
    assert!(said.summary.contains("1 made: ConfigMap copy/web"), "{}", said.summary);
    assert!(find(&standalone, &core("ConfigMap", "configmaps"), "copy", "web").await.is_some(), "its namespace is made for it");
}

#[tokio::test]
async fn what_binds_an_object_to_its_cluster_is_left_behind() {
    let standalone = Standalone::new();
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "shop",
        "annotations": {"pv.kubernetes.io/bind-completed": "yes", "note": "kept"}, "finalizers": ["kubernetes.io/pvc-protection"]},
        "spec": {"volumeName": "pv-1", "storageClassName": "gp2", "accessModes": ["ReadWriteOnce"], "dataSource": {"kind": "VolumeSnapshot", "name": "x"}}});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"clusterIP": "10.0.0.7", "clusterIPs": ["10.0.0.7"], "ports": [{"port": 80, "nodePort": 30080}]}});
    let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv-1"}, "spec": {"storageClassName": "gp2",
        "claimRef": {"namespace": "shop", "name": "data", "uid": "old", "resourceVersion": "1"}}});
    let objects = [claim, service, volume];
    let said = restored(&standalone, &order(), &objects).await;
    assert_eq!((said.files, said.failed_count), (2, 0), "volumes only if they are asked for: {said:?}");
    let claim = find(&standalone, &core("PersistentVolumeClaim", "persistentvolumeclaims"), "shop", "data").await.unwrap();
    assert_eq!(claim["metadata"]["annotations"], json!({"note": "kept"}));
    assert_eq!((&claim["spec"]["volumeName"], &claim["spec"]["dataSource"]), (&Value::Null, &Value::Null));
    assert_eq!(claim["spec"]["storageClassName"], "fast");
    let service = find(&standalone, &core("Service", "services"), "shop", "web").await.unwrap();
    assert_eq!((&service["spec"]["clusterIP"], &service["spec"]["ports"][0]["nodePort"]), (&Value::Null, &json!(30080)));

    let other = Standalone::new();
    let said = restored(&other, &choosing(|choice| choice.volumes = true), &objects).await;
    assert_eq!((said.files, said.failed_count), (3, 0), "{said:?}");
    let claim = find(&other, &core("PersistentVolumeClaim", "persistentvolumeclaims"), "shop", "data").await.unwrap();
    assert_eq!(claim["spec"]["volumeName"], "pv-1");
    let volumes: Api<k8s_openapi::api::core::v1::PersistentVolume> = Api::all(other.client());
    let spec = volumes.get("pv-1").await.unwrap().spec.unwrap();
    assert_eq!((spec.claim_ref.unwrap().uid, spec.storage_class_name.as_deref()), (None, Some("fast")));
}

#[tokio::test(start_paused = true)]
async fn what_comes_with_its_definition_is_made_in_a_later_pass_and_what_nobody_knows_fails() {
    let standalone = Standalone::new();
    let widget = |name: &str, kind: &str| json!({"apiVersion": "example.com/v1", "kind": kind, "metadata": {"name": name, "namespace": "shop"}, "spec": {}});
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "widgets.example.com"}, "spec": {
        "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}});
    let dry = restored(&standalone, &RestoreOrder { dry_run: true, ..order() }, &[widget("w", "Widget"), definition.clone()]).await;
    assert_eq!((dry.failed_count, dry.files), (0, 2), "{dry:?}");
    let said = restored(&standalone, &order(), &[widget("w", "Widget"), widget("g", "Gadget"), definition]).await;
    assert_eq!((said.files, said.failed_count), (2, 1), "{said:?}");
    assert_eq!(said.failed_first, ["Gadget shop/g: the API server knows no Gadget of example.com/v1"]);
    assert!(find(&standalone, &resource("example.com", "Widget", "widgets"), "shop", "w").await.is_some());
}

#[tokio::test]
async fn a_leadership_that_lapses_makes_nothing_more() {
    let standalone = Standalone::new();
    let file = file(&[config("web", "1")]);
    let refused = all(&standalone.client(), &order(), &file, &Arc::default(), &|| false).await.unwrap_err();
    assert!(refused.retry_may_help);
    assert_eq!(find(&standalone, &core("ConfigMap", "configmaps"), "shop", "web").await, None);
}

#[tokio::test]
async fn what_is_no_object_is_a_failure_that_is_named() {
    let standalone = Standalone::new();
    let file = b"---\n{\"kind\": \n---\n{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"a/../b\",\"namespace\":\"shop\"}}\n";
    let said = all(&standalone.client(), &order(), file, &Arc::default(), &|| true).await.unwrap();
    assert_eq!(said.failed_count, 2, "{said:?}");
}

#[tokio::test]
async fn what_exists_stands_even_if_it_is_called_invalid_before_anybody_looks() {
    let standalone = Standalone::new();
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"}, "spec": {"ports": [{"port": 80, "nodePort": 30080}]}});
    restored(&standalone, &order(), &[service.clone()]).await;
    // A real API server looks at node ports before it looks at names.
    let base = standalone.client();
    let taken = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let base = base.clone();
        async move {
            if request.method() != http::Method::POST {
                return base.send(request).await;
            }
            let body = json!({"kind": "Status", "status": "Failure", "reason": "Invalid", "code": 422, "message": "provided port is already allocated", "metadata": {}});
            let body = kube::client::Body::from(body.to_string().into_bytes());
            Ok::<_, kube::Error>(http::Response::builder().status(422).body(body).unwrap())
        }
    });
    let client = kube::Client::new(taken, "demo");
    let mut other = service.clone();
    other["metadata"]["name"] = json!("other");
    let said = all(&client, &order(), &file(&[service, other]), &Arc::default(), &|| true).await.unwrap();
    assert_eq!(said.summary, "1 left as they stand: Service shop/web");
    assert_eq!(said.failed_first, ["Service shop/other: provided port is already allocated"]);
}

#[test]
fn nothing_that_an_enemy_writes_into_an_object_breaks_it_off() {
    let kinds = [
        ("", "v1", "Namespace", "namespaces"), ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"), ("", "v1", "PersistentVolume", "persistentvolumes"),
        ("", "v1", "Service", "services"), ("", "v1", "ServiceAccount", "serviceaccounts"), ("", "v1", "Pod", "pods"), ("batch", "batch/v1", "Job", "jobs"),
        ("rbac.authorization.k8s.io", "rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"), ("apps", "apps/v1", "StatefulSet", "statefulsets"),
    ];
    let run = choosing(|choice| choice.volumes = true);
    let moved = RestoreOrder { namespace: Some("copy".into()), ..run.clone() };
    for (group, api_version, kind, plural) in kinds {
        let api = ApiResource { group: group.into(), version: "v1".into(), api_version: api_version.into(), kind: kind.into(), plural: plural.into() };
        for namespaced in [true, false] {
            let resource = crate::manifests::resources::Resource { api: api.clone(), namespaced, is_stored: true };
            for odd in [Value::Null, json!(7), json!("x"), json!([]), json!([7]), json!({}), json!({"template": 7}), json!({"template": {"metadata": {"labels": []}}})] {
                for field in [
                    "/spec", "/metadata/labels", "/metadata/annotations", "/metadata/ownerReferences", "/subjects", "/spec/ports", "/spec/claimRef",
                    "/spec/volumeClaimTemplates", "/spec/template", "/spec/storageClassName", "/type",
                ] {
                    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "n", "namespace": "shop"}, "spec": {}});
                    let (parent, last) = field.rsplit_once('/').unwrap();
                    object.pointer_mut(parent).unwrap()[last] = odd.clone();
                    for run in [&run, &moved] {
                        let _ = prepared(object.clone(), &resource, run);
                    }
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_was_made_in_the_same_run_is_named_by_its_new_uid_and_no_other_is() {
    let standalone = Standalone::new();
    let owned = |name: &str, namespace: &str, owner: &str, controller: Value| {
        let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": "of-another-life", "controller": controller, "blockOwnerDeletion": true});
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace, "ownerReferences": [reference]}})
    };
    // Secrets have their turn before ConfigMaps.
    let objects = [
        owned("hers", "shop", "boss", json!(true)),
        owned("orphan", "shop", "nobody", Value::Null),
        owned("abroad", "other", "boss", Value::Null),
        owned("of-one-that-stood", "shop", "stood", Value::Null),
        config("boss", "1"),
        config("stood", "1"),
    ];
    restored(&standalone, &order(), &[config("stood", "1")]).await;
    let dry = restored(&standalone, &RestoreOrder { dry_run: true, ..order() }, &objects).await;
    assert!(dry.failed_count == 0 && !dry.summary.contains("references"), "{dry:?}");
    let said = restored(&standalone, &order(), &objects).await;
    assert_eq!((said.files, said.failed_count), (5, 0), "{said:?}");
    assert!(said.summary.ends_with("3 references to owners that were not made with them are left out"), "{}", said.summary);
    let owners_of = async |namespace: &str, name: &str| {
        find(&standalone, &core("Secret", "secrets"), namespace, name).await.unwrap()["metadata"]["ownerReferences"].clone()
    };
    let boss = find(&standalone, &core("ConfigMap", "configmaps"), "shop", "boss").await.unwrap();
    assert_eq!(owners_of("shop", "hers").await, json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "boss", "uid": boss["metadata"]["uid"], "controller": true}]));
    for (namespace, name) in [("shop", "orphan"), ("other", "abroad"), ("shop", "of-one-that-stood")] {
        assert_eq!(owners_of(namespace, name).await, Value::Null, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn owners_in_a_circle_wait_for_each_other_and_not_for_ever() {
    let standalone = Standalone::new();
    let of = |name: &str, owner: &str| {
        let mut object = config(name, "1");
        object["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": "u"}]);
        object
    };
    let said = restored(&standalone, &order(), &[of("a", "b"), of("b", "a"), of("c", "c")]).await;
    assert_eq!((said.files, said.failed_count), (3, 0), "{said:?}");
    // The last pass makes the first of them without its owner, and so the second has one.
    assert!(said.summary.ends_with("2 references to owners that were not made with them are left out"), "{}", said.summary);
}
