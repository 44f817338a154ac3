use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, api::PostParams};
use serde_json::{Value, json};

use crate::ground::{Ground, causes, create, refusal, status, typed, value, widget};

pub(crate) async fn system_fields_are_the_servers(ground: &Ground) {
    let mut asked = widget("a", json!({"size": 1}));
    asked["metadata"]["uid"] = json!("chosen-by-the-client");
    asked["metadata"]["generation"] = json!(7);
    asked["metadata"]["deletionTimestamp"] = json!("2020-01-01T00:00:00Z");
    let created = value(&create(&ground.widgets(), asked).await.unwrap());
    let metadata = &created["metadata"];
    assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
    assert_eq!(metadata["generation"], 1);
    assert_eq!(metadata["namespace"], json!(ground.namespace));
    assert_eq!(metadata.get("deletionTimestamp"), None);
    assert!(
        metadata["creationTimestamp"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );
    assert!(
        metadata["resourceVersion"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            > 0
    );
    assert_eq!(created["apiVersion"], "two-server.holdfast.dev/v1");
    let map = value(
        &create(
            &ground.api::<ConfigMap>(),
            json!({"metadata": {"name": "a"}}),
        )
        .await
        .unwrap(),
    );
    assert_eq!(map["metadata"].get("generation"), None);
}

pub(crate) async fn a_generated_name_has_its_prefix(ground: &Ground) {
    let map = json!({"metadata": {"generateName": "work-"}});
    let created = create(&ground.api::<ConfigMap>(), map).await.unwrap();
    let name = created.metadata.name.unwrap();
    assert_eq!(name.strip_prefix("work-").map(str::len), Some(5), "{name}");
}

pub(crate) async fn a_second_create_is_refused(ground: &Ground) {
    ground.widget("a", json!({"size": 1})).await;
    let refused = status(
        create(&ground.widgets(), widget("a", json!({"size": 2})))
            .await
            .unwrap_err(),
    );
    assert_eq!(
        (refused.code, refused.reason.as_str()),
        (409, "AlreadyExists")
    );
    assert_eq!(
        refused.message,
        "widgets.two-server.holdfast.dev \"a\" already exists"
    );
    let details = refused.details.unwrap();
    assert_eq!(
        (details.name.as_str(), details.kind.as_str()),
        ("a", "widgets")
    );
    assert_eq!(details.group, "two-server.holdfast.dev");
}

pub(crate) async fn a_missing_namespace_is_not_found(ground: &Ground) {
    let nowhere = Api::<ConfigMap>::namespaced(ground.client.clone(), "there-is-no-such-namespace");
    let refused = status(
        create(&nowhere, json!({"metadata": {"name": "a"}}))
            .await
            .unwrap_err(),
    );
    assert_eq!((refused.code, refused.reason.as_str()), (404, "NotFound"));
    assert_eq!(
        refused.message,
        "namespaces \"there-is-no-such-namespace\" not found"
    );
    assert_eq!(
        refusal(ground.api::<ConfigMap>().get("nothing").await),
        (404, "NotFound".into())
    );
}

pub(crate) async fn a_bad_name_is_invalid(ground: &Ground) {
    let maps = ground.api::<ConfigMap>();
    let metadata = |metadata: Value| json!({"metadata": metadata});
    let invalid = |field: &str| vec![(field.to_owned(), "FieldValueInvalid".to_owned())];
    assert_eq!(
        causes(create(&maps, metadata(json!({"name": "Upper"}))).await),
        invalid("metadata.name")
    );
    let long = "x".repeat(64);
    let labelled = metadata(json!({"name": "a", "labels": {"key": long}}));
    assert_eq!(
        causes(create(&maps, labelled).await),
        invalid("metadata.labels")
    );
    let nameless = create(&maps, metadata(json!({}))).await;
    assert_eq!(
        causes(nameless),
        [("metadata.name".to_owned(), "FieldValueRequired".to_owned())]
    );
    let elsewhere = json!({"metadata": {"name": "a", "namespace": "elsewhere"}});
    assert_eq!(
        refusal(create(&maps, elsewhere).await),
        (400, "BadRequest".into())
    );
    let versioned = json!({"metadata": {"name": "a", "resourceVersion": "1"}});
    assert_eq!(refusal(create(&maps, versioned).await).0, 500);
}

pub(crate) async fn status_is_not_created(ground: &Ground) {
    let mut asked = widget("a", json!({"size": 1}));
    asked["status"] = json!({"phase": "Ready"});
    let created = value(&create(&ground.widgets(), asked).await.unwrap());
    assert_eq!(created.get("status"), None);
}

pub(crate) async fn string_data_becomes_data(ground: &Ground) {
    let secret = json!({"metadata": {"name": "a"}, "stringData": {"RESTIC_PASSWORD": "pässword"}});
    let created = create(&ground.api::<Secret>(), secret).await.unwrap();
    assert_eq!(
        created.data.unwrap()["RESTIC_PASSWORD"].0,
        "pässword".as_bytes()
    );
    assert_eq!(created.string_data, None);
    assert_eq!(created.type_.as_deref(), Some("Opaque"));
}

pub(crate) async fn a_dry_run_writes_nothing(ground: &Ground) {
    let maps = ground.api::<ConfigMap>();
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let map: ConfigMap = typed(json!({"metadata": {"name": "a"}}));
    maps.create(&dry, &map).await.unwrap();
    assert_eq!(refusal(maps.get("a").await).0, 404);
}
