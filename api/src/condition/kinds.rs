//! Condition types and reasons, word for word KubeStash's: dashboards and scripts match on them.

/// Conditions of more than one kind.
pub mod shared {
    /// The spec passed validation.
    pub const VALIDATION_PASSED: &str = "ValidationPassed";
    /// Reason of [`VALIDATION_PASSED`] True.
    pub const RESOURCE_VALIDATION_PASSED: &str = "ResourceValidationPassed";
    /// Reason of [`VALIDATION_PASSED`] False.
    pub const RESOURCE_VALIDATION_FAILED: &str = "ResourceValidationFailed";
    /// The last step of a session: its numbers were published. A session is terminal once this is there.
    pub const METRICS_PUSHED: &str = "MetricsPushed";
    /// Reason of [`METRICS_PUSHED`] True.
    pub const SUCCESSFULLY_PUSHED_METRICS: &str = "SuccessfullyPushedMetrics";
    /// Reason of [`METRICS_PUSHED`] False.
    pub const FAILED_TO_PUSH_METRICS: &str = "FailedToPushMetrics";
    /// Ours: what may not change of a Repository, a BackupStorage, a session or a restore is as it was when it was first used.
    pub const SPEC_KEPT: &str = "SpecKept";
    /// Reason of [`SPEC_KEPT`] True.
    pub const AS_FIRST_USED: &str = "AsFirstUsed";
    /// Reason of [`SPEC_KEPT`] False.
    pub const SPEC_CHANGED: &str = "SpecChanged";
}

/// Conditions of a BackupConfiguration's sessions.
pub mod backup_configuration {
    /// The session is in the schedule.
    pub const SCHEDULER_ENSURED: &str = "SchedulerEnsured";
    /// Reason of [`SCHEDULER_ENSURED`] False.
    pub const SCHEDULER_NOT_ENSURED: &str = "SchedulerNotEnsured";
    /// The first backup was started when the configuration became ready.
    pub const INITIAL_BACKUP_TRIGGERED: &str = "InitialBackupTriggered";
    /// Reason of [`INITIAL_BACKUP_TRIGGERED`] True.
    pub const SUCCESSFULLY_TRIGGERED_INITIAL_BACKUP: &str = "SuccessfullyTriggeredInitialBackup";
    /// Reason of [`INITIAL_BACKUP_TRIGGERED`] False.
    pub const FAILED_TO_TRIGGER_INITIAL_BACKUP: &str = "FailedToTriggerInitialBackup";
    /// Ours: every verifier that the session names can do its work; type and reason of True are the same word.
    pub const VERIFICATION_SCHEDULED: &str = "VerificationScheduled";
    /// Reason of [`VERIFICATION_SCHEDULED`] False.
    pub const VERIFIER_NOT_USABLE: &str = "VerifierNotUsable";
}

