use k8s_openapi::api::coordination::v1::Lease;
use kube::api::PostParams;
use serde_json::json;

use crate::ground::{Ground, create, refusal};

pub(crate) async fn one_of_two_contenders_wins(ground: &Ground) {
    let leases = ground.api::<Lease>();
    let spec = json!({"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2026-11-22T10:00:00.123456Z", "leaseTransitions": 0});
    let seen = create(
        &leases,
        json!({"metadata": {"name": "holdfast"}, "spec": spec}),
    )
    .await
    .unwrap();
    let take = |identity: &str| {
        let mut lease = seen.clone();
        let spec = lease.spec.as_mut().unwrap();
        spec.holder_identity = Some(identity.to_owned());
        spec.lease_transitions = Some(1);
        lease
    };
    let params = PostParams::default();
    let won = leases
        .replace("holdfast", &params, &take("b"))
        .await
        .unwrap();
    assert_eq!(
        refusal(leases.replace("holdfast", &params, &take("c")).await),
        (409, "Conflict".into())
    );
    let spec = leases.get("holdfast").await.unwrap().spec.unwrap();
    assert_eq!(spec.holder_identity.as_deref(), Some("b"));
    assert_eq!(spec.renew_time.unwrap().0.subsec_nanosecond(), 123_456_000);
    assert_ne!(
        won.metadata.resource_version,
        seen.metadata.resource_version
    );
}
