//! BackupBlueprint: configurations made from annotations on applications.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backup_configuration::{BackendReference, Session};
use crate::resource::resource;
use crate::usage_policy::UsagePolicy;

resource! {
    /// Configurations made from annotations on applications.
    BackupBlueprint {
        group: "core.kubestash.com", plural: "backupblueprints", scope: Namespaced, spec: BackupBlueprintSpec
    }
}

/// Which configurations are made, for whom.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupBlueprintSpec {
    /// Who may use this blueprint from another namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_policy: Option<UsagePolicy>,
    /// The configuration; its strings may hold `${variable}`, from the application's annotations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_configuration_template: Option<BackupConfigurationTemplate>,
    /// Kinds of application that may ask for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<Subject>,
}

/// A configuration to make.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupConfigurationTemplate {
    /// Namespace of the configuration; that of the blueprint when empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Where the data may go; the default BackupStorage when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backends: Vec<BackendReference>,
    /// The backups to take, each with its own schedule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<Session>,
    /// OnDelete removes the configurations with the blueprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<BlueprintDeletionPolicy>,
}

/// What happens to the configurations when the blueprint is deleted.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum BlueprintDeletionPolicy {
    /// They go too.
    OnDelete,
}

/// A kind of object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// API version of the kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// The kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}
