//! BackupSession: one run. It makes a Snapshot for each repository and sums up how they end.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use holdfast_api::backup_session::BackupSessionStatus;
use holdfast_api::invoker::SessionView;
use holdfast_api::{BackupSession, Repository, Snapshot};
use jiff::Timestamp;

use crate::cache::By;
use crate::context::{Context, Subject};
use crate::finalizer::is_held;
use crate::first_use;
use crate::hooks::{HookId, Standing};
use crate::invoker::{Invoker, either};
use crate::object::{Key, Kind, Named};

pub mod claims;
pub mod creation;
pub(crate) mod departure;
pub mod hooks;
pub mod plan;
pub mod retention;
pub mod retry;
mod snapshots;
#[cfg(test)]
mod tests;

/// A session and what concerns it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The session, with its status as it is.
    pub session: Arc<BackupSession>,
    /// What the API server has of its status: that a session has begun is written a moment later, and for a short one with its end.
    pub written: Option<BackupSessionStatus>,
    /// Its invoker.
    pub invoker: Option<Invoker>,
    /// The invoker as it was last seen, when it is gone: hooks after the session still run.
    pub last_invoker: Option<Invoker>,
    /// Another session of the invoker runs.
    pub other: Option<String>,
    /// Its Snapshots that exist, by their names; also what else has such a name.
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
    /// The session with its hooks, also when its invoker is gone.
    pub fn last_spec(&self) -> Option<SessionView<'_>> {
        self.invoker.as_ref().or(self.last_invoker.as_ref())?.session(self.session.spec.session.as_deref())
    }

    /// One whose Snapshots are there has begun, whether that is written yet or not. After a change of leadership another session may
    /// have its place: then it is skipped, and its Snapshots go.
    fn recall_begin(&mut self, now: Timestamp) {
        let is_new = !claims::has_begun(&self.session) && !claims::has_ended(&self.session);
        if is_new && self.other.is_none() && snapshots::are_made(self) {
            let mut session = self.session.as_ref().clone();
            session.status = Some(plan::begun(self, now));
            self.session = Arc::new(session);
        }
    }

    /// What the invoker says about this session.
    pub fn spec(&self) -> Option<SessionView<'_>> {
        self.invoker.as_ref()?.session(self.session.spec.session.as_deref())
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
    let session = first_use::as_begun(session);
    let invoker = either::key_in(&session).and_then(|key| Invoker::find(caches, &key));
    let of_invoker = either::key_in(&session).map(|key| caches.sessions.of(By::Invoker, either::group_of(&key)));
    let mut siblings = of_invoker.unwrap_or_default();
    siblings.retain(|other| other.spec.invoker == session.spec.invoker && other.metadata.name != session.metadata.name);
    let other = context.claims.claim(&session, &siblings);
    // Only one with hooks after it is held, and has a use for the invoker that was.
    let last_invoker = match &invoker {
        Some(invoker) if is_held(&session.metadata) && !claims::has_ended(&session) => {
            context.hooks.remember(key, invoker);
            None
        }
        Some(_) => None,
        None => context.hooks.remembered(key),
    };
    let mut observed = Observed {
        invoker,
        last_invoker,
        other,
        snapshots: BTreeMap::new(),
        repositories: BTreeMap::new(),
        ended: siblings
            .into_iter()
            .filter(|other| other.spec.session == session.spec.session && claims::has_ended(other))
            .collect(),
        hooks: context.hooks.standings(session.metadata.uid.as_deref().unwrap_or_default()),
        retention: BTreeMap::new(),
        written: session.status.clone(),
        session,
    };
    let mut wanted = snapshots::of(&observed);
    // Also those of an invoker that no longer says so.
    let listed = observed.session.status.iter().flat_map(|status| &status.snapshots);
    wanted.extend(listed.filter_map(|listed| Some((listed.repository.clone()?, listed.name.clone()?))));
    for (repository, snapshot) in wanted {
        if let Some(found) = caches.snapshots.get(&key.namespace, &snapshot) {
            observed.snapshots.insert(snapshot, found);
        }
        if let Some(found) = caches.repositories.get(&key.namespace, &repository) {
            observed.repositories.insert(repository, found);
        }
    }
    let spec = observed.spec();
    let all = spec.iter().flat_map(|spec| spec.repositories()).filter_map(|(_, reference)| reference.name.as_deref());
    let repositories: Vec<_> = all.filter_map(|name| Some((name.to_owned(), caches.repositories.get(&key.namespace, name)?))).collect();
    observed.repositories.extend(repositories);
    observed.recall_begin(context.clock.now());
    if plan::is_ending(&observed) {
        observed.retention = retention::observe(context, &observed, key).await?;
    }
    Ok(observed)
}
