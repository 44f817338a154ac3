use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, api::PostParams};
use serde_json::json;

use crate::ground::{Ground, refusal, status, typed};

fn dry() -> PostParams {
    PostParams {
        dry_run: true,
        ..PostParams::default()
    }
}

/// Dry, so that nothing of ours is installed in somebody's cluster; where it is already, the server has accepted it.
pub(crate) async fn every_kind_of_ours_is_accepted(ground: &Ground) {
    let definitions = Api::<CustomResourceDefinition>::all(ground.client.clone());
    let all = holdfast_api::crd::all();
    assert_eq!(all.len(), 14);
    for definition in all {
        let definition: CustomResourceDefinition = typed(definition);
        match definitions.create(&dry(), &definition).await {
            Ok(_) => {}
            Err(error) => {
                let status = status(error);
                assert_eq!(status.reason, "AlreadyExists", "{}", status.message);
            }
        }
    }
}

pub(crate) async fn a_definition_that_is_none_is_refused(ground: &Ground) {
    let definitions = Api::<CustomResourceDefinition>::all(ground.client.clone());
    let definition = json!({
        "metadata": {"name": "misnamed.two-server.holdfast.dev"},
        "spec": {"group": "two-server.holdfast.dev", "scope": "Namespaced",
            "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]},
    });
    let refused = definitions.create(&dry(), &typed(definition)).await;
    assert_eq!(refusal(refused), (422, "Invalid".into()));
}
