//! Function: the container that does a task's work.

use k8s_openapi::api::core::v1::{ContainerPort, VolumeDevice, VolumeMount};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::offshoot::ContainerRuntimeSettings;
use crate::resource::resource;

resource! {
    /// The container that does a task's work; any string in it may hold `${name:=default}`.
    Function { group: "addons.kubestash.com", plural: "functions", scope: Cluster, spec: FunctionSpec }
}

/// The container that does a task's work.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FunctionSpec {
    /// Image of the container; may hold `${DB_VERSION}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Versions that `${DB_VERSION}` may become: the nearest one is taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub available_versions: Vec<String>,
    /// Program to run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Arguments of the program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Directory to run in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Ports of the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<ContainerPort>,
    /// Mounts of the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<VolumeMount>,
    /// Block devices of the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume_devices: Vec<VolumeDevice>,
    /// Settings of the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_settings: Option<ContainerRuntimeSettings>,
}
