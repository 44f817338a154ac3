//! Which manifests of a database a restore brings back, and under which names.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reference::{ObjectReference, TypedLocalObjectReference};

/// Which manifests are restored, by kind of application.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManifestRestoreOptions {
    /// A workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadManifestOptions>,
    /// MySQL.
    #[serde(rename = "mySQL", skip_serializing_if = "Option::is_none")]
    pub my_sql: Option<DatabaseManifestOptions>,
    /// Postgres.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres: Option<DatabaseManifestOptions>,
    /// MongoDB.
    #[serde(rename = "mongoDB", skip_serializing_if = "Option::is_none")]
    pub mongo_db: Option<DatabaseManifestOptions>,
    /// MariaDB.
    #[serde(rename = "mariaDB", skip_serializing_if = "Option::is_none")]
    pub maria_db: Option<DatabaseManifestOptions>,
    /// Redis.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<DatabaseManifestOptions>,
    /// Redis Sentinel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_sentinel: Option<RedisSentinelManifestOptions>,
    /// SQL Server.
    #[serde(rename = "msSQLServer", skip_serializing_if = "Option::is_none")]
    pub ms_sql_server: Option<MsSqlServerManifestOptions>,
    /// Druid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub druid: Option<DruidManifestOptions>,
    /// ZooKeeper.
    #[serde(rename = "zooKeeper", skip_serializing_if = "Option::is_none")]
    pub zoo_keeper: Option<DatabaseManifestOptions>,
    /// SingleStore.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub singlestore: Option<DatabaseManifestOptions>,
    /// ClickHouse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clickhouse: Option<DatabaseManifestOptions>,
}

/// Manifests of a workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadManifestOptions {
    /// Namespace to restore into; the original one when empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_namespace: Option<String>,
}

/// Manifests of most databases.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseManifestOptions {
    /// Namespace to restore into; the original one when empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_namespace: Option<String>,
    /// Whether the Secret with the credentials is restored.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_secret: Option<bool>,
    /// New name of that Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_secret_name: Option<String>,
    /// Whether the Secret with the configuration is restored.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_secret: Option<bool>,
    /// New name of that Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_secret_name: Option<String>,
    /// Whether the database object is restored.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub db: Option<bool>,
    /// New name of the database object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub db_name: Option<String>,
    /// Whether the initial script is restored.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_script: Option<bool>,
    /// Whether the archiver is restored.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archiver: Option<bool>,
    /// The archiver to use instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archiver_ref: Option<ObjectReference>,
    /// The issuer of certificates to use instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_issuer_ref: Option<TypedLocalObjectReference>,
}

/// Manifests of SQL Server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MsSqlServerManifestOptions {
    /// Namespace to restore into; the original one when empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_namespace: Option<String>,
    /// Whether the Secret with the credentials is restored.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_secret: Option<bool>,
    /// New name of that Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_secret_name: Option<String>,
    /// Whether the database object is restored.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub db: Option<bool>,
    /// New name of the database object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub db_name: Option<String>,
    /// Whether the initial script is restored.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_script: Option<bool>,
    /// Whether the archiver is restored.
    #[schemars(extend("default" = false))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archiver: Option<bool>,
    /// The archiver to use instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archiver_ref: Option<ObjectReference>,
    /// The issuer of certificates to use instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_issuer_ref: Option<TypedLocalObjectReference>,
}

/// Manifests of Druid.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DruidManifestOptions {
    /// Namespace to restore into; the original one when empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_namespace: Option<String>,
    /// Whether the Secret with the credentials is restored.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_secret: Option<bool>,
    /// New name of that Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_secret_name: Option<String>,
    /// Whether the Secret with the configuration is restored.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_secret: Option<bool>,
    /// New name of that Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_secret_name: Option<String>,
    /// Whether the Secret of the deep storage is restored.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deep_storage_secret: Option<bool>,
    /// Whether the database object is restored.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub db: Option<bool>,
    /// New name of the database object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub db_name: Option<String>,
}

/// Manifests of Redis Sentinel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedisSentinelManifestOptions {
    /// Namespace to restore into; the original one when empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_namespace: Option<String>,
    /// Whether the Secret with the credentials is restored.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_secret: Option<bool>,
    /// New name of that Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_secret_name: Option<String>,
    /// Whether the sentinel object is restored.
    #[schemars(extend("default" = true))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel: Option<bool>,
    /// New name of the sentinel object.
    #[serde(rename = "SentinelName", skip_serializing_if = "Option::is_none")]
    pub sentinel_name: Option<String>,
    /// The issuer of certificates to use instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_issuer_ref: Option<TypedLocalObjectReference>,
}
