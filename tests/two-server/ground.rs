//! What each test stands on: a server, a namespace of its own, and a custom resource to try things on.

use std::{fmt::Debug, time::Duration};

use holdfast_standalone::Standalone;
use k8s_openapi::{
    api::core::v1::Namespace,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config, Resource,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{NamespaceResourceScope, Status},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// Longest a test may take on either server.
const TEST_LIMIT: Duration = Duration::from_secs(90);
/// How long to wait for what a server does by itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Ground {
    pub(crate) client: Client,
    pub(crate) namespace: String,
}

impl Ground {
    pub(crate) async fn standalone(name: &str) -> Self {
        Self::on(Standalone::new().client(), name).await
    }

    pub(crate) async fn real(name: &str) -> Self {
        let path = std::env::var("HOLDFAST_TEST_KUBECONFIG")
            .expect("HOLDFAST_TEST_KUBECONFIG names no kubeconfig");
        let kubeconfig = Kubeconfig::read_from(path).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .unwrap();
        Self::on(Client::try_from(config).unwrap(), name).await
    }

    async fn on(client: Client, name: &str) -> Self {
        install_widgets(&client).await;
        let prefix: String = name.replace('_', "-").chars().take(40).collect();
        let namespace = json!({"metadata": {"generateName": format!("{prefix}-")}});
        let namespace = create(&Api::<Namespace>::all(client.clone()), namespace)
            .await
            .unwrap();
        Self {
            client,
            namespace: namespace.metadata.name.unwrap(),
        }
    }

    pub(crate) async fn run(self, test: impl AsyncFnOnce(&Ground)) {
        tokio::time::timeout(TEST_LIMIT, test(&self))
            .await
            .expect("the test ends in time");
        let namespaces = Api::<Namespace>::all(self.client.clone());
        namespaces
            .delete(&self.namespace, &DeleteParams::default())
            .await
            .ok();
    }

    pub(crate) fn api<T>(&self) -> Api<T>
    where
        T: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) fn widgets(&self) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), &self.namespace, &widget_resource())
    }

    /// A widget with a spec, created.
    pub(crate) async fn widget(&self, name: &str, spec: Value) -> Value {
        value(&create(&self.widgets(), widget(name, spec)).await.unwrap())
    }
}

pub(crate) fn widget_resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "two-server.holdfast.dev",
        "v1",
        "Widget",
    ))
}

pub(crate) fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "two-server.holdfast.dev/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

async fn install_widgets(client: &Client) {
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    let definition = json!({
        "metadata": {"name": "widgets.two-server.holdfast.dev"},
        "spec": {
            "group": "two-server.holdfast.dev", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "required": ["size"], "properties": {
                        "size": {"type": "integer", "minimum": 1},
                        "color": {"type": "string", "enum": ["red", "green"], "default": "red"},
                        "name": {"type": "string", "maxLength": 8, "pattern": "^[a-z]+$"},
                        "limit": {"x-kubernetes-int-or-string": true},
                        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                        "template": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                        "policy": {"type": "object", "default": {}, "properties": {
                            "from": {"type": "string", "default": "Same"}}},
                        "parts": {"type": "array", "items": {"type": "object", "required": ["name"], "properties": {
                            "name": {"type": "string"}, "count": {"type": "integer", "default": 1}}}},
                    }},
                    "status": {"type": "object", "properties": {
                        "phase": {"type": "string", "enum": ["Ready", "NotReady"]},
                        "message": {"type": "string"},
                        "observed": {"type": "integer"},
                    }},
                }}}}],
        },
    });
    match create(&definitions, definition).await {
        Ok(_) => {}
        Err(error) => assert_eq!(status(error).reason, "AlreadyExists"),
    }
    eventually("the definition is established", async || {
        let definition = definitions
            .get("widgets.two-server.holdfast.dev")
            .await
            .unwrap();
        let conditions = definition
            .status
            .and_then(|status| status.conditions)
            .unwrap_or_default();
        conditions
            .iter()
            .any(|condition| condition.type_ == "Established" && condition.status == "True")
            .then_some(())
    })
    .await;
    // Established comes a moment before the real server serves the kind.
    eventually("the kind is served", async || {
        let all = Api::<DynamicObject>::all_with(client.clone(), &widget_resource());
        all.list(&kube::api::ListParams::default().limit(1))
            .await
            .ok()
            .map(|_| ())
    })
    .await;
}

pub(crate) async fn create<T>(api: &Api<T>, object: Value) -> kube::Result<T>
where
    T: Clone + DeserializeOwned + Serialize + Debug,
{
    api.create(
        &PostParams::default(),
        &serde_json::from_value(object).unwrap(),
    )
    .await
}

pub(crate) fn value<T: Serialize>(object: &T) -> Value {
    serde_json::to_value(object).unwrap()
}

pub(crate) fn typed<T: DeserializeOwned>(object: Value) -> T {
    serde_json::from_value(object).unwrap()
}

/// The server's refusal.
pub(crate) fn status(error: kube::Error) -> Box<Status> {
    match error {
        kube::Error::Api(status) => status,
        other => panic!("not an answer of the server: {other:?}"),
    }
}

/// Code and reason of a refusal.
pub(crate) fn refusal<T: Debug>(result: kube::Result<T>) -> (u16, String) {
    let status = status(result.unwrap_err());
    (status.code, status.reason)
}

/// Field and reason of each cause of a refusal.
pub(crate) fn causes<T: Debug>(result: kube::Result<T>) -> Vec<(String, String)> {
    let details = status(result.unwrap_err()).details.unwrap();
    let mut causes: Vec<_> = details
        .causes
        .into_iter()
        .map(|cause| (cause.field, cause.reason))
        .collect();
    causes.sort();
    // A real server may say the same twice.
    causes.dedup();
    causes
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "it never came to be that {what}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
