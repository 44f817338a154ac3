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
pub mod condition;
pub mod deletion;
pub mod driver;
pub mod function;
pub mod handler;
pub mod hook;
pub mod hook_template;
pub mod offshoot;
pub mod reference;
pub mod repository;
pub mod resource;
pub mod restore_session;
pub mod retention_policy;
pub mod scheduler;
mod schema;
pub mod snapshot;
pub mod usage_policy;

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
