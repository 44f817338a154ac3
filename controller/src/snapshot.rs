//! Snapshot: what one session puts into one repository. Its components are filled by agents, or by pods of Functions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast_api::names::component;
use holdfast_api::snapshot::SnapshotPhase;
use holdfast_api::{BackupSession, Repository, Snapshot, TypedObjectReference};

use crate::backup_session::hooks::{self, Hold};
use crate::backup_session::retention;
use crate::cache::By;
use crate::catalog::Catalog;
use crate::context::{Context, Subject};
use crate::dispatch::task::{Brought, TaskView};
use crate::first_use;
use crate::invoker::{Invoker, either};
use crate::holder::Purpose;
use crate::object::{Key, Kind, Named};
use crate::target::{self, Reach, Shape, Target};
use crate::work::pod::{Pods, Seen};
use crate::work::{self, Job};

mod deletion;
pub mod driver;
mod manifests;
pub mod plan;
pub mod pods;
pub mod result;
mod takeover;
#[cfg(test)]
mod tests;
pub mod waiting;

/// A snapshot and what concerns it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    /// Its session.
    pub session: Option<Arc<BackupSession>>,
    /// Its repository.
    pub repository: Option<Arc<Repository>>,
    /// What is to be backed up, or why that is not known.
    pub job: Result<Job, String>,
    /// What is backed up, as the one that takes the backup names it.
    pub application: TypedObjectReference,
    /// How each component is reached. Empty when that is no longer of interest.
    pub reaches: BTreeMap<String, Reach>,
    /// Whether the target exists, is of a supported kind, and shows all that it has: only then are the components' names final.
    pub target_found: bool,
    /// Its tasks.
    pub tasks: BTreeMap<String, TaskView>,
    /// What agents have of it since another led.
    pub brought: Brought,
    /// Components that pods fill.
    pub pods: Pods,
    /// Whether hooks before the backup have not ended yet.
    pub is_held: bool,
    /// How long it has waited for pods or claims.
    pub waited: Duration,
    /// The good one before it of the same session in the same repository, once all its components have ended.
    pub predecessor: Option<Arc<Snapshot>>,
}

/// Whether it is over.
pub fn has_ended(snapshot: &Snapshot) -> bool {
    snapshot.status.as_ref().and_then(|status| status.phase).is_some_and(SnapshotPhase::is_terminal)
}

/// Component of the task that writes the snapshot's views.
pub const VIEWS: &str = "";

/// Looks at one snapshot and does what is to be done.
pub async fn reconcile(context: &Context, key: &Key) -> Result<(), kube::Error> {
    let Some(snapshot) = context.caches.snapshots.get(&key.namespace, &key.name) else {
        context.forget(key);
        return Ok(());
    };
    let subject = Subject::of(Kind::Snapshot, snapshot.as_ref());
    if context.is_behind(&subject) {
        return Ok(());
    }
    let observed = observe(context, snapshot, &subject).await?;
    if pods::has_unwritten_end(&observed) && context.is_older(&subject).await? {
        return Ok(());
    }
    context.apply(&subject, plan::plan(&observed, context.clock.now())).await
}

