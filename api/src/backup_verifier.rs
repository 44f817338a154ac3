//! BackupVerifier: how backups are tried out.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::VolumeMount;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::addon_info::AddonInfo;
use crate::offshoot::RuntimeSettings;
use crate::offshoot::volume::Volume;
use crate::reference::TypedObjectReference;
use crate::resource::resource;
use crate::scheduler::{RetryConfig, SchedulerSpec};
use crate::schema;

resource! {
    /// How backups are tried out.
    BackupVerifier {
        group: "core.kubestash.com", plural: "backupverifier", scope: Namespaced, spec: BackupVerifierSpec
    }
}

/// How backups are tried out, and when.
// Boxed: its parts hold pods' templates, which whole and in one another would not fit the stack of a thread that reads a list of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupVerifierSpec {
    /// Where and how the backup is restored for the check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_option: Option<Box<RestoreOption>>,
    /// When backups are tried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Box<SchedulerSpec>>,
    /// Function that does the check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Volumes of the check's pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// Mounts of the check's container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<VolumeMount>,
    /// What is checked: only that the restore succeeds, queries, or a script.
    #[serde(rename = "type")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub type_: Option<VerificationType>,
    /// The queries, by database.
    #[schemars(schema_with = "schema::free_form")]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, Value>,
    /// The script.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub script: Option<ScriptVerifier>,
    /// What happens when a check fails; without it, nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_config: Option<RetryConfig>,
    /// How many completed checks are kept.
    #[schemars(extend("default" = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_history_limit: Option<i32>,
    /// Settings of the check's pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_settings: Option<Box<RuntimeSettings>>,
}

/// Where and how a backup is restored for the check.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreOption {
    /// Where the backup is restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<TypedObjectReference>,
    /// How the backup is restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addon_info: Option<AddonInfo>,
}

/// What is checked.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum VerificationType {
    /// That the restore succeeds.
    RestoreOnly,
    /// What queries find.
    Query,
    /// What a script says.
    Script,
}

/// A script that checks restored data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScriptVerifier {
    /// Path of the script in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
}
