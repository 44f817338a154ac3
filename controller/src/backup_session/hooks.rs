//! Hooks of a backup: before its Snapshots begin, and after they have ended.

use holdfast_api::backup_session::{BackupSession, BackupSessionStatus};
use holdfast_api::condition;
use holdfast_api::condition::kinds::backup_session as kinds;
use holdfast_api::hook::HookInfo;
use holdfast_api::invoker::SessionView;
use holdfast_api::reference::TypedObjectReference;
use holdfast_api::snapshot::SnapshotPhase;
use jiff::Timestamp;

use super::{Observed, plan};
use crate::hooks::round::{Round, Turn, Words};
use crate::hooks::summary::Summary;

const BEFORE: Words = (
    kinds::PRE_BACKUP_HOOKS_EXECUTION_SUCCEEDED,
    kinds::SUCCESSFULLY_EXECUTED_PRE_BACKUP_HOOKS,
    kinds::FAILED_TO_EXECUTE_PRE_BACKUP_HOOKS,
);
const AFTER: Words = (
    kinds::POST_BACKUP_HOOKS_EXECUTION_SUCCEEDED,
    kinds::SUCCESSFULLY_EXECUTED_POST_BACKUP_HOOKS,
    kinds::FAILED_TO_EXECUTE_POST_BACKUP_HOOKS,
);

/// Whether a session's Snapshots may begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// They may.
    Go,
    /// The hooks before them have not ended.
    Wait,
    /// One of those has failed: nothing is backed up.
    Failed(String),
}

/// Whether the Snapshots of a session may begin, as far as its hooks are concerned.
pub fn hold(session: &BackupSession, spec: &SessionView<'_>) -> Hold {
    let has_hooks = spec.hooks.is_some_and(|hooks| !hooks.pre_backup.is_empty());
    let conditions = session.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    match condition::get(conditions, kinds::PRE_BACKUP_HOOKS_EXECUTION_SUCCEEDED) {
        _ if !has_hooks => Hold::Go,
        None => Hold::Wait,
        Some(_) if condition::is_true(conditions, kinds::PRE_BACKUP_HOOKS_EXECUTION_SUCCEEDED) => Hold::Go,
        Some(failed) => {
            let why = failed.message.clone().unwrap_or_default();
            Hold::Failed(format!("a hook before the backup failed, so nothing was backed up: {why}"))
        }
    }
}

/// The hooks before the Snapshots.
pub(super) fn before(observed: &Observed, status: &mut BackupSessionStatus, now: Timestamp) -> Turn {
    let hooks = observed.last_spec().and_then(|spec| spec.hooks).map(|hooks| hooks.pre_backup.as_slice());
    let Some(hooks) = hooks.filter(|hooks| !hooks.is_empty()) else { return Turn::Done };
    let round = round(observed, status, hooks, None, BEFORE, now);
    round.go_on(&mut status.hooks.get_or_insert_default().pre_hooks, &mut status.conditions, now)
}

/// The hooks after the Snapshots, however they ended.
pub(super) fn after(observed: &Observed, status: &mut BackupSessionStatus, now: Timestamp) -> Turn {
    let hooks = observed.last_spec().and_then(|spec| spec.hooks).map(|hooks| hooks.post_backup.as_slice());
    let Some(hooks) = hooks.filter(|hooks| !hooks.is_empty()) else { return Turn::Done };
    let cancelled = condition::is_false(&status.conditions, kinds::BACKUP_EXECUTOR_ENSURED);
    let succeeded = !cancelled && status.snapshots.iter().all(|snapshot| snapshot.phase == Some(SnapshotPhase::Succeeded));
    let round = round(observed, status, hooks, Some(succeeded), AFTER, now);
    round.go_on(&mut status.hooks.get_or_insert_default().post_hooks, &mut status.conditions, now)
}

fn round<'a>(
    observed: &'a Observed,
    status: &BackupSessionStatus,
    hooks: &'a [HookInfo],
    work_succeeded: Option<bool>,
    words: Words,
    now: Timestamp,
) -> Round<'a> {
    let metadata = &observed.session.metadata;
    let own = metadata.namespace.as_deref().unwrap_or_default();
    let spec = observed.last_spec();
    // Of a batch's several targets none is the session's.
    let target = spec.as_ref().and_then(|spec| spec.only_application());
    let invoker = observed.session.spec.invoker.clone().unwrap_or_default();
    let (phase, error) = match work_succeeded {
        None => ("Running", String::new()),
        Some(true) => ("Succeeded", String::new()),
        Some(false) => ("Failed", plan::failure(observed, status)),
    };
    Round {
        hooks,
        owner: metadata.uid.as_deref().unwrap_or_default(),
        work_succeeded,
        target_namespace: spec.as_ref().map_or(own, |spec| spec.pods_namespace(own)),
        summary: Summary {
            name: metadata.name.clone().unwrap_or_default(),
            namespace: own.to_owned(),
            invoker: TypedObjectReference {
                api_group: invoker.api_group,
                kind: Some(invoker.kind),
                name: invoker.name,
                namespace: Some(own.to_owned()),
            },
            target: target.cloned().unwrap_or_else(TypedObjectReference::not_applicable).absolute(own),
            phase: phase.to_owned(),
            duration: plan::duration_of(observed, now),
            error,
        },
        standings: &observed.hooks,
        words,
    }
}
