//! BackupSession: one run. It makes a Snapshot for each repository and sums up how they end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use holdfast_api::backup_configuration::Session;
use holdfast_api::{BackupConfiguration, BackupSession, Repository, Snapshot, names};

use crate::context::{Context, Subject};
use crate::hooks::{HookId, Standing};
use crate::object::{Key, Kind, Named};

pub mod claims;
pub mod hooks;
pub mod plan;
pub mod retention;
#[cfg(test)]
mod tests;

/// A session and what concerns it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The session.
    pub session: Arc<BackupSession>,
    /// Its invoker.
    pub configuration: Option<Arc<BackupConfiguration>>,
    /// Another session of the invoker runs.
    pub other: Option<String>,
    /// Its Snapshots that exist, by their names.
    pub snapshots: BTreeMap<String, Arc<Snapshot>>,
    /// The repositories of its namespace that it uses.
    pub repositories: BTreeMap<String, Arc<Repository>>,
    /// Other sessions of the same invoker and session name that have ended.
    pub ended: Vec<Arc<BackupSession>>,
    /// How its hooks stand.
    pub hooks: HashMap<HookId, Standing>,
    /// Retention of its repositories, once all its Snapshots have ended.
    pub retention: BTreeMap<String, retention::Retention>,
}

impl Observed {
    /// What the invoker says about this session.
    pub fn spec(&self) -> Option<&Session> {
        let name = self.session.spec.session.as_deref()?;
        let sessions = &self.configuration.as_ref()?.spec.sessions;
        sessions.iter().find(|session| session.name.as_deref() == Some(name))
    }
}

/// Looks at one session and does what is to be done.
pub async fn reconcile(context: &Context, key: &Key) -> Result<(), kube::Error> {
    let Some(session) = context.caches.sessions.get(&key.namespace, &key.name) else {
        context.forget(key);
        context.claims.release_session(&Named::new(&key.namespace, &key.name));
        return Ok(());
    };
    let subject = Subject::of(Kind::BackupSession, session.as_ref());
    if context.is_behind(&subject) {
        return Ok(());
    }
    let observed = observe(context, session, key).await?;
    context.apply(&subject, plan::plan(&observed, context.clock.now())).await
}

async fn observe(context: &Context, session: Arc<BackupSession>, key: &Key) -> Result<Observed, kube::Error> {
    let caches = &context.caches;
    let invoker = session.spec.invoker.as_ref();
    let configuration = invoker
        .filter(|invoker| invoker.kind == BackupConfiguration::KIND)
        .and_then(|invoker| caches.configurations.get(&key.namespace, &invoker.name));
    let siblings = caches.sessions.select(|other| {
        other.metadata.namespace == session.metadata.namespace
            && other.spec.invoker == session.spec.invoker
            && other.metadata.name != session.metadata.name
    });
    let other = context.claims.claim(&session, &siblings);
    let mut observed = Observed {
        configuration,
        other,
        snapshots: BTreeMap::new(),
        repositories: BTreeMap::new(),
        ended: siblings
            .into_iter()
            .filter(|other| other.spec.session == session.spec.session && claims::has_ended(other))
            .collect(),
        hooks: context.hooks.standings(session.metadata.uid.as_deref().unwrap_or_default()),
        retention: BTreeMap::new(),
        session,
    };
    let repositories: Vec<String> = observed
        .spec()
        .into_iter()
        .flat_map(|spec| &spec.repositories)
        .filter_map(|reference| reference.name.clone())
        .collect();
    for name in repositories {
        let snapshot = names::snapshot(&name, &key.name);
        if let Some(found) = caches.snapshots.get(&key.namespace, &snapshot) {
            observed.snapshots.insert(snapshot, found);
        }
        if let Some(found) = caches.repositories.get(&key.namespace, &name) {
            observed.repositories.insert(name, found);
        }
    }
    if plan::is_ending(&observed) {
        observed.retention = retention::observe(context, &observed, key).await?;
    }
    Ok(observed)
}
