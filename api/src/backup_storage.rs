//! BackupStorage: where backups go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::deletion::DeletionPolicy;
use crate::offshoot::RuntimeSettings;
use crate::offshoot::volume::VolumeSource;
use crate::resource::resource;
use crate::usage_policy::UsagePolicy;

resource! {
    /// Where backups go: a bucket, or a volume.
    BackupStorage {
        group: "storage.kubestash.com", plural: "backupstorages", scope: Namespaced,
        spec: BackupStorageSpec, status: BackupStorageStatus
    }
}

/// A place for backups, and who may use it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupStorageSpec {
    /// Where the data goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<Backend>,
    /// Who may use this storage from another namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_policy: Option<UsagePolicy>,
    /// Whether objects that name no storage use this one; at most one in a namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<bool>,
    /// Delete drops the objects and keeps the data; WipeOut removes the data too.
    #[schemars(extend("default" = "Delete"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// Settings of the pods that work on the storage in KubeStash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_settings: Option<RuntimeSettings>,
}

/// The backend of a storage: the provider, and the field of that name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// One of local, s3, gcs and azure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// A volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<LocalBackend>,
    /// A bucket that speaks S3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Backend>,
    /// A bucket of Google Cloud Storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gcs: Option<GcsBackend>,
    /// A container of Azure Blob Storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub azure: Option<AzureBackend>,
}

/// The kinds of backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provider {
    /// A volume.
    Local,
    /// A bucket that speaks S3.
    S3,
    /// A bucket of Google Cloud Storage.
    Gcs,
    /// A container of Azure Blob Storage.
    Azure,
}

impl Provider {
    /// All providers, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Local, Self::S3, Self::Gcs, Self::Azure];

    /// The word in `spec.storage.provider`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::S3 => "s3",
            Self::Gcs => "gcs",
            Self::Azure => "azure",
        }
    }

    /// The provider of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|provider| provider.as_str() == name)
    }
}

/// A volume as a backend.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalBackend {
    /// The volume.
    #[serde(flatten)]
    pub source: VolumeSource,
    /// Where the volume is mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mount_path: Option<String>,
    /// Directory in the volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_path: Option<String>,
    /// How many requests may be under way at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<i64>,
}

/// A bucket that speaks S3.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct S3Backend {
    /// URL of the service, with its scheme.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Name of the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// Region of the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Directory in the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Secret of this namespace with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; none for an identity of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// How many requests may be under way at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<i64>,
    /// Whether the service's certificate is not checked.
    #[serde(rename = "insecureTLS", skip_serializing_if = "Option::is_none")]
    pub insecure_tls: Option<bool>,
}

/// A bucket of Google Cloud Storage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GcsBackend {
    /// Name of the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<String>,
    /// Directory in the bucket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// How many requests may be under way at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<i64>,
    /// Secret of this namespace with GOOGLE_SERVICE_ACCOUNT_JSON_KEY; none for an identity of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
}

/// A container of Azure Blob Storage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AzureBackend {
    /// Account that holds the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_account: Option<String>,
    /// Name of the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Directory in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// How many requests may be under way at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<i64>,
    /// Secret of this namespace with AZURE_ACCOUNT_KEY; none for an identity of the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
}

/// What is known of a storage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupStorageStatus {
    /// Ready or NotReady.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<BackupStoragePhase>,
    /// Size of all repositories together, such as `12.222 MiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_size: Option<String>,
    /// The repositories in this storage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<RepositoryInfo>,
    /// What holds for the storage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// Whether a storage can be used. The schema takes any word here; one that we do not know is as good as NotReady.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(from = "String")]
pub enum BackupStoragePhase {
    /// It can.
    Ready,
    /// It cannot, or nobody knows yet.
    NotReady,
}

impl From<String> for BackupStoragePhase {
    fn from(word: String) -> Self {
        if word == "Ready" {
            Self::Ready
        } else {
            Self::NotReady
        }
    }
}

/// A repository in a storage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryInfo {
    /// Name of the Repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Namespace of the Repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Directory of the repository in the storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Size of the repository, such as `12.222 MiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Whether the cluster's objects match what the storage holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synced: Option<bool>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
