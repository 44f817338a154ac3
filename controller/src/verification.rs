//! BackupVerificationSession: one Snapshot tried out. It is restored into claims that are made for this and go at the end, whatever that
//! is; nothing that was there before is written to, and no backup is paused.

use std::sync::Arc;

use holdfast_api::snapshot::SnapshotPhase;
use holdfast_api::validation::restore_session::LATEST;
use holdfast_api::{BackupVerificationSession, BackupVerifier, RestoreSession, Snapshot};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec};
use kube::api::{Api, ObjectMeta};

use crate::cache::By;
use crate::caches::Caches;
use crate::context::{Context, Subject};
use crate::runs::Standing;
use crate::invoker::{Invoker, either};
use crate::object::{Key, Kind, Named};
use crate::restore_session::{newest, own_claims};
use crate::snapshot::driver;

mod check;
mod history;
pub mod plan;
mod restore;
mod retry;
#[cfg(test)]
mod tests;
pub mod turns;
pub mod verifier;

/// A try and what concerns it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The try.
    pub session: Arc<BackupVerificationSession>,
    /// What takes the backups.
    pub invoker: Option<Invoker>,
    /// How they are tried, or why nobody can tell.
    pub verifier: Result<Arc<BackupVerifier>, String>,
    /// What is tried, or why it cannot be.
    pub snapshot: Result<Arc<Snapshot>, String>,
    /// The restore that it has made; or what else has its name.
    pub restore: Option<Result<Arc<RestoreSession>, String>>,
    /// Claims of that restore that no volume was found for yet.
    pub unbound: Vec<String>,
    /// Other tries for the same invoker, session and repository.
    pub siblings: Vec<Arc<BackupVerificationSession>>,
    /// How the Function stands that looks at what was restored.
    pub check: Option<Standing>,
    /// Whether it may begin: few run at once.
    pub has_turn: bool,
    /// The claim that was backed up, if it is one and still there.
    pub source: Option<PersistentVolumeClaimSpec>,
}

/// Looks at one try and does what is to be done.
pub async fn reconcile(context: &Context, key: &Key) -> Result<(), kube::Error> {
    let Some(session) = context.caches.verifications.get(&key.namespace, &key.name) else {
        context.forget(key);
        return Ok(());
    };
    let subject = Subject::of(Kind::BackupVerificationSession, session.as_ref());
    if context.is_behind(&subject) {
        return Ok(());
    }
    let observed = observe(context, session, key).await?;
    context.apply(&subject, plan::plan(&observed, context.clock.now())).await
}

async fn observe(context: &Context, session: Arc<BackupVerificationSession>, key: &Key) -> Result<Observed, kube::Error> {
    let caches = &context.caches;
    let invoker_key = invoker_of(&session);
    let invoker = invoker_key.as_ref().and_then(|key| Invoker::find(caches, key));
    let mut siblings = invoker_key.map(|key| caches.verifications.of(By::Invoker, either::group_of(&key))).unwrap_or_default();
    siblings.retain(|other| {
        other.metadata.uid != session.metadata.uid
            && other.spec.invoker == session.spec.invoker
            && other.spec.session == session.spec.session
            && other.spec.repository == session.spec.repository
    });
    let restore = caches.restores.get(&key.namespace, &key.name).map(|found| match is_made_by(&session, &found.metadata) {
        true => Ok(found),
        false => Err(format!("RestoreSession {} is there already, and is not this try's", key.name)),
    });
    let restored = restore.as_ref().and_then(|restore| restore.as_ref().ok());
    let snapshot = chosen(caches, &session, restored.map(AsRef::as_ref), &key.namespace);
    let mut observed = Observed {
        verifier: verifier::of(context, invoker.as_ref(), &session, &key.namespace),
        check: None,
        unbound: restored.map(|restore| unbound(caches, restore, &key.namespace)).unwrap_or_default(),
        has_turn: false,
        source: None,
        invoker,
        snapshot,
        restore,
        siblings,
        session,
    };
    if has_ended(&observed.session) {
        context.turns.end(key);
        context.functions.forget(key);
        return Ok(observed);
    }
    // Which paths it holds is not kept of what is at rest.
    if let (Some(_), Ok(known)) = (&observed.restore, &observed.snapshot) {
        let snapshots: Api<Snapshot> = Api::namespaced(context.client.clone(), &key.namespace);
        if let Some(mut whole) = snapshots.get_opt(known.metadata.name.as_deref().unwrap_or_default()).await? {
            driver::understand(&mut whole);
            observed.snapshot = Ok(Arc::new(whole));
        }
    }
    observed.check = check::of(&observed).and_then(|run| context.functions.standing(&Named::new(&key.namespace, run.pod_name())));
    observed.has_turn = context.turns.take(key, observed.restore.is_some());
    if observed.restore.is_none() && observed.has_turn {
        observed.source = source(context, &observed).await?;
    }
    Ok(observed)
}

