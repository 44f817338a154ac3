//! What is changed, each with a note of what was there before.

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::asked;
use super::found::{Name, WebhookKind, Webhooks};
use crate::outcome::Failure;

/// On a Deployment that was scaled to nothing: how many there were.
const REPLICAS: &str = "holdfast.dev/replicas";
/// On a CronJob that was suspended by us.
const SUSPENDED: &str = "holdfast.dev/suspended";
/// The ConfigMap with KubeStash's webhooks.
pub(super) const KEPT: &str = "holdfast-takeover";

fn deployments(client: &Client, name: &Name) -> Api<Deployment> {
    Api::namespaced(client.clone(), &name.namespace)
}

fn cron_jobs(client: &Client, name: &Name) -> Api<CronJob> {
    Api::namespaced(client.clone(), &name.namespace)
}

pub(super) async fn scale_down(client: &Client, name: &Name, replicas: i32) -> Result<(), Failure> {
    let patch = json!({"metadata": {"annotations": {REPLICAS: replicas.to_string()}}, "spec": {"replicas": 0}});
    let patched = deployments(client, name).patch(&name.name, &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map_err(asked(format!("Deployment {name} cannot be scaled")))?;
    Ok(())
}

/// The same for one that may not be there, or is at nothing already.
pub(super) async fn scale_down_if_there(client: &Client, name: &Name) -> Result<(), Failure> {
    let found = deployments(client, name).get_opt(&name.name).await.map_err(asked(format!("Deployment {name} cannot be read")))?;
    let replicas = found.and_then(|deployment| deployment.spec).map_or(0, |spec| spec.replicas.unwrap_or(1));
    if replicas > 0 {
        scale_down(client, name, replicas).await?;
        println!("scaled to nothing: Deployment {name}");
    }
    Ok(())
}

/// Scales a Deployment up again that was scaled to nothing here; whether it was.
pub(super) async fn scale_back(client: &Client, name: &Name) -> Result<bool, Failure> {
    let found = deployments(client, name).get_opt(&name.name).await.map_err(asked(format!("Deployment {name} cannot be read")))?;
    let annotations = found.and_then(|deployment| deployment.metadata.annotations).unwrap_or_default();
    let Some(replicas) = annotations.get(REPLICAS).and_then(|replicas| replicas.parse::<u16>().ok()) else { return Ok(false) };
    let patch = json!({"metadata": {"annotations": {REPLICAS: null}}, "spec": {"replicas": replicas}});
    let patched = deployments(client, name).patch(&name.name, &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map_err(asked(format!("Deployment {name} cannot be scaled")))?;
    Ok(true)
}

pub(super) async fn suspend(client: &Client, name: &Name) -> Result<(), Failure> {
    let patch = json!({"metadata": {"annotations": {SUSPENDED: "true"}}, "spec": {"suspend": true}});
    let patched = cron_jobs(client, name).patch(&name.name, &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map_err(asked(format!("CronJob {name} cannot be suspended")))?;
    Ok(())
}

/// Resumes a CronJob that was suspended here; whether it was.
pub(super) async fn resume(client: &Client, name: &Name) -> Result<bool, Failure> {
    let found = cron_jobs(client, name).get_opt(&name.name).await.map_err(asked(format!("CronJob {name} cannot be read")))?;
    let annotations = found.and_then(|cron_job| cron_job.metadata.annotations).unwrap_or_default();
    if !annotations.contains_key(SUSPENDED) {
        return Ok(false);
    }
    let patch = json!({"metadata": {"annotations": {SUSPENDED: null}}, "spec": {"suspend": false}});
    let patched = cron_jobs(client, name).patch(&name.name, &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map_err(asked(format!("CronJob {name} cannot be resumed")))?;
    Ok(true)
}

/// Kept first: whatever ends this in between, nothing is lost.
pub(super) async fn keep_and_remove(client: &Client, namespace: &str, webhooks: &Webhooks) -> Result<(), Failure> {
    let mut kept = webhooks.object.clone();
    if let Some(metadata) = kept.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|field, _| matches!(field.as_str(), "name" | "labels" | "annotations"));
    }
    let key = format!("{}.{}", webhooks.kind.name(), webhooks.name);
    let problem = || format!("{} {} cannot be kept in ConfigMap {namespace}/{KEPT}", webhooks.kind.name(), webhooks.name);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let empty: ConfigMap = serde_json::from_value(json!({"metadata": {"name": KEPT}})).map_err(|error| Failure::new(format!("{}: {error}", problem())))?;
    match maps.create(&PostParams::default(), &empty).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        other => _ = other.map_err(asked(problem()))?,
    }
    maps.patch(KEPT, &PatchParams::default(), &Patch::Merge(json!({"data": {key: kept.to_string()}}))).await.map_err(asked(problem()))?;
    let removed = match webhooks.kind {
        WebhookKind::Mutating => Api::<MutatingWebhookConfiguration>::all(client.clone()).delete(&webhooks.name, &Default::default()).await.map(|_| ()),
        WebhookKind::Validating => Api::<ValidatingWebhookConfiguration>::all(client.clone()).delete(&webhooks.name, &Default::default()).await.map(|_| ()),
    };
    removed.map_err(asked(format!("{} {} cannot be removed", webhooks.kind.name(), webhooks.name)))
}

/// Brings back the webhooks that were kept, and forgets them; their names.
pub(super) async fn bring_back(client: &Client, namespace: &str) -> Result<Vec<String>, Failure> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let kept = maps.get_opt(KEPT).await.map_err(asked(format!("ConfigMap {namespace}/{KEPT} cannot be read")))?;
    let Some(kept) = kept else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for (key, text) in kept.data.unwrap_or_default() {
        if key.starts_with(WebhookKind::Mutating.name()) {
            create::<MutatingWebhookConfiguration>(client, &key, &text).await?;
        } else if key.starts_with(WebhookKind::Validating.name()) {
            create::<ValidatingWebhookConfiguration>(client, &key, &text).await?;
        } else {
            continue;
        }
        names.push(key);
    }
    maps.delete(KEPT, &Default::default()).await.map_err(asked(format!("ConfigMap {namespace}/{KEPT} cannot be removed")))?;
    Ok(names)
}