/// Conditions of a BackupSession.
pub mod backup_session {
    /// The session did not run, on purpose.
    pub const BACKUP_SKIPPED: &str = "BackupSkipped";
    /// Reason of [`BACKUP_SKIPPED`]: another session runs, or the invoker is not ready.
    pub const PRE_REQUISITES_NOT_SATISFIED: &str = "PreRequisitesNotSatisfied";
    /// Sessions beyond the history limit are gone.
    pub const SESSION_HISTORY_CLEANED: &str = "SessionHistoryCleaned";
    /// Reason of [`SESSION_HISTORY_CLEANED`] True.
    pub const SUCCESSFULLY_CLEANED_SESSION_HISTORY: &str = "SuccessfullyCleanedSessionHistory";
    /// Reason of [`SESSION_HISTORY_CLEANED`] False.
    pub const FAILED_TO_CLEAN_SESSION_HISTORY: &str = "FailedToCleanSessionHistory";
    /// The hooks before the backup ran.
    pub const PRE_BACKUP_HOOKS_EXECUTION_SUCCEEDED: &str = "PreBackupHooksExecutionSucceeded";
    /// Reason of [`PRE_BACKUP_HOOKS_EXECUTION_SUCCEEDED`] True.
    pub const SUCCESSFULLY_EXECUTED_PRE_BACKUP_HOOKS: &str = "SuccessfullyExecutedPreBackupHooks";
    /// Reason of [`PRE_BACKUP_HOOKS_EXECUTION_SUCCEEDED`] False.
    pub const FAILED_TO_EXECUTE_PRE_BACKUP_HOOKS: &str = "FailedToExecutePreBackupHooks";
    /// The hooks after the backup ran.
    pub const POST_BACKUP_HOOKS_EXECUTION_SUCCEEDED: &str = "PostBackupHooksExecutionSucceeded";
    /// Reason of [`POST_BACKUP_HOOKS_EXECUTION_SUCCEEDED`] True.
    pub const SUCCESSFULLY_EXECUTED_POST_BACKUP_HOOKS: &str = "SuccessfullyExecutedPostBackupHooks";
    /// Reason of [`POST_BACKUP_HOOKS_EXECUTION_SUCCEEDED`] False.
    pub const FAILED_TO_EXECUTE_POST_BACKUP_HOOKS: &str = "FailedToExecutePostBackupHooks";
    /// The work has been planned and handed out.
    pub const BACKUP_EXECUTOR_ENSURED: &str = "BackupExecutorEnsured";
    /// Reason of [`BACKUP_EXECUTOR_ENSURED`] True.
    pub const SUCCESSFULLY_ENSURED_BACKUP_EXECUTOR: &str = "SuccessfullyEnsuredBackupExecutor";
    /// Reason of [`BACKUP_EXECUTOR_ENSURED`] False.
    pub const FAILED_TO_ENSURE_BACKUP_EXECUTOR: &str = "FailedToEnsureBackupExecutor";
    /// The retention run has been planned and handed out.
    pub const RETENTION_POLICY_EXECUTOR_ENSURED: &str = "RetentionPolicyExecutorEnsured";
    /// Reason of [`RETENTION_POLICY_EXECUTOR_ENSURED`] True.
    pub const SUCCESSFULLY_ENSURED_RETENTION_POLICY_EXECUTOR: &str =
        "SuccessfullyEnsuredRetentionPolicyExecutor";
    /// Reason of [`RETENTION_POLICY_EXECUTOR_ENSURED`] False.
    pub const FAILED_TO_ENSURE_RETENTION_POLICY_EXECUTOR: &str =
        "FailedToEnsureRetentionPolicyExecutor";
    /// A Snapshot exists for every Repository of the session.
    pub const SNAPSHOTS_ENSURED: &str = "SnapshotsEnsured";
    /// Reason of [`SNAPSHOTS_ENSURED`] True.
    pub const SUCCESSFULLY_ENSURED_SNAPSHOTS: &str = "SuccessfullyEnsuredSnapshots";
    /// Reason of [`SNAPSHOTS_ENSURED`] False.
    pub const FAILED_TO_ENSURE_SNAPSHOTS: &str = "FailedToEnsureSnapshots";
    /// Removing old snapshots ended too early: True is bad.
    pub const SNAPSHOT_CLEANUP_INCOMPLETE: &str = "SnapshotCleanupIncomplete";
    /// Reason of [`SNAPSHOT_CLEANUP_INCOMPLETE`].
    pub const SNAPSHOT_CLEANUP_TERMINATED_BEFORE_COMPLETION: &str =
        "SnapshotCleanupTerminatedBeforeCompletion";
    /// The executor waits for its node too long; type and reason are the same word.
    pub const POD_PENDING_LONGER_THAN_EXPECTED: &str =
        "PodHasBeenInPendingStateForLongerThanExpected";
    /// Ours, of sessions and of their BackupConfiguration: Snapshots stay that the RetentionPolicy no longer keeps, for a volume
    /// shrank suddenly. The reason is a Snapshot's VolumeShrank.
    pub const SNAPSHOTS_HELD: &str = "SnapshotsHeld";
}

