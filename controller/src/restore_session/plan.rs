//! What a restore needs: checked, its snapshot decided, backups of the target paused, components restored, summed up.

use std::time::Duration;

use holdfast_api::condition::kinds::{restore_session as kinds, shared};
use holdfast_api::condition::{self, Condition, ConditionStatus};
use holdfast_api::phase;
use holdfast_api::snapshot::SnapshotPhase;
use holdfast_api::reference::{ResourceFoundStatus, TypedObjectReference};
use holdfast_api::restore_session::{
    ComponentRestoreStatus, RestorePhase, RestoreProgress, RestoreSession, RestoreSessionStatus,
};
use holdfast_api::{duration, size};
use holdfast_proto::v1;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::blame::Blame;
use super::manifests::{self, Stored};
use super::{CHOSEN, DRY_RUN, Observed, components, departure, gone, key_of, own_claims, source_namespace};
use crate::action::Action;
use crate::first_use;
use crate::invoker::PAUSED_BY;
use crate::dispatch::assign::storage_of;
use crate::dispatch::task::{Class, FREE_SLOT, Outcome, TaskRequest, TaskView, Wanted, Work};
use crate::object::Named;
use crate::snapshot::result::{percent, seconds_left};
use crate::target::{Access, Reach, Shape};
use crate::work;

/// Attempts after failures that another attempt may mend.
const RETRIES_MAX: u32 = 2;
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// How often it is asked whether agents have let go.
pub(super) const LET_GO: Duration = Duration::from_secs(1);
pub(super) const TOO_LATE: &str = "restoreTimeout has passed since the first component was assigned";

/// Whether a restore has ended or is going. One that was refused before anything of it began has not ended: what it was refused for may
/// come, or be mended. Of one that had begun nobody knows what has been written there since.
pub fn is_settled(restore: &RestoreSession) -> bool {
    restore.metadata.deletion_timestamp.is_some()
        || restore.status.as_ref().and_then(|status| status.phase).is_some_and(RestorePhase::is_terminal) && !may_heal(restore)
}

/// Whether it is Invalid as it stands, and nothing of it has begun.
pub fn may_heal(restore: &RestoreSession) -> bool {
    let status = restore.status.as_ref().filter(|status| status.phase == Some(RestorePhase::Invalid));
    status.is_some_and(|status| !departure::has_begun(status) && status.paused_backups.is_empty())
}

/// Whether its Snapshot has to stay for it. One that was refused may never be mended, and must not hold a backup for ever.
pub fn holds_its_snapshot(restore: &RestoreSession) -> bool {
    !is_settled(restore) && !may_heal(restore)
}

/// What is to be done about a restore that has not ended.
pub fn plan(observed: &Observed, now: Timestamp) -> Vec<Action> {
    if observed.restore.metadata.deletion_timestamp.is_some() {
        return departure::plan(observed, now);
    }
    let mut status = observed.restore.status.clone().unwrap_or_default();
    if let Some(problem) = problem(observed) {
        return refuse(observed, status, &problem, now);
    }
    let valid = Condition::new(shared::VALIDATION_PASSED, true, shared::RESOURCE_VALIDATION_PASSED, "", now);
    condition::set(&mut status.conditions, valid.observed(observed.restore.metadata.generation));
    // What a time means is pinned at once: while the target is waited for, retention may remove it, and an older one would take its place.
    if means_a_time(observed)
        && let Some(decide) = decide(observed)
    {
        return vec![decide];
    }
    if let Some(waiting) = missing(observed, &mut status, now) {
        if departure::has_begun(&status) {
            return gone::plan(observed, status, waiting, now);
        }
        status.phase = Some(RestorePhase::Pending);
        let mut actions = write(observed, &status);
        actions.push(Action::Tasks(Vec::new()));
        actions.push(Action::normal("Waiting", waiting));
        actions.push(Action::Later(LOOK_AGAIN));
        return actions;
    }
    condition::remove(&mut status.conditions, kinds::RESTORE_SOURCE_FOUND);
    if let Some(decide) = decide(observed) {
        return vec![decide];
    }
    if let Some(problem) = components::chosen(observed).err().or_else(|| own_claims::problem(observed)) {
        return refuse(observed, status, &problem, now);
    }
    if let Some(keep) = departure::keep(&observed.restore) {
        return vec![keep];
    }
    let mut run = Pass::new(observed, now);
    if first_use::keep_restore(&observed.restore, observed.is_changed, &mut status.conditions, now) {
        run.events.push(Action::warning(shared::SPEC_CHANGED, "its spec was changed after it had begun: it goes on as it was begun; for something else make another restore"));
    }
    pause(observed, &mut status);
    if run.before(&mut status) {
        run.components(&mut status);
    }
    run.finish(status)
}