async fn create<K>(client: &Client, key: &str, text: &str) -> Result<(), Failure>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::ClusterResourceScope> + Clone + DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    let object: K = serde_json::from_str(text).map_err(|error| Failure::new(format!("what was kept as {key} cannot be read: {error}")))?;
    match Api::<K>::all(client.clone()).create(&PostParams::default(), &object).await {
        // KubeStash's chart was installed again meanwhile.
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        other => other.map(|_| ()).map_err(asked(format!("{key} cannot be made again"))),
    }
}

/// Names of sessions and restores of Holdfast that run.
pub(super) async fn running_sessions(client: &Client) -> Result<Vec<String>, Failure> {
    let mut running = Vec::new();
    for (kind, plural) in [("BackupSession", "backupsessions"), ("RestoreSession", "restoresessions")] {
        let kind_of = kube::api::GroupVersionKind::gvk("core.kubestash.com", "v1alpha1", kind);
        let resource = kube::api::ApiResource::from_gvk_with_plural(&kind_of, plural);
        let all: Api<kube::api::DynamicObject> = Api::all_with(client.clone(), &resource);
        let listed = all.list(&ListParams::default()).await.map_err(asked(format!("the {kind}s cannot be listed")))?;
        running.extend(listed.into_iter().filter_map(|object| {
            let name = Name { namespace: object.metadata.namespace.clone()?, name: object.metadata.name.clone()? };
            (object.data["status"]["phase"] == "Running").then(|| format!("{kind} {name}"))
        }));
    }
    Ok(running)
}
