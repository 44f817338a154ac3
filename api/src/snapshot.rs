//! Snapshot: one application's data at one time, in one repository.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::deletion::DeletionPolicy;
use crate::driver::Driver;
use crate::reference::TypedObjectReference;
use crate::resource::resource;

pub mod stats;
mod totals;

use stats::{
    ClickHouseStats, LogStats, MedusaStats, Neo4jStats, ResticStats, SolrStats,
    VolumeSnapshotterStats, WalGStats,
};

resource! {
    /// One application's data at one time, in one repository.
    Snapshot {
        group: "storage.kubestash.com", plural: "snapshots", scope: Namespaced,
        spec: SnapshotSpec, status: SnapshotStatus
    }
}

/// What a snapshot is of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotSpec {
    /// Identifier of the snapshot, a ULID.
    #[serde(rename = "snapshotID", skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<String>,
    /// FullBackup or IncrementalBackup.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub type_: Option<String>,
    /// Name of the Repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// Name of the session in its configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Name of the BackupSession.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_session: Option<String>,
    /// Version of the layout in the storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app_ref: Option<TypedObjectReference>,
    /// Delete drops the object and keeps the data; WipeOut removes the data too.
    #[schemars(extend("default" = "Delete"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// Whether the snapshot is left alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

/// How a snapshot went, and what it holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotStatus {
    /// How it went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<SnapshotPhase>,
    /// Whether its data has been verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification_status: Option<VerificationStatus>,
    /// Session that verified it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification_session: Option<String>,
    /// When it was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_time: Option<Time>,
    /// When this status last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_update_time: Option<Time>,
    /// Size of the stored data, such as `12.222 MiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Whether the last check found everything whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integrity: Option<bool>,
    /// How many components there will be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_components: Option<i32>,
    /// The components, by name.
    #[schemars(extend("x-kubernetes-map-type" = "granular"))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<String, Component>,
    /// What holds for the snapshot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// How a snapshot went.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum SnapshotPhase {
    /// It has not begun.
    Pending,
    /// It is under way.
    Running,
    /// It is complete.
    Succeeded,
    /// It is not complete and will not be.
    Failed,
}

/// How a component went.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum ComponentPhase {
    /// It has not begun.
    Pending,
    /// It is under way.
    Running,
    /// It is complete.
    Succeeded,
    /// It is not complete and will not be.
    Failed,
}

/// Whether a snapshot's data has been verified.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum VerificationStatus {
    /// It has, and is good.
    Verified,
    /// It has not.
    NotVerified,
    /// It has, and is not good.
    VerificationFailed,
}

/// One part of a snapshot: what one worker stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Component {
    /// Directory of the component below the repository's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How it went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<ComponentPhase>,
    /// Size of the stored data, such as `12.222 MiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// How long it took, such as `10.595s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Whether the last check found everything whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub integrity: Option<bool>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How the data is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    /// One entry for each path that was backed up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restic_stats: Vec<ResticStats>,
    /// Results of WAL-G.
    #[serde(rename = "walGStats", skip_serializing_if = "Option::is_none")]
    pub wal_g_stats: Option<WalGStats>,
    /// One entry for each volume that was snapshotted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume_snapshotter_stats: Vec<VolumeSnapshotterStats>,
    /// Results of Solr.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub solr_stats: Vec<SolrStats>,
    /// Results of Medusa.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub medusa_stats: Option<MedusaStats>,
    /// Results of clickhouse-backup.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub click_house_stats: Vec<ClickHouseStats>,
    /// Results of neo4j-admin.
    #[serde(rename = "neo4jStats", default, skip_serializing_if = "Vec::is_empty")]
    pub neo4j_stats: Vec<Neo4jStats>,
    /// What is known of archived logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_stats: Option<LogStats>,
}
