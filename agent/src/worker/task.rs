//! A task as a worker sees it: what it needs of the sandbox, and its run.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use holdfast_proto::v1::{Assign, Backend, RepositoryAccess, TaskFailure, TaskFinished, VolumeAccess, assign, backend, task_finished::Outcome};

use super::backend::Opened;
use super::failure;
use super::link::Link;
use super::{backup, check, engine, manifests, prune, read_back, removal, restore, views};
use crate::sandbox::capability::Need;
use crate::volume::clone::Writable;

/// Sources of one component; KubeStash has one per path.
const VOLUMES_MAX: usize = 64;

/// An assignment that this version knows and that is whole.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) assign: Assign,
    spec: assign::Spec,
}

impl Plan {
    pub(super) fn of(mut assign: Assign) -> Result<Self, TaskFailure> {
        let spec = assign.spec.take().ok_or_else(|| failure::invalid("the task has no specification".into()))?;
        let plan = Self { assign, spec };
        let volumes = plan.volumes().count();
        let expected = match &plan.spec {
            assign::Spec::Backup(task) => task.sources.len(),
            assign::Spec::Restore(task) => task.targets.len(),
            _ => return Ok(plan),
        };
        if volumes == 0 || volumes > VOLUMES_MAX || volumes != expected {
            return Err(failure::invalid(format!("a task has 1 to {VOLUMES_MAX} volumes; this one names {volumes} for {expected} paths")));
        }
        Ok(plan)
    }

    pub(super) fn volumes(&self) -> Box<dyn Iterator<Item = &VolumeAccess> + '_> {
        volumes(&self.spec)
    }

    pub(super) fn backend(&self) -> Option<&Backend> {
        backend(&self.spec)
    }

    pub(super) fn need(&self) -> Need {
        match &self.spec {
            assign::Spec::Backup(_) => Need::ReadVolume,
            assign::Spec::Restore(_) => Need::WriteVolume,
            _ => Need::Nothing,
        }
    }

    /// Whether nobody waits for it: it leaves processor and disk to whoever needs them.
    pub(super) fn can_wait(&self) -> bool {
        matches!(self.spec, assign::Spec::Backup(_) | assign::Spec::StoreManifests(_) | assign::Spec::Prune(_) | assign::Spec::Check(_))
    }

    pub(super) fn writable(&self) -> Writable {
        match self.need() {
            Need::WriteVolume => Writable::Yes,
            Need::ReadVolume | Need::Nothing => Writable::No,
        }
    }

    /// User and group, where the task names them.
    pub(super) fn ids(&self) -> Option<(u32, u32)> {
        let (user, group) = match &self.spec {
            assign::Spec::Backup(task) => (task.run_as_user, task.run_as_group),
            assign::Spec::Restore(task) => (task.run_as_user, task.run_as_group),
            _ => return None,
        };
        // Proto's default 0 is what an unset field looks like, and root is what a worker runs as anyway.
        let user = u32::try_from(user).ok().filter(|user| *user > 0);
        let group = u32::try_from(group).ok().filter(|group| *group > 0);
        match (user, group) {
            (None, None) => None,
            (user, group) => Some((user.unwrap_or(0), group.unwrap_or(0))),
        }
    }
}

/// Whether a worker would take it.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn is_whole(assign: &Assign) -> bool {
    Plan::of(assign.clone()).is_ok()
}

/// The volumes that a task holds.
pub(crate) fn volumes(spec: &assign::Spec) -> Box<dyn Iterator<Item = &VolumeAccess> + '_> {
    match spec {
        assign::Spec::Backup(task) => Box::new(task.sources.iter().filter_map(|source| source.volume.as_ref())),
        assign::Spec::Restore(task) => Box::new(task.targets.iter().filter_map(|target| target.volume.as_ref())),
        _ => Box::new(std::iter::empty()),
    }
}

/// Whether the task's keys expire, so that newer ones must be asked for.
pub(crate) fn has_temporary_keys(spec: &assign::Spec) -> bool {
    matches!(backend(spec).and_then(|backend| backend.kind.as_ref()), Some(backend::Kind::S3(s3)) if !s3.session_token.is_empty())
}

