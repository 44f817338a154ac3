//! Backups of manifests of an in-process API server.

use holdfast_standalone::Standalone;
use kube::api::PostParams;
use serde_json::json;
use tokio::sync::mpsc;

use super::*;
use crate::manifests::RBAC;
use crate::manifests::identity::Identity;
use crate::manifests::outflow::LeftOut;

async fn furnished() -> Standalone {
    let standalone = Standalone::new();
    let labels = json!({"app": "web"});
    for (api, namespace, object) in [
        (core("Namespace", "namespaces"), None, json!({"metadata": {"name": "shop"}})),
        (core("Namespace", "namespaces"), None, json!({"metadata": {"name": "other"}})),
        (core("ConfigMap", "configmaps"), Some("shop"), json!({"metadata": {"name": "conf", "labels": labels}, "data": {"a": "b"}})),
        (core("ConfigMap", "configmaps"), Some("other"), json!({"metadata": {"name": "conf", "labels": labels}})),
        (core("ConfigMap", "configmaps"), Some("shop"), json!({"metadata": {"name": "unused"}})),
        (core("Secret", "secrets"), Some("shop"), json!({"metadata": {"name": "pass", "labels": labels}, "data": {"p": "aHVzaA=="}})),
        (core("Secret", "secrets"), Some("shop"), json!({"metadata": {"name": "token"}, "type": "kubernetes.io/service-account-token"})),
        (core("ServiceAccount", "serviceaccounts"), Some("shop"), json!({"metadata": {"name": "web"}})),
        (core("PersistentVolumeClaim", "persistentvolumeclaims"), Some("shop"), json!({"metadata": {"name": "data"}, "spec": {}})),
        (core("Service", "services"), Some("shop"), json!({"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}}})),
        (core("Service", "services"), Some("shop"), json!({"metadata": {"name": "db"}, "spec": {"selector": {"app": "db"}}})),
        (core("Service", "services"), Some("shop"), json!({"metadata": {"name": "any"}, "spec": {}})),
        (resource("storage.k8s.io", "StorageClass", "storageclasses"), None, json!({"metadata": {"name": "gp2", "labels": labels}, "provisioner": "p"})),
        (resource("apps", "Deployment", "deployments"), Some("shop"), json!({"metadata": {"name": "web", "labels": labels}, "spec": {
            "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {"serviceAccountName": "web",
            "volumes": [{"name": "c", "configMap": {"name": "conf"}}, {"name": "d", "persistentVolumeClaim": {"claimName": "data"}}],
            "containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "pass"}}, {"configMapRef": {"name": "gone"}}]}]}}}})),
    ] {
        put(&standalone, &api, namespace, object).await;
    }
    standalone
}

async fn put(standalone: &Standalone, api: &ApiResource, namespace: Option<&str>, mut object: Value) {
    object["apiVersion"] = json!(api.api_version);
    object["kind"] = json!(api.kind);
    let objects: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(standalone.client(), namespace, api),
        None => Api::all_with(standalone.client(), api),
    };
    objects.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

async fn read(standalone: &Standalone, scope: Scope) -> Result<(Vec<String>, LeftOut, String), Refused> {
    let (sender, mut pieces) = mpsc::channel(64);
    let order = BackupOrder { identity: Identity::new("demo", "reader").unwrap(), scope };
    all(&standalone.client(), &order, Outflow::new(sender)).await?;
    let (mut bytes, mut left_out) = (Vec::new(), LeftOut::default());
    while let Some(piece) = pieces.recv().await {
        bytes.extend(piece.bytes);
        left_out = piece.last.unwrap_or_default();
    }
    let text = String::from_utf8(bytes).unwrap();
    let objects = text.lines().filter(|line| *line != "---").map(|line| serde_json::from_str::<Value>(line).unwrap());
    let name = |object: Value| {
        assert!(object["metadata"]["uid"].is_null() && object["apiVersion"].is_string(), "{object}");
        let namespace = object["metadata"]["namespace"].as_str().map(|namespace| format!("{namespace}/")).unwrap_or_default();
        format!("{} {namespace}{}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap())
    };
    let mut names: Vec<String> = objects.map(name).collect();
    names.sort();
    Ok((names, left_out, text))
}

fn workload(kind: &str, name: &str) -> Scope {
    Scope::Workload { group: "apps".into(), kind: kind.into(), namespace: "shop".into(), name: name.into(), rbac: false }
}

fn selected(parameters: &[(&str, &str)]) -> Scope {
    let parameters = parameters.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    Scope::Cluster(Box::new(Selection::of(&parameters).unwrap()))
}

#[tokio::test]
async fn a_workload_comes_with_what_its_pods_need_and_nothing_else() {
    let standalone = furnished().await;
    let (names, left_out, text) = read(&standalone, workload("Deployment", "web")).await.unwrap();
    assert_eq!(
        names,
        [
            "ConfigMap shop/conf", "Deployment shop/web", "Namespace shop", "PersistentVolumeClaim shop/data", "Secret shop/pass", "Service shop/web",
            "ServiceAccount shop/web",
        ]
    );
    assert_eq!(left_out, LeftOut::default(), "what does not exist is not needed");
    assert!(text.contains("aHVzaA=="));
    let refused = read(&standalone, workload("Deployment", "ghost")).await.unwrap_err();
    assert!(refused.message.contains("Deployment shop/ghost") && !refused.retry_may_help, "{refused}");
    assert!(read(&standalone, workload("Job", "web")).await.unwrap_err().message.contains("kubedump-addon"));
}

#[tokio::test]
async fn with_its_rights_it_comes_with_the_bindings_of_its_account_and_their_roles() {
    let standalone = furnished().await;
    let rbac = |kind: &str, plural: &str| resource(RBAC, kind, plural);
    let binding = |name: &str, account: &str, of: &str, kind: &str, role: &str| {
        json!({"metadata": {"name": name}, "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": of}],
            "roleRef": {"apiGroup": RBAC, "kind": kind, "name": role}})
    };
    for (api, namespace, object) in [
        (rbac("Role", "roles"), Some("shop"), json!({"metadata": {"name": "reads"}, "rules": []})),
        (rbac("Role", "roles"), Some("shop"), json!({"metadata": {"name": "unbound"}, "rules": []})),
        (rbac("ClusterRole", "clusterroles"), None, json!({"metadata": {"name": "sees"}, "rules": []})),
        (rbac("RoleBinding", "rolebindings"), Some("shop"), binding("web-reads", "web", "shop", "Role", "reads")),
        (rbac("RoleBinding", "rolebindings"), Some("shop"), binding("other-reads", "other", "shop", "Role", "unbound")),
        (rbac("ClusterRoleBinding", "clusterrolebindings"), None, binding("web-sees", "web", "shop", "ClusterRole", "sees")),
        (rbac("ClusterRoleBinding", "clusterrolebindings"), None, binding("namesake-sees", "web", "other", "ClusterRole", "sees")),
    ] {
        put(&standalone, &api, namespace, object).await;
    }
    let mut scope = workload("Deployment", "web");
    if let Scope::Workload { rbac, .. } = &mut scope {
        *rbac = true;
    }
    let (names, left_out, _) = read(&standalone, scope).await.unwrap();
    let rights: Vec<&String> = names.iter().filter(|name| name.contains("Role")).collect();
    assert_eq!(rights, ["ClusterRole sees", "ClusterRoleBinding web-sees", "Role shop/reads", "RoleBinding shop/web-reads"]);
    assert_eq!(left_out, LeftOut::default());
}

#[tokio::test]
async fn the_cluster_is_read_by_namespace_resource_and_label() {
    let standalone = furnished().await;
    let (names, _, _) = read(&standalone, selected(&[("IncludeNamespaces", "shop"), ("ANDedLabelSelectors", "app:web")])).await.unwrap();
    assert_eq!(names, ["ConfigMap shop/conf", "Deployment shop/web", "Namespace shop", "Secret shop/pass"]);
    let (names, _, _) = read(&standalone, selected(&[("IncludeResources", "configmaps"), ("ExcludeNamespaces", "shop")])).await.unwrap();
    assert_eq!(names, ["ConfigMap other/conf"], "namespaces are a resource, too");
    let (names, _, _) = read(&standalone, selected(&[("IncludeClusterResources", "true"), ("ExcludeResources", "configmaps,apps,secrets")])).await.unwrap();
    assert!(names.contains(&"StorageClass gp2".to_owned()) && names.contains(&"Namespace other".to_owned()), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("Deployment") || name.starts_with("Secret")), "{names:?}");
    assert_eq!(names.iter().filter(|name| *name == "Namespace shop").count(), 1);
    let refused = read(&standalone, selected(&[("ANDedLabelSelectors", "app:nobody")])).await.unwrap_err();
    assert!(refused.message.contains("no object fits"), "{refused}");
}

#[tokio::test]
async fn more_than_a_page_is_read_to_its_end() {
    let standalone = furnished().await;
    let maps: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::namespaced(standalone.client(), "shop");
    for number in 0..3 * PAGE_OBJECTS {
        let map = serde_json::from_value(json!({"metadata": {"name": format!("many-{number}"), "labels": {"set": "many"}}})).unwrap();
        maps.create(&PostParams::default(), &map).await.unwrap();
    }
    let (names, _, _) = read(&standalone, selected(&[("ORedLabelSelectors", "set:many,nothing"), ("IncludeResources", "configmaps")])).await.unwrap();
    assert_eq!(names.len(), 60);
}

/// An API server that refuses to list Secrets, or everything.
fn refusing(standalone: &Standalone, all: bool) -> kube::Client {
    let base = standalone.client();
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let base = base.clone();
        async move {
            let path = request.uri().path().to_owned();
            if path.starts_with("/api/v1/") && (all || path.ends_with("/secrets")) {
                let plural = path.rsplit('/').next().unwrap_or_default();
                let message = format!("{plural} is forbidden: User \"x\" cannot list resource \"{plural}\" in API group \"\"");
                let body = json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403, "message": message, "metadata": {}});
                let body = kube::client::Body::from(body.to_string().into_bytes());
                return Ok::<_, kube::Error>(http::Response::builder().status(403).body(body).unwrap());
            }
            base.send(request).await
        }
    });
    kube::Client::new(service, "demo")
}

#[tokio::test]
async fn what_the_account_may_not_read_is_named_and_if_that_is_all_it_is_no_backup() {
    let standalone = furnished().await;
    for (all_refused, resources) in [(false, "secrets,configmaps"), (true, "secrets,configmaps")] {
        let (sender, mut pieces) = mpsc::channel(64);
        let scope = selected(&[("IncludeResources", resources), ("IncludeNamespaces", "shop")]);
        let order = BackupOrder { identity: Identity::new("demo", "reader").unwrap(), scope };
        // Discovery is everybody's.
        let client = refusing(&standalone, all_refused);
        let read = all(&client, &order, Outflow::new(sender)).await;
        if all_refused {
            let refused = read.unwrap_err();
            assert!(refused.message.contains("nothing could be read") && refused.message.contains("cannot list resource \"configmaps\""), "{refused}");
        } else {
            read.unwrap();
            let last = pieces.recv().await.unwrap().last.unwrap();
            assert_eq!(last.count, 1);
            assert!(last.first[0].starts_with("secrets in namespace shop: secrets is forbidden"), "{:?}", last.first);
        }
    }
}
