//! Hooks of a restore: before anything is written, and after its components have ended.

use holdfast_api::condition;
use holdfast_api::condition::kinds::restore_session as kinds;
use holdfast_api::duration;
use holdfast_api::hook::HookInfo;
use holdfast_api::reference::TypedObjectReference;
use holdfast_api::restore_session::{RestorePhase, RestoreSession, RestoreSessionStatus};
use jiff::SignedDuration;

use super::plan::{Pass, errors, fail};
use crate::hooks::round::{Round, Turn, Words};
use crate::hooks::summary::Summary;

const BEFORE: Words = (
    kinds::PRE_RESTORE_HOOKS_EXECUTION_SUCCEEDED,
    kinds::SUCCESSFULLY_EXECUTED_PRE_RESTORE_HOOKS,
    kinds::FAILED_TO_EXECUTE_PRE_RESTORE_HOOKS,
);
const AFTER: Words = (
    kinds::POST_RESTORE_HOOKS_EXECUTION_SUCCEEDED,
    kinds::SUCCESSFULLY_EXECUTED_POST_RESTORE_HOOKS,
    kinds::FAILED_TO_EXECUTE_POST_RESTORE_HOOKS,
);

impl Pass<'_> {
    /// The hooks before the restore.
    pub(super) fn hooks_before(&mut self, status: &mut RestoreSessionStatus) -> Turn {
        let hooks = self.observed.restore.spec.hooks.as_ref().map(|hooks| hooks.pre_restore.as_slice()).unwrap_or_default();
        self.go_on(status, hooks, None, BEFORE)
    }

    /// Those before the work where it has not ended, and else those after it.
    fn go_on(&mut self, status: &mut RestoreSessionStatus, hooks: &[HookInfo], work_succeeded: Option<bool>, words: Words) -> Turn {
        if hooks.is_empty() {
            return Turn::Done;
        }
        let round = self.round(hooks, work_succeeded, words, status);
        let kept = status.hooks.get_or_insert_default();
        let kept = if work_succeeded.is_none() { &mut kept.pre_hooks } else { &mut kept.post_hooks };
        let turn = round.go_on(kept, &mut status.conditions, self.now);
        if let Turn::Busy(start) = &turn {
            self.events.extend(start.clone());
            status.phase = Some(RestorePhase::Running);
        }
        turn
    }

    /// The hooks before the restore: false while they run, and when one has failed.
    pub(super) fn before(&mut self, status: &mut RestoreSessionStatus) -> bool {
        if self.hooks_before(status) != Turn::Done {
            return false;
        }
        let failed = condition::is_false(&status.conditions, kinds::PRE_RESTORE_HOOKS_EXECUTION_SUCCEEDED);
        if failed {
            // Nothing was written yet: the restore fails, and the hooks after it say so to whom they should.
            self.end(status);
        }
        !failed
    }

    /// The hooks after the restore, however it ended: false while they run.
    pub(super) fn after(&mut self, status: &mut RestoreSessionStatus, succeeded: bool) -> bool {
        let hooks = self.observed.restore.spec.hooks.as_ref().map(|hooks| hooks.post_restore.as_slice()).unwrap_or_default();
        self.go_on(status, hooks, Some(succeeded), AFTER) == Turn::Done
    }

    /// The hooks after a restore that is deleted: false while they run.
    pub(super) fn after_deletion(&mut self, status: &mut RestoreSessionStatus) -> bool {
        for component in status.components.values_mut().filter(|component| !component.phase.is_some_and(RestorePhase::is_terminal)) {
            fail(component, "the RestoreSession was deleted".into());
        }
        self.after(status, false)
    }

    fn round<'h>(
        &'h self,
        hooks: &'h [HookInfo],
        work_succeeded: Option<bool>,
        words: Words,
        status: &RestoreSessionStatus,
    ) -> Round<'h> {
        let metadata = &self.observed.restore.metadata;
        let own = metadata.namespace.as_deref().unwrap_or_default();
        let target = self.observed.restore.spec.target.as_ref();
        let phase = match work_succeeded {
            None => "Running",
            Some(true) => "Succeeded",
            Some(false) => "Failed",
        };
        let summary = Summary {
            name: metadata.name.clone().unwrap_or_default(),
            namespace: own.to_owned(),
            invoker: TypedObjectReference {
                api_group: Some("core.kubestash.com".into()),
                kind: Some(RestoreSession::KIND.into()),
                name: metadata.name.clone().unwrap_or_default(),
                namespace: Some(own.to_owned()),
            },
            target: target.cloned().unwrap_or_default().absolute(own),
            phase: phase.to_owned(),
            duration: self.taken(),
            error: errors(status).join("; "),
        };
        Round {
            hooks,
            owner: metadata.uid.as_deref().unwrap_or_default(),
            work_succeeded,
            target_namespace: target.map_or(own, |target| target.namespace_or(own)),
            summary,
            standings: &self.observed.hooks,
            words,
        }
    }

    pub(super) fn taken(&self) -> String {
        let created = self.observed.restore.metadata.creation_timestamp.as_ref().map_or(self.now, |time| time.0);
        duration::format(self.now.duration_since(created).max(SignedDuration::ZERO).unsigned_abs())
    }
}
