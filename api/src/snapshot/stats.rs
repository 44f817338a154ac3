//! Numbers of each driver.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// One path that was backed up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResticStats {
    /// The result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<BackupSummary>,
    /// How far the backup is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<BackupProgress>,
}

/// The result of backing up one path.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupSummary {
    /// Identifier of the stored snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
    /// Size of the data, such as `12.222 MiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// How much was added to the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uploaded: Option<String>,
    /// When the backup began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When the backup ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<Time>,
}

/// How far a backup is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupProgress {
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
    pub backup_done: Option<String>,
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

/// Results of WAL-G.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WalGStats {
    /// Identifier of the backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Databases in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<String>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_time: Option<Time>,
}

/// One volume that was snapshotted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotterStats {
    /// Name of the claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pvc_name: Option<String>,
    /// Where the application mounts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
    /// Name of the VolumeSnapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_name: Option<String>,
    /// When it was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_snapshot_time: Option<Time>,
}

/// One collection that Solr backed up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SolrStats {
    /// Name of the collection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
    /// Number of the backup.
    #[schemars(schema_with = "schema::plain_integer")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_id: Option<i64>,
    /// Name of the backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_name: Option<String>,
    /// Where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// Files of the index.
    #[schemars(schema_with = "schema::plain_integer")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_file_count: Option<i64>,
    /// Size of the index in MB.
    #[serde(rename = "indexSizeMB", skip_serializing_if = "Option::is_none")]
    pub index_size_mb: Option<f64>,
    /// Files that were uploaded, in MB.
    #[serde(
        rename = "uploadedIndexFileMB",
        skip_serializing_if = "Option::is_none"
    )]
    pub uploaded_index_file_mb: Option<f64>,
}

/// Results of Medusa.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MedusaStats {
    /// Name of the backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_name: Option<String>,
    /// Nodes in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backup_nodes: Vec<String>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_time: Option<String>,
    /// How it went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// One host that clickhouse-backup backed up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClickHouseStats {
    /// Identifier of the backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_time: Option<Time>,
    /// How it went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// One database that neo4j-admin backed up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Neo4jStats {
    /// The file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Name of the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Identifier of the database.
    #[serde(rename = "databaseID", skip_serializing_if = "Option::is_none")]
    pub database_id: Option<String>,
    /// When it was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Whether it is a full backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full: Option<bool>,
    /// Whether it is compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compressed: Option<bool>,
    /// Whether it has been recovered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovered: Option<bool>,
    /// First transaction in it.
    #[serde(rename = "lowestTX", skip_serializing_if = "Option::is_none")]
    pub lowest_tx: Option<i64>,
    /// Last transaction in it.
    #[serde(rename = "highestTX", skip_serializing_if = "Option::is_none")]
    pub highest_tx: Option<i64>,
    /// Hash of the store's identifier.
    #[serde(rename = "storeIDHash", skip_serializing_if = "Option::is_none")]
    pub store_id_hash: Option<String>,
}

/// What is known of archived logs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogStats {
    /// First log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Last log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// Position in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lsn: Option<String>,
    /// Uploads that succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_succeeded_count: Option<i64>,
    /// Uploads that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_failed_count: Option<i64>,
    /// The last uploads that succeeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_succeeded_stats: Vec<LogRange>,
    /// The last uploads that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_failed_stats: Vec<LogRange>,
    /// The last removals of old logs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_log_retention_stats: Vec<LogRetentionStats>,
}

/// A range of archived logs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogRange {
    /// First log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Last log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A removal of old logs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogRetentionStats {
    /// When it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_execution_time: Option<String>,
    /// How many logs it removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted_log_count: Option<i64>,
    /// The period it kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_period_applied: Option<String>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
