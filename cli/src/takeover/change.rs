//! What is changed, each with a note of what was there before.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::CronJob;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use serde_json::json;

use super::asked;
use super::found::{Name, WebhookKind, Webhooks, pages};
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
    kept.types = Some(webhooks.kind.types());
    kept.metadata = ObjectMeta {
        name: kept.metadata.name,
        labels: kept.metadata.labels,
        annotations: kept.metadata.annotations,
        ..ObjectMeta::default()
    };
    let key = format!("{}.{}", webhooks.kind.name(), webhooks.name);
    let problem = || format!("{} {} cannot be kept in ConfigMap {namespace}/{KEPT}", webhooks.kind.name(), webhooks.name);
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let text = serde_json::to_string(&kept).map_err(|error| Failure::new(format!("{}: {error}", problem())))?;
    let empty = ConfigMap { metadata: ObjectMeta { name: Some(KEPT.to_owned()), ..ObjectMeta::default() }, ..ConfigMap::default() };
    match maps.create(&PostParams::default(), &empty).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => {}
        other => _ = other.map_err(asked(problem()))?,
    }
    maps.patch(KEPT, &PatchParams::default(), &Patch::Merge(json!({"data": {key: text}}))).await.map_err(asked(problem()))?;
    let removed = webhooks.kind.all(client).delete(&webhooks.name, &DeleteParams::default()).await;
    removed.map_err(asked(format!("{} {} cannot be removed", webhooks.kind.name(), webhooks.name)))?;
    Ok(())
}

/// Brings back the webhooks that were kept, and forgets them; their names.
pub(super) async fn bring_back(client: &Client, namespace: &str) -> Result<Vec<String>, Failure> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let kept = maps.get_opt(KEPT).await.map_err(asked(format!("ConfigMap {namespace}/{KEPT} cannot be read")))?;
    let Some(kept) = kept else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for (key, text) in kept.data.unwrap_or_default() {
        let kinds = [WebhookKind::Mutating, WebhookKind::Validating];
        let Some(kind) = kinds.into_iter().find(|kind| key.starts_with(kind.name())) else { continue };
        let object: DynamicObject =
            serde_json::from_str(&text).map_err(|error| Failure::new(format!("what was kept as {key} cannot be read: {error}")))?;
        match kind.all(client).create(&PostParams::default(), &object).await {
            // KubeStash's chart was installed again meanwhile.
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            other => _ = other.map_err(asked(format!("{key} cannot be made again")))?,
        }
        names.push(key);
    }
    maps.delete(KEPT, &Default::default()).await.map_err(asked(format!("ConfigMap {namespace}/{KEPT} cannot be removed")))?;
    Ok(names)
}

/// Names of sessions and restores of Holdfast that run.
pub(super) async fn running_sessions(client: &Client) -> Result<Vec<String>, Failure> {
    let mut running = Vec::new();
    for (kind, plural) in [("BackupSession", "backupsessions"), ("RestoreSession", "restoresessions")] {
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("core.kubestash.com", "v1alpha1", kind), plural);
        let all: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let runs = |object: DynamicObject| (object.data["status"]["phase"] == "Running").then(|| format!("{kind} {}", Name::of(&object.metadata)));
        running.extend(pages(all, &format!("the {kind}s cannot be listed"), runs).await?);
    }
    Ok(running)
}
