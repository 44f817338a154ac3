use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::reference::ResourceFoundStatus;
use crate::backup_configuration::{BackendReference, BackendStatus, Session, SessionStatus};
use crate::backup_session::{RetentionPolicyApplyStatus, SnapshotStatus as SessionSnapshot};
use crate::condition::ConditionStatus;
use crate::restore_session::ComponentRestoreStatus;
use crate::snapshot::Component;

fn condition(type_: &str, status: impl Into<ConditionStatus>) -> Condition {
    Condition::new(type_, status, "Reason", "", Timestamp::UNIX_EPOCH)
}

fn session_of(phases: &[SnapshotPhase], conditions: &[(&str, bool)]) -> BackupSessionStatus {
    BackupSessionStatus {
        total_snapshots: Some(i32::try_from(phases.len()).expect("few")),
        snapshots: phases
            .iter()
            .map(|phase| SessionSnapshot {
                phase: Some(*phase),
                ..Default::default()
            })
            .collect(),
        conditions: conditions
            .iter()
            .map(|(type_, status)| condition(type_, *status))
            .collect(),
        ..Default::default()
    }
}

#[test]
fn a_session_ends_only_with_its_metrics() {
    use SnapshotPhase::{Failed, Pending, Running, Succeeded};
    let pushed = [(shared::METRICS_PUSHED, true)];
    for (phases, conditions, expected) in [
        (&[][..], &[][..], BackupSessionPhase::Pending),
        (&[Pending, Pending], &[], BackupSessionPhase::Pending),
        (&[Pending, Running], &[], BackupSessionPhase::Running),
        (&[Succeeded, Pending], &pushed, BackupSessionPhase::Running),
        (&[Succeeded, Succeeded], &[], BackupSessionPhase::Running),
        (&[Succeeded, Failed], &[], BackupSessionPhase::Running),
        (
            &[Succeeded, Succeeded],
            &pushed,
            BackupSessionPhase::Succeeded,
        ),
        (&[Succeeded, Failed], &pushed, BackupSessionPhase::Failed),
        (
            &[Succeeded],
            &[(shared::METRICS_PUSHED, false)],
            BackupSessionPhase::Failed,
        ),
        (
            &[],
            &[(session_condition::BACKUP_SKIPPED, true)],
            BackupSessionPhase::Skipped,
        ),
        (
            &[],
            &[(session_condition::SNAPSHOTS_ENSURED, false), pushed[0]],
            BackupSessionPhase::Failed,
        ),
        (
            &[],
            &[(session_condition::SNAPSHOTS_ENSURED, false)],
            BackupSessionPhase::Pending,
        ),
        (
            &[Succeeded],
            &[
                (session_condition::SNAPSHOT_CLEANUP_INCOMPLETE, true),
                pushed[0],
            ],
            BackupSessionPhase::Failed,
        ),
    ] {
        assert_eq!(
            backup_session(&session_of(phases, conditions)),
            expected,
            "{phases:?} {conditions:?}"
        );
    }
}

#[test]
fn a_session_waits_for_every_announced_snapshot() {
    let mut status = session_of(
        &[SnapshotPhase::Succeeded],
        &[(shared::METRICS_PUSHED, true)],
    );
    status.total_snapshots = Some(2);
    assert_eq!(backup_session(&status), BackupSessionPhase::Running);
}

#[test]
fn a_failed_retention_fails_the_session() {
    let mut status = session_of(
        &[SnapshotPhase::Succeeded],
        &[(shared::METRICS_PUSHED, true)],
    );
    status.retention_policy = vec![RetentionPolicyApplyStatus {
        phase: Some(RetentionPolicyPhase::FailedToApply),
        ..Default::default()
    }];
    assert_eq!(backup_session(&status), BackupSessionPhase::Failed);
}

