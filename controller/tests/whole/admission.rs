//! The webhooks as the API server calls them: over TLS, trusting the published authority.

use k8s_openapi::ByteString;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};

use crate::house::{self, House};

/// The API server's side.
struct ApiServer(kube::Client);

impl ApiServer {
    async fn of(house: &House) -> Self {
        let ca = serde_json::to_value(ByteString(house.ca().await.into_bytes())).unwrap();
        let server = format!("https://127.0.0.1:{}", house.webhooks.port());
        let kubeconfig: Kubeconfig = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "users": [{"name": "it", "user": {}}],
            "clusters": [{"name": "it", "cluster": {"server": server, "certificate-authority-data": ca}}],
        }))
        .unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        Self(kube::Client::try_from(config).unwrap())
    }

    async fn ask(&self, path: &str, operation: &str, object: &Value, old: &Value) -> Value {
        let (group, version) = object["apiVersion"].as_str().unwrap().split_once('/').unwrap();
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u-1", "kind": {"group": group, "version": version, "kind": object["kind"]},
                "namespace": "demo", "operation": operation, "userInfo": {"username": "somebody", "groups": ["people"]},
                "object": object, "oldObject": old,
            },
        });
        let request = http::Request::post(path).header("content-type", "application/json");
        let answer: Value = self.0.request(request.body(serde_json::to_vec(&review).unwrap()).unwrap()).await.unwrap();
        assert_eq!(answer["response"]["uid"], "u-1");
        answer["response"].clone()
    }

    async fn create(&self, object: &Value) -> Value {
        self.ask("/validate", "CREATE", object, &Value::Null).await
    }

    async fn change(&self, old: &Value, new: &Value) -> Value {
        self.ask("/validate", "UPDATE", new, old).await
    }
}

fn refused(answer: &Value, words: &str) {
    assert_eq!(answer["allowed"], false, "{answer}");
    let message = answer["status"]["message"].as_str().unwrap();
    assert!(message.contains(words), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_are_judged_before_they_are_stored() {
    let house = House::start().await;
    house.furnish().await;
    let server = ApiServer::of(&house).await;

    let good = house::configuration("one");
    assert_eq!(server.create(&good).await, json!({"uid": "u-1", "allowed": true}));
    let mut bad = good.clone();
    bad["spec"]["sessions"][0]["repositories"][0]["backend"] = json!("tape");
    refused(&server.create(&bad).await, r#"spec.sessions[0].repositories[0].backend: "tape" is not allowed; use one of s3"#);
    // What does not exist yet is no reason to refuse.
    let mut early = good.clone();
    early["spec"]["backends"][0]["storageRef"]["name"] = json!("comes-later");
    assert_eq!(server.create(&early).await["allowed"], true);
    // Nothing keeps an object from going.
    bad["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(server.change(&good, &bad).await["allowed"], true);

    let session = |name: &str| {
        json!({"apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupSession", "metadata": {"name": "s"},
            "spec": {"invoker": {"apiGroup": "core.kubestash.com", "kind": "BackupConfiguration", "name": "one"}, "session": name}})
    };
    refused(&server.change(&session("daily"), &session("weekly")).await, "cannot change");

    let mut wide = house::storage();
    wide["spec"]["usagePolicy"] = json!({"allowedNamespaces": {"from": "Selector"}});
    refused(&server.create(&wide).await, "spec.usagePolicy.allowedNamespaces.selector: is required");
    let mut twin = house::storage();
    twin["metadata"]["name"] = json!("twin");
    refused(&server.create(&twin).await, "demo/store is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defaults_are_filled_in_from_what_was_applied_a_moment_before() {
    let house = House::start().await;
    let server = ApiServer::of(&house).await;
    let mut storage = house::storage();
    storage["spec"]["default"] = json!(true);
    house.create(storage).await;
    let mut lazy = house::configuration("lazy");
    lazy["spec"].as_object_mut().unwrap().remove("backends");
    let answer = server.ask("/mutate", "CREATE", &lazy, &Value::Null).await;
    let patch: ByteString = serde_json::from_value(answer["patch"].clone()).unwrap();
    let patch: Value = serde_json::from_slice(&patch.0).unwrap();
    assert_eq!(patch[0]["path"], "/spec/backends");
    assert_eq!(patch[0]["value"][0]["storageRef"], json!({"name": "store", "namespace": "demo"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_are_for_whom_the_api_server_knows() {
    let house = House::start().await;
    let api = ApiServer::of(&house).await;
    for authorization in [None, Some("Bearer "), Some("Basic YTpi"), Some("Bearer nobody's")] {
        let mut request = http::Request::get("/metrics");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let refused = api.0.request_text(request.body(Vec::new()).unwrap()).await.unwrap_err();
        assert!(matches!(&refused, kube::Error::Api(status) if status.code == 401), "{authorization:?}: {refused}");
    }
}