async fn observe(context: &Context, snapshot: Arc<Snapshot>, subject: &Subject) -> Result<Observed, kube::Error> {
    let key = &subject.key;
    let caches = &context.caches;
    let named = |name: &Option<String>| name.clone().unwrap_or_default();
    let session = caches.sessions.get(&key.namespace, &named(&snapshot.spec.backup_session)).map(first_use::as_begun);
    let repository = caches.repositories.get(&key.namespace, &named(&snapshot.spec.repository));
    let mut observed = Observed {
        tasks: context.dispatcher.views(&subject.uid),
        brought: context.dispatcher.brought(&subject.uid),
        job: Err("not looked at".into()),
        application: TypedObjectReference::not_applicable(),
        reaches: BTreeMap::new(),
        pods: BTreeMap::new(),
        target_found: false,
        is_held: false,
        waited: Duration::ZERO,
        predecessor: None,
        snapshot,
        session,
        repository,
    };
    if plan::is_settled(&observed.snapshot) {
        context.waits(key, &key.namespace, false);
        return Ok(observed);
    }
    let invoker = observed.session.as_deref().and_then(either::key_in).and_then(|key| Invoker::find(caches, &key));
    let spec = invoker.as_ref().and_then(|invoker| invoker.session(observed.snapshot.spec.session.as_deref()));
    let part = spec.as_ref().and_then(|spec| spec.target_of(observed.snapshot.spec.repository.as_deref()?));
    observed.job = match part {
        Some(part) => work::backup(part.addon, &Catalog::concerning(caches, part.addon)),
        None => Err("what takes the backup no longer names this session, or this repository in it".into()),
    };
    if let (Some(session), Some(spec)) = (&observed.session, &spec) {
        match hooks::hold(session, spec) {
            Hold::Go => {}
            Hold::Wait => {
                observed.is_held = true;
                return Ok(observed);
            }
            Hold::Failed(why) => observed.job = Err(why),
        }
    }
    if let Ok(job) = &observed.job {
        let reference = part.and_then(|part| part.app_ref);
        let made = invoker.as_ref().and_then(Invoker::configuration);
        let target: Target = target::observe::target(&context.client, caches, &key.namespace, reference, made, Purpose::Backup).await?;
        observed.application = part.map_or_else(TypedObjectReference::not_applicable, |part| part.application(&key.namespace));
        let is_found = target.exists() && (target.is_whole() || !job.has_volumes());
        observed.target_found = is_found || !(job.reads_target() || job.has_pods());
        observed.reaches = components(job, &target, &observed.snapshot);
        if let (Some(session), Some(spec)) = (&observed.session, &spec) {
            let timeout = session.spec.backup_timeout.as_deref().or(spec.backup_timeout);
            let others = if job.has_pods() { caches.snapshots.of(By::Session, session_of(&observed.snapshot)) } else { Vec::new() };
            observed.pods = job
                .pods()
                .map(|task| {
                    let run = pods::run(task, &observed.snapshot, session, reference, timeout);
                    let before = pods::before(&observed.snapshot, &others, &task.component);
                    (task.component.clone(), Seen { standing: context.functions.standing(&run.named()), run, before })
                })
                .collect();
        }
    }
    if plan::has_ended_components(&observed) {
        observed.predecessor = predecessor(context, &observed.snapshot);
    }
    let waits = observed.reaches.values().any(|reach| matches!(reach, Reach::Waiting(_) | Reach::Unmounted(_)));
    let theirs = part.and_then(|part| part.app_ref).map_or(key.namespace.as_str(), |target| target.namespace_or(&key.namespace));
    observed.waited = context.waits(key, theirs, waits);
    Ok(observed)
}

fn session_of(snapshot: &Snapshot) -> Named {
    let metadata = &snapshot.metadata;
    Named::new(metadata.namespace.clone().unwrap_or_default(), snapshot.spec.backup_session.clone().unwrap_or_default())
}

/// The components of a backup, and how each is reached.
fn components(job: &Job, target: &Target, snapshot: &Snapshot) -> BTreeMap<String, Reach> {
    let mut reaches = if job.has_volumes() { volumes(job, target, snapshot) } else { BTreeMap::new() };
    for task in job.pods() {
        let reach = match &target.shape {
            Shape::Missing(what) => Reach::Waiting(what.clone()),
            _ => Reach::Anywhere,
        };
        reaches.insert(task.component.clone(), reach);
    }
    if job.has_manifests() {
        let reach = match &target.shape {
            Shape::Missing(what) if !job.is_of_the_cluster() => Reach::Waiting(what.clone()),
            Shape::Unsupported(what) if !job.is_of_the_cluster() => Reach::Impossible(what.clone()),
            _ => Reach::Anywhere,
        };
        reaches.insert(component::MANIFEST.to_owned(), reach);
    }
    reaches
}

/// Those of volumes. Once they are named, nodes that come or go change nothing of what a backup of a DaemonSet is of.
fn volumes(job: &Job, target: &Target, snapshot: &Snapshot) -> BTreeMap<String, Reach> {
    let named = snapshot.status.as_ref().filter(|status| status.total_components.is_some());
    let (Shape::DaemonSet(_), Some(status)) = (&target.shape, named) else { return target.components(&job.paths) };
    let names = status.components.keys().filter(|name| name.as_str() != component::MANIFEST && job.pod(name).is_none());
    names.map(|name| (name.clone(), target.reach(name, &job.paths))).collect()
}

/// What a volume held at the backup before.
fn predecessor(context: &Context, snapshot: &Snapshot) -> Option<Arc<Snapshot>> {
    let (namespace, repository) = (snapshot.metadata.namespace.as_deref()?, snapshot.spec.repository.as_deref()?);
    let mut good = context.caches.snapshots.of(By::Repository, Named::new(namespace, repository));
    good.retain(|other| {
        retention::is_of(other, namespace, repository, snapshot.spec.session.as_deref())
            && other.metadata.uid != snapshot.metadata.uid
            && other.metadata.deletion_timestamp.is_none()
            && other.status.as_ref().and_then(|status| status.phase) == Some(SnapshotPhase::Succeeded)
    });
    good.into_iter().max_by_key(|other| other.status.as_ref().and_then(|status| status.snapshot_time.as_ref()).map(|time| time.0))
}