/// Conditions of a RestoreSession.
pub mod restore_session {
    /// The target exists.
    pub const RESTORE_TARGET_FOUND: &str = "RestoreTargetFound";
    /// Reason of [`RESTORE_TARGET_FOUND`] False or Unknown.
    pub const UNABLE_TO_CHECK_TARGET_AVAILABILITY: &str = "UnableToCheckTargetAvailability";
    /// The work has been planned and handed out.
    pub const RESTORE_EXECUTOR_ENSURED: &str = "RestoreExecutorEnsured";
    /// Reason of [`RESTORE_EXECUTOR_ENSURED`] True.
    pub const SUCCESSFULLY_ENSURED_RESTORE_EXECUTOR: &str = "SuccessfullyEnsuredRestoreExecutor";
    /// Reason of [`RESTORE_EXECUTOR_ENSURED`] False.
    pub const FAILED_TO_ENSURE_RESTORE_EXECUTOR: &str = "FailedToEnsureRestoreExecutor";
    /// The hooks before the restore ran.
    pub const PRE_RESTORE_HOOKS_EXECUTION_SUCCEEDED: &str = "PreRestoreHooksExecutionSucceeded";
    /// Reason of [`PRE_RESTORE_HOOKS_EXECUTION_SUCCEEDED`] True.
    pub const SUCCESSFULLY_EXECUTED_PRE_RESTORE_HOOKS: &str = "SuccessfullyExecutedPreRestoreHooks";
    /// Reason of [`PRE_RESTORE_HOOKS_EXECUTION_SUCCEEDED`] False.
    pub const FAILED_TO_EXECUTE_PRE_RESTORE_HOOKS: &str = "FailedToExecutePreRestoreHooks";
    /// The hooks after the restore ran.
    pub const POST_RESTORE_HOOKS_EXECUTION_SUCCEEDED: &str = "PostRestoreHooksExecutionSucceeded";
    /// Reason of [`POST_RESTORE_HOOKS_EXECUTION_SUCCEEDED`] True.
    pub const SUCCESSFULLY_EXECUTED_POST_RESTORE_HOOKS: &str =
        "SuccessfullyExecutedPostRestoreHooks";
    /// Reason of [`POST_RESTORE_HOOKS_EXECUTION_SUCCEEDED`] False.
    pub const FAILED_TO_EXECUTE_POST_RESTORE_HOOKS: &str = "FailedToExecutePostRestoreHooks";
    /// Not KubeStash's: objects were made of manifests; the message says which.
    pub const MANIFESTS_RESTORED: &str = "ManifestsRestored";
    /// Reason of [`MANIFESTS_RESTORED`] True.
    pub const SUCCESSFULLY_RESTORED_MANIFESTS: &str = "SuccessfullyRestoredManifests";
    /// Reason of [`MANIFESTS_RESTORED`] False: only what would be done is said.
    pub const DRY_RUN: &str = "DryRun";
    /// Not KubeStash's: False says that a restore failed for something that tells nothing of the backup, such as a full volume.
    pub const BACKUP_AT_FAULT: &str = "BackupAtFault";
    /// Reason of [`BACKUP_AT_FAULT`] False.
    pub const FAILED_ELSEWHERE: &str = "FailedElsewhere";
    /// Not KubeStash's: what components wait for that have not begun, but for a free slot; type and reason are the same word.
    pub const WAITING: &str = "Waiting";
    /// Not KubeStash's: False while the Snapshot or Repository of a restore that has begun is gone; it fails if that lasts.
    pub const RESTORE_SOURCE_FOUND: &str = "RestoreSourceFound";
    /// Reason of [`RESTORE_SOURCE_FOUND`] False.
    pub const RESTORE_SOURCE_GONE: &str = "RestoreSourceGone";
    /// The restore ended too early: True is bad.
    pub const RESTORE_INCOMPLETE: &str = "RestoreIncomplete";
    /// Reason of [`RESTORE_INCOMPLETE`].
    pub const RESTORE_EXECUTOR_TERMINATED_BEFORE_COMPLETION: &str =
        "RestoreExecutorTerminatedBeforeCompletion";
}