/// What makes it impossible as it stands.
fn problem(observed: &Observed) -> Option<String> {
    if let Some(problem) = &observed.problem {
        return Some(problem.clone());
    }
    let has_volumes = observed.job.as_ref().is_ok_and(|job| job.has_volumes());
    let has_pods = observed.job.as_ref().is_ok_and(|job| job.has_pods());
    if let Shape::Unsupported(what) = &observed.target.shape
        && !observed.makes_claims()
        && (has_volumes || !(observed.needs_no_target() || has_pods))
    {
        return Some(format!("spec.target: {what}"));
    }
    if has_pods && own_claims::is_a_try(observed) {
        return Some("spec.addon: a backup is tried out in claims of its own, and what a pod restores goes where the pod puts it".into());
    }
    if observed.job.as_ref().is_ok_and(|job| job.has_manifests()) && own_claims::is_a_try(observed) {
        return Some("spec.addon: a backup is tried out without its manifests: they would be made where the application runs".into());
    }
    if observed.is_dry_run() && (has_volumes || has_pods || observed.restore.spec.hooks.is_some()) {
        return Some(format!("metadata.annotations[{DRY_RUN}]: only manifests can be tried so; leave tasks for volumes, pods and hooks out"));
    }
    if foreign_secret(observed) {
        return Some("spec.dataSource.encryptionSecret: only a Secret of the same namespace may be used, or the Repository's own".into());
    }
    // A missing Addon or Function may come; anything else about the job is the writer's to mend.
    observed
        .job
        .as_ref()
        .err()
        .filter(|problem| !work::may_come(problem))
        .map(|problem| format!("spec.addon: {problem}"))
}

/// Whether it names a Secret of another namespace that is not the Repository's own.
fn foreign_secret(observed: &Observed) -> bool {
    let own = observed.restore.metadata.namespace.as_deref().unwrap_or_default();
    let Some(secret) = observed.restore.spec.data_source.as_ref().and_then(|source| source.encryption_secret.as_ref()) else { return false };
    let namespace = secret.namespace_or(own);
    let of_repository = || {
        let theirs = observed.repository.as_ref().map(|repository| repository.spec.encryption_secret.as_ref());
        // Which one that is is not known yet.
        theirs.is_none_or(|theirs| theirs.is_some_and(|theirs| theirs.name == secret.name))
    };
    namespace != own && !(namespace == source_namespace(&observed.restore) && of_repository())
}

fn refuse(observed: &Observed, mut status: RestoreSessionStatus, problem: &str, now: Timestamp) -> Vec<Action> {
    let invalid = Condition::new(shared::VALIDATION_PASSED, false, shared::RESOURCE_VALIDATION_FAILED, problem, now);
    condition::set(&mut status.conditions, invalid.observed(observed.restore.metadata.generation));
    status.phase = Some(phase::restore_session(&status));
    let mut actions = write(observed, &status);
    // It is looked at again whenever something changes that it may depend on, and told of once.
    if !actions.is_empty() {
        actions.push(Action::warning("Invalid", problem));
    }
    actions.push(Action::Tasks(Vec::new()));
    actions
}

