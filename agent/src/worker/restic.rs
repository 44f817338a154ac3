//! What KubeStash stored with restic, opened to be restored.

use holdfast_proto::v1::task_failure::Reason;
use holdfast_proto::v1::{RestoreTask, TaskFailure};
use holdfast_repository::{ReadError, SecretBytes};
use holdfast_restic::{OpenError, Part, Repository, SnapshotSource};

use super::backend::Opened;
use super::failure;

/// The snapshots that the task's targets name.
pub(super) async fn open(task: RestoreTask, backend: &Opened, memory_bytes: usize) -> Result<SnapshotSource, TaskFailure> {
    let mut access = task.repository.ok_or_else(|| failure::invalid("the task names no repository".into()))?;
    let below = task.restic.unwrap_or_default().directory;
    let directory = match access.directory.as_str() {
        "" => below,
        directory => format!("{directory}/{below}"),
    };
    let password = SecretBytes::password(std::mem::take(&mut access.password));
    access.wipe();
    let repository = Repository::open(backend.foreign(&directory)?, &password).await.map_err(|error| refused(&error))?;
    let mut parts = Vec::with_capacity(task.targets.len());
    for target in task.targets {
        let snapshot = repository.snapshot(&target.snapshot_id).await.map_err(|error| unread(&error))?;
        parts.push(Part { path: target.snapshot_path, snapshot });
    }
    SnapshotSource::open(&repository, parts, memory_bytes).await.map_err(|error| refused(&error))
}

fn unread(error: &ReadError) -> TaskFailure {
    match error {
        ReadError::NotFound { .. } => failure::failure(Reason::SnapshotNotFound, failure::chain(error), false),
        error => failure::read(error),
    }
}

fn refused(error: &OpenError) -> TaskFailure {
    let reason = match error {
        OpenError::NotARepository { .. } => Reason::NotARepository,
        OpenError::WrongPassword { .. } => Reason::WrongPassword,
        OpenError::TooNew { .. } => Reason::RepositoryTooNew,
        // Another attempt has no more memory.
        OpenError::TooLarge { .. } => Reason::Internal,
        OpenError::Read(error) => return failure::read(error),
    };
    failure::failure(reason, failure::chain(error), false)
}
