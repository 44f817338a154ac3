//! The YAML views that KubeStash keeps beside the data. They can be rebuilt at any time; nothing is decided by them.

use std::sync::Arc;

use holdfast_api::{Repository, Snapshot};
use holdfast_proto::v1::View;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::json;

/// Of the list in `metadata.yaml`: an agent writes no view beyond 1 MiB.
const LISTED_BYTES_MAX: usize = 896 * 1024;
/// Around the three texts of an entry.
const ENTRY_BYTES: usize = 64;

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
    // No Repository must fail for want of a view: what is in a storage is found by its folders, not by this list.
    let mut bytes = 0;
    let fits = listed.iter().take_while(|(namespace, name, path)| {
        bytes += namespace.len() + name.len() + path.len() + ENTRY_BYTES;
        bytes <= LISTED_BYTES_MAX
    });
    let fits = fits.count();
    listed.truncate(fits);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_a_storage_stays_a_view() {
        let repository = |number: usize| {
            let name = format!("{number:05}-{}", "n".repeat(240));
            let value = json!({"metadata": {"name": name, "namespace": "s".repeat(63)}, "spec": {"path": format!("/teams/{name}")}});
            Arc::new(serde_json::from_value::<Repository>(value).unwrap())
        };
        let all: Vec<_> = (0..10_000).map(repository).collect();
        let written = metadata(&all, Timestamp::UNIX_EPOCH).unwrap();
        assert!(written.yaml.len() < 1 << 20 && written.yaml.len() > 1 << 19, "{}", written.yaml.len());
    }
}
