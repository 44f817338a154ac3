//! Who is to be looked at when something has changed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_api::backup_configuration::InvokerPhase;
use holdfast_api::backup_storage::BackupStoragePhase;
use holdfast_api::repository::RepositoryPhase;
use holdfast_api::{BackupSession, BackupStorage, BackupVerificationSession, BackupVerifier, Repository, RestoreSession, Snapshot};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::backup_blueprint::{self, applications};
use crate::backup_storage;
use crate::cache::{By, Change};
use crate::caches::Seen;
use crate::context::Context;
use crate::dispatch::assign::storage_of;
use crate::invoker::{Invoker, either};
use crate::object::{Key, Kind, Named};
use crate::{restore_session, snapshot, verification};

/// How long a storage's list of repositories may lag behind: it changes with every backup of every one of them.
const LIST_LAG: Duration = Duration::from_secs(5);

/// What invokers were last told of the storages: each one's spec, its phase, and whether it is on its way out.
#[derive(Debug, Default)]
pub struct Storages(Mutex<HashMap<Named, Told>>);

type Told = (Option<String>, Option<i64>, Option<BackupStoragePhase>, bool);

impl Storages {
    /// Whether a storage is not as it was told of.
    fn is_news(&self, storage: &BackupStorage, name: &Named, is_there: bool) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_there {
            told.remove(name);
            return true;
        }
        let metadata = &storage.metadata;
        let phase = storage.status.as_ref().and_then(|status| status.phase);
        let now = (metadata.uid.clone(), metadata.generation, phase, metadata.deletion_timestamp.is_some());
        told.insert(name.clone(), now.clone()) != Some(now)
    }
}

/// Queues what an event concerns.
pub fn wake(context: &Context, seen: &Seen<'_>) {
    match seen {
        Seen::Storage(change) => {
            if let Change::Deleted(gone) = change {
                departed(context, gone);
            }
            storage(context, change.object());
        }
        Seen::Repository(change) => repository(context, change.object()),
        Seen::Configuration(change) => {
            context.queue.extend(backup_blueprint::blueprint_of(change.object()));
            invoker(context, &Invoker::Configuration(Arc::clone(change.object())));
        }
        Seen::Batch(change) => invoker(context, &Invoker::Batch(Arc::clone(change.object()))),
        Seen::Session(change) => session(context, change.object()),
        Seen::Snapshot(change) => snapshot(context, change.object()),
        Seen::Restore(change) => restore(context, change.object()),
        Seen::Addon(_) | Seen::Function(_) | Seen::Policy(_) => {
            unready_invokers(context);
            restores(context, |_| true);
        }
        Seen::Pod(change) => pod(context, change),
        Seen::Claim(change) => {
            let claim = change.object();
            let namespace = claim.namespace().unwrap_or_default();
            waiting(context, &namespace);
            let of_namespace = context.caches.namespaces.get("", &namespace);
            let blueprint = applications::blueprint_of(claim.as_ref(), &namespace)
                .or_else(|| applications::blueprint_of(of_namespace?.as_ref(), &namespace));
            application(context, &format!("PersistentVolumeClaim/{namespace}/{}", claim.name_any()), blueprint);
        }
        Seen::Blueprint(change) => add(context, Kind::BackupBlueprint, change.object().as_ref()),
        Seen::Verifier(change) => verifier(context, change.object()),
        Seen::Verification(change) => tried(context, change.object()),
        Seen::Workload { title, blueprint } => {
            application(context, title, blueprint.clone());
            // It may grant its use to somebody now.
            waiting(context, title.split('/').nth(1).unwrap_or_default());
        }
        Seen::Namespace(change) => {
            let name = change.object().name_any();
            context.queue.extend(applications::blueprint_of(change.object().as_ref(), &name));
            waiting(context, &name);
            let of_its_claims = format!("PersistentVolumeClaim/{name}/");
            blueprints_of(context, |title| title.starts_with(&of_its_claims));
            for storage in context.caches.storages.select(|storage| backup_storage::read_back::waits_for(storage, &name)) {
                add(context, Kind::BackupStorage, storage.as_ref());
            }
        }
    }
}

fn add<K: ResourceExt>(context: &Context, kind: Kind, object: &K) {
    context.queue.add(Key::new(kind, object.namespace().unwrap_or_default(), object.name_any()));
}

fn departed(context: &Context, storage: &BackupStorage) {
    let name = Named::new(storage.namespace().unwrap_or_default(), storage.name_any());
    let repositories = context.caches.repositories.of(By::Storage, name.clone());
    context.departed.note(storage, Key::new(Kind::BackupStorage, name.namespace, name.name), repositories);
}

