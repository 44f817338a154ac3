//! BackupSession: one run of one session.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::hook::HookStatus;
use crate::reference::{ObjectReference, TypedLocalObjectReference, TypedObjectReference};
use crate::resource::resource;
use crate::snapshot::SnapshotPhase;

resource! {
    /// One run of one session.
    BackupSession {
        group: "core.kubestash.com", plural: "backupsessions", scope: Namespaced,
        spec: BackupSessionSpec, status: BackupSessionStatus
    }
}

/// What runs. It cannot change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupSessionSpec {
    /// The BackupConfiguration or BackupBatch, in the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invoker: Option<TypedLocalObjectReference>,
    /// Name of the session in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// How many more sessions are tried if this one fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_left: Option<i32>,
    /// How long the session may take once it runs, such as `2h`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_timeout: Option<String>,
}

/// How a session goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupSessionStatus {
    /// How it went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<BackupSessionPhase>,
    /// How long it took, such as `10.595s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// When it is stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_deadline: Option<Time>,
    /// How many snapshots there will be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_snapshots: Option<i32>,
    /// The snapshots, one in each repository.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<SnapshotStatus>,
    /// How the hooks went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<HookStatus>,
    /// How the retention of each repository went.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retention_policy: Vec<RetentionPolicyApplyStatus>,
    /// Whether another session was started because this one failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retried: Option<bool>,
    /// When that session starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_retry: Option<Time>,
    /// What holds for the session.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// How a backup session went.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum BackupSessionPhase {
    /// It has not begun.
    Pending,
    /// It is under way.
    Running,
    /// All of it succeeded.
    Succeeded,
    /// Some of it failed.
    Failed,
    /// It did not run, on purpose.
    Skipped,
}

/// A snapshot of a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotStatus {
    /// Name of the Snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How it went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<SnapshotPhase>,
    /// The application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_ref: Option<TypedObjectReference>,
    /// Name of the Repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
}

/// How the retention of a repository went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionPolicyApplyStatus {
    /// The RetentionPolicy.
    #[serde(rename = "ref")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ref_: Option<ObjectReference>,
    /// Name of the Repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// How it went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<RetentionPolicyPhase>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a retention run went.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum RetentionPolicyPhase {
    /// It has not run.
    Pending,
    /// It ran.
    Applied,
    /// It failed.
    FailedToApply,
}
