//! Forgets what was removed, at once, and frees its space, later; looks for damage: nobody waits for that.

use std::time::Duration;

use holdfast_api::condition::kinds::repository as kinds;
use holdfast_api::condition::{self, Condition};
use holdfast_api::repository::RepositoryStatus;
use holdfast_api::size;
use holdfast_proto::v1;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::ledger::{self, Entry};
use super::maintenance::{self, Maintenance};
use super::{FORGET, Observed, PRUNE, views};
use crate::action::Action;
use crate::dispatch::assign::storage_of;
use crate::dispatch::task::{Class, Outcome, TaskRequest, TaskView, Wanted, Work};
use crate::object::{Key, Kind, Named};

mod integrity;

/// Snapshots in one task.
const BATCH_MAX: usize = 500;

/// What is to be done, and what becomes of the annotations.
pub(super) struct Upkeep<'a> {
    observed: &'a Observed,
    now: Timestamp,
    name: Named,
    storage: Named,
    maintenance: Maintenance,
    annotations: Map<String, Value>,
    pub(super) wanted: Vec<Wanted>,
    pub(super) actions: Vec<Action>,
}

impl<'a> Upkeep<'a> {
    /// Looks at a Repository that is open.
    pub(super) fn plan(observed: &'a Observed, status: &mut RepositoryStatus, now: Timestamp) -> Option<Self> {
        let key = ledger::key_of(&observed.repository);
        let name = Named::new(key.namespace, key.name);
        let storage = storage_of(&observed.repository, &name).ok()?;
        let maintenance = Maintenance::of(&observed.repository);
        let mut upkeep = Self {
            observed,
            now,
            name,
            storage,
            maintenance,
            annotations: Map::new(),
            wanted: Vec::new(),
            actions: Vec::new(),
        };
        upkeep.forget(status);
        upkeep.prune(status);
        upkeep.check(status);
        Some(upkeep)
    }

    /// What is to be written after the status.
    pub(super) fn patch(&self) -> Option<Action> {
        let mut annotations = self.annotations.clone();
        if self.maintenance != Maintenance::of(&self.observed.repository) {
            annotations.insert(maintenance::ANNOTATION.into(), self.maintenance.value());
        }
        (!annotations.is_empty()).then(|| Action::Patch {
            key: ledger::key_of(&self.observed.repository),
            // So that the next look knows whether it sees this yet: a result that was written down is not written down again.
            resource_version: self.observed.repository.metadata.resource_version.clone(),
            patch: json!({"metadata": {"annotations": annotations}}),
        })
    }

    /// A Snapshot that is written down goes; once it is gone, its data is forgotten.
    fn forget(&mut self, status: &mut RepositoryStatus) {
        let mut due: Vec<Entry> = Vec::new();
        for entry in ledger::entries(&self.observed.repository.metadata) {
            let same = |metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta| {
                metadata.name.as_deref() == Some(&entry.snapshot) && metadata.uid.as_deref() == Some(&entry.uid)
            };
            match self.observed.snapshots.iter().find(|snapshot| same(&snapshot.metadata)) {
                None => due.push(entry),
                Some(snapshot) if snapshot.metadata.deletion_timestamp.is_none() => self.actions.push(Action::Delete {
                    key: Key::new(Kind::Snapshot, &self.name.namespace, &entry.snapshot),
                    uid: entry.uid.clone(),
                }),
                Some(_) => {}
            }
        }
        let mut again_after = None;
        if let Some(TaskView::Finished { attempt, outcome, .. }) = &self.observed.forget {
            let done: Vec<String> = match outcome.as_ref() {
                Outcome::Forgotten(result) => result.snapshot_ids.clone(),
                // There is nothing there any more that could be forgotten.
                Outcome::Failed(failure) if failure.reason() == v1::task_failure::Reason::NotARepository => {
                    self.actions.push(Action::warning("NothingToForget", failure.message.clone()));
                    due.iter().flat_map(|entry| entry.ids.clone()).collect()
                }
                other => {
                    self.failed(status, kinds::SNAPSHOTS_FORGOTTEN, kinds::FORGET_FAILED, other);
                    return;
                }
            };
            let (gone, left): (Vec<Entry>, Vec<Entry>) =
                due.into_iter().partition(|entry| entry.ids.iter().all(|id| done.contains(id)));
            self.forgotten(status, &gone);
            due = left;
            if due.is_empty() {
                // Until the annotations are seen to be gone: a second look must not forget them again.
                self.wanted.extend((!gone.is_empty()).then(|| Wanted::Keep(FORGET.into())));
                return;
            }
            again_after = Some(*attempt);
        }
        if due.is_empty() || self.is_held_back() {
            return;
        }
        due.truncate(BATCH_MAX);
        let directory = views::directory(&self.observed.repository);
        let work = Work::Forget {
            repository: self.name.clone(),
            ids: due.iter().flat_map(|entry| entry.ids.clone()).collect(),
            remove_views: due.iter().map(|entry| views::snapshot_path(&directory, &entry.snapshot)).collect(),
        };
        self.want(FORGET, Class::Service, again_after, work);
    }

