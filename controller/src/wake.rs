//! Who is to be looked at when something has changed.

use std::sync::Arc;
use std::time::Duration;

use holdfast_api::backup_configuration::InvokerPhase;
use holdfast_api::{BackupConfiguration, BackupSession, BackupStorage, Repository, RestoreSession, Snapshot};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::backup_blueprint::{self, applications};
use crate::backup_configuration::PAUSED_BY;
use crate::cache::Change;
use crate::caches::Seen;
use crate::context::Context;
use crate::dispatch::assign::storage_of;
use crate::object::{Key, Kind, Named};

/// How long a storage's list of repositories may lag behind: it changes with every backup of every one of them.
const LIST_LAG: Duration = Duration::from_secs(5);

/// Queues what an event concerns.
pub fn wake(context: &Context, seen: &Seen<'_>) {
    match seen {
        Seen::Storage(change) => storage(context, change.object()),
        Seen::Repository(change) => repository(context, change.object()),
        Seen::Configuration(change) => configuration(context, change.object()),
        Seen::Session(change) => session(context, change.object()),
        Seen::Snapshot(change) => snapshot(context, change.object()),
        Seen::Restore(change) => restore(context, change.object()),
        Seen::Addon(_) | Seen::Policy(_) => {
            unready_configurations(context);
            waiting_restores(context, None);
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
        Seen::Workload { title, blueprint } => application(context, title, blueprint.clone()),
        Seen::Namespace(change) => {
            let name = change.object().name_any();
            context.queue.extend(applications::blueprint_of(change.object().as_ref(), &name));
            let of_its_claims = format!("PersistentVolumeClaim/{name}/");
            blueprints_of(context, |title| title.starts_with(&of_its_claims));
        }
    }
}

fn add<K: ResourceExt>(context: &Context, kind: Kind, object: &K) {
    context.queue.add(Key::new(kind, object.namespace().unwrap_or_default(), object.name_any()));
}

fn storage(context: &Context, storage: &Arc<BackupStorage>) {
    add(context, Kind::BackupStorage, storage.as_ref());
    let name = Named::new(storage.namespace().unwrap_or_default(), storage.name_any());
    for repository in context.caches.repositories.select(|repository| crate::backup_storage::is_in(repository, &name)) {
        add(context, Kind::Repository, repository.as_ref());
    }
    let uses = |configuration: &BackupConfiguration| {
        let namespace = configuration.namespace().unwrap_or_default();
        let backends = &configuration.spec.backends;
        // Without a backend it uses the default storage, which may be this one.
        backends.is_empty()
            || backends
                .iter()
                .filter_map(|backend| backend.storage_ref.as_ref())
                .any(|reference| reference.name == name.name && reference.namespace_or(&namespace) == name.namespace)
    };
    for configuration in context.caches.configurations.select(uses) {
        add(context, Kind::BackupConfiguration, configuration.as_ref());
    }
}

fn repository(context: &Context, repository: &Arc<Repository>) {
    add(context, Kind::Repository, repository.as_ref());
    let (namespace, name) = (repository.namespace().unwrap_or_default(), repository.name_any());
    if let Ok(storage) = storage_of(repository, &Named::new(&namespace, &name)) {
        context.queue.add_after(Key::new(Kind::BackupStorage, storage.namespace, storage.name), LIST_LAG);
    }
    let uses = |configuration: &BackupConfiguration| {
        configuration.namespace().as_deref() == Some(&namespace)
            && configuration
                .spec
                .sessions
                .iter()
                .flat_map(|session| &session.repositories)
                .any(|reference| reference.name.as_deref() == Some(&name))
            // One that is ready and shows this repository as ready learns nothing from its new numbers.
            && !shows_ready(configuration, repository)
    };
    for configuration in context.caches.configurations.select(uses) {
        add(context, Kind::BackupConfiguration, configuration.as_ref());
    }
    for recent in repository.status.iter().flat_map(|status| &status.recent_snapshots) {
        if let Some(snapshot) = &recent.name {
            context.queue.add(Key::new(Kind::Snapshot, &namespace, snapshot));
        }
    }
    let waits = |snapshot: &Snapshot| {
        snapshot.namespace().as_deref() == Some(&namespace)
            && snapshot.spec.repository.as_deref() == Some(&name)
            && !has_ended(snapshot)
    };
    for snapshot in context.caches.snapshots.select(waits) {
        add(context, Kind::Snapshot, snapshot.as_ref());
    }
    waiting_restores(context, Some(&namespace));
}

fn shows_ready(configuration: &BackupConfiguration, repository: &Repository) -> bool {
    let phase = repository.status.as_ref().and_then(|status| status.phase);
    let listed = configuration.status.iter().flat_map(|status| &status.repositories);
    let same = listed.filter(|listed| listed.name.as_deref() == Some(&repository.name_any()));
    phase.is_some() && same.into_iter().any(|listed| listed.phase == phase)
}

fn has_ended(snapshot: &Snapshot) -> bool {
    snapshot.status.as_ref().and_then(|status| status.phase).is_some_and(|phase| phase.is_terminal())
}

fn configuration(context: &Context, configuration: &Arc<BackupConfiguration>) {
    add(context, Kind::BackupConfiguration, configuration.as_ref());
    let key =
        Key::new(Kind::BackupConfiguration, configuration.namespace().unwrap_or_default(), configuration.name_any());
    let goes_on = |session: &BackupSession| {
        crate::backup_configuration::is_of(session, &key) && !crate::backup_session::claims::has_ended(session)
    };
    context.queue.extend(backup_blueprint::blueprint_of(configuration));
    for session in context.caches.sessions.select(goes_on) {
        add(context, Kind::BackupSession, session.as_ref());
    }
    waiting_restores(context, Some(&key.namespace));
}

fn session(context: &Context, session: &Arc<BackupSession>) {
    add(context, Kind::BackupSession, session.as_ref());
    let namespace = session.namespace().unwrap_or_default();
    // What it holds back, or no longer does, is shown there.
    if let Some(invoker) = session.spec.invoker.as_ref().filter(|_| crate::backup_session::claims::has_ended(session)) {
        context.queue.add(Key::new(Kind::BackupConfiguration, &namespace, &invoker.name));
    }
    for listed in session.status.iter().flat_map(|status| &status.snapshots) {
        if let Some(name) = &listed.name {
            context.queue.add(Key::new(Kind::Snapshot, &namespace, name));
        }
    }
    // One that was cancelled no longer lists what it had begun.
    let unfinished = |snapshot: &Snapshot| {
        snapshot.namespace().as_deref() == Some(&namespace)
            && snapshot.spec.backup_session.as_deref() == Some(&session.name_any())
            && !has_ended(snapshot)
    };
    for snapshot in context.caches.snapshots.select(unfinished) {
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
    waiting_restores(context, Some(&namespace));
}

fn restore(context: &Context, restore: &Arc<RestoreSession>) {
    add(context, Kind::RestoreSession, restore.as_ref());
    let namespace = restore.namespace().unwrap_or_default();
    let paused = context.caches.configurations.select(|configuration| {
        configuration.namespace().as_deref() == Some(&namespace) && configuration.annotations().contains_key(PAUSED_BY)
    });
    for configuration in paused {
        add(context, Kind::BackupConfiguration, configuration.as_ref());
    }
}

fn unready_configurations(context: &Context) {
    let unready = |configuration: &BackupConfiguration| {
        configuration.status.as_ref().and_then(|status| status.phase) != Some(InvokerPhase::Ready)
    };
    for configuration in context.caches.configurations.select(unready) {
        add(context, Kind::BackupConfiguration, configuration.as_ref());
    }
}

fn waiting_restores(context: &Context, namespace: Option<&str>) {
    let waits = |restore: &RestoreSession| {
        !crate::restore_session::plan::is_settled(restore)
            && namespace.is_none_or(|namespace| restore.namespace().as_deref() == Some(namespace))
    };
    for restore in context.caches.restores.select(waits) {
        add(context, Kind::RestoreSession, restore.as_ref());
    }
}

fn waiting(context: &Context, namespace: &str) {
    for key in context.waiting_in(namespace) {
        context.queue.add(key);
    }
}

/// The blueprint that an application asks for, and the one that it has asked for until now.
fn application(context: &Context, title: &str, blueprint: Option<Key>) {
    context.queue.extend(blueprint);
    blueprints_of(context, |made_for| made_for == title);
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
    if going && let Some(uid) = &pod.metadata.uid {
        context.dispatcher.pod_terminating(uid);
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
    all!(
        storages: BackupStorage, repositories: Repository, configurations: BackupConfiguration,
        sessions: BackupSession, snapshots: Snapshot, restores: RestoreSession, blueprints: BackupBlueprint
    );
    // Also those that do not exist, or no longer.
    context.queue.extend(applications::all(caches).iter().filter_map(|application| {
        application.blueprint().map(|(namespace, name)| Key::new(Kind::BackupBlueprint, namespace, name))
    }));
    blueprints_of(context, |_| true);
}