#[test]
fn a_try_of_a_backup_ends_with_its_history() {
    use BackupVerificationSessionPhase::{Failed, Running, Skipped, Succeeded};
    use verification_condition as kinds;
    let cleaned = (kinds::VERIFICATION_SESSION_HISTORY_CLEANED, true);
    let (restored, verified) = (kinds::RESTORE_SUCCEEDED, kinds::BACKUP_VERIFIED);
    for (conditions, expected) in [
        (vec![], Running),
        (vec![(restored, false)], Running),
        (vec![(restored, true), (verified, true)], Running),
        (vec![(restored, true), (verified, true), cleaned], Succeeded),
        (vec![(restored, false), cleaned], Failed),
        (vec![(restored, true), (verified, false), cleaned], Failed),
        (
            vec![(kinds::VERIFICATION_EXECUTOR_ENSURED, false), cleaned],
            Failed,
        ),
        (
            vec![(kinds::VERIFICATION_SESSION_HISTORY_CLEANED, false)],
            Failed,
        ),
        (
            vec![(kinds::BACKUP_VERIFICATION_SKIPPED, true), cleaned],
            Skipped,
        ),
    ] {
        let status = BackupVerificationSessionStatus {
            conditions: conditions
                .iter()
                .map(|(type_, status)| condition(type_, *status))
                .collect(),
            ..Default::default()
        };
        assert_eq!(
            backup_verification_session(&status),
            expected,
            "{conditions:?}"
        );
    }
}

fn snapshot_of(
    total: i32,
    phases: &[ComponentPhase],
    conditions: &[(&str, bool)],
) -> SnapshotStatus {
    SnapshotStatus {
        total_components: Some(total),
        components: phases
            .iter()
            .enumerate()
            .map(|(ordinal, phase)| {
                (
                    format!("dump-pod-{ordinal}"),
                    Component {
                        phase: Some(*phase),
                        ..Default::default()
                    },
                )
            })
            .collect(),
        conditions: conditions
            .iter()
            .map(|(type_, status)| condition(type_, *status))
            .collect(),
        ..Default::default()
    }
}

#[test]
fn a_snapshot_ends_only_with_its_metadata() {
    use ComponentPhase::{Failed, Pending, Running, Succeeded};
    let uploaded = [(snapshot_condition::SNAPSHOT_METADATA_UPLOADED, true)];
    for (total, phases, conditions, expected) in [
        (0, &[][..], &[][..], SnapshotPhase::Pending),
        (1, &[], &uploaded, SnapshotPhase::Pending),
        (2, &[Pending, Pending], &[], SnapshotPhase::Pending),
        (2, &[Succeeded, Succeeded], &[], SnapshotPhase::Running),
        (
            2,
            &[Succeeded, Succeeded],
            &uploaded,
            SnapshotPhase::Succeeded,
        ),
        (
            3,
            &[Succeeded, Succeeded],
            &uploaded,
            SnapshotPhase::Running,
        ),
        (2, &[Failed, Running], &[], SnapshotPhase::Running),
        (2, &[Failed, Running], &uploaded, SnapshotPhase::Failed),
        (
            1,
            &[Succeeded],
            &[(snapshot_condition::RECENT_SNAPSHOT_LIST_UPDATED, false)],
            SnapshotPhase::Failed,
        ),
        (
            1,
            &[Running],
            &[(snapshot_condition::BACKUP_INCOMPLETE, true)],
            SnapshotPhase::Failed,
        ),
    ] {
        assert_eq!(
            snapshot(&snapshot_of(total, phases, conditions)),
            expected,
            "{total} {phases:?} {conditions:?}"
        );
    }
}

fn restore_of(
    total: i32,
    phases: &[RestorePhase],
    conditions: &[(&str, bool)],
) -> RestoreSessionStatus {
    RestoreSessionStatus {
        total_components: Some(total),
        components: phases
            .iter()
            .enumerate()
            .map(|(ordinal, phase)| {
                (
                    ordinal.to_string(),
                    ComponentRestoreStatus {
                        phase: Some(*phase),
                        ..Default::default()
                    },
                )
            })
            .collect(),
        conditions: conditions
            .iter()
            .map(|(type_, status)| condition(type_, *status))
            .collect(),
        ..Default::default()
    }
}

