//! The YAML of `deploy/examples`, applied as a person would.

use anyhow::{Context as _, Result};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
    discovery::{Scope, pinned_kind},
};
use serde_json::{Value, json};

use super::{cluster::SHOP, place::Place};

macro_rules! example {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../../deploy/examples/", $name)),
        )
    };
}
macro_rules! catalog {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../../deploy/catalog/", $name)),
        )
    };
}

/// A file's name and text.
pub(super) type File = (&'static str, &'static str);

pub(super) const APPLICATIONS: File = example!("applications.yaml");
pub(super) const STORAGE: File = example!("storage.yaml");
pub(super) const BACKUPS: [File; 3] = [
    example!("backup-pvc.yaml"),
    example!("backup-deployment.yaml"),
    example!("backup-statefulset.yaml"),
];
pub(super) const RESTORES: [File; 3] = [
    example!("restore-pvc.yaml"),
    example!("restore-deployment.yaml"),
    example!("restore-statefulset.yaml"),
];
const CATALOG: [File; 3] = [
    catalog!("functions.yaml"),
    catalog!("pvc-addon.yaml"),
    catalog!("workload-addon.yaml"),
];

pub(super) const CONFIGURATIONS: [&str; 3] = ["notes-backup", "website-backup", "database-backup"];
pub(super) const RESTORE_SESSIONS: [&str; 3] =
    ["notes-restore", "website-restore", "database-restore"];

/// Applies manifests to the demo's API.
pub(super) struct Manifests {
    client: Client,
    repository: String,
}

impl Manifests {
    pub(super) fn new(client: Client, place: &Place) -> Self {
        Self {
            client,
            repository: place.repository().display().to_string(),
        }
    }

    /// What `kubectl apply -f deploy/catalog` does; the definitions of the kinds are in the API already.
    pub(super) async fn apply_definitions(&self) -> Result<()> {
        for (name, text) in CATALOG {
            self.apply_quietly(name, text).await?;
        }
        Ok(())
    }

    pub(super) async fn apply(&self, (name, text): File) -> Result<()> {
        println!("  kubectl apply -f deploy/examples/{name}");
        self.apply_quietly(name, text).await
    }

    async fn apply_quietly(&self, name: &str, text: &str) -> Result<()> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(text)
            .with_context(|| format!("deploy/examples/{name} is not YAML"))?;
        for mut document in documents.into_iter().filter(|document| !document.is_null()) {
            if document["kind"] == "BackupStorage" {
                document["spec"]["storage"]["local"]["hostPath"]["path"] = json!(self.repository);
                println!("    (storage path: {})", self.repository);
            }
            self.apply_object(document)
                .await
                .with_context(|| format!("deploy/examples/{name}"))?;
        }
        Ok(())
    }

    pub(super) async fn apply_object(&self, document: Value) -> Result<DynamicObject> {
        let object: DynamicObject = serde_json::from_value(document)?;
        let types = object
            .types
            .clone()
            .context("a document without apiVersion and kind")?;
        let (resource, capabilities) =
            pinned_kind(&self.client, &GroupVersionKind::try_from(&types)?).await?;
        let api: Api<DynamicObject> = match capabilities.scope {
            Scope::Cluster => Api::all_with(self.client.clone(), &resource),
            Scope::Namespaced => {
                let namespace = object.metadata.namespace.as_deref().unwrap_or(SHOP);
                Api::namespaced_with(self.client.clone(), namespace, &resource)
            }
        };
        let name = object.metadata.name.clone().unwrap_or_default();
        let params = PatchParams::apply("holdfast-demo");
        Ok(api.patch(&name, &params, &Patch::Apply(&object)).await?)
    }

    /// A BackupSession for each configuration, as `kubectl kubestash trigger` makes it. Returns their names.
    pub(super) async fn trigger(&self, configurations: &[impl AsRef<str>]) -> Result<Vec<String>> {
        let sessions = objects(&self.client, "core.kubestash.com", "BackupSession");
        let mut names = Vec::new();
        for configuration in configurations {
            let configuration = configuration.as_ref();
            let session = json!({
                "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupSession",
                "metadata": {"generateName": format!("{configuration}-nightly-")},
                "spec": {"invoker": {"apiGroup": "core.kubestash.com", "kind": "BackupConfiguration", "name": configuration},
                    "session": "nightly"},
            });
            let created = sessions
                .create(&PostParams::default(), &serde_json::from_value(session)?)
                .await?;
            names.push(created.metadata.name.unwrap_or_default());
        }
        Ok(names)
    }

    /// Says of every object of ours that is not as it should be what it is waiting for.
    pub(super) async fn print_troubles(&self) {
        for (group, kind) in [
            ("storage.kubestash.com", "BackupStorage"),
            ("storage.kubestash.com", "Repository"),
            ("core.kubestash.com", "BackupConfiguration"),
            ("core.kubestash.com", "BackupSession"),
            ("storage.kubestash.com", "Snapshot"),
            ("core.kubestash.com", "RestoreSession"),
        ] {
            let Ok(listed) = objects(&self.client, group, kind)
                .list(&ListParams::default())
                .await
            else {
                continue;
            };
            let settled = |object: &DynamicObject| {
                matches!(
                    object.data["status"]["phase"].as_str(),
                    Some("Ready" | "Succeeded")
                )
            };
            for object in listed.items.into_iter().filter(|object| !settled(object)) {
                let name = object.metadata.name.unwrap_or_default();
                eprintln!("{kind} {name}: {}", object.data["status"]);
            }
        }
    }
}

/// The objects of one of our kinds in the demo's namespace.
pub(super) fn objects(client: &Client, group: &str, kind: &str) -> Api<DynamicObject> {
    let known = holdfast_api::crd::KINDS
        .iter()
        .find(|known| known.kind == kind);
    let gvk = GroupVersionKind::gvk(group, "v1alpha1", kind);
    let plural = known.map_or_else(
        || format!("{}s", kind.to_lowercase()),
        |known| known.plural.to_owned(),
    );
    let resource = ApiResource::from_gvk_with_plural(&gvk, &plural);
    Api::namespaced_with(client.clone(), SHOP, &resource)
}
