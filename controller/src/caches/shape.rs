//! How the kinds are kept of which a cluster has many: what is looked for together, and what rests.

use holdfast_api::deletion::DeletionPolicy;
use holdfast_api::{BackupBatch, BackupConfiguration, BackupSession, BackupVerificationSession, Repository, Snapshot};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::ResourceExt;

use crate::backup_blueprint::plan::application_of;
use crate::backup_session::{claims, retry};
use crate::cache::{By, Group, Shape, content};
use crate::dispatch::assign::storage_of;
use crate::finalizer::is_held;
use crate::function::is_function;
use crate::holder::is_holder;
use crate::invoker::either;
use crate::object::Named;
use crate::repository::views;
use crate::snapshot;
use crate::target::observe::claims_in;
use crate::verification;

pub(super) const REPOSITORIES: Shape<Repository> = Shape { groups_of: in_storage, ..Shape::PLAIN };
pub(super) const CONFIGURATIONS: Shape<BackupConfiguration> = Shape { groups_of: used_by_configuration, ..Shape::PLAIN };
pub(super) const BATCHES: Shape<BackupBatch> = Shape { groups_of: used_by_batch, ..Shape::PLAIN };
pub(super) const SESSIONS: Shape<BackupSession> = Shape { groups_of: of_invoker, pack: pack_session, unpack: content::unpack };
pub(super) const SNAPSHOTS: Shape<Snapshot> = Shape { groups_of: of_snapshot, pack: pack_snapshot, unpack: content::unpack };
pub(super) const VERIFICATIONS: Shape<BackupVerificationSession> = Shape { groups_of: tried_for, pack: pack_verification, unpack: content::unpack };
pub(super) const PODS: Shape<Pod> = Shape { groups_of: of_pod, pack: content::pack, unpack: content::unpack };
pub(super) const CLAIMS: Shape<PersistentVolumeClaim> = Shape { groups_of: in_namespace, pack: content::pack, unpack: content::unpack };

fn in_namespace<K: ResourceExt>(object: &K) -> Vec<Group> {
    vec![(By::Namespace, Named::new(object.namespace().unwrap_or_default(), ""))]
}

fn in_storage(repository: &Repository) -> Vec<Group> {
    let name = Named::new(repository.namespace().unwrap_or_default(), repository.name_any());
    let Ok(storage) = storage_of(repository, &name) else { return Vec::new() };
    vec![(By::Place, place(&storage, &views::directory(repository))), (By::Storage, storage)]
}

/// The group of the Repositories in a directory of a storage.
pub fn place(storage: &Named, directory: &str) -> Named {
    Named::new(storage.to_string(), directory.trim_matches('/'))
}

fn used_by_configuration(configuration: &BackupConfiguration) -> Vec<Group> {
    let sessions = configuration.spec.sessions.iter().flat_map(|session| &session.repositories);
    let mut groups = used(configuration, sessions.filter_map(|reference| reference.name.as_deref()));
    groups.extend(application_of(configuration).map(|title| (By::Application, Named::new("", title))));
    groups
}

fn used_by_batch(batch: &BackupBatch) -> Vec<Group> {
    let targets = batch.spec.sessions.iter().flat_map(|session| &session.targets);
    used(batch, targets.flat_map(|target| &target.repositories).filter_map(|reference| reference.name.as_deref()))
}

fn used<'a, K: ResourceExt>(invoker: &K, repositories: impl Iterator<Item = &'a str>) -> Vec<Group> {
    let namespace = invoker.namespace().unwrap_or_default();
    let mut groups: Vec<Group> = repositories.map(|name| (By::Repository, Named::new(&namespace, name))).collect();
    groups.sort_by(|(_, left), (_, right)| left.cmp(right));
    groups.dedup();
    groups
}

fn of_invoker(session: &BackupSession) -> Vec<Group> {
    either::key_in(session).map(|key| (By::Invoker, either::group_of(&key))).into_iter().collect()
}

/// One that has ended, that no other is to follow, and that nothing holds any more.
fn pack_session(session: &BackupSession) -> Option<Box<[u8]>> {
    let rests = claims::has_ended(session) && !retry::is_due(session) && session.metadata.deletion_timestamp.is_none() && !is_held(&session.metadata);
    if rests { content::pack(session) } else { None }
}

fn tried_for(session: &BackupVerificationSession) -> Vec<Group> {
    verification::invoker_of(session).map(|key| (By::Invoker, either::group_of(&key))).into_iter().collect()
}

/// One that has ended; its reconciler is woken by whatever it still has to remove, and once by whoever begins to lead.
fn pack_verification(session: &BackupVerificationSession) -> Option<Box<[u8]>> {
    let rests = verification::has_ended(session) && session.metadata.deletion_timestamp.is_none();
    if rests { content::pack(session) } else { None }
}

fn of_snapshot(snapshot: &Snapshot) -> Vec<Group> {
    let named = |name: &Option<String>| Named::new(snapshot.namespace().unwrap_or_default(), name.clone().unwrap_or_default());
    let mut groups = vec![(By::Repository, named(&snapshot.spec.repository))];
    if !snapshot::has_ended(snapshot) {
        groups.push((By::Session, named(&snapshot.spec.backup_session)));
    }
    groups
}

/// One that has ended and is not on its way out: nobody has anything to do about it.
fn pack_snapshot(snapshot: &Snapshot) -> Option<Box<[u8]>> {
    let rests = snapshot::has_ended(snapshot)
        && snapshot.metadata.deletion_timestamp.is_none()
        && snapshot.metadata.finalizers.as_ref().is_none_or(Vec::is_empty)
        && snapshot.spec.deletion_policy != Some(DeletionPolicy::WipeOut);
    if rests { content::pack(snapshot) } else { None }
}

fn of_pod(pod: &Pod) -> Vec<Group> {
    let namespace = pod.namespace().unwrap_or_default();
    let mut groups: Vec<Group> = claims_in(pod).into_iter().map(|claim| (By::Claim, Named::new(&namespace, claim))).collect();
    groups.sort_by(|(_, left), (_, right)| left.cmp(right));
    groups.dedup();
    if is_holder(pod) {
        groups.extend([(By::Holder, Named::new(&namespace, "")), (By::Holder, Named::new("", ""))]);
    }
    if is_function(pod) {
        groups.push((By::Function, Named::new("", "")));
    }
    groups.push((By::Namespace, Named::new(namespace, "")));
    groups
}
