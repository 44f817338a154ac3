//! Phases: what a status amounts to, computed as KubeStash computes it.
//!
//! Every function is total: any status, however odd, has a phase.

use crate::backup_batch::{BackupBatchSpec, BackupBatchStatus};
use crate::backup_configuration::{
    BackendStatus, BackupConfigurationSpec, BackupConfigurationStatus, InvokerPhase, SessionStatus,
};
use crate::backup_session::{BackupSessionPhase, BackupSessionStatus, RetentionPolicyPhase};
use crate::backup_storage::{BackupStoragePhase, BackupStorageStatus};
use crate::backup_verification_session::{
    BackupVerificationSessionPhase, BackupVerificationSessionStatus,
};
use crate::condition::kinds::{
    backup_configuration as configuration_condition, backup_session as session_condition,
    backup_storage as storage_condition, backup_verification_session as verification_condition,
    repository as repository_condition,
    restore_session as restore_condition, shared, snapshot as snapshot_condition,
};
use crate::condition::{Condition, has, is_false, is_true};
use crate::repository::{RepositoryPhase, RepositoryStatus};
use crate::restore_session::{RestorePhase, RestoreSessionStatus};
use crate::snapshot::{ComponentPhase, SnapshotPhase, SnapshotStatus};

/// A storage is ready once its backend is initialised, unless its Secret is known to be missing.
pub fn backup_storage(status: &BackupStorageStatus) -> BackupStoragePhase {
    let conditions = &status.conditions;
    let secret = !has(conditions, storage_condition::BACKEND_SECRET_FOUND)
        || is_true(conditions, storage_condition::BACKEND_SECRET_FOUND);
    if secret && is_true(conditions, storage_condition::BACKEND_INITIALIZED) {
        BackupStoragePhase::Ready
    } else {
        BackupStoragePhase::NotReady
    }
}

/// A repository is ready once it is initialised.
pub fn repository(status: &RepositoryStatus) -> RepositoryPhase {
    if is_true(
        &status.conditions,
        repository_condition::REPOSITORY_INITIALIZED,
    ) {
        RepositoryPhase::Ready
    } else {
        RepositoryPhase::NotReady
    }
}

/// A configuration is ready once its target, every backend and every session are.
pub fn backup_configuration(
    spec: &BackupConfigurationSpec,
    status: &BackupConfigurationStatus,
) -> InvokerPhase {
    let found = status.target_found == Some(true);
    let names = spec.sessions.iter().map(|session| &session.name);
    let backends = backends_ready(spec.backends.len(), &status.backends);
    invoker(
        &status.conditions,
        found && backends && scheduled(names, &status.sessions),
    )
}

/// A batch is ready once every target, every backend and every session is.
pub fn backup_batch(spec: &BackupBatchSpec, status: &BackupBatchStatus) -> InvokerPhase {
    let found = status.targets.len() == spec.targets.len()
        && status
            .targets
            .iter()
            .all(|target| target.found == Some(true));
    let names = spec.sessions.iter().map(|session| &session.name);
    let backends = backends_ready(spec.backends.len(), &status.backends);
    invoker(
        &status.conditions,
        found && backends && scheduled(names, &status.sessions),
    )
}

fn invoker(conditions: &[Condition], ready: bool) -> InvokerPhase {
    if is_false(conditions, shared::VALIDATION_PASSED) {
        InvokerPhase::Invalid
    } else if ready {
        InvokerPhase::Ready
    } else {
        InvokerPhase::NotReady
    }
}

fn backends_ready(wanted: usize, known: &[BackendStatus]) -> bool {
    known.len() == wanted && known.iter().all(|backend| backend.ready == Some(true))
}

fn scheduled<'a>(
    mut names: impl Iterator<Item = &'a Option<String>>,
    known: &[SessionStatus],
) -> bool {
    names.all(|name| {
        known.iter().any(|known| {
            known.name == *name
                && is_true(
                    &known.conditions,
                    configuration_condition::SCHEDULER_ENSURED,
                )
        })
    })
}

