//! Which addon runs, with which tasks and settings.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvVar, VolumeMount};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::offshoot::volume::{
    PersistentVolumeClaim, PersistentVolumeClaimTemplate, Volume, VolumeSource,
};
use crate::offshoot::{ContainerRuntimeSettings, PodTemplateSpec};
use crate::schema;

/// Which addon runs, with which tasks and settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddonInfo {
    /// Name of the Addon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Tasks of the Addon to run; each yields components of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskReference>,
    /// Settings of the container that does the work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_runtime_settings: Option<ContainerRuntimeSettings>,
    /// The pod that does the work, where one is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_template: Option<PodTemplateSpec>,
}

/// A task of an addon, with its parameters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskReference {
    /// Name of the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Variables that the Addon's and Function's templates may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<EnvVar>,
    /// Values of the parameters that the task declares.
    #[schemars(schema_with = "schema::free_form")]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Value>,
    /// Volumes of the application to use instead of those it mounts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_volumes: Option<TargetVolumes>,
    /// Sources that replace those of the Addon's own volumes, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addon_volumes: Vec<AddonVolume>,
}

/// Volumes of the application that a task works on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetVolumes {
    /// Volumes of the pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// Where they are mounted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<VolumeMount>,
    /// Claims to create and restore into.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume_claim_templates: Vec<PersistentVolumeClaim>,
}

/// A volume that the addon itself needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddonVolume {
    /// Name of the volume, as the Addon declares it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where its space comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<AddonVolumeSource>,
}

/// Where an addon's volume comes from: at most one field is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddonVolumeSource {
    /// One of Kubernetes' sources.
    #[serde(flatten)]
    pub source: VolumeSource,
    /// A claim to create for the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_claim_template: Option<PersistentVolumeClaimTemplate>,
}
