//! The component of manifests: which objects are made of it, as whom, and what is said of them.

use holdfast_api::condition::kinds::restore_session as kinds;
use holdfast_api::condition::{self, Condition};
use holdfast_api::names::component;
use holdfast_api::restore_session::RestoreSessionStatus;
use holdfast_api::snapshot::Component;
use holdfast_proto::v1;
use jiff::Timestamp;

use super::Observed;
use crate::action::Action;
use crate::dispatch::task::{Class, Outcome, TaskRequest, TaskView, Work};
use crate::manifests::{FILE, RestoreOrder, is_name};
use crate::object::Named;

/// Where a component is stored.
pub(super) struct Stored<'o> {
    /// As the Snapshot has it.
    pub(super) component: &'o Component,
    /// The engine's snapshot.
    pub(super) snapshot_id: String,
    pub(super) repository: Named,
    pub(super) storage: Named,
    /// What opens it, if not the Repository's own.
    pub(super) encryption_secret: Option<Named>,
}

/// The task; or why there can be none.
pub(super) fn request(observed: &Observed, stored: Stored<'_>, again_after: Option<u32>) -> Result<TaskRequest, String> {
    let Stored { snapshot_id, repository, storage, encryption_secret, .. } = stored;
    let task = v1::ReturnManifests { repository: None, snapshot_id, path: FILE.into() };
    let order = Box::new(order(observed)?);
    Ok(TaskRequest {
        component: component::MANIFEST.to_owned(),
        class: Class::Restore,
        node: None,
        storage,
        group: observed.restore.metadata.namespace.clone().unwrap_or_default(),
        persisted: observed.attempts.get(component::MANIFEST).cloned(),
        again_after,
        pod_uids: Vec::new(),
        work: Work::ReturnManifests { repository, encryption_secret, task: Box::new(task), order },
    })
}

fn order(observed: &Observed) -> Result<RestoreOrder, String> {
    let manifests = observed.job.clone()?.manifests;
    let identity = manifests.identity(observed.restore.metadata.namespace.as_deref().unwrap_or_default())?;
    let options = observed.restore.spec.manifest_options.as_ref().and_then(|options| options.workload.as_ref());
    let namespace = options.and_then(|options| options.restore_namespace.clone()).filter(|namespace| !namespace.is_empty());
    if let Some(wrong) = namespace.as_deref().filter(|namespace| !is_name(namespace)) {
        return Err(format!("spec.manifestOptions.workload.restoreNamespace: {wrong:?} is no name of a namespace"));
    }
    Ok(RestoreOrder { identity, choice: manifests.choice, namespace, dry_run: observed.is_dry_run() })
}

/// What was made is said for as long as the RestoreSession is there; an Event is gone in an hour.
pub(super) fn sum_up(observed: &Observed, status: &mut RestoreSessionStatus, now: Timestamp) -> Option<Action> {
    let Some(TaskView::Finished { outcome, .. }) = observed.tasks.get(component::MANIFEST) else { return None };
    let Outcome::Restore(v1::RestoreResult { summary, failed_count: 0, .. }) = outcome.as_ref() else { return None };
    if summary.is_empty() || condition::has(&status.conditions, kinds::MANIFESTS_RESTORED) {
        return None;
    }
    let is_dry_run = observed.is_dry_run();
    let reason = if is_dry_run { kinds::DRY_RUN } else { kinds::SUCCESSFULLY_RESTORED_MANIFESTS };
    condition::set(&mut status.conditions, Condition::new(kinds::MANIFESTS_RESTORED, !is_dry_run, reason, summary, now));
    Some(Action::normal(reason, summary.clone()))
}