/// A backup session ends with its metrics: until `MetricsPushed` is there, it is Pending or Running.
pub fn backup_session(status: &BackupSessionStatus) -> BackupSessionPhase {
    let conditions = &status.conditions;
    if is_false(conditions, shared::METRICS_PUSHED) {
        return BackupSessionPhase::Failed;
    }
    if is_true(conditions, session_condition::BACKUP_SKIPPED) {
        return BackupSessionPhase::Skipped;
    }
    let ended = has(conditions, shared::METRICS_PUSHED);
    if is_true(conditions, shared::METRICS_PUSHED) && backup_step_failed(status) {
        return BackupSessionPhase::Failed;
    }
    let phases = status
        .snapshots
        .iter()
        .map(|snapshot| snapshot.phase.unwrap_or(SnapshotPhase::Pending));
    let total = expected(status.total_snapshots, status.snapshots.len());
    match Tally::of(phases.map(Step::from)).outcome(total) {
        Outcome::Pending => BackupSessionPhase::Pending,
        Outcome::Succeeded if ended => BackupSessionPhase::Succeeded,
        Outcome::Failed if ended => BackupSessionPhase::Failed,
        _ => BackupSessionPhase::Running,
    }
}

fn backup_step_failed(status: &BackupSessionStatus) -> bool {
    const STEPS: [&str; 5] = [
        session_condition::BACKUP_EXECUTOR_ENSURED,
        session_condition::SNAPSHOTS_ENSURED,
        session_condition::PRE_BACKUP_HOOKS_EXECUTION_SUCCEEDED,
        session_condition::POST_BACKUP_HOOKS_EXECUTION_SUCCEEDED,
        session_condition::SESSION_HISTORY_CLEANED,
    ];
    any_false(&status.conditions, &STEPS)
        || is_true(
            &status.conditions,
            session_condition::SNAPSHOT_CLEANUP_INCOMPLETE,
        )
        || status
            .retention_policy
            .iter()
            .any(|run| run.phase == Some(RetentionPolicyPhase::FailedToApply))
}

/// A restore ends with its metrics: until `MetricsPushed` is there, it is Pending, Running, Invalid or Unknown.
pub fn restore_session(status: &RestoreSessionStatus) -> RestorePhase {
    const STEPS: [&str; 3] = [
        restore_condition::PRE_RESTORE_HOOKS_EXECUTION_SUCCEEDED,
        restore_condition::POST_RESTORE_HOOKS_EXECUTION_SUCCEEDED,
        restore_condition::RESTORE_EXECUTOR_ENSURED,
    ];
    let conditions = &status.conditions;
    if is_false(conditions, shared::METRICS_PUSHED) {
        return RestorePhase::Failed;
    }
    if is_false(conditions, shared::VALIDATION_PASSED) {
        return RestorePhase::Invalid;
    }
    let incomplete = is_true(conditions, restore_condition::RESTORE_INCOMPLETE);
    if is_true(conditions, shared::METRICS_PUSHED) && (any_false(conditions, &STEPS) || incomplete)
    {
        return RestorePhase::Failed;
    }
    match restored_components(status) {
        phase @ (RestorePhase::Pending | RestorePhase::Unknown) => phase,
        phase if has(conditions, shared::METRICS_PUSHED) => phase,
        _ => RestorePhase::Running,
    }
}

/// What the components of a restore amount to: one that failed fails the whole, at once.
pub fn restored_components(status: &RestoreSessionStatus) -> RestorePhase {
    let count = |phase| {
        status
            .components
            .values()
            .filter(|component| component.phase == Some(phase))
            .count()
    };
    let total = expected(status.total_components, status.components.len());
    let (succeeded, unknown) = (count(RestorePhase::Succeeded), count(RestorePhase::Unknown));
    if status.components.is_empty() {
        RestorePhase::Pending
    } else if count(RestorePhase::Failed) > 0 {
        RestorePhase::Failed
    } else if succeeded == total {
        RestorePhase::Succeeded
    } else if succeeded + unknown == total {
        RestorePhase::Unknown
    } else {
        RestorePhase::Running
    }
}

/// A try of a backup ends with the cleaning of its history: until then it is Running.
pub fn backup_verification_session(
    status: &BackupVerificationSessionStatus,
) -> BackupVerificationSessionPhase {
    const STEPS: [&str; 3] = [
        verification_condition::RESTORE_SUCCEEDED,
        verification_condition::VERIFICATION_EXECUTOR_ENSURED,
        verification_condition::BACKUP_VERIFIED,
    ];
    let conditions = &status.conditions;
    let last = verification_condition::VERIFICATION_SESSION_HISTORY_CLEANED;
    if is_false(conditions, last) {
        return BackupVerificationSessionPhase::Failed;
    }
    if is_true(
        conditions,
        verification_condition::BACKUP_VERIFICATION_SKIPPED,
    ) {
        return BackupVerificationSessionPhase::Skipped;
    }
    match is_true(conditions, last) {
        false => BackupVerificationSessionPhase::Running,
        true if any_false(conditions, &STEPS) => BackupVerificationSessionPhase::Failed,
        true => BackupVerificationSessionPhase::Succeeded,
    }
}