/// Conditions of a Snapshot.
pub mod snapshot {
    /// The Snapshot's YAML view is in the backend.
    pub const SNAPSHOT_METADATA_UPLOADED: &str = "SnapshotMetadataUploaded";
    /// Reason of [`SNAPSHOT_METADATA_UPLOADED`] True.
    pub const SUCCESSFULLY_UPLOADED_SNAPSHOT_METADATA: &str =
        "SuccessfullyUploadedSnapshotMetadata";
    /// Reason of [`SNAPSHOT_METADATA_UPLOADED`] False.
    pub const FAILED_TO_UPLOAD_SNAPSHOT_METADATA: &str = "FailedToUploadSnapshotMetadata";
    /// The Repository lists this Snapshot among its recent ones.
    pub const RECENT_SNAPSHOT_LIST_UPDATED: &str = "RecentSnapshotListUpdated";
    /// Reason of [`RECENT_SNAPSHOT_LIST_UPDATED`] True.
    pub const SUCCESSFULLY_UPDATED_RECENT_SNAPSHOT_LIST: &str =
        "SuccessfullyUpdatedRecentSnapshotList";
    /// Reason of [`RECENT_SNAPSHOT_LIST_UPDATED`] False.
    pub const FAILED_TO_UPDATE_RECENT_SNAPSHOT_LIST: &str = "FailedToUpdateRecentSnapshotList";
    /// The backup ended too early: True is bad.
    pub const BACKUP_INCOMPLETE: &str = "BackupIncomplete";
    /// Reason of [`BACKUP_INCOMPLETE`].
    pub const BACKUP_EXECUTOR_TERMINATED_BEFORE_COMPLETION: &str =
        "BackupExecutorTerminatedBeforeCompletion";
    /// Ours, beside KubeStash's: the backup succeeded without some files, which the message counts and names. True is bad.
    pub const FILES_UNREADABLE: &str = "FilesUnreadable";
    /// Reason of [`FILES_UNREADABLE`].
    pub const SOME_FILES_COULD_NOT_BE_READ: &str = "SomeFilesCouldNotBeRead";
    /// Ours: the volume held much less than at the backup before; type and reason are the same word. Older Snapshots are held.
    pub const VOLUME_SHRANK: &str = "VolumeShrank";
}

/// Conditions of a Repository.
pub mod repository {
    /// The repository exists in its backend and opens.
    pub const REPOSITORY_INITIALIZED: &str = "RepositoryInitialized";
    /// Reason of [`REPOSITORY_INITIALIZED`] True.
    pub const REPOSITORY_INITIALIZATION_SUCCEEDED: &str = "RepositoryInitializationSucceeded";
    /// Reason of [`REPOSITORY_INITIALIZED`] False.
    pub const REPOSITORY_INITIALIZATION_FAILED: &str = "RepositoryInitializationFailed";
    /// Ours: the data of removed Snapshots can be restored no more; its space is freed by [`SPACE_FREED`].
    pub const SNAPSHOTS_FORGOTTEN: &str = "SnapshotsForgotten";
    /// Reason of [`SNAPSHOTS_FORGOTTEN`] True.
    pub const FORGET_SUCCEEDED: &str = "ForgetSucceeded";
    /// Reason of [`SNAPSHOTS_FORGOTTEN`] False.
    pub const FORGET_FAILED: &str = "ForgetFailed";
    /// Ours: how the last prune went.
    pub const SPACE_FREED: &str = "SpaceFreed";
    /// Reason of [`SPACE_FREED`] True.
    pub const PRUNE_SUCCEEDED: &str = "PruneSucceeded";
    /// Reason of [`SPACE_FREED`] False.
    pub const PRUNE_FAILED: &str = "PruneFailed";
    /// Ours: how the last check went; `status.integrity` is what it found.
    pub const INTEGRITY_CHECKED: &str = "IntegrityChecked";
    /// Reason of [`INTEGRITY_CHECKED`] True.
    pub const CHECK_SUCCEEDED: &str = "CheckSucceeded";
    /// Reason of [`INTEGRITY_CHECKED`] False: something is missing, or is not what was written.
    pub const DAMAGE_FOUND: &str = "DamageFound";
    /// Reason of [`INTEGRITY_CHECKED`] False: it could not be done, and says nothing of the data.
    pub const CHECK_FAILED: &str = "CheckFailed";
    /// Ours: the Snapshots that were there before the Repository was are objects again.
    pub const SNAPSHOTS_READ_BACK: &str = "SnapshotsReadBack";
}

