//! BackupVerificationSession: one try of one backup.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::reference::TypedLocalObjectReference;
use crate::resource::resource;

resource! {
    /// One try of one backup.
    BackupVerificationSession {
        group: "core.kubestash.com", plural: "backupverificationsession", scope: Namespaced,
        spec: BackupVerificationSessionSpec, status: BackupVerificationSessionStatus
    }
}

/// Which backup is tried. It cannot change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupVerificationSessionSpec {
    /// The BackupConfiguration or BackupBatch, in the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invoker: Option<TypedLocalObjectReference>,
    /// Name of the session in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Name of the Repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Name of the Snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// How many more sessions are tried if this one fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_left: Option<i32>,
}

/// How a try goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupVerificationSessionStatus {
    /// How it went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<BackupVerificationSessionPhase>,
    /// How long it took, such as `10.595s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Whether another session was started because this one failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retried: Option<bool>,
    /// What holds for the session.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// How a try went.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum BackupVerificationSessionPhase {
    /// It is under way.
    Running,
    /// The backup is good.
    Succeeded,
    /// The backup is not good, or nobody could tell.
    Failed,
    /// It did not run, on purpose.
    Skipped,
}
