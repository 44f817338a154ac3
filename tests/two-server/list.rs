use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use crate::ground::{Ground, create, refusal};

async fn maps(ground: &Ground) {
    for (name, labels) in [
        ("a", json!({"app": "x", "tier": "db"})),
        ("b", json!({"app": "y"})),
        ("c", json!({})),
    ] {
        create(
            &ground.api::<ConfigMap>(),
            json!({"metadata": {"name": name, "labels": labels}}),
        )
        .await
        .unwrap();
    }
}

async fn names(ground: &Ground, params: ListParams) -> Vec<String> {
    let listed = ground.api::<ConfigMap>().list(&params).await.unwrap();
    // A real cluster puts a certificate bundle into every namespace.
    listed
        .items
        .into_iter()
        .filter_map(|map| map.metadata.name)
        .filter(|name| name != "kube-root-ca.crt")
        .collect()
}

pub(crate) async fn labels_select(ground: &Ground) {
    maps(ground).await;
    for (selector, expected) in [
        ("app=x", vec!["a"]),
        ("app==x,tier=db", vec!["a"]),
        ("app in (x,y)", vec!["a", "b"]),
        ("app notin (x)", vec!["b", "c"]),
        ("app!=x", vec!["b", "c"]),
        ("tier", vec!["a"]),
        ("!app", vec!["c"]),
        ("app=none", vec![]),
    ] {
        assert_eq!(
            names(ground, ListParams::default().labels(selector)).await,
            expected,
            "{selector}"
        );
    }
}

pub(crate) async fn fields_select(ground: &Ground) {
    maps(ground).await;
    assert_eq!(
        names(ground, ListParams::default().fields("metadata.name=b")).await,
        ["b"]
    );
    assert_eq!(
        names(ground, ListParams::default().fields("metadata.name!=b")).await,
        ["a", "c"]
    );
    let refused = ground
        .api::<ConfigMap>()
        .list(&ListParams::default().fields("data.key=1"))
        .await;
    assert_eq!(refusal(refused), (400, "BadRequest".into()));

    crate::delete::default_account(ground).await;
    let pods = ground.api::<Pod>();
    create(&pods, crate::delete::pod("here", Some("no-such-node-1")))
        .await
        .unwrap();
    create(&pods, crate::delete::pod("nowhere", None))
        .await
        .unwrap();
    let on_node = pods
        .list(&ListParams::default().fields("spec.nodeName=no-such-node-1"))
        .await
        .unwrap();
    assert_eq!(on_node.items.len(), 1);
    pods.delete("here", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
}

pub(crate) async fn pages_show_one_moment(ground: &Ground) {
    for n in 0..5 {
        let map = json!({"metadata": {"name": format!("map-{n}"), "labels": {"paged": "yes"}}});
        create(&ground.api::<ConfigMap>(), map).await.unwrap();
    }
    let maps = ground.api::<ConfigMap>();
    let page = ListParams::default().labels("paged=yes").limit(2);
    let mut found = Vec::new();
    let mut listed = maps.list(&page).await.unwrap();
    let revision = listed.metadata.resource_version.clone();
    let map = json!({"metadata": {"name": "map-9", "labels": {"paged": "yes"}}});
    create(&maps, map).await.unwrap();
    maps.delete("map-4", &DeleteParams::default())
        .await
        .unwrap();
    loop {
        assert_eq!(listed.metadata.resource_version, revision);
        let token = listed
            .metadata
            .continue_
            .clone()
            .filter(|token| !token.is_empty());
        found.extend(listed.items.into_iter().filter_map(|map| map.metadata.name));
        let Some(token) = token else { break };
        listed = maps
            .list(&page.clone().continue_token(&token))
            .await
            .unwrap();
    }
    assert_eq!(found, ["map-0", "map-1", "map-2", "map-3", "map-4"]);
    assert_eq!(
        refusal(maps.list(&page.continue_token("nonsense")).await).0 / 100,
        4
    );
}

pub(crate) async fn metadata_is_all_that_is_sent(ground: &Ground) {
    maps(ground).await;
    ground.widget("a", json!({"size": 1})).await;
    let listed = ground
        .widgets()
        .list_metadata(&ListParams::default())
        .await
        .unwrap();
    let [only] = listed.items.as_slice() else {
        panic!("{listed:?}")
    };
    assert_eq!(only.metadata.name.as_deref(), Some("a"));
    assert_eq!(only.types.as_ref().unwrap().kind, "PartialObjectMetadata");
    let got = ground.widgets().get_metadata("a").await.unwrap();
    assert_eq!(got.metadata.uid, only.metadata.uid);
}