fn storage(context: &Context, storage: &Arc<BackupStorage>) {
    add(context, Kind::BackupStorage, storage.as_ref());
    let name = Named::new(storage.namespace().unwrap_or_default(), storage.name_any());
    // One that is open learns nothing from its storage's new list of thousands.
    for repository in context.caches.repositories.of(By::Storage, name.clone()).into_iter().filter(|repository| !is_open(repository)) {
        add(context, Kind::Repository, repository.as_ref());
    }
    // Its list of thousands changes with every backup: nobody who uses it learns anything from that.
    let is_there = context.caches.storages.get(&name.namespace, &name.name).is_some();
    if !context.storages.is_news(storage, &name, is_there) {
        return;
    }
    invokers(context, |invoker| {
        let namespace = invoker.metadata().namespace.as_deref().unwrap_or_default();
        let backends = invoker.backends();
        // Without a backend it uses the default storage, which may be this one.
        backends.is_empty()
            || backends
                .iter()
                .filter_map(|backend| backend.storage_ref.as_ref())
                .any(|reference| reference.name == name.name && reference.namespace_or(namespace) == name.namespace)
    });
}

fn invokers(context: &Context, meant: impl Fn(&Invoker) -> bool) {
    context.queue.extend(Invoker::select(&context.caches, meant).iter().map(Invoker::key));
}

fn repository(context: &Context, repository: &Arc<Repository>) {
    add(context, Kind::Repository, repository.as_ref());
    let (namespace, name) = (repository.namespace().unwrap_or_default(), repository.name_any());
    if let Ok(storage) = storage_of(repository, &Named::new(&namespace, &name)) {
        context.queue.add_after(Key::new(Kind::BackupStorage, storage.namespace, storage.name), LIST_LAG);
    }
    let named = Named::new(&namespace, &name);
    // One that is ready and shows this repository as ready learns nothing from its new numbers.
    let users = Invoker::using(&context.caches, &named);
    context.queue.extend(users.iter().filter(|invoker| !shows_ready(invoker, repository)).map(Invoker::key));
    for snapshot in context.caches.snapshots.awake_of(By::Repository, named) {
        if !snapshot::has_ended(&snapshot) {
            add(context, Kind::Snapshot, snapshot.as_ref());
        }
    }
    restores(context, |restore| concerns(restore, &namespace));
}

fn shows_ready(invoker: &Invoker, repository: &Repository) -> bool {
    let phase = repository.status.as_ref().and_then(|status| status.phase);
    let listed = invoker.shown_repositories().iter();
    let same = listed.filter(|listed| listed.name.as_deref() == Some(&repository.name_any()));
    phase.is_some() && same.into_iter().any(|listed| listed.phase == phase)
}

fn is_open(repository: &Repository) -> bool {
    let phase = repository.status.as_ref().and_then(|status| status.phase);
    phase == Some(RepositoryPhase::Ready) && repository.metadata.deletion_timestamp.is_none()
}

fn invoker(context: &Context, invoker: &Invoker) {
    let key = invoker.key();
    context.queue.add(key.clone());
    for session in context.caches.sessions.of(By::Invoker, either::group_of(&key)) {
        if !crate::backup_session::claims::has_ended(&session) {
            add(context, Kind::BackupSession, session.as_ref());
        }
    }
    // One that was read back waits for somebody who means it.
    for (_, reference) in invoker.sessions().iter().flat_map(|session| session.repositories()) {
        let named = reference.name.as_ref().and_then(|name| context.caches.repositories.get(&key.namespace, name));
        if let Some(repository) = named.filter(|repository| crate::read_back::is_read_back(&repository.metadata)) {
            add(context, Kind::Repository, repository.as_ref());
        }
    }
    restores(context, |restore| concerns(restore, &key.namespace) && !restore_session::plan::may_heal(restore));
}

fn session(context: &Context, session: &Arc<BackupSession>) {
    add(context, Kind::BackupSession, session.as_ref());
    let namespace = session.namespace().unwrap_or_default();
    // What it holds back, or no longer does, is shown there.
    if crate::backup_session::claims::has_ended(session) {
        context.queue.extend(either::key_in(session));
    }
    for listed in session.status.iter().flat_map(|status| &status.snapshots) {
        if let Some(name) = &listed.name {
            context.queue.add(Key::new(Kind::Snapshot, &namespace, name));
        }
    }
    // One that was cancelled no longer lists what it had begun.
    for snapshot in context.caches.snapshots.awake_of(By::Session, Named::new(&namespace, session.name_any())) {
        add(context, Kind::Snapshot, snapshot.as_ref());
    }
}

