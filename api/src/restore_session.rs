//! RestoreSession: data brought back.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::addon_info::AddonInfo;
use crate::condition::Condition;
use crate::hook::{HookStatus, RestoreHooks};
use crate::reference::{ObjectReference, ResourceFoundStatus, TypedObjectReference};
use crate::resource::resource;

pub mod manifest_options;

use manifest_options::ManifestRestoreOptions;

resource! {
    /// Data brought back.
    RestoreSession {
        group: "core.kubestash.com", plural: "restoresessions", scope: Namespaced,
        spec: RestoreSessionSpec, status: RestoreSessionStatus
    }
}

/// What is brought back, and where.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreSessionSpec {
    /// The application; may be in another namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<TypedObjectReference>,
    /// What is brought back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_source: Option<DataSource>,
    /// How it is brought back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addon: Option<AddonInfo>,
    /// Hooks before and after the restore.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<RestoreHooks>,
    /// How long the restore may take, such as `2h`; none means as long as it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_timeout: Option<String>,
    /// Which manifests are restored, and under which names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest_options: Option<ManifestRestoreOptions>,
}

/// A snapshot, or a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataSource {
    /// Namespace of the Repository and Snapshot; that of the RestoreSession when empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the Repository; needed for `latest` and for a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Name of the Snapshot, or `latest`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// A time instead of a snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pitr: Option<PointInTime>,
    /// Components to restore, by name; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
    /// Secret with the password, under RESTIC_PASSWORD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption_secret: Option<ObjectReference>,
}

/// The newest snapshot up to a time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PointInTime {
    /// The time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_time: Option<Time>,
    /// Whether a snapshot of exactly that time is too new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclusive: Option<bool>,
}

/// How a restore goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreSessionStatus {
    /// How it went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<RestorePhase>,
    /// Whether the target exists.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_found: Option<bool>,
    /// How long it took, such as `10.595s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// When it is stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_deadline: Option<Time>,
    /// How many components there will be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_components: Option<i32>,
    /// The components, by name.
    #[schemars(extend("x-kubernetes-map-type" = "granular"))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<String, ComponentRestoreStatus>,
    /// How the hooks went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hooks: Option<HookStatus>,
    /// Whether the objects that this one needs exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<ResourceFoundStatus>,
    /// Configurations of the same target that wait until the restore ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paused_backups: Vec<TypedObjectReference>,
    /// What holds for the restore.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// How a restore went.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum RestorePhase {
    /// It has not begun.
    Pending,
    /// It is under way.
    Running,
    /// Some of it failed.
    Failed,
    /// All of it succeeded.
    Succeeded,
    /// The spec is wrong.
    Invalid,
    /// Nobody can tell.
    Unknown,
}

/// How the restore of a component goes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentRestoreStatus {
    /// How it went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<RestorePhase>,
    /// How long it took, such as `10.595s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How far it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<RestoreProgress>,
}

/// How far a restore is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreProgress {
    /// Seconds since it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_elapsed: Option<i64>,
    /// Share of the data that is done, such as `42.10%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent_done: Option<String>,
    /// Files that are done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files_done: Option<i64>,
    /// Files in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_files: Option<i64>,
    /// Data that is done, such as `12.222 MiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_done: Option<String>,
    /// Data in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<String>,
    /// Data in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<String>,
    /// Seconds that the rest takes at the pace so far; ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<i64>,
}
