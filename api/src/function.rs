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
    /// Storing the manifests of a workload.
    ManifestBackup,
    /// Making a workload's objects of its manifests.
    ManifestRestore,
    /// Storing manifests of the cluster.
    ClusterManifestBackup,
    /// Making objects of manifests of the cluster.
    ClusterManifestRestore,
}

/// What the annotation may say.
const AGENT_TASKS: [(&str, AgentTask); 6] = [
    ("backup", AgentTask::Backup),
    ("restore", AgentTask::Restore),
    ("manifest-backup", AgentTask::ManifestBackup),
    ("manifest-restore", AgentTask::ManifestRestore),
    ("cluster-manifest-backup", AgentTask::ClusterManifestBackup),
    ("cluster-manifest-restore", AgentTask::ClusterManifestRestore),
];

/// KubeStash's own functions for files and manifests: its catalog serves as it stands, whatever image it names.
const KUBESTASH_FUNCTIONS: [(&str, AgentTask); 8] = [
    ("pvc-backup", AgentTask::Backup),
    ("workload-backup", AgentTask::Backup),
    ("pvc-restore", AgentTask::Restore),
    ("workload-restore", AgentTask::Restore),
    ("manifest-backup", AgentTask::ManifestBackup),
    ("manifest-restore", AgentTask::ManifestRestore),
    ("kubedump-backup", AgentTask::ClusterManifestBackup),
    ("kubedump-restore", AgentTask::ClusterManifestRestore),
];

impl Function {
    /// The work of our agents that this function stands for: by its annotation, else by a name of KubeStash's catalog.
    ///
    /// None for work that agents of this version do not do.
    pub fn agent_task(&self) -> Option<AgentTask> {
        let annotations = self.metadata.annotations.as_ref();
        let annotated = annotations.and_then(|annotations| annotations.get(AGENT_TASK));
        let (known, name) = match annotated {
            Some(named) => (AGENT_TASKS.as_slice(), named),
            None => (KUBESTASH_FUNCTIONS.as_slice(), self.metadata.name.as_ref()?),
        };
        known
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, task)| *task)
    }
}

impl AgentTask {
    /// Whether it is about manifests, and not about volumes.
    pub fn is_of_manifests(self) -> bool {
        !matches!(self, Self::Backup | Self::Restore)
    }

    /// Whether it backs up.
    pub fn is_backup(self) -> bool {
        matches!(
            self,
            Self::Backup | Self::ManifestBackup | Self::ClusterManifestBackup
        )
    }

    /// Whether it needs no target.
    pub fn is_of_the_cluster(self) -> bool {
        matches!(
            self,
            Self::ClusterManifestBackup | Self::ClusterManifestRestore
        )
    }
}
