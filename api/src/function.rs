//! Function: the container that does a task's work.

use k8s_openapi::api::core::v1::{ContainerPort, VolumeDevice, VolumeMount};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::offshoot::ContainerRuntimeSettings;
use crate::resource::resource;

pub mod pod;
mod settings;
pub mod variables;
mod version;

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

/// Annotation on a Function: the work of our agents that it stands for.
pub const AGENT_TASK: &str = "holdfast.dev/agent-task";

/// Work that our agents do, without a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AgentTask {
    /// Backing up files of volumes.
    Backup,
    /// Bringing files back into volumes.
    Restore,
}

/// KubeStash's own functions for files: its catalog serves as it stands, whatever image it names.
const KUBESTASH_FUNCTIONS: [(&str, AgentTask); 4] = [
    ("pvc-backup", AgentTask::Backup),
    ("workload-backup", AgentTask::Backup),
    ("pvc-restore", AgentTask::Restore),
    ("workload-restore", AgentTask::Restore),
];

impl Function {
    /// The work of our agents that this function stands for: by its annotation, else by a name of KubeStash's catalog.
    ///
    /// None for work that agents of this version do not do.
    pub fn agent_task(&self) -> Option<AgentTask> {
        let annotations = self.metadata.annotations.as_ref();
        match annotations
            .and_then(|annotations| annotations.get(AGENT_TASK))
            .map(String::as_str)
        {
            Some("backup") => Some(AgentTask::Backup),
            Some("restore") => Some(AgentTask::Restore),
            Some(_) => None,
            None => {
                let name = self.metadata.name.as_deref()?;
                KUBESTASH_FUNCTIONS
                    .into_iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, task)| task)
            }
        }
    }
}
