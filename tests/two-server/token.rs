use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenReview},
    core::v1::{Node, Pod, ServiceAccount},
};
use kube::{
    Api,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};

use crate::ground::{Ground, create, typed, value};

/// A token of a pod on a node, as a kubelet projects it.
async fn token(ground: &Ground, node: &str) -> String {
    let nodes = Api::<Node>::all(ground.client.clone());
    create(&nodes, json!({"metadata": {"name": node}}))
        .await
        .unwrap();
    let accounts = ground.api::<ServiceAccount>();
    create(&accounts, json!({"metadata": {"name": "holdfast-agent"}}))
        .await
        .unwrap();
    let mut pod = crate::delete::pod("agent", Some(node));
    pod["spec"]["serviceAccountName"] = json!("holdfast-agent");
    let pod = value(&create(&ground.api::<Pod>(), pod).await.unwrap());
    let request: TokenRequest = typed(
        json!({"metadata": {}, "spec": {"audiences": ["holdfast"], "expirationSeconds": 3600,
        "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "agent", "uid": pod["metadata"]["uid"]}}}),
    );
    let answer = accounts
        .create_token_request("holdfast-agent", &PostParams::default(), &request)
        .await
        .unwrap();
    answer.status.unwrap().token
}

async fn review(ground: &Ground, token: &str, audience: &str) -> Value {
    let review: TokenReview =
        typed(json!({"metadata": {}, "spec": {"token": token, "audiences": [audience]}}));
    let reviews = Api::<TokenReview>::all(ground.client.clone());
    value(
        &reviews
            .create(&PostParams::default(), &review)
            .await
            .unwrap()
            .status
            .unwrap(),
    )
}

async fn remove_node(ground: &Ground, node: &str) {
    Api::<Node>::all(ground.client.clone())
        .delete(node, &DeleteParams::default())
        .await
        .unwrap();
}

pub(crate) async fn a_pods_token_names_its_node(ground: &Ground) {
    let node = ground.namespace.as_str();
    let token = token(ground, node).await;
    let status = review(ground, &token, "holdfast").await;
    assert_eq!(
        (&status["authenticated"], &status["audiences"]),
        (&json!(true), &json!(["holdfast"]))
    );
    let user = &status["user"];
    assert_eq!(
        user["username"],
        json!(format!(
            "system:serviceaccount:{}:holdfast-agent",
            ground.namespace
        ))
    );
    assert_eq!(
        user["extra"]["authentication.kubernetes.io/node-name"],
        json!([node])
    );
    assert_eq!(
        user["extra"]["authentication.kubernetes.io/pod-name"],
        json!(["agent"])
    );
    remove_node(ground, node).await;
}

pub(crate) async fn a_token_is_for_its_audience_only(ground: &Ground) {
    let token = token(ground, &ground.namespace).await;
    assert_eq!(
        review(ground, &token, "somebody-else")
            .await
            .get("authenticated"),
        None
    );
    assert_eq!(
        review(ground, "guessed", "holdfast")
            .await
            .get("authenticated"),
        None
    );
    let now = DeleteParams::default().grace_period(0);
    ground.api::<Pod>().delete("agent", &now).await.unwrap();
    crate::ground::eventually("the token dies with its pod", async || {
        review(ground, &token, "holdfast")
            .await
            .get("authenticated")
            .is_none()
            .then_some(())
    })
    .await;
    remove_node(ground, &ground.namespace).await;
}