/// The Snapshot that is meant: by name; as the restore has it; or the newest good one.
fn chosen(caches: &Caches, session: &BackupVerificationSession, restore: Option<&RestoreSession>, namespace: &str) -> Result<Arc<Snapshot>, String> {
    let repository = session.spec.repository.as_deref().unwrap_or_default();
    let named = session.spec.snapshot.as_deref().filter(|name| !name.is_empty() && *name != LATEST);
    let restored = restore.and_then(|restore| restore.spec.data_source.as_ref()?.snapshot.as_deref());
    let name = match named.or(restored) {
        Some(name) => name.to_owned(),
        None => newest_of(caches, namespace, repository, session.spec.session.as_deref())
            .ok_or_else(|| format!("Repository {repository} has no Snapshot of this session that succeeded"))?,
    };
    let found = caches.snapshots.get(namespace, &name).ok_or_else(|| format!("Snapshot {name} does not exist"))?;
    if found.spec.repository.as_deref() != Some(repository) {
        return Err(format!("Snapshot {name} is not in Repository {repository}"));
    }
    match found.status.as_ref().and_then(|status| status.phase) {
        Some(SnapshotPhase::Succeeded) => Ok(found),
        _ => Err(format!("Snapshot {name} did not succeed")),
    }
}

/// The newest good Snapshot of a session in a Repository.
pub fn newest_of(caches: &Caches, namespace: &str, repository: &str, session: Option<&str>) -> Option<String> {
    let mut all = caches.snapshots.of(By::Repository, Named::new(namespace, repository));
    all.retain(|snapshot| snapshot.spec.session.as_deref() == session);
    newest(all.iter().map(AsRef::as_ref), None)
}

/// What a claim for the try may be like.
async fn source(context: &Context, observed: &Observed) -> Result<Option<PersistentVolumeClaimSpec>, kube::Error> {
    let Some(app) = observed.snapshot.as_ref().ok().and_then(|snapshot| snapshot.spec.app_ref.as_ref()) else { return Ok(None) };
    let own = observed.session.metadata.namespace.as_deref().unwrap_or_default();
    // One of another namespace is none of this one's business, and its classes may not be either.
    if app.kind.as_deref() != Some("PersistentVolumeClaim") || app.namespace_or(own) != own {
        return Ok(None);
    }
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), own);
    Ok(claims.get_opt(&app.name).await?.and_then(|claim| claim.spec))
}

fn unbound(caches: &Caches, restore: &RestoreSession, namespace: &str) -> Vec<String> {
    let Some(uid) = restore.metadata.uid.as_deref() else { return Vec::new() };
    let claims = caches.claims.of(By::Namespace, Named::new(namespace, ""));
    let waits = claims.iter().filter(|claim| {
        own_claims::made_by(&claim.metadata) == Some(uid) && claim.spec.as_ref().is_none_or(|spec| spec.volume_name.is_none())
    });
    waits.filter_map(|claim| claim.metadata.name.clone()).collect()
}

/// Whether a try is over.
pub fn has_ended(session: &BackupVerificationSession) -> bool {
    session.status.as_ref().and_then(|status| status.phase).is_some_and(|phase| phase.is_terminal())
}

/// What takes the backups that a session tries.
pub fn invoker_of(session: &BackupVerificationSession) -> Option<Key> {
    let invoker = session.spec.invoker.as_ref()?;
    either::key_of(invoker, session.metadata.namespace.as_deref().unwrap_or_default())
}

/// Whether an invoker names this verifier.
pub fn names(invoker: &Invoker, verifier: &Named) -> bool {
    let own = invoker.metadata().namespace.as_deref().unwrap_or_default();
    invoker.sessions().iter().flat_map(|session| session.repositories()).any(|(_, repository)| {
        repository.backup_verifier.as_ref().is_some_and(|named| named.name == verifier.name && named.namespace_or(own) == verifier.namespace)
    })
}

/// The try that an object was made for, by its name.
pub fn made_for(metadata: &ObjectMeta) -> Option<String> {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().find(|owner| owner.kind == BackupVerificationSession::KIND && owner.controller == Some(true)).map(|owner| owner.name.clone())
}

fn is_made_by(session: &BackupVerificationSession, metadata: &ObjectMeta) -> bool {
    let owners = metadata.owner_references.as_deref().unwrap_or_default();
    owners.iter().any(|owner| Some(&owner.uid) == session.metadata.uid.as_ref())
}
