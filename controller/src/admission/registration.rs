//! The certificate authority in the webhook configurations. The configurations themselves are the installation's, so that
//! removing it removes them: nothing that calls us outlives us.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::api::{Api, PostParams};

/// Name of both configurations.
pub const NAME: &str = "holdfast";

/// Writes `bundle_pem` into every webhook of our configurations, where it is not yet. Configurations that are not installed stay so:
/// the reconcilers apply the same rules.
pub async fn publish(client: &kube::Client, bundle_pem: &str) -> Result<(), kube::Error> {
    let bundle = Some(ByteString(bundle_pem.as_bytes().to_vec()));
    let validating: Api<ValidatingWebhookConfiguration> = Api::all(client.clone());
    if let Some(mut found) = validating.get_opt(NAME).await? {
        let before = found.clone();
        for webhook in found.webhooks.iter_mut().flatten() {
            webhook.client_config.ca_bundle.clone_from(&bundle);
        }
        if found != before {
            ignore_conflict(validating.replace(NAME, &PostParams::default(), &found).await)?;
        }
    }
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    if let Some(mut found) = mutating.get_opt(NAME).await? {
        let before = found.clone();
        for webhook in found.webhooks.iter_mut().flatten() {
            webhook.client_config.ca_bundle.clone_from(&bundle);
        }
        if found != before {
            ignore_conflict(mutating.replace(NAME, &PostParams::default(), &found).await)?;
        }
    }
    Ok(())
}

/// Another replica writes the same.
fn ignore_conflict<K>(written: Result<K, kube::Error>) -> Result<(), kube::Error> {
    match written {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}
