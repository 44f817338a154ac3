//! Names, scopes and printed columns of all kinds: KubeStash's, its two singular plurals included, and columns of our own for `-o wide`.

use serde_json::Value;

use super::schema_of;
use crate::{addons, core, storage};

/// A kind of object.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// API group.
    pub group: &'static str,
    /// Name of the kind.
    pub kind: &'static str,
    /// Name in URLs.
    pub plural: &'static str,
    /// Short name for the command line.
    pub short_name: Option<&'static str>,
    /// Groups of kinds for the command line.
    pub categories: &'static [&'static str],
    /// Namespaced or Cluster.
    pub scope: &'static str,
    /// Columns that `kubectl get` prints.
    pub columns: &'static [Column],
    /// What the kind is.
    pub description: &'static str,
    /// Schema of `spec`.
    pub spec: fn() -> Value,
    /// Schema of `status`, if the kind has that subresource.
    pub status: Option<fn() -> Value>,
}

/// A printed column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Heading.
    pub name: &'static str,
    /// Type of the value.
    pub type_: &'static str,
    /// Format of the value.
    pub format: Option<&'static str>,
    /// Where the value is.
    pub json_path: &'static str,
    /// Whether only `-o wide` prints it. All of ours are such: scripts count KubeStash's columns.
    pub is_wide: bool,
}

const ALL: &[&str] = &["kubestash", "appscode", "all"];
const NOT_ALL: &[&str] = &["kubestash", "appscode"];

const CORE: &str = "core.kubestash.com";
const STORAGE: &str = "storage.kubestash.com";
const ADDONS: &str = "addons.kubestash.com";

const AGE: Column = column("Age", "date", ".metadata.creationTimestamp");
const PHASE: Column = column("Phase", "string", ".status.phase");
const DURATION: Column = column("Duration", "string", ".status.duration");
const DELETION_POLICY: Column = column("Deletion-Policy", "string", ".spec.deletionPolicy");

const NEXT: Column = wide("Next", ".status.sessions[0].nextSchedule");
const INVALID: Column = wide(
    "Invalid",
    ".status.conditions[?(@.type==\"ValidationPassed\")].message",
);

const fn column(name: &'static str, type_: &'static str, json_path: &'static str) -> Column {
    Column {
        name,
        type_,
        format: None,
        json_path,
        is_wide: false,
    }
}

const fn wide(name: &'static str, json_path: &'static str) -> Column {
    Column {
        is_wide: true,
        ..column(name, "string", json_path)
    }
}