pub(super) fn write(observed: &Observed, status: &RestoreSessionStatus) -> Vec<Action> {
    Action::status(observed.restore.status.as_ref(), status).into_iter().collect()
}

/// What is not there yet. Everything may come later: nothing fails for it before it has begun.
fn missing(observed: &Observed, status: &mut RestoreSessionStatus, now: Timestamp) -> Option<String> {
    status.target_found = Some(observed.target.exists() || observed.makes_claims());
    if let Shape::Missing(what) = &observed.target.shape
        && !observed.needs_no_target()
    {
        let condition = Condition::new(
            kinds::RESTORE_TARGET_FOUND,
            ConditionStatus::False,
            kinds::UNABLE_TO_CHECK_TARGET_AVAILABILITY,
            what,
            now,
        );
        condition::set(&mut status.conditions, condition);
        return Some(what.clone());
    }
    let found = Condition::new(kinds::RESTORE_TARGET_FOUND, true, kinds::RESTORE_TARGET_FOUND, "", now);
    condition::set(&mut status.conditions, found);
    let namespace = Some(source_namespace(&observed.restore).to_owned());
    let dependency = |kind: &str, name: &str, found: bool| ResourceFoundStatus {
        api_group: Some("storage.kubestash.com".into()),
        kind: Some(kind.into()),
        name: name.to_owned(),
        namespace: namespace.clone(),
        found: Some(found),
    };
    let source = observed.restore.spec.data_source.as_ref();
    let asked = source.and_then(|source| source.snapshot.as_deref()).unwrap_or("latest");
    let name = observed.chosen.as_deref().unwrap_or(asked);
    status.dependencies = vec![dependency("Snapshot", name, observed.snapshot.is_some())];
    if let Err(why) = &observed.chosen {
        return Some(why.clone());
    }
    let Some(snapshot) = &observed.snapshot else { return Some(format!("Snapshot {name} does not exist")) };
    let phase = snapshot.status.as_ref().and_then(|status| status.phase);
    if !phase.is_some_and(SnapshotPhase::is_terminal) {
        return Some(format!("Snapshot {name} has not ended yet"));
    }
    if let Err(why) = &observed.job {
        return Some(why.clone());
    }
    let repository =
        observed.snapshot.as_ref().and_then(|snapshot| snapshot.spec.repository.clone()).unwrap_or_default();
    status.dependencies.push(dependency("Repository", &repository, observed.repository.is_some()));
    observed.repository.is_none().then(|| format!("Repository {repository} does not exist"))
}

fn means_a_time(observed: &Observed) -> bool {
    observed.restore.spec.data_source.as_ref().is_some_and(|source| source.pitr.is_some())
}

/// Decides which snapshot is meant, once.
fn decide(observed: &Observed) -> Option<Action> {
    let metadata = &observed.restore.metadata;
    let decided = metadata.annotations.as_ref().and_then(|annotations| annotations.get(CHOSEN));
    let chosen = observed.chosen.as_ref().ok()?;
    (decided != Some(chosen)).then(|| Action::Patch {
        key: key_of(&observed.restore),
        resource_version: metadata.resource_version.clone(),
        patch: json!({"metadata": {"annotations": {CHOSEN: chosen}}}),
    })
}

/// Lists the invokers that are paused for this restore; `Pass::finish` pauses them when that has been written.
pub(super) fn pause(observed: &Observed, status: &mut RestoreSessionStatus) {
    // Also those that another restore has paused: when that ends, this one is the next.
    for invoker in observed.invokers.iter().filter(|invoker| !invoker.is_paused() || invoker.paused_by().is_some()) {
        let own = invoker.reference();
        let reference = TypedObjectReference {
            api_group: own.api_group,
            kind: Some(own.kind),
            name: own.name,
            namespace: invoker.metadata().namespace.clone(),
        };
        if !status.paused_backups.contains(&reference) {
            status.paused_backups.push(reference);
        }
    }
}