/// Conditions of a BackupStorage.
pub mod backup_storage {
    /// The backend answers and has its metadata.
    pub const BACKEND_INITIALIZED: &str = "BackendInitialized";
    /// Reason of [`BACKEND_INITIALIZED`] True.
    pub const BACKEND_INITIALIZATION_SUCCEEDED: &str = "BackendInitializationSucceeded";
    /// Reason of [`BACKEND_INITIALIZED`] False.
    pub const BACKEND_INITIALIZATION_FAILED: &str = "BackendInitializationFailed";
    /// The Secret with the credentials exists.
    pub const BACKEND_SECRET_FOUND: &str = "BackendSecretFound";
    /// Reason of [`BACKEND_SECRET_FOUND`] True.
    pub const BACKEND_SECRET_AVAILABLE: &str = "BackendSecretAvailable";
    /// Reason of [`BACKEND_SECRET_FOUND`] False.
    pub const BACKEND_SECRET_NOT_AVAILABLE: &str = "BackendSecretNotAvailable";
    /// Ours: the Repositories that were there before the storage was are objects again.
    pub const REPOSITORIES_READ_BACK: &str = "RepositoriesReadBack";
}

/// Reasons of what is read back from a bucket.
pub mod read_back {
    /// All of it was read.
    pub const SUCCEEDED: &str = "ReadBackSucceeded";
    /// It is being read.
    pub const RUNNING: &str = "ReadingBack";
    /// It could not be read, and is tried again.
    pub const FAILED: &str = "ReadBackFailed";
    /// Ours, of a Snapshot whose view was lost: made from what the repository itself holds.
    pub const VIEW_LOST: &str = "ViewLost";
}

/// Conditions of a BackupVerificationSession.
pub mod backup_verification_session {
    /// The session did not run, on purpose.
    pub const BACKUP_VERIFICATION_SKIPPED: &str = "BackupVerificationSkipped";
    /// Reason of [`BACKUP_VERIFICATION_SKIPPED`].
    pub const SNAPSHOT_ALREADY_VERIFIED: &str = "SnapshotAlreadyVerified";
    /// Sessions beyond the history limit are gone: the last step.
    pub const VERIFICATION_SESSION_HISTORY_CLEANED: &str = "VerificationSessionHistoryCleaned";
    /// Reason of [`VERIFICATION_SESSION_HISTORY_CLEANED`] True.
    pub const SUCCESSFULLY_CLEANED_VERIFICATION_SESSION_HISTORY: &str =
        "SuccessfullyCleanedVerificationSessionHistory";
    /// The verifier has been planned and handed out.
    pub const VERIFICATION_EXECUTOR_ENSURED: &str = "VerificationExecutorEnsured";
    /// Reason of [`VERIFICATION_EXECUTOR_ENSURED`] True.
    pub const SUCCESSFULLY_ENSURED_VERIFICATION_EXECUTOR: &str =
        "SuccessfullyEnsuredVerificationExecutor";
    /// Reason of [`VERIFICATION_EXECUTOR_ENSURED`] False.
    pub const FAILED_TO_ENSURE_VERIFICATION_EXECUTOR: &str = "FailedToEnsureVerificationExecutor";
    /// The backup was restored for the check.
    pub const RESTORE_SUCCEEDED: &str = "RestoreSucceeded";
    /// Reason of [`RESTORE_SUCCEEDED`] True.
    pub const SUCCESSFULLY_RESTORED_BACKUP: &str = "SuccessfullyRestoredBackup";
    /// Reason of [`RESTORE_SUCCEEDED`] False.
    pub const FAILED_TO_RESTORE_BACKUP: &str = "FailedToRestoreBackup";
    /// The restored data passed the check.
    pub const BACKUP_VERIFIED: &str = "BackupVerified";
    /// Reason of [`BACKUP_VERIFIED`] True.
    pub const SUCCESSFULLY_VERIFIED_BACKUP: &str = "SuccessfullyVerifiedBackup";
    /// Reason of [`BACKUP_VERIFIED`] False.
    pub const FAILED_TO_VERIFY_BACKUP: &str = "FailedToVerifyBackup";
}
