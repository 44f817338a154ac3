//! The certificate authority in the webhook configurations. The configurations themselves are the installation's, so that
//! removing it removes them: nothing that calls us outlives us.

use std::fmt::Debug;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::ClusterResourceScope;
use kube::Resource;
use kube::api::{Api, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Name of both configurations.
pub const NAME: &str = "holdfast";

/// Writes `bundle_pem` into every webhook of our configurations, where it is not yet. Configurations that are not installed stay so:
/// the reconcilers apply the same rules.
pub async fn publish(client: &kube::Client, bundle_pem: &str) -> Result<(), kube::Error> {
    let bundle = Some(ByteString(bundle_pem.as_bytes().to_vec()));
    write::<ValidatingWebhookConfiguration>(client, |found| {
        found.webhooks.iter_mut().flatten().for_each(|webhook| webhook.client_config.ca_bundle.clone_from(&bundle));
    })
    .await?;
    write::<MutatingWebhookConfiguration>(client, |found| {
        found.webhooks.iter_mut().flatten().for_each(|webhook| webhook.client_config.ca_bundle.clone_from(&bundle));
    })
    .await
}

async fn write<K>(client: &kube::Client, change: impl FnOnce(&mut K)) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Clone + Debug + PartialEq + Serialize + DeserializeOwned,
{
    let configurations: Api<K> = Api::all(client.clone());
    let Some(before) = configurations.get_opt(NAME).await? else { return Ok(()) };
    let mut after = before.clone();
    change(&mut after);
    if after == before {
        return Ok(());
    }
    match configurations.replace(NAME, &PostParams::default(), &after).await {
        Ok(_) => Ok(()),
        // Another replica writes the same.
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}
