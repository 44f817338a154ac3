//! Tasks of an Addon, found by name.

use thiserror::Error;

use super::{Addon, Task};

/// Names that KubeStash's documentation still uses, and what its catalog calls these tasks now.
const ALIASES: [(&str, &str); 2] = [
    ("LogicalBackup", "logical-backup"),
    ("VolumeSnapshotRestore", "volume-snapshot-restore"),
];

/// The name of every task that stores manifests.
pub const MANIFEST_BACKUP: &str = "manifest-backup";
/// The name of every task that makes objects of them.
pub const MANIFEST_RESTORE: &str = "manifest-restore";

/// What a task is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskPurpose {
    /// Backing up.
    Backup,
    /// Bringing back.
    Restore,
}

/// An Addon has no task of a name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("addon {addon:?} has no {} task {task:?}; it has {}", purpose.as_str(), list(known))]
pub struct UnknownTaskError {
    /// Name of the Addon.
    pub addon: String,
    /// What the task is for.
    pub purpose: TaskPurpose,
    /// Name that was asked for.
    pub task: String,
    /// Names that there are.
    pub known: Vec<String>,
}

impl TaskPurpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Restore => "restore",
        }
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// Today's name of a task.
pub fn canonical_name(name: &str) -> &str {
    ALIASES
        .into_iter()
        .find(|(old, _)| *old == name)
        .map_or(name, |(_, new)| new)
}

/// Whether a task of this name works as a ServiceAccount: reads the cluster's objects, or makes some.
pub fn is_of_manifests(name: &str) -> bool {
    matches!(canonical_name(name), MANIFEST_BACKUP | MANIFEST_RESTORE)
}

impl Addon {
    /// The task of this name. A task really called so comes before one that an old name stands for.
    pub fn task(&self, purpose: TaskPurpose, name: &str) -> Result<&Task, UnknownTaskError> {
        let tasks = match purpose {
            TaskPurpose::Backup => &self.spec.backup_tasks,
            TaskPurpose::Restore => &self.spec.restore_tasks,
        };
        let called = |name: &str| tasks.iter().find(|task| task.name.as_deref() == Some(name));
        called(name)
            .or_else(|| called(canonical_name(name)))
            .ok_or_else(|| UnknownTaskError {
                addon: self.metadata.name.clone().unwrap_or_default(),
                purpose,
                task: name.to_owned(),
                known: tasks.iter().filter_map(|task| task.name.clone()).collect(),
            })
    }
}