#[test]
fn a_restore_ends_only_with_its_metrics() {
    use RestorePhase::{Failed, Invalid, Pending, Running, Succeeded, Unknown};
    let pushed = [(shared::METRICS_PUSHED, true)];
    for (total, phases, conditions, expected) in [
        (4, &[][..], &[][..], Pending),
        (2, &[Running, Pending], &[], Running),
        (2, &[Succeeded, Failed], &[], Running),
        (2, &[Succeeded, Failed], &pushed, Failed),
        (2, &[Failed], &pushed, Failed),
        (2, &[Succeeded, Succeeded], &[], Running),
        (2, &[Succeeded, Succeeded], &pushed, Succeeded),
        (3, &[Succeeded, Succeeded], &pushed, Running),
        (2, &[Succeeded, Unknown], &[], Unknown),
        (0, &[], &[(shared::VALIDATION_PASSED, false)], Invalid),
        (
            1,
            &[Succeeded],
            &[(restore_condition::RESTORE_INCOMPLETE, true), pushed[0]],
            Failed,
        ),
        (
            1,
            &[Succeeded],
            &[
                (restore_condition::RESTORE_EXECUTOR_ENSURED, false),
                pushed[0],
            ],
            Failed,
        ),
        (1, &[Succeeded], &[(shared::METRICS_PUSHED, false)], Failed),
    ] {
        assert_eq!(
            restore_session(&restore_of(total, phases, conditions)),
            expected,
            "{total} {phases:?} {conditions:?}"
        );
    }
}

#[test]
fn a_configuration_is_ready_when_all_it_needs_is() {
    let spec = BackupConfigurationSpec {
        backends: vec![BackendReference {
            name: Some("s3".into()),
            ..Default::default()
        }],
        sessions: vec![Session {
            name: Some("daily".into()),
            ..Default::default()
        }],
        ..Default::default()
    };
    let ready = BackupConfigurationStatus {
        target_found: Some(true),
        backends: vec![BackendStatus {
            name: Some("s3".into()),
            ready: Some(true),
            ..Default::default()
        }],
        sessions: vec![SessionStatus {
            name: Some("daily".into()),
            conditions: vec![condition(configuration_condition::SCHEDULER_ENSURED, true)],
            ..Default::default()
        }],
        ..Default::default()
    };
    assert_eq!(backup_configuration(&spec, &ready), InvokerPhase::Ready);
    for spoil in [
        (|status| status.target_found = None) as fn(&mut BackupConfigurationStatus),
        |status| status.backends[0].ready = Some(false),
        |status| status.backends.clear(),
        |status| status.sessions[0].conditions.clear(),
        |status| status.sessions[0].name = Some("hourly".into()),
    ] {
        let mut status = ready.clone();
        spoil(&mut status);
        assert_eq!(
            backup_configuration(&spec, &status),
            InvokerPhase::NotReady,
            "{status:?}"
        );
    }
    let mut invalid = ready;
    invalid
        .conditions
        .push(condition(shared::VALIDATION_PASSED, false));
    assert_eq!(backup_configuration(&spec, &invalid), InvokerPhase::Invalid);
}

#[test]
fn a_batch_is_ready_when_all_its_targets_are() {
    let found = |found| ResourceFoundStatus {
        found,
        ..Default::default()
    };
    let spec = BackupBatchSpec {
        targets: vec![Default::default(), Default::default()],
        ..Default::default()
    };
    for (targets, expected) in [
        (vec![found(Some(true)), found(Some(true))], InvokerPhase::Ready),
        (vec![found(Some(true)), found(Some(false))], InvokerPhase::NotReady),
        (vec![found(Some(true)), found(None)], InvokerPhase::NotReady),
        (vec![found(Some(true))], InvokerPhase::NotReady),
    ] {
        let mut status = BackupBatchStatus {
            targets,
            ..Default::default()
        };
        assert_eq!(backup_batch(&spec, &status), expected, "{status:?}");
        status
            .conditions
            .push(condition(shared::VALIDATION_PASSED, false));
        assert_eq!(backup_batch(&spec, &status), InvokerPhase::Invalid);
    }
}