fn snapshot(context: &Context, snapshot: &Arc<Snapshot>) {
    add(context, Kind::Snapshot, snapshot.as_ref());
    let namespace = snapshot.namespace().unwrap_or_default();
    if let Some(session) = &snapshot.spec.backup_session {
        context.queue.add(Key::new(Kind::BackupSession, &namespace, session));
    }
    if let Some(repository) = &snapshot.spec.repository {
        context.queue.add(Key::new(Kind::Repository, &namespace, repository));
    }
    // Snapshots change all the time; none of them heals a restore that was refused.
    restores(context, |restore| concerns(restore, &namespace) && !restore_session::plan::may_heal(restore));
}

fn restore(context: &Context, restore: &Arc<RestoreSession>) {
    add(context, Kind::RestoreSession, restore.as_ref());
    let name = Named::new(restore.namespace().unwrap_or_default(), restore.name_any());
    invokers(context, |invoker| invoker.paused_by().is_some_and(|(restore, _)| restore == name));
    context.queue.extend(verification::made_for(&restore.metadata).map(|session| Key::new(Kind::BackupVerificationSession, name.namespace, session)));
}

fn verifier(context: &Context, verifier: &BackupVerifier) {
    let name = Named::new(verifier.namespace().unwrap_or_default(), verifier.name_any());
    invokers(context, |invoker| verification::names(invoker, &name));
}

/// An invoker waits for the one before to end; the next one waits for its turn.
fn tried(context: &Context, session: &Arc<BackupVerificationSession>) {
    add(context, Kind::BackupVerificationSession, session.as_ref());
    if verification::has_ended(session) {
        context.queue.extend(verification::invoker_of(session));
    }
}

fn unready_invokers(context: &Context) {
    invokers(context, |invoker| invoker.phase() != Some(InvokerPhase::Ready));
}

/// Those of these restores that have not ended.
fn restores(context: &Context, meant: impl Fn(&RestoreSession) -> bool) {
    for restore in context.caches.restores.select(|restore| !restore_session::plan::is_settled(restore) && meant(restore)) {
        add(context, Kind::RestoreSession, restore.as_ref());
    }
}

/// Whether a restore is of a namespace, or from it.
fn concerns(restore: &RestoreSession, namespace: &str) -> bool {
    restore.namespace().as_deref() == Some(namespace) || restore_session::source_namespace(restore) == namespace
}

fn waiting(context: &Context, namespace: &str) {
    for key in context.waiting_in(namespace) {
        context.queue.add(key);
    }
}

/// The blueprint that an application asks for, and the one that it has asked for until now.
fn application(context: &Context, title: &str, blueprint: Option<Key>) {
    context.queue.extend(blueprint);
    let made = context.caches.configurations.of(By::Application, Named::new("", title));
    context.queue.extend(made.iter().filter_map(|configuration| backup_blueprint::blueprint_of(configuration)));
}

fn blueprints_of(context: &Context, meant: impl Fn(&str) -> bool) {
    let made = context.caches.configurations.select(|configuration| {
        backup_blueprint::plan::application_of(configuration).is_some_and(&meant)
    });
    context.queue.extend(made.iter().filter_map(|configuration| backup_blueprint::blueprint_of(configuration)));
}

fn pod(context: &Context, change: &Change<Pod>) {
    let pod = change.object();
    let going = matches!(change, Change::Deleted(_)) || pod.metadata.deletion_timestamp.is_some();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    if going && let (Some(uid), Some(node)) = (&pod.metadata.uid, node) {
        context.dispatcher.pod_terminating(uid, node);
    }
    waiting(context, &pod.namespace().unwrap_or_default());
}

/// Queues everything: a new leader knows nothing of what the last one had begun.
pub fn wake_all(context: &Context) {
    let caches = &context.caches;
    macro_rules! all {
        ($($cache:ident: $kind:ident),*) => {
            $(for object in caches.$cache.select(|_| true) {
                add(context, Kind::$kind, object.as_ref());
            })*
        };
    }
    // Restores first: those that run stop writing when nobody who leads has heard of them for a while.
    all!(
        restores: RestoreSession, storages: BackupStorage, repositories: Repository, configurations: BackupConfiguration,
        batches: BackupBatch, blueprints: BackupBlueprint, verifications: BackupVerificationSession
    );
    context.queue.extend(context.departed.keys());
    // Of those at rest nothing is wanted.
    for session in caches.sessions.awake() {
        add(context, Kind::BackupSession, session.as_ref());
    }
    for snapshot in caches.snapshots.awake() {
        add(context, Kind::Snapshot, snapshot.as_ref());
    }
    // Also those that do not exist, or no longer.
    context.queue.extend(applications::all(caches).iter().filter_map(|application| {
        application.blueprint().map(|(namespace, name)| Key::new(Kind::BackupBlueprint, namespace, name))
    }));
    blueprints_of(context, |_| true);
}