fn backend(spec: &assign::Spec) -> Option<&Backend> {
    match spec {
        assign::Spec::ProbeStorage(task) => task.backend.as_ref(),
        assign::Spec::WriteViews(task) => task.backend.as_ref(),
        assign::Spec::Wipe(task) => task.backend.as_ref(),
        assign::Spec::ReadRepositories(task) => task.backend.as_ref(),
        spec => repository(spec)?.backend.as_ref(),
    }
}

/// The repository that a task opens by its password. Who wipes one out or only writes views opens none.
pub(crate) fn repository(spec: &assign::Spec) -> Option<&RepositoryAccess> {
    match spec {
        assign::Spec::InitRepository(task) => task.repository.as_ref(),
        assign::Spec::Backup(task) => task.repository.as_ref(),
        assign::Spec::Restore(task) => task.repository.as_ref(),
        assign::Spec::Check(task) => task.repository.as_ref(),
        assign::Spec::Forget(task) => task.repository.as_ref(),
        assign::Spec::Prune(task) => task.repository.as_ref(),
        assign::Spec::ReadSnapshots(task) => task.repository.as_ref(),
        assign::Spec::StoreManifests(task) => task.repository.as_ref(),
        assign::Spec::ReturnManifests(task) => task.repository.as_ref(),
        assign::Spec::ProbeStorage(_) | assign::Spec::WriteViews(_) | assign::Spec::Wipe(_) | assign::Spec::ReadRepositories(_) => None,
    }
}

/// Runs the task to its end.
pub(super) async fn run(plan: Plan, backend: Opened, roots: Vec<OwnedFd>, link: Arc<Link>) -> TaskFinished {
    let stop = link.stop.clone();
    let outcome = match plan.spec {
        // These take a stop in their own way: they have volumes to let go of, or say how far they came.
        assign::Spec::Backup(task) => Box::pin(backup::run(task, &plan.assign, &backend, roots, &link)).await.map(Outcome::Backup),
        assign::Spec::Restore(task) => Box::pin(restore::run(task, &plan.assign, &backend, roots, &link)).await.map(Outcome::Restore),
        assign::Spec::Prune(task) => Box::pin(prune::run(task, &plan.assign, &backend, &link)).await.map(Outcome::Prune),
        assign::Spec::Check(task) => Box::pin(check::run(task, &backend, &link)).await.map(Outcome::Check),
        assign::Spec::StoreManifests(task) => Box::pin(manifests::store(task, &plan.assign, &backend, &link)).await.map(Outcome::Backup),
        assign::Spec::ReturnManifests(task) => Box::pin(manifests::give_back(task, &plan.assign, &backend, &link)).await.map(Outcome::Restore),
        spec => tokio::select! {
            outcome = run_on_backend(spec, &backend, &link) => outcome,
            () = stop.stopped() => Err(failure::cancelled()),
        },
    };
    failure::outcome(outcome.unwrap_or_else(Outcome::Failure))
}

async fn run_on_backend(spec: assign::Spec, backend: &Opened, link: &Arc<Link>) -> Result<Outcome, TaskFailure> {
    match spec {
        assign::Spec::ProbeStorage(_) => engine::probe(backend).await.map(Outcome::Init),
        assign::Spec::InitRepository(task) => engine::init(task, backend).await.map(Outcome::Init),
        assign::Spec::WriteViews(task) => views::write(task, backend).await.map(Outcome::Views),
        assign::Spec::Forget(task) => Box::pin(removal::forget(task, backend)).await.map(Outcome::Forget),
        assign::Spec::Wipe(task) => removal::wipe(task, backend, link).await.map(Outcome::Wipe),
        assign::Spec::ReadRepositories(task) => read_back::repositories(task, backend, link).await.map(Outcome::ReadBack),
        assign::Spec::ReadSnapshots(task) => Box::pin(read_back::snapshots(task, backend, link)).await.map(Outcome::ReadBack),
        assign::Spec::Backup(_)
        | assign::Spec::Restore(_)
        | assign::Spec::Prune(_)
        | assign::Spec::Check(_)
        | assign::Spec::StoreManifests(_)
        | assign::Spec::ReturnManifests(_) => Err(failure::invalid("a task that is run in its own way".into())),
    }
}