#[test]
fn a_storage_is_ready_without_a_secret_but_not_with_a_missing_one() {
    let status = |conditions: &[(&str, bool)]| BackupStorageStatus {
        conditions: conditions
            .iter()
            .map(|(type_, status)| condition(type_, *status))
            .collect(),
        ..Default::default()
    };
    let initialized = (storage_condition::BACKEND_INITIALIZED, true);
    assert_eq!(backup_storage(&status(&[])), BackupStoragePhase::NotReady);
    assert_eq!(
        backup_storage(&status(&[initialized])),
        BackupStoragePhase::Ready
    );
    let found = (storage_condition::BACKEND_SECRET_FOUND, true);
    assert_eq!(
        backup_storage(&status(&[initialized, found])),
        BackupStoragePhase::Ready
    );
    let missing = (storage_condition::BACKEND_SECRET_FOUND, false);
    assert_eq!(
        backup_storage(&status(&[initialized, missing])),
        BackupStoragePhase::NotReady
    );
}

#[test]
fn a_repository_is_ready_once_initialized() {
    let mut status = RepositoryStatus::default();
    assert_eq!(repository(&status), RepositoryPhase::NotReady);
    status.conditions.push(condition(
        repository_condition::REPOSITORY_INITIALIZED,
        true,
    ));
    assert_eq!(repository(&status), RepositoryPhase::Ready);
}

fn any_conditions() -> impl Strategy<Value = Vec<(&'static str, bool)>> {
    let types = prop::sample::select(vec![
        shared::METRICS_PUSHED,
        shared::VALIDATION_PASSED,
        session_condition::BACKUP_SKIPPED,
        session_condition::SNAPSHOTS_ENSURED,
        snapshot_condition::SNAPSHOT_METADATA_UPLOADED,
        snapshot_condition::BACKUP_INCOMPLETE,
        restore_condition::RESTORE_INCOMPLETE,
    ]);
    prop::collection::vec((types, any::<bool>()), 0..6)
}

proptest! {
    #[test]
    fn success_needs_every_part(
        phases in prop::collection::vec(prop::sample::select(vec![
            SnapshotPhase::Pending, SnapshotPhase::Running, SnapshotPhase::Succeeded, SnapshotPhase::Failed,
        ]), 0..5),
        total in any::<i32>(),
        conditions in any_conditions(),
    ) {
        let mut status = session_of(&phases, &conditions);
        status.total_snapshots = Some(total);
        if backup_session(&status) == BackupSessionPhase::Succeeded {
            prop_assert!(!phases.is_empty() && phases.iter().all(|phase| *phase == SnapshotPhase::Succeeded));
            prop_assert!(has(&status.conditions, shared::METRICS_PUSHED));
            prop_assert!(total <= i32::try_from(phases.len()).expect("few"));
        }
    }

    #[test]
    fn a_snapshot_with_a_failed_part_never_succeeds(
        phases in prop::collection::vec(prop::sample::select(vec![
            ComponentPhase::Pending, ComponentPhase::Running, ComponentPhase::Succeeded, ComponentPhase::Failed,
        ]), 0..5),
        total in any::<i32>(),
        conditions in any_conditions(),
    ) {
        if snapshot(&snapshot_of(total, &phases, &conditions)) == SnapshotPhase::Succeeded {
            prop_assert!(!phases.is_empty() && phases.iter().all(|phase| *phase == ComponentPhase::Succeeded));
        }
    }

    #[test]
    fn a_restore_with_an_unfinished_part_never_succeeds(
        phases in prop::collection::vec(prop::sample::select(vec![
            RestorePhase::Pending, RestorePhase::Running, RestorePhase::Failed, RestorePhase::Succeeded,
            RestorePhase::Invalid, RestorePhase::Unknown,
        ]), 0..5),
        total in any::<i32>(),
        conditions in any_conditions(),
    ) {
        if restore_session(&restore_of(total, &phases, &conditions)) == RestorePhase::Succeeded {
            prop_assert!(!phases.is_empty() && phases.iter().all(|phase| *phase == RestorePhase::Succeeded));
        }
    }
}
