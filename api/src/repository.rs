//! Repository: one application's backups in a storage.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::deletion::DeletionPolicy;
use crate::reference::{ObjectReference, TypedObjectReference};
use crate::resource::resource;
use crate::snapshot::SnapshotPhase;

resource! {
    /// One application's backups in a storage.
    Repository {
        group: "storage.kubestash.com", plural: "repositories", scope: Namespaced,
        spec: RepositorySpec, status: RepositoryStatus
    }
}

/// Where one application's backups are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepositorySpec {
    /// The application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_ref: Option<TypedObjectReference>,
    /// The storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_ref: Option<ObjectReference>,
    /// Directory of the repository in the storage. It cannot change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Delete drops the objects and keeps the data; WipeOut removes the data too.
    #[schemars(extend("default" = "Delete"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// Secret with the password, under RESTIC_PASSWORD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_secret: Option<ObjectReference>,
    /// Whether the repository is left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

/// What is known of a repository.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryStatus {
    /// Whether it can be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<RepositoryPhase>,
    /// When the last successful backup ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_backup_time: Option<Time>,
    /// Whether the last check found everything whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integrity: Option<bool>,
    /// How many snapshots there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_count: Option<i32>,
    /// Size of the stored data, such as `12.222 MiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// The last five snapshots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recent_snapshots: Vec<SnapshotInfo>,
    /// What holds for the repository.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Directories of the components below the repository's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub component_paths: Vec<String>,
}

/// Whether a repository can be used.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum RepositoryPhase {
    /// It cannot, or nobody knows yet.
    NotReady,
    /// It can.
    Ready,
}

/// A snapshot, in short.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotInfo {
    /// Name of the Snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How it went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<SnapshotPhase>,
    /// Session that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Size of the stored data, such as `12.222 MiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// When it was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_time: Option<Time>,
}