    fn forgotten(&mut self, status: &mut RepositoryStatus, gone: &[Entry]) {
        if gone.is_empty() {
            return;
        }
        self.annotations.extend(ledger::struck(gone));
        self.maintenance.forgotten += gone.iter().map(|entry| entry.ids.len() as u64).sum::<u64>();
        self.maintenance.forgotten_since = self.maintenance.forgotten_since.or(Some(self.now));
        self.maintenance.not_before = None;
        let condition =
            Condition::new(kinds::SNAPSHOTS_FORGOTTEN, true, kinds::FORGET_SUCCEEDED, "their space is freed later", self.now);
        condition::set(&mut status.conditions, condition);
    }

    fn prune(&mut self, status: &mut RepositoryStatus) {
        if let Some(TaskView::Finished { outcome, .. }) = &self.observed.prune {
            match outcome.as_ref() {
                Outcome::Pruned(result) => self.pruned(status, result),
                other => self.failed(status, kinds::SPACE_FREED, kinds::PRUNE_FAILED, other),
            }
            return;
        }
        let uid = self.observed.repository.metadata.uid.as_deref().unwrap_or_default();
        let Some(due) = self.maintenance.due(&self.observed.pace, uid) else { return };
        let left = due.duration_since(self.now);
        let runs = matches!(self.observed.prune, Some(TaskView::Running { .. }));
        if left.is_positive() && !runs {
            self.actions.push(Action::Later(left.unsigned_abs().max(Duration::from_millis(1))));
            return;
        }
        let wait_ms = u64::try_from(self.observed.pace.wait.as_millis()).unwrap_or(u64::MAX);
        let work = Work::Prune { repository: self.name.clone(), wait_ms };
        self.want(PRUNE, Class::Maintenance, None, work);
    }

    fn pruned(&mut self, status: &mut RepositoryStatus, result: &v1::PruneResult) {
        self.maintenance = Maintenance {
            pruned: Some(self.now),
            unfinished: result.packs_unused > 0 || result.packs_waiting > 0,
            checks: std::mem::take(&mut self.maintenance.checks),
            ..Maintenance::default()
        };
        let message = outcome(result);
        let condition = Condition::new(kinds::SPACE_FREED, true, kinds::PRUNE_SUCCEEDED, message.clone(), self.now);
        condition::set(&mut status.conditions, condition);
        self.actions.push(Action::normal("SpaceFreed", message));
    }

    fn failed(&mut self, status: &mut RepositoryStatus, type_: &str, reason: &str, outcome: &Outcome) {
        let message = outcome.problem().0;
        let condition = Condition::new(type_, false, reason, message.clone(), self.now);
        condition::set(&mut status.conditions, condition);
        self.actions.push(Action::warning(reason, message));
        self.maintenance.not_before = self.now.checked_add(self.observed.pace.retry).ok();
    }

    /// After a failure: not before its time, which wakes us.
    fn is_held_back(&mut self) -> bool {
        let left = self.maintenance.not_before.map(|at| at.duration_since(self.now));
        let Some(left) = left.filter(|left| left.is_positive()) else { return false };
        self.actions.push(Action::Later(left.unsigned_abs()));
        true
    }

    fn want(&mut self, component: &str, class: Class, again_after: Option<u32>, work: Work) {
        self.wanted.push(Wanted::Task(Box::new(TaskRequest {
            component: component.to_owned(),
            class,
            node: None,
            storage: self.storage.clone(),
            group: self.name.namespace.clone(),
            persisted: None,
            again_after,
            pod_uids: Vec::new(),
            work,
        })));
    }
}

/// A prune's result, for a person.
fn outcome(result: &v1::PruneResult) -> String {
    let mut text = format!("deleted {} packs of {}", result.packs_deleted, size::format(result.bytes_deleted));
    if result.packs_unused > 0 {
        let bytes = size::format(result.bytes_unused);
        text += &format!("; {} packs of {bytes} are unused, and the next run deletes them", result.packs_unused);
    }
    if result.packs_waiting > 0 {
        text += &format!("; {} packs stay until these have ended: {}", result.packs_waiting, result.waiting_for_first.join(", "));
    }
    text
}