pub(super) struct Pass<'a> {
    pub(super) observed: &'a Observed,
    pub(super) now: Timestamp,
    pub(super) events: Vec<Action>,
    pub(super) wanted: Vec<Wanted>,
    /// Whether pods run whose components have ended already.
    pub(super) has_running_pods: bool,
    /// What components wait for.
    pub(super) waits: Vec<String>,
    pub(super) blame: Blame,
    later: Option<Duration>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(observed: &'a Observed, now: Timestamp) -> Self {
        Self { observed, now, events: Vec::new(), wanted: Vec::new(), has_running_pods: false, waits: Vec::new(), blame: Blame::default(), later: None }
    }

    fn components(&mut self, status: &mut RestoreSessionStatus) {
        for name in self.observed.reaches.keys() {
            let pending =
                || ComponentRestoreStatus { phase: Some(RestorePhase::Pending), ..ComponentRestoreStatus::default() };
            status.components.entry(name.clone()).or_insert_with(pending);
        }
        status.total_components = i32::try_from(status.components.len()).ok();
        let ensured = Condition::new(
            kinds::RESTORE_EXECUTOR_ENSURED,
            true,
            kinds::SUCCESSFULLY_ENSURED_RESTORE_EXECUTOR,
            "",
            self.now,
        );
        condition::set(&mut status.conditions, ensured);
        let deadline = status.restore_deadline.as_ref().map(|time| time.0);
        let turn = self.turn(status);
        for (name, component) in &mut status.components {
            if self.turn_of(name) <= turn {
                self.advance(name, component, deadline);
            }
        }
        self.blame.note(status, self.now);
        self.note_waiting(status);
        self.events.extend(manifests::sum_up(self.observed, status, self.now));
        self.set_deadline(status);
        let phase = phase::restored_components(status);
        if phase == RestorePhase::Failed || (phase == RestorePhase::Succeeded && !self.has_running_pods) {
            self.end(status);
        } else {
            status.phase = Some(phase::restore_session(status));
        }
    }

    fn turn_of(&self, name: &str) -> usize {
        self.observed.job.as_ref().map_or(0, |job| job.turn(name))
    }

    /// Tasks run in their order: whose turn it is, as long as what comes before has not succeeded.
    fn turn(&self, status: &RestoreSessionStatus) -> usize {
        let open = status.components.iter().filter(|(_, component)| component.phase != Some(RestorePhase::Succeeded));
        open.map(|(name, _)| self.turn_of(name)).min().unwrap_or(usize::MAX)
    }

    fn advance(&mut self, name: &str, component: &mut ComponentRestoreStatus, deadline: Option<Timestamp>) {
        if let Some(pod) = self.observed.pods.get(name) {
            let is_late = self.is_late(deadline);
            return self.advance_pod(component, pod, is_late);
        }
        if component.phase.is_some_and(RestorePhase::is_terminal) {
            return;
        }
        let mut again_after = None;
        match self.observed.tasks.get(name) {
            Some(TaskView::Finished { attempt, retries, elapsed_ms, outcome }) => {
                component.duration = Some(duration::format(Duration::from_millis(*elapsed_ms)));
                match ended(outcome) {
                    Ok(remark) => {
                        component.phase = Some(RestorePhase::Succeeded);
                        component.error = None;
                        let remark = remark.map(|remark| {
                            Action::warning("RestoredWithRemarks", format!("component {name}: {remark}"))
                        });
                        self.events.extend(remark);
                        return;
                    }
                    Err((message, may_help)) if !may_help || *retries >= RETRIES_MAX => {
                        self.blame.ended(outcome, &message);
                        fail(component, message);
                        return;
                    }
                    Err((message, _)) => {
                        self.events.push(Action::warning("Retrying", format!("component {name}: {message}")));
                        again_after = Some(*attempt);
                    }
                }
            }
            Some(TaskView::Running { progress, .. }) => {
                component.phase = Some(RestorePhase::Running);
                component.progress = progress.as_ref().map(|progress| shown(progress)).or(component.progress.take());
            }
            Some(TaskView::Waiting(why)) if why != FREE_SLOT => self.wait_for(name, why),
            Some(TaskView::Waiting(_)) | None => {}
        }
        if self.is_late(deadline) && !self.may_have_ended(component) {
            self.fail_elsewhere(component, TOO_LATE);
            return;
        }
        self.ask_for(name, component, again_after);
    }

    fn is_late(&mut self, deadline: Option<Timestamp>) -> bool {
        let Some(left) = deadline.map(|deadline| deadline.duration_since(self.now)) else { return false };
        if left > SignedDuration::ZERO {
            self.look_again(left.unsigned_abs());
        }
        left <= SignedDuration::ZERO
    }

    fn ask_for(&mut self, name: &str, component: &mut ComponentRestoreStatus, again_after: Option<u32>) {
        let running = matches!(self.observed.tasks.get(name), Some(TaskView::Running { .. }));
        match self.observed.reaches.get(name) {
            Some(Reach::Ready(access)) => match self.request(name, access, again_after) {
                Ok(request) => {
                    self.wanted.extend(access.held.clone().map(Wanted::Hold));
                    self.wanted.push(Wanted::Task(Box::new(request)));
                }
                Err(reason) => fail(component, reason),
            },
            Some(Reach::Anywhere) => match self.stored(name).and_then(|stored| manifests::request(self.observed, stored, again_after)) {
                Ok(request) => self.wanted.push(Wanted::Task(Box::new(request))),
                Err(reason) => fail(component, reason),
            },
            Some(Reach::Unmounted(wish)) => {
                self.wanted.push(Wanted::Hold(wish.clone()));
                if running {
                    self.wanted.push(Wanted::Keep(name.to_owned()));
                } else {
                    self.wait_for(name, format!("{wish} is to run"));
                }
            }
            _ if running => self.wanted.push(Wanted::Keep(name.to_owned())),
            // A restore waits for its pod for as long as it takes, or for its restoreTimeout.
            Some(Reach::Waiting(why)) => self.wait_for(name, why),
            Some(Reach::Impossible(why)) => self.fail_elsewhere(component, why),
            None => fail(component, "the Snapshot no longer has this component".into()),
        }
    }

    /// Fails a component for what tells nothing of the backup.
    pub(super) fn fail_elsewhere(&mut self, component: &mut ComponentRestoreStatus, why: &str) {
        self.blame.elsewhere(why);
        fail(component, why.to_owned());
    }

    pub(super) fn look_again(&mut self, after: Duration) {
        self.later = Some(self.later.map_or(after, |later| later.min(after)));
    }

    /// Where a component is stored: the engine's snapshot, the Repository, its storage, and the Secret that opens it.
    fn stored(&self, name: &str) -> Result<Stored<'_>, String> {
        let observed = self.observed;
        let chosen = components::chosen(observed)?;
        let stored = *chosen.get(name).ok_or("the Snapshot no longer has this component")?;
        let repository = observed.repository.as_ref().ok_or("its Repository is gone")?;
        let repository_name = Named::new(source_namespace(&observed.restore), repository.metadata.name.clone().unwrap_or_default());
        let storage = storage_of(repository, &repository_name).map_err(|reason| reason.to_string())?;
        let source = observed.restore.spec.data_source.as_ref();
        let secret = source.and_then(|source| source.encryption_secret.as_ref());
        let own = observed.restore.metadata.namespace.as_deref().unwrap_or_default();
        Ok(Stored {
            component: stored,
            snapshot_id: components::engine_snapshot(stored).unwrap_or_default().to_owned(),
            repository: repository_name,
            storage,
            encryption_secret: secret.map(|secret| Named::new(secret.namespace_or(own), &secret.name)),
        })
    }

    fn request(&self, name: &str, access: &Access, again_after: Option<u32>) -> Result<TaskRequest, String> {
        let observed = self.observed;
        let Stored { component: stored, snapshot_id, repository, storage, encryption_secret } = self.stored(name)?;
        let job = observed.job.clone()?;
        let namespace = observed.restore.metadata.namespace.clone().unwrap_or_default();
        let from = source_namespace(&observed.restore);
        let app = observed.snapshot.as_ref().and_then(|snapshot| snapshot.spec.app_ref.as_ref());
        let (run_as_user, run_as_group) = job.run_as.ids();
        let restic = components::restic(stored);
        let of_restic = |path: &str| restic.as_ref().and_then(|_| components::restic_snapshot(stored, path)).unwrap_or_default();
        let task = v1::RestoreTask {
            repository: None,
            snapshot_id: if restic.is_some() { String::new() } else { snapshot_id },
            targets: access
                .volumes
                .iter()
                .map(|located| v1::RestoreTarget {
                    snapshot_path: located.container_path.clone(),
                    volume: Some(located.volume.clone()),
                    path_in_volume: located.path_in_volume.clone(),
                    snapshot_id: of_restic(&located.container_path).to_owned(),
                })
                .collect(),
            include: job.include,
            exclude: job.exclude,
            grant_ttl_ms: crate::dispatch::table::Limits::default().grant_ttl_ms,
            same_namespace: app.and_then(|app| app.namespace.as_deref()).unwrap_or(from) == self.target_namespace(),
            run_as_user,
            run_as_group,
            restic,
        };
        Ok(TaskRequest {
            component: name.to_owned(),
            class: Class::Restore,
            node: Some(access.node.clone()),
            storage,
            group: namespace,
            persisted: observed.attempts.get(name).cloned(),
            again_after,
            pod_uids: vec![access.pod_uid.clone()],
            work: Work::Restore { repository, encryption_secret, task: Box::new(task) },
        })
    }

    fn target_namespace(&self) -> &str {
        let own = self.observed.restore.metadata.namespace.as_deref().unwrap_or_default();
        let target = self.observed.restore.spec.target.as_ref().filter(|_| !self.observed.makes_claims());
        target.map_or(own, |target| target.namespace_or(own))
    }

    /// The deadline counts from the first assignment.
    fn set_deadline(&self, status: &mut RestoreSessionStatus) {
        let timeout = self.observed.restore.spec.restore_timeout.as_deref().and_then(|text| duration::parse(text).ok());
        let begun = status.components.values().any(|component| component.phase != Some(RestorePhase::Pending));
        if let (Some(timeout), true, None) = (timeout, begun, &status.restore_deadline) {
            status.restore_deadline = self.now.checked_add(timeout).ok().map(Time);
        }
    }

    pub(super) fn end(&mut self, status: &mut RestoreSessionStatus) {
        // One failed component fails the restore at once: the others stop.
        self.wanted.clear();
        condition::remove(&mut status.conditions, kinds::WAITING);
        let is_complete = phase::restored_components(status) == RestorePhase::Succeeded;
        // The hooks after it, and backups, begin with the volumes as they are left: nobody may be writing there any more.
        if !is_complete && self.observed.has_tasks {
            status.phase = Some(phase::restore_session(status));
            return self.look_again(LET_GO);
        }
        let succeeded = is_complete && !condition::is_false(&status.conditions, kinds::PRE_RESTORE_HOOKS_EXECUTION_SUCCEEDED);
        if !self.after(status, succeeded) {
            return;
        }
        let pushed = Condition::new(
            shared::METRICS_PUSHED,
            true,
            shared::SUCCESSFULLY_PUSHED_METRICS,
            "the last step is done",
            self.now,
        );
        condition::set(&mut status.conditions, pushed);
        status.phase = Some(phase::restore_session(status));
        let taken = self.taken();
        let errors = errors(status);
        self.events.push(if errors.is_empty() {
            Action::normal("Succeeded", format!("the restore took {taken}"))
        } else {
            Action::warning("Failed", errors.join("; "))
        });
        status.duration = Some(taken);
    }

    pub(super) fn finish(self, status: RestoreSessionStatus) -> Vec<Action> {
        let mut actions = write(self.observed, &status);
        // After the status names them: a crash in between pauses nobody whom it does not name.
        let pauses = if status.phase.is_some_and(RestorePhase::is_terminal) { Vec::new() } else { self.pauses() };
        if !pauses.is_empty() {
            let paused = status.paused_backups.iter().map(|paused| format!("{} {}", paused.kind.as_deref().unwrap_or_default(), paused.name));
            let names: Vec<String> = paused.collect();
            actions.push(Action::normal("BackupsPaused", names.join(", ")));
        }
        actions.extend(pauses);
        if !status.phase.is_some_and(RestorePhase::is_terminal) {
            actions.extend(own_claims::missing(self.observed));
        }
        actions.push(Action::Tasks(self.wanted));
        actions.extend(self.events);
        actions.extend(self.later.map(Action::Later));
        actions
    }

    fn pauses(&self) -> Vec<Action> {
        let to_pause = self.observed.invokers.iter().filter(|invoker| !invoker.is_paused());
        to_pause
            .map(|invoker| Action::Patch {
                key: invoker.key(),
                resource_version: invoker.metadata().resource_version.clone(),
                patch: json!({"metadata": {"annotations": {PAUSED_BY: invoker.mark_of(&self.observed.restore)}}, "spec": {"paused": true}}),
            })
            .collect()
    }
}

