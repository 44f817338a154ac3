//! BackupBatch: applications that are backed up together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::addon_info::AddonInfo;
use crate::backup_configuration::{
    BackendReference, BackendStatus, InvokerPhase, RepositoryReference, RepositoryStatus,
    SessionStatus,
};
use crate::condition::Condition;
use crate::hook::BackupHooks;
use crate::reference::{ResourceFoundStatus, TypedObjectReference};
use crate::resource::resource;
use crate::scheduler::{RetryConfig, SchedulerSpec};

resource! {
    /// Applications that are backed up together.
    BackupBatch {
        group: "core.kubestash.com", plural: "backupbatches", scope: Namespaced,
        spec: BackupBatchSpec, status: BackupBatchStatus
    }
}

/// Which applications are backed up together, where to, and when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupBatchSpec {
    /// The applications.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetReference>,
    /// Where the data may go; the default BackupStorage when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<BackendReference>,
    /// The backups to take, each with its own schedule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<BatchSession>,
    /// Whether no session is started and running ones are stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

/// An application under a name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetReference {
    /// Name of the target, for `sessions[].targets[].name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_ref: Option<TypedObjectReference>,
}

/// One backup of all targets to take again and again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchSession {
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
    /// How each application is backed up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetSession>,
}

/// How one application of a batch is backed up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetSession {
    /// Name of the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How the application is backed up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addon: Option<AddonInfo>,
    /// Repositories the backup goes to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<RepositoryReference>,
}

/// What is known of a batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupBatchStatus {
    /// Whether backups can run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<InvokerPhase>,
    /// Whether the targets exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<ResourceFoundStatus>,
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
    /// What holds for the batch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}
