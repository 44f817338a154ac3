//! KubeStash resource types, defaulting, validation and phases: pure, no client, no IO.
//!
//! One module for each kind holds its types; what is computed from them (phases, names, defaults, validity) stands
//! beside. Nothing here reads a clock: functions take the time they need.

pub mod addon;
pub mod addon_info;
pub mod backup_batch;
pub mod backup_blueprint;
pub mod backup_configuration;
pub mod backup_session;
pub mod backup_storage;
pub mod backup_verification_session;
pub mod backup_verifier;
pub mod blueprint;
pub mod condition;
pub mod crd;
pub mod defaults;
pub mod deletion;
pub mod driver;
pub mod duration;
pub mod function;
pub mod go_template;
pub mod handler;
pub mod hook;
pub mod hook_template;
pub mod invoker;
pub mod labels;
pub mod names;
pub mod offshoot;
pub mod phase;
pub mod reference;
pub mod repository;
pub mod resource;
pub mod restore_session;
pub mod retention;
pub mod retention_period;
pub mod retention_policy;
pub mod scheduler;
mod schema;
pub mod size;
pub mod snapshot;
pub mod template;
pub mod usage_policy;
pub mod validation;

/// Kinds of the group `core.kubestash.com`.
pub mod core {
    pub use crate::backup_batch::{BackupBatch, BackupBatchSpec, BackupBatchStatus};
    pub use crate::backup_blueprint::{BackupBlueprint, BackupBlueprintSpec};
    pub use crate::backup_configuration::{
        BackupConfiguration, BackupConfigurationSpec, BackupConfigurationStatus,
    };
    pub use crate::backup_session::{BackupSession, BackupSessionSpec, BackupSessionStatus};
    pub use crate::backup_verification_session::{
        BackupVerificationSession, BackupVerificationSessionSpec, BackupVerificationSessionStatus,
    };
    pub use crate::backup_verifier::{BackupVerifier, BackupVerifierSpec};
    pub use crate::hook_template::{HookTemplate, HookTemplateSpec};
    pub use crate::restore_session::{RestoreSession, RestoreSessionSpec, RestoreSessionStatus};
}

/// Kinds of the group `storage.kubestash.com`.
pub mod storage {
    pub use crate::backup_storage::{BackupStorage, BackupStorageSpec, BackupStorageStatus};
    pub use crate::repository::{Repository, RepositorySpec, RepositoryStatus};
    pub use crate::retention_policy::{RetentionPolicy, RetentionPolicySpec};
    pub use crate::snapshot::{Snapshot, SnapshotSpec, SnapshotStatus};
}

/// Kinds of the group `addons.kubestash.com`.
pub mod addons {
    pub use crate::addon::{Addon, AddonSpec};
    pub use crate::function::{Function, FunctionSpec};
}

pub use addon::Addon;
pub use backup_batch::BackupBatch;
pub use backup_blueprint::BackupBlueprint;
pub use backup_configuration::BackupConfiguration;
pub use backup_session::BackupSession;
pub use backup_storage::BackupStorage;
pub use backup_verification_session::BackupVerificationSession;
pub use backup_verifier::BackupVerifier;
pub use condition::Condition;
pub use driver::Driver;
pub use function::Function;
pub use hook_template::HookTemplate;
pub use reference::{ObjectReference, TypedLocalObjectReference, TypedObjectReference};
pub use repository::Repository;
pub use restore_session::RestoreSession;
pub use retention_policy::RetentionPolicy;
pub use snapshot::Snapshot;
