//! Addon: how an application is backed up and restored.

use k8s_openapi::api::core::v1::VolumeMount;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::addon_info::AddonVolumeSource;
use crate::driver::Driver;
use crate::resource::resource;
use crate::schema;

pub mod parameters;
pub mod tasks;

resource! {
    /// How a kind of application is backed up and restored.
    Addon { group: "addons.kubestash.com", plural: "addons", scope: Cluster, spec: AddonSpec }
}

/// Tasks that back up and restore a kind of application.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddonSpec {
    /// Tasks that back up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backup_tasks: Vec<Task>,
    /// Tasks that restore.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restore_tasks: Vec<Task>,
}

/// One way to back up or restore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Task {
    /// Name of the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Function that does the work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// How the data is stored.
    #[schemars(schema_with = "schema::plain_string")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    /// What kind of worker does the work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executor: Option<TaskExecutor>,
    /// One worker for the whole target, not one for each pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub singleton: Option<bool>,
    /// Parameters that a user may set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<ParameterDefinition>,
    /// Volumes that the worker needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume_template: Vec<VolumeTemplate>,
    /// Where they are mounted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<VolumeMount>,
}

/// What kind of worker does a task.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum TaskExecutor {
    /// A Job.
    Job,
    /// A sidecar of the application.
    Sidecar,
    /// An ephemeral container of the application's pod.
    EphemeralContainer,
    /// Jobs in steps.
    MultiLevelJob,
}

/// A parameter that a user may set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParameterDefinition {
    /// Name of the parameter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
    /// Whether a value must be given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
    /// The value when none is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

/// A volume that a task's worker needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeTemplate {
    /// Name of the volume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
    /// Where its space comes from; may hold variables such as `${PVC_NAME}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<AddonVolumeSource>,
}
