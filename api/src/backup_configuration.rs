//! BackupConfiguration: what is backed up, where to, and when.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::addon_info::AddonInfo;
use crate::backup_storage::BackupStoragePhase;
use crate::condition::Condition;
use crate::deletion::RepositoryDeletionPolicy;
use crate::hook::BackupHooks;
use crate::reference::{ObjectReference, ResourceFoundStatus, TypedObjectReference};
use crate::repository::RepositoryPhase;
use crate::resource::resource;
use crate::scheduler::{RetryConfig, SchedulerSpec};

resource! {
    /// What is backed up, where to, and when.
    BackupConfiguration {
        group: "core.kubestash.com", plural: "backupconfigurations", scope: Namespaced,
        spec: BackupConfigurationSpec, status: BackupConfigurationStatus
    }
}

/// What is backed up, where to, and when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupConfigurationSpec {
    /// The application; may be in another namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<TypedObjectReference>,
    /// Where the data may go; the default BackupStorage when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<BackendReference>,
    /// The backups to take, each with its own schedule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<Session>,
    /// Whether no session is started and running ones are stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

/// A storage under a name, with its retention.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendReference {
    /// Name of the backend, for `repositories[].backend`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The BackupStorage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_ref: Option<ObjectReference>,
    /// The RetentionPolicy; the default one when empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_policy: Option<ObjectReference>,
}

/// One backup to take again and again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Name of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Hooks before and after the backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<BackupHooks>,
    /// When the session runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<SchedulerSpec>,
    /// What happens when the session fails; without it, nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_config: Option<RetryConfig>,
    /// How long a session may take once it runs, such as `2h`; none means as long as it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_timeout: Option<String>,
    /// How many completed sessions are kept.
    #[schemars(extend("default" = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_history_limit: Option<i32>,
    /// How the application is backed up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addon: Option<AddonInfo>,
    /// Repositories the backup goes to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<RepositoryReference>,
}

/// A Repository that a session creates and uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryReference {
    /// Name of the Repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Backend that holds it; the default one when empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Directory in the storage; no other repository may use it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Secret with the password, under RESTIC_PASSWORD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_secret: Option<ObjectReference>,
    /// What happens to the Repository when this configuration is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<RepositoryDeletionPolicy>,
    /// BackupVerifier that verifies the backups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_verifier: Option<ObjectReference>,
}

/// What is known of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupConfigurationStatus {
    /// Whether backups can run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<InvokerPhase>,
    /// Whether the target exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_found: Option<bool>,
    /// Whether the objects that this one needs exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<ResourceFoundStatus>,
    /// The backends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<BackendStatus>,
    /// The repositories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<RepositoryStatus>,
    /// The sessions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<SessionStatus>,
    /// What holds for the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// Whether backups can run.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum InvokerPhase {
    /// Something is missing.
    NotReady,
    /// They can.
    Ready,
    /// The spec is wrong.
    Invalid,
}

/// Whether a backend can be used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackendStatus {
    /// Name of the backend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether the storage is ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<bool>,
    /// The BackupStorage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageStatus>,
    /// The RetentionPolicy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_policy: Option<RetentionPolicyStatus>,
}

/// Whether a storage can be used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StorageStatus {
    /// The BackupStorage.
    #[serde(rename = "ref")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ref_: Option<ObjectReference>,
    /// Ready or NotReady.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<BackupStoragePhase>,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether a policy exists.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionPolicyStatus {
    /// The RetentionPolicy.
    #[serde(rename = "ref")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ref_: Option<ObjectReference>,
    /// Whether it exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<bool>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether a repository can be used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepositoryStatus {
    /// Name of the Repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether it can be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<RepositoryPhase>,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether its backups are verified on a schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification_configured: Option<bool>,
}

/// What is known of a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionStatus {
    /// Name of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it runs next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_schedule: Option<String>,
    /// What holds for the session.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