/// What went wrong, component by component, and with the hooks.
pub(super) fn errors(status: &RestoreSessionStatus) -> Vec<String> {
    let components = status
        .components
        .iter()
        .filter_map(|(name, component)| Some(format!("component {name}: {}", component.error.as_ref()?)));
    let hooks = [kinds::PRE_RESTORE_HOOKS_EXECUTION_SUCCEEDED, kinds::POST_RESTORE_HOOKS_EXECUTION_SUCCEEDED];
    let hooks = hooks.into_iter().filter(|type_| condition::is_false(&status.conditions, type_));
    let hooks = hooks.filter_map(|type_| condition::get(&status.conditions, type_)?.message.clone());
    // Of one that ended before its components were known nothing else says why.
    let is_told = status.components.values().any(|component| component.error.is_some());
    let early = condition::get(&status.conditions, kinds::RESTORE_INCOMPLETE).filter(|_| !is_told);
    components.chain(early.and_then(|early| early.message.clone())).chain(hooks).collect()
}

/// How an attempt ended: well, perhaps with a remark; or not, and whether another may help.
fn ended(outcome: &Outcome) -> Result<Option<String>, (String, bool)> {
    match outcome {
        Outcome::Restore(result) if result.failed_count > 0 => Err((
            format!("{} entries could not be restored: {}", result.failed_count, result.failed_first.join("; ")),
            false,
        )),
        Outcome::Restore(result) if result.warnings_count > 0 => Ok(Some(format!(
            "{} attributes cannot be held by this volume: {}",
            result.warnings_count,
            result.warnings_first.join("; ")
        ))),
        Outcome::Restore(_) => Ok(None),
        other => Err(other.problem()),
    }
}

pub(super) fn fail(component: &mut ComponentRestoreStatus, message: String) {
    component.phase = Some(RestorePhase::Failed);
    component.error = Some(message);
}

fn shown(progress: &v1::TaskProgress) -> RestoreProgress {
    RestoreProgress {
        seconds_elapsed: i64::try_from(progress.elapsed_ms / 1000).ok(),
        percent_done: percent(progress.bytes_done, progress.bytes_total),
        files_done: i64::try_from(progress.files_done).ok(),
        total_files: i64::try_from(progress.files_total).ok().filter(|total| *total > 0),
        restore_done: Some(size::format(progress.bytes_done)),
        total: (progress.bytes_total > 0).then(|| size::format(progress.bytes_total)),
        speed: Some(format!("{}/s", size::format(progress.bytes_per_second))),
        seconds_left: seconds_left(progress),
    }
}
