use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    core::v1::{ConfigMap, Namespace, Node, Pod, ServiceAccount},
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams, WatchEvent, WatchParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{Standalone, store::HISTORY_CHANGES};

fn object<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    object(json!({"metadata": {"name": name}, "data": {"key": value}}))
}

async fn create<T>(api: &Api<T>, value: Value) -> T
where
    T: DeserializeOwned + serde::Serialize + Clone + std::fmt::Debug,
{
    api.create(&PostParams::default(), &object(value))
        .await
        .unwrap()
}

fn status(error: kube::Error) -> Box<kube::core::Status> {
    match error {
        kube::Error::Api(status) => status,
        other => panic!("not an answer of the server: {other}"),
    }
}

#[tokio::test]
async fn a_watcher_that_falls_behind_the_history_gets_410() {
    let client = Standalone::new().client();
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let first = maps
        .create(&PostParams::default(), &config_map("a", "0"))
        .await
        .unwrap();
    let start = first.metadata.resource_version.unwrap();
    let mut slow = maps
        .watch(&WatchParams::default(), &start)
        .await
        .unwrap()
        .boxed();
    for n in 0..=HISTORY_CHANGES {
        maps.replace(
            "a",
            &PostParams::default(),
            &config_map("a", &format!("{}", n + 1)),
        )
        .await
        .unwrap();
    }
    match slow.try_next().await.unwrap().unwrap() {
        WatchEvent::Error(status) => {
            assert_eq!((status.code, status.reason.as_str()), (410, "Expired"))
        }
        other => panic!("{other:?}"),
    }
    assert!(slow.try_next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_forgotten_continue_token_is_410() {
    let maps: Api<ConfigMap> = Api::default_namespaced(Standalone::new().client());
    let error = maps
        .list(&ListParams::default().continue_token("gone"))
        .await
        .unwrap_err();
    assert_eq!(status(error).code, 410);
}

#[tokio::test]
async fn what_is_not_implemented_says_so() {
    let client = Standalone::new().client();
    for path in [
        "/apis/networking.k8s.io/v1/namespaces/default/ingresses",
        "/api/v1/namespaces/default/pods/x/log",
        "/openapi/v2",
        "/api/v1/namespaces/default/pods?resourceVersion=1&unheardOf=1",
    ] {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        let error = client.request::<Value>(request).await.unwrap_err();
        assert_eq!(status(error).code, 501, "{path}");
    }
    let request = http::Request::get("/apis/nobody.example.com/v1/things")
        .body(Vec::new())
        .unwrap();
    assert_eq!(
        status(client.request::<Value>(request).await.unwrap_err()).code,
        404
    );
}

async fn agent(client: &Client) {
    create(
        &Api::<Namespace>::all(client.clone()),
        json!({"metadata": {"name": "holdfast"}}),
    )
    .await;
    create(
        &Api::<Node>::all(client.clone()),
        json!({"metadata": {"name": "n1"}}),
    )
    .await;
    let account = json!({"metadata": {"name": "holdfast-agent"}});
    create(
        &Api::<ServiceAccount>::namespaced(client.clone(), "holdfast"),
        account,
    )
    .await;
    let pod = json!({"metadata": {"name": "agent-1"}, "spec": {"nodeName": "n1", "containers": [{"name": "a"}]}});
    create(&Api::<Pod>::namespaced(client.clone(), "holdfast"), pod).await;
}

async fn reviewed(client: &Client, token: &str, audience: &str) -> Value {
    let spec = TokenReviewSpec {
        token: Some(token.to_owned()),
        audiences: Some(vec![audience.to_owned()]),
    };
    let review = TokenReview {
        spec,
        ..TokenReview::default()
    };
    let answer = Api::<TokenReview>::all(client.clone())
        .create(&PostParams::default(), &review)
        .await
        .unwrap();
    serde_json::to_value(answer.status.unwrap()).unwrap()
}

#[tokio::test]
async fn a_token_is_good_for_its_audience_while_its_pod_lives() {
    let standalone = Standalone::new();
    let client = standalone.client();
    assert!(
        standalone
            .mint_token("holdfast/holdfast-agent", "agent-1", "n1", "holdfast")
            .is_err()
    );
    agent(&client).await;
    let token = standalone
        .mint_token("holdfast/holdfast-agent", "agent-1", "n1", "holdfast")
        .unwrap();

    let answer = reviewed(&client, &token, "holdfast").await;
    assert_eq!(answer["authenticated"], true);
    assert_eq!(answer["audiences"], json!(["holdfast"]));
    assert_eq!(
        answer["user"]["username"],
        "system:serviceaccount:holdfast:holdfast-agent"
    );
    assert_eq!(
        answer["user"]["extra"]["authentication.kubernetes.io/node-name"],
        json!(["n1"])
    );

    assert_eq!(
        reviewed(&client, &token, "somebody-else")
            .await
            .get("authenticated"),
        None
    );
    assert_eq!(
        reviewed(&client, "standalone-guessed", "holdfast")
            .await
            .get("authenticated"),
        None
    );

    let now = kube::api::DeleteParams::default().grace_period(0);
    Api::<Pod>::namespaced(client.clone(), "holdfast")
        .delete("agent-1", &now)
        .await
        .unwrap();
    assert_eq!(
        reviewed(&client, &token, "holdfast")
            .await
            .get("authenticated"),
        None
    );
}

#[tokio::test]
async fn the_api_answers_over_http() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let standalone = Standalone::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { standalone.serve(listener).await });
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream
        .write_all(
            b"GET /api/v1/namespaces/default HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        )
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.contains("\"phase\":\"Active\""),
        "{answer}"
    );
}
