use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use holdfast_standalone::Standalone;
use http::Method;
use http_body_util::{BodyExt as _, Full};
use k8s_openapi::api::core::v1::Namespace;
use kube::client::Body;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::*;
use crate::workqueue::WorkQueue;

/// An API server whose watches break, and how often pods were made in it.
fn without_watches(standalone: &Standalone) -> (kube::Client, Arc<AtomicUsize>) {
    let (api, made) = (standalone.service(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&made);
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        if *request.method() == Method::POST && request.uri().path().ends_with("/pods") {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        let answer = api.clone().call(request);
        async move {
            if is_watch {
                let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "InternalError", "code": 500});
                return Ok(http::Response::builder().status(500).body(Full::from(status.to_string()).boxed_unsync()).unwrap());
            }
            answer.await
        }
    });
    (kube::Client::new(service, "demo"), made)
}

async fn create<K>(objects: Api<K>, object: Value)
where
    K: Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    objects.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

async fn furnished() -> Standalone {
    let standalone = Standalone::new();
    for definition in holdfast_api::crd::all() {
        standalone.install(&serde_json::from_value(definition).unwrap()).unwrap();
    }
    let client = standalone.client();
    create(Api::<Namespace>::all(client.clone()), json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}})).await;
    create(
        Api::<Function>::all(client),
        json!({"apiVersion": "addons.kubestash.com/v1alpha1", "kind": "Function", "metadata": {"name": "f"}, "spec": {"image": "i", "args": ["a"]}}),
    )
    .await;
    standalone
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_another_has_removed_is_not_made_again() {
    let standalone = furnished().await;
    let (client, made) = without_watches(&standalone);
    let functions = Functions::new(client, WorkQueue::default(), true, CancellationToken::new());
    // The garbage collector spares what has an owner.
    let owner = Api::<Namespace>::all(standalone.client()).get("demo").await.unwrap();
    let mut run = super::super::tests::run("restore-0", &owner.uid().unwrap());
    run.timeout = Duration::from_secs(20);
    let (pods, name): (Api<Pod>, _) = (Api::namespaced(standalone.client(), "demo"), run.pod_name());
    let another = async {
        while pods.get_opt(&name).await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        pods.delete(&name, &DeleteParams::default().grace_period(0)).await.unwrap();
    };
    let (ended, ()) = tokio::join!(functions.run(&run), another);
    assert_eq!(ended, Err(format!("Function f: {REMOVED}")));
    assert_eq!(made.load(Ordering::Relaxed), 1, "it ran again");
}
