//! HookTemplate: an action that hooks can name.

use k8s_openapi::api::core::v1::{EnvVar, VolumeMount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::addon::ParameterDefinition;
use crate::handler::Handler;
use crate::offshoot::volume::Volume;
use crate::resource::resource;
use crate::usage_policy::UsagePolicy;

resource! {
    /// An action that hooks can name.
    HookTemplate { group: "core.kubestash.com", plural: "hooktemplates", scope: Namespaced, spec: HookTemplateSpec }
}

/// What a hook does, and where.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookTemplateSpec {
    /// Who may use this template from another namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_policy: Option<UsagePolicy>,
    /// Parameters that a hook may set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<ParameterDefinition>,
    /// What to do: one of exec, httpGet, httpPost, tcpSocket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Handler>,
    /// Where it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executor: Option<HookExecutor>,
}

/// Where a hook's action runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookExecutor {
    /// In a Function's Job, in a pod of the application, or in the controller.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<HookExecutorType>,
    /// The Function's Job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<FunctionHookExecutor>,
    /// The pod of the application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodHookExecutor>,
}

/// Where a hook's action runs.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum HookExecutorType {
    /// In a Job made from a Function.
    Function,
    /// In a pod of the application.
    Pod,
    /// In the controller.
    Operator,
}

/// The Job that a hook makes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FunctionHookExecutor {
    /// Name of the Function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Environment variables of the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<EnvVar>,
    /// Mounts of the container.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume_mounts: Vec<VolumeMount>,
    /// Volumes of the pod.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
}

/// The pods a hook runs in.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodHookExecutor {
    /// Labels of the pods, as `key=value,key=value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Owner of the pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerReference>,
    /// In one pod, or in all.
    #[schemars(extend("default" = "ExecuteOnOne"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<PodHookStrategy>,
}

/// How many pods a hook runs in.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum PodHookStrategy {
    /// One.
    ExecuteOnOne,
    /// All.
    ExecuteOnAll,
}
