//! The YAML views that KubeStash keeps beside the data. They can be rebuilt at any time; nothing is decided by them.

use std::sync::Arc;

use holdfast_api::{Repository, Snapshot};
use holdfast_proto::v1::View;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::json;

/// `<directory>` of a repository, without slashes around it.
pub fn directory(repository: &Repository) -> String {
    repository.spec.path.as_deref().unwrap_or_default().trim_matches('/').to_owned()
}

/// `metadata.yaml` of a storage.
pub fn metadata(repositories: &[Arc<Repository>], now: Timestamp) -> Option<View> {
    let created = repositories.iter().filter_map(|repository| repository.metadata.creation_timestamp.as_ref()).min();
    let mut listed: Vec<_> = repositories
        .iter()
        .map(|repository| {
            (
                repository.metadata.namespace.clone().unwrap_or_default(),
                repository.metadata.name.clone().unwrap_or_default(),
                directory(repository),
            )
        })
        .collect();
    listed.sort();
    let repositories: Vec<_> = listed
        .into_iter()
        .map(|(namespace, name, path)| json!({"name": name, "namespace": namespace, "path": path}))
        .collect();
    let meta = json!({
        "apiVersion": "config.kubestash.com/v1alpha1",
        "kind": "BackendMeta",
        "creationTimestamp": created.map_or(now, |time| time.0).to_string(),
        "operatorVersion": concat!("holdfast-", env!("CARGO_PKG_VERSION")),
        "repositories": repositories,
    });
    view("metadata.yaml".into(), &meta)
}

/// `repository.yaml` of a repository.
pub fn repository(repository: &Repository) -> Option<View> {
    let mut shown = repository.clone();
    shown.metadata = shown_metadata(&repository.metadata);
    view(format!("{}/repository.yaml", directory(repository)), &shown)
}

/// `snapshots/<name>.yaml` of a snapshot.
pub fn snapshot(repository: &Repository, snapshot: &Snapshot) -> Option<View> {
    let mut shown = snapshot.clone();
    shown.metadata = shown_metadata(&snapshot.metadata);
    let name = snapshot.metadata.name.as_deref().unwrap_or_default();
    view(snapshot_path(&directory(repository), name), &shown)
}

/// Where the view of a snapshot is, below the storage's prefix.
pub fn snapshot_path(directory: &str, name: &str) -> String {
    format!("{directory}/snapshots/{name}.yaml")
}

/// What means something in another cluster.
fn shown_metadata(metadata: &ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        labels: metadata.labels.clone(),
        uid: metadata.uid.clone(),
        creation_timestamp: metadata.creation_timestamp.clone(),
        ..ObjectMeta::default()
    }
}

fn view(path: String, content: &impl Serialize) -> Option<View> {
    // Through JSON: the objects' own types decide there how their fields are named and which are left out.
    let value = serde_json::to_value(content).ok()?;
    match serde_saphyr::to_string(&value) {
        Ok(yaml) => Some(View { path, yaml: yaml.into_bytes() }),
        Err(error) => {
            tracing::warn!(path, %error, "a view could not be written as YAML and is left out");
            None
        }
    }
}