/// All kinds.
pub const KINDS: [Kind; 14] = [
    Kind {
        group: ADDONS,
        kind: "Addon",
        plural: "addons",
        short_name: None,
        categories: ALL,
        scope: "Cluster",
        columns: &[AGE],
        description: "Addon says how a kind of application is backed up and restored.",
        spec: schema_of::<addons::AddonSpec>,
        status: None,
    },
    Kind {
        group: ADDONS,
        kind: "Function",
        plural: "functions",
        short_name: Some("fn"),
        categories: ALL,
        scope: "Cluster",
        columns: &[AGE],
        description: "Function is the container that does the work of an Addon's task.",
        spec: schema_of::<addons::FunctionSpec>,
        status: None,
    },
    Kind {
        group: CORE,
        kind: "BackupBatch",
        plural: "backupbatches",
        short_name: None,
        categories: ALL,
        scope: "Namespaced",
        columns: &[
            AGE,
            wide("Phase", ".status.phase"),
            wide("Paused", ".spec.paused"),
            NEXT,
            INVALID,
        ],
        description: "BackupBatch backs up several applications together.",
        spec: schema_of::<core::BackupBatchSpec>,
        status: Some(schema_of::<core::BackupBatchStatus>),
    },
    Kind {
        group: CORE,
        kind: "BackupBlueprint",
        plural: "backupblueprints",
        short_name: None,
        categories: ALL,
        scope: "Namespaced",
        columns: &[AGE],
        description: "BackupBlueprint makes BackupConfigurations for applications that ask by annotation.",
        spec: schema_of::<core::BackupBlueprintSpec>,
        status: None,
    },
    Kind {
        group: CORE,
        kind: "BackupConfiguration",
        plural: "backupconfigurations",
        short_name: Some("bc"),
        categories: ALL,
        scope: "Namespaced",
        columns: &[
            PHASE,
            column("Paused", "boolean", ".spec.paused"),
            AGE,
            wide("Target", ".spec.target.name"),
            wide("Found", ".status.targetFound"),
            NEXT,
            INVALID,
        ],
        description: "BackupConfiguration says what is backed up, where to, and when.",
        spec: schema_of::<core::BackupConfigurationSpec>,
        status: Some(schema_of::<core::BackupConfigurationStatus>),
    },
    Kind {
        group: CORE,
        kind: "BackupSession",
        plural: "backupsessions",
        short_name: None,
        categories: ALL,
        scope: "Namespaced",
        columns: &[
            column("Invoker-Type", "string", ".spec.invoker.kind"),
            column("Invoker-Name", "string", ".spec.invoker.name"),
            PHASE,
            DURATION,
            AGE,
            wide("Session", ".spec.session"),
            wide("Snapshots", ".status.totalSnapshots"),
            wide(
                "Failed-In",
                ".status.snapshots[?(@.phase==\"Failed\")].repository",
            ),
            wide("Next-Retry", ".status.nextRetry"),
            wide("Skipped", ".status.conditions[?(@.type==\"BackupSkipped\")].message"),
        ],
        description: "BackupSession is one run of one session of a BackupConfiguration or BackupBatch.",
        spec: schema_of::<core::BackupSessionSpec>,
        status: Some(schema_of::<core::BackupSessionStatus>),
    },
    Kind {
        group: CORE,
        kind: "BackupVerificationSession",
        plural: "backupverificationsession",
        short_name: None,
        categories: ALL,
        scope: "Namespaced",
        columns: &[PHASE, DURATION, AGE],
        description: "BackupVerificationSession is one try of one backup.",
        spec: schema_of::<core::BackupVerificationSessionSpec>,
        status: Some(schema_of::<core::BackupVerificationSessionStatus>),
    },
    Kind {
        group: CORE,
        kind: "BackupVerifier",
        plural: "backupverifier",
        short_name: None,
        categories: ALL,
        scope: "Namespaced",
        columns: &[AGE],
        description: "BackupVerifier says how backups are tried out.",
        spec: schema_of::<core::BackupVerifierSpec>,
        status: None,
    },
    Kind {
        group: CORE,
        kind: "HookTemplate",
        plural: "hooktemplates",
        short_name: None,
        categories: ALL,
        scope: "Namespaced",
        // KubeStash prints a field here that does not exist: the column is always empty, and scripts count columns.
        columns: &[
            column("Executor", "string", ".spec.executor.type"),
            column("Timeout", "string", ".spec.timeout"),
            AGE,
        ],
        description: "HookTemplate is an action that hooks can name.",
        spec: schema_of::<core::HookTemplateSpec>,
        status: None,
    },
    Kind {
        group: CORE,
        kind: "RestoreSession",
        plural: "restoresessions",
        short_name: Some("restore"),
        categories: ALL,
        scope: "Namespaced",
        columns: &[
            column("Repository", "string", ".spec.dataSource.repository"),
            PHASE,
            DURATION,
            AGE,
            wide("Target", ".spec.target.name"),
            INVALID,
        ],
        description: "RestoreSession brings data back.",
        spec: schema_of::<core::RestoreSessionSpec>,
        status: Some(schema_of::<core::RestoreSessionStatus>),
    },
    Kind {
        group: STORAGE,
        kind: "BackupStorage",
        plural: "backupstorages",
        short_name: None,
        categories: ALL,
        scope: "Namespaced",
        columns: &[
            column("Provider", "string", ".spec.storage.provider"),
            column("Default", "boolean", ".spec.default"),
            DELETION_POLICY,
            column("Total-Size", "string", ".status.totalSize"),
            PHASE,
            AGE,
            wide("Reason", ".status.conditions[?(@.type==\"BackendInitialized\")].message"),
        ],
        description: "BackupStorage is a place for backups: a bucket, or a volume.",
        spec: schema_of::<storage::BackupStorageSpec>,
        status: Some(schema_of::<storage::BackupStorageStatus>),
    },
    Kind {
        group: STORAGE,
        kind: "Repository",
        plural: "repositories",
        short_name: Some("repo"),
        categories: ALL,
        scope: "Namespaced",
        columns: &[
            column("Integrity", "boolean", ".status.integrity"),
            column("Snapshot-Count", "integer", ".status.snapshotCount"),
            column("Size", "string", ".status.size"),
            PHASE,
            Column {
                name: "Last-Successful-Backup",
                type_: "date",
                format: Some("date-time"),
                json_path: ".status.lastBackupTime",
                is_wide: false,
            },
            AGE,
            wide("Storage", ".spec.storageRef.name"),
            wide("Application", ".spec.appRef.name"),
            wide("Reason", ".status.conditions[?(@.type==\"RepositoryInitialized\")].message"),
        ],
        description: "Repository holds one application's backups in a BackupStorage.",
        spec: schema_of::<storage::RepositorySpec>,
        status: Some(schema_of::<storage::RepositoryStatus>),
    },
    Kind {
        group: STORAGE,
        kind: "RetentionPolicy",
        plural: "retentionpolicies",
        short_name: None,
        categories: NOT_ALL,
        scope: "Namespaced",
        columns: &[
            column("Max-Retention-Period", "string", ".spec.maxRetentionPeriod"),
            column("Default", "boolean", ".spec.default"),
            AGE,
        ],
        description: "RetentionPolicy says which snapshots stay.",
        spec: schema_of::<storage::RetentionPolicySpec>,
        status: None,
    },
    Kind {
        group: STORAGE,
        kind: "Snapshot",
        plural: "snapshots",
        short_name: None,
        categories: NOT_ALL,
        scope: "Namespaced",
        columns: &[
            column("Repository", "string", ".spec.repository"),
            column("Session", "string", ".spec.session"),
            column("Snapshot-Time", "string", ".status.snapshotTime"),
            DELETION_POLICY,
            PHASE,
            AGE,
            wide("Application", ".spec.appRef.name"),
            wide("Size", ".status.size"),
            wide("Progress", ".status.components.*.resticStats[*].progress.percentDone"),
        ],
        description: "Snapshot is one application's data at one time, in one Repository.",
        spec: schema_of::<storage::SnapshotSpec>,
        status: Some(schema_of::<storage::SnapshotStatus>),
    },
];
