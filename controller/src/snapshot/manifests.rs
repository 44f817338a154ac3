//! The component of manifests: which are read, and as whom.

use holdfast_api::names::component;

use super::Observed;
use super::plan::host;
use crate::dispatch::task::{Class, TaskRequest, Work};
use crate::manifests::{BackupOrder, Scope, store_task};
use crate::object::Named;

/// The task; or why there can be none.
pub(super) fn request(observed: &Observed, repository: Named, storage: Named, again_after: Option<u32>) -> Result<TaskRequest, String> {
    let snapshot = &observed.snapshot;
    let session = snapshot.spec.session.clone().unwrap_or_default();
    let task = store_task(host(snapshot), session, snapshot.metadata.name.clone().unwrap_or_default());
    Ok(TaskRequest {
        component: component::MANIFEST.to_owned(),
        class: Class::Backup,
        node: None,
        storage,
        group: snapshot.metadata.namespace.clone().unwrap_or_default(),
        persisted: None,
        again_after,
        pod_uids: Vec::new(),
        work: Work::StoreManifests { repository, task: Box::new(task), order: Box::new(order(observed)?) },
    })
}

/// By what takes the backup alone: whoever may write a Snapshot may not therefore choose what is read.
fn order(observed: &Observed) -> Result<BackupOrder, String> {
    let job = observed.job.as_ref().map_err(Clone::clone)?;
    let namespace = observed.snapshot.metadata.namespace.as_deref().unwrap_or_default();
    let identity = job.manifests.identity(namespace)?;
    let application = &observed.application;
    let scope = if job.is_of_the_cluster() {
        Scope::Cluster(Box::new(job.manifests.choice.selection.clone()))
    } else {
        Scope::Workload {
            group: application.api_group.as_deref().unwrap_or_default().split('/').next().unwrap_or_default().to_owned(),
            kind: application.kind.clone().unwrap_or_default(),
            namespace: application.namespace_or(namespace).to_owned(),
            name: application.name.clone(),
            rbac: job.manifests.choice.rbac,
        }
    };
    Ok(BackupOrder { identity, scope })
}