/// A snapshot ends with the upload of its metadata: until that is known, it is Pending or Running.
pub fn snapshot(status: &SnapshotStatus) -> SnapshotPhase {
    const STEPS: [&str; 2] = [
        snapshot_condition::SNAPSHOT_METADATA_UPLOADED,
        snapshot_condition::RECENT_SNAPSHOT_LIST_UPDATED,
    ];
    let conditions = &status.conditions;
    if any_false(conditions, &STEPS) || is_true(conditions, snapshot_condition::BACKUP_INCOMPLETE) {
        return SnapshotPhase::Failed;
    }
    match components(status) {
        SnapshotPhase::Pending => SnapshotPhase::Pending,
        phase if has(conditions, snapshot_condition::SNAPSHOT_METADATA_UPLOADED) => phase,
        _ => SnapshotPhase::Running,
    }
}

/// What the components of a snapshot amount to: one that failed fails the whole, at once.
pub fn components(status: &SnapshotStatus) -> SnapshotPhase {
    let steps = status
        .components
        .values()
        .map(|component| component.phase.unwrap_or(ComponentPhase::Pending));
    let tally = Tally::of(steps.map(Step::from));
    if tally.failed > 0 {
        return SnapshotPhase::Failed;
    }
    match tally.outcome(expected(status.total_components, status.components.len())) {
        Outcome::Pending => SnapshotPhase::Pending,
        Outcome::Running => SnapshotPhase::Running,
        Outcome::Succeeded => SnapshotPhase::Succeeded,
        Outcome::Failed => SnapshotPhase::Failed,
    }
}

fn any_false(conditions: &[Condition], types: &[&str]) -> bool {
    types.iter().any(|type_| is_false(conditions, type_))
}

/// How many parts there will be: as announced, but never fewer than are there.
fn expected(announced: Option<i32>, present: usize) -> usize {
    usize::try_from(announced.unwrap_or(0))
        .unwrap_or(0)
        .max(present)
}

/// How far one part of a whole is.
enum Step {
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl From<SnapshotPhase> for Step {
    fn from(phase: SnapshotPhase) -> Self {
        match phase {
            SnapshotPhase::Pending => Self::Pending,
            SnapshotPhase::Running => Self::Running,
            SnapshotPhase::Succeeded => Self::Succeeded,
            SnapshotPhase::Failed => Self::Failed,
        }
    }
}

impl From<ComponentPhase> for Step {
    fn from(phase: ComponentPhase) -> Self {
        match phase {
            ComponentPhase::Pending => Self::Pending,
            ComponentPhase::Running => Self::Running,
            ComponentPhase::Succeeded => Self::Succeeded,
            ComponentPhase::Failed => Self::Failed,
        }
    }
}

#[derive(Default)]
struct Tally {
    pending: usize,
    running: usize,
    succeeded: usize,
    failed: usize,
}

enum Outcome {
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl Tally {
    fn of(steps: impl Iterator<Item = Step>) -> Self {
        let mut tally = Self::default();
        for step in steps {
            match step {
                Step::Pending => tally.pending += 1,
                Step::Running => tally.running += 1,
                Step::Succeeded => tally.succeeded += 1,
                Step::Failed => tally.failed += 1,
            }
        }
        tally
    }

    fn outcome(&self, total: usize) -> Outcome {
        if self.running + self.succeeded + self.failed == 0 {
            Outcome::Pending
        } else if self.succeeded == total {
            Outcome::Succeeded
        } else if self.succeeded + self.failed == total {
            Outcome::Failed
        } else {
            Outcome::Running
        }
    }
}

impl SnapshotPhase {
    /// Whether nothing more happens.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

impl ComponentPhase {
    /// Whether nothing more happens.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

impl BackupSessionPhase {
    /// Whether nothing more happens.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Skipped)
    }
}

impl BackupVerificationSessionPhase {
    /// Whether nothing more happens.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Running)
    }
}

impl RestorePhase {
    /// Whether nothing more happens.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Invalid)
    }
}

#[cfg(test)]
mod tests;
