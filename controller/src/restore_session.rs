//! RestoreSession: a snapshot's components written back into volumes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use holdfast_api::condition::{self, kinds::shared};
use holdfast_api::restore_session::{PointInTime, RestorePhase};
use holdfast_api::snapshot::SnapshotPhase;
use holdfast_api::usage_policy::Namespace;
use holdfast_api::validation::restore_session::{LATEST, validate};
use holdfast_api::{Repository, RestoreSession, Snapshot};
use kube::api::Api;

use crate::cache::By;
use crate::catalog::Catalog;
use crate::context::{Context, Subject};
use crate::dispatch::attempts;
use crate::dispatch::task::{Attempt, TaskView};
use crate::first_use;
use crate::hooks::{HookId, Standing, templates};
use crate::invoker::Invoker;
use crate::holder::Purpose;
use crate::object::{Key, Kind, Named};
use crate::snapshot::driver;
use crate::target::{self, Reach, Shape, Target, consent};
use crate::work::pod::{Pods, Seen};
use crate::work::{self, Job};

use own_claims::OwnClaim;

mod blame;
pub mod components;
mod departure;
mod gone;
mod hooks;
mod manifests;
pub mod own_claims;
pub mod plan;
pub mod pods;
#[cfg(test)]
mod tests;
mod waiting;

/// On a RestoreSession: the Snapshot that it restores. `latest` is decided once, so that all components, attempts and
/// controllers mean the same one.
pub const CHOSEN: &str = "holdfast.dev/snapshot";

/// On a RestoreSession: of manifests only what would be made, changed or left is said.
pub const DRY_RUN: &str = "holdfast.dev/dry-run";

/// A restore and what concerns it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The restore, as it was begun.
    pub restore: Arc<RestoreSession>,
    /// Whether its spec says something else since it was begun.
    pub is_changed: bool,
    /// What is wrong with it.
    pub problem: Option<String>,
    /// The name of the snapshot to restore, or why there is none yet.
    pub chosen: Result<String, String>,
    /// That snapshot, whole.
    pub snapshot: Option<Snapshot>,
    /// Its repository.
    pub repository: Option<Arc<Repository>>,
    /// What is to be restored, or why that is not known yet.
    pub job: Result<Job, String>,
    /// Where to.
    pub target: Target,
    /// Claims of its own instead, by component, if it is to make some.
    pub own_claims: BTreeMap<String, OwnClaim>,
    /// How each component is reached.
    pub reaches: BTreeMap<String, Reach>,
    /// Configurations and batches with the same target.
    pub invokers: Vec<Invoker>,
    /// Whether an agent, or a pod, may still be at work for it.
    pub has_tasks: bool,
    /// Its tasks.
    pub tasks: BTreeMap<String, TaskView>,
    /// Components that pods restore.
    pub pods: Pods,
    /// Attempts that its annotation names.
    pub attempts: BTreeMap<String, Attempt>,
    /// How its hooks stand.
    pub hooks: HashMap<HookId, Standing>,
    /// How long it has waited for pods or claims.
    pub waited: Duration,
    /// For how long agents may still bring what was begun under the leader before.
    pub more_within: Option<Duration>,
}

impl Observed {
    /// Whether it restores into claims of its own, which need no target.
    pub fn makes_claims(&self) -> bool {
        self.job.as_ref().is_ok_and(|job| !job.claim_templates.is_empty())
    }

    /// Whether it can begin without a target: it makes claims of its own, or makes the target itself.
    pub fn needs_no_target(&self) -> bool {
        self.makes_claims() || self.job.as_ref().is_ok_and(Job::begins_with_manifests)
    }

    /// Whether only what would be done is to be said.
    pub fn is_dry_run(&self) -> bool {
        is_dry_run(&self.restore)
    }
}

fn is_dry_run(restore: &RestoreSession) -> bool {
    let annotations = restore.metadata.annotations.as_ref();
    annotations.and_then(|annotations| annotations.get(DRY_RUN)).is_some_and(|text| text == "true")
}

/// Whether anything of a restore still runs, or is to: also the hooks after one that is being deleted.
pub fn goes_on(restore: &RestoreSession) -> bool {
    !plan::is_settled(restore) || departure::is_running(restore)
}

/// Looks at one restore and does what is to be done.
pub async fn reconcile(context: &Context, key: &Key) -> Result<(), kube::Error> {
    let Some(restore) = context.caches.restores.get(&key.namespace, &key.name) else {
        context.forget(key);
        return Ok(());
    };
    let subject = Subject::of(Kind::RestoreSession, restore.as_ref());
    if context.is_behind(&subject) {
        return Ok(());
    }
    if !goes_on(&restore) {
        context.waits(key, &key.namespace, false);
        use crate::action::Action;
        let mut actions = vec![Action::Tasks(Vec::new()), Action::HooksOver];
        actions.extend(departure::release(&restore));
        return context.apply(&subject, actions).await;
    }
    let observed = observe(context, restore, &subject).await?;
    if pods::has_unwritten_end(&observed) && context.is_older(&subject).await? {
        return Ok(());
    }
    context.apply(&subject, plan::plan(&observed, context.clock.now())).await
}

async fn observe(context: &Context, restore: Arc<RestoreSession>, subject: &Subject) -> Result<Observed, kube::Error> {
    let (restore, is_changed) = first_use::restore_as_begun(restore);
    let key = &subject.key;
    let caches = &context.caches;
    let from = source_namespace(&restore).to_owned();
    let chosen = choose(context, &restore, &from);
    let of_another = chosen.as_ref().ok().and_then(|name| of_another(context, &restore, &from, name));
    let snapshots: Api<Snapshot> = Api::namespaced(context.client.clone(), &from);
    let snapshot = match &chosen {
        Ok(name) => snapshots.get_opt(name).await?.map(as_meant),
        Err(_) => None,
    };
    let repository_name = snapshot.as_ref().and_then(|snapshot| snapshot.spec.repository.clone());
    let target = target::observe::target(&context.client, caches, &key.namespace, restore.spec.target.as_ref(), None, Purpose::Restore).await?;
    let invokers = Invoker::select(caches, |invoker| {
        if is_dry_run(&restore) {
            return false;
        }
        let own_namespace = invoker.metadata().namespace.as_deref().unwrap_or_default();
        invoker.targets().iter().any(|(_, theirs)| match (theirs, &restore.spec.target) {
            (Some(theirs), Some(ours)) => target::same(theirs, own_namespace, ours, &key.namespace),
            _ => false,
        })
    });
    let attempts = attempts::persisted(&restore.metadata);
    let mut observed = Observed {
        problem: problem(context, &restore).await?.or(of_another),
        job: work::restore(restore.spec.addon.as_ref(), &Catalog::concerning(caches, &restore.spec.addon)),
        repository: repository_name.and_then(|name| caches.repositories.get(&from, &name)),
        has_tasks: context.dispatcher.is_at_work(&subject.uid, unfinished(&attempts, &restore)),
        tasks: context.dispatcher.views(&subject.uid),
        attempts,
        pods: BTreeMap::new(),
        reaches: BTreeMap::new(),
        waited: Duration::ZERO,
        more_within: context.dispatcher.brought(&subject.uid).more_within,
        hooks: context.hooks.standings(&subject.uid),
        own_claims: BTreeMap::new(),
        chosen,
        snapshot,
        target,
        invokers,
        restore,
        is_changed,
    };
    observed.pods = seen(context, &observed);
    observed.has_tasks |= pods::are_at_work(context, &observed);
    observed.own_claims = own_claims::observe(context, &observed, &key.namespace).await?;
    observed.reaches = components::reaches(&observed);
    let waits = (!observed.target.exists() && !observed.needs_no_target())
        || observed.snapshot.is_none()
        || observed.reaches.values().any(|reach| matches!(reach, Reach::Waiting(_) | Reach::Unmounted(_)))
        // What cannot be restored into may be replaced by what can.
        || matches!(observed.target.shape, Shape::Unsupported(_));
    let target = observed.restore.spec.target.as_ref();
    let theirs = target.map_or(key.namespace.as_str(), |target| target.namespace_or(&key.namespace));
    observed.waited = context.waits(key, theirs, waits);
    Ok(observed)
}

/// What admission would have refused, where nobody asked it. What has begun is held up by no template: it asks for each hook when that runs.
async fn problem(context: &Context, restore: &RestoreSession) -> Result<Option<String>, kube::Error> {
    let namespace = restore.metadata.namespace.as_deref().unwrap_or_default();
    let has_begun = restore.status.as_ref().is_some_and(departure::has_begun);
    let hooks = restore.spec.hooks.iter().filter(|_| !has_begun).flat_map(|hooks| hooks.pre_restore.iter().chain(&hooks.post_restore));
    let names = templates::named_elsewhere(hooks, namespace);
    let templates = templates::read(&context.client, names).await?;
    let labels = if templates.is_empty() { BTreeMap::new() } else { context.namespace_labels(namespace).await? };
    let templates: Vec<_> = templates.iter().collect();
    Ok(validate(restore, Namespace { name: namespace, labels: &labels }, &templates).err().map(|errors| errors.to_string()))
}

/// Components that were given to agents, and have not succeeded.
fn unfinished<'a>(attempts: &'a BTreeMap<String, Attempt>, restore: &'a RestoreSession) -> impl Iterator<Item = &'a str> {
    let phase = |name: &String| restore.status.as_ref()?.components.get(name)?.phase;
    attempts.keys().filter(move |name| phase(name) != Some(RestorePhase::Succeeded)).map(String::as_str)
}

fn seen(context: &Context, observed: &Observed) -> Pods {
    let tasks = observed.job.iter().flat_map(Job::pods);
    let runs = tasks.filter_map(|task| Some((task.component.clone(), pods::run(task, observed)?)));
    runs.map(|(component, run)| (component, Seen { standing: context.functions.standing(&run.named()), run, before: None })).collect()
}

fn as_meant(mut snapshot: Snapshot) -> Snapshot {
    driver::understand(&mut snapshot);
    snapshot
}

/// The snapshot that is meant.
fn choose(context: &Context, restore: &RestoreSession, namespace: &str) -> Result<String, String> {
    granted(context, restore, namespace, repository_of(context, restore, namespace).as_deref())?;
    pick(context, restore, namespace)
}

/// Whoever may use one Repository of a namespace may not thereby read the others, whichever Snapshot is named, by whatever field.
fn of_another(context: &Context, restore: &RestoreSession, namespace: &str, snapshot: &str) -> Option<String> {
    let repository = repository_of(context, restore, namespace)?;
    let found = context.caches.snapshots.get(namespace, snapshot)?;
    (found.spec.repository.as_ref() != Some(&repository))
        .then(|| format!("spec.dataSource: Snapshot {namespace}/{snapshot} is not one of Repository {namespace}/{repository}"))
}

/// As decided before, by its name, or the newest good one (at a time, if one is given).
fn pick(context: &Context, restore: &RestoreSession, namespace: &str) -> Result<String, String> {
    if !is_mended(restore)
        && let Some(chosen) = restore.metadata.annotations.as_ref().and_then(|annotations| annotations.get(CHOSEN))
    {
        return Ok(chosen.clone());
    }
    let source = restore.spec.data_source.as_ref().ok_or("spec.dataSource is missing")?;
    let named = source.snapshot.as_deref().filter(|name| !name.is_empty() && *name != LATEST);
    if let (Some(name), None) = (named, &source.pitr) {
        return match context.caches.snapshots.get(namespace, name) {
            Some(_) => Ok(name.to_owned()),
            None => Err(format!("Snapshot {namespace}/{name} does not exist")),
        };
    }
    let repository = source.repository.as_deref().unwrap_or_default();
    let all = context.caches.snapshots.of(By::Repository, Named::new(namespace, repository));
    newest(all.iter().map(AsRef::as_ref), source.pitr.as_ref())
        .ok_or_else(|| format!("Repository {namespace}/{repository} has no Snapshot that succeeded{}", if source.pitr.is_some() { " by then" } else { "" }))
}

/// The Repository that is named, or that of the Snapshot that is.
fn repository_of(context: &Context, restore: &RestoreSession, from: &str) -> Option<String> {
    let source = restore.spec.data_source.as_ref()?;
    let of_snapshot = || context.caches.snapshots.get(from, source.snapshot.as_deref()?)?.spec.repository.clone();
    source.repository.clone().filter(|name| !name.is_empty()).or_else(of_snapshot)
}

/// Whether its spec has changed since it was refused: the snapshot that was decided on may be what it was refused for.
fn is_mended(restore: &RestoreSession) -> bool {
    let judged = restore.status.as_ref().and_then(|status| condition::get(&status.conditions, shared::VALIDATION_PASSED));
    plan::may_heal(restore) && judged.is_some_and(|judged| judged.observed_generation != restore.metadata.generation)
}

/// The newest good one of these, up to a time if one is given.
pub fn newest<'s>(snapshots: impl Iterator<Item = &'s Snapshot>, until: Option<&PointInTime>) -> Option<String> {
    let at = |snapshot: &Snapshot| {
        snapshot.status.as_ref().and_then(|status| status.snapshot_time.as_ref()).map(|time| time.0)
    };
    let in_time = |snapshot: &Snapshot| {
        let Some(until) = until else { return true };
        let (Some(at), Some(limit)) = (at(snapshot), until.target_time.as_ref().map(|time| time.0)) else {
            return false;
        };
        if until.exclusive == Some(true) { at < limit } else { at <= limit }
    };
    let good = snapshots.filter(|snapshot| {
        snapshot.metadata.deletion_timestamp.is_none()
            && snapshot.status.as_ref().and_then(|status| status.phase) == Some(SnapshotPhase::Succeeded)
            && in_time(snapshot)
    });
    good.max_by_key(|snapshot| (at(snapshot), snapshot.metadata.name.clone())).and_then(|snapshot| snapshot.metadata.name.clone())
}

/// The namespace of the Repository and Snapshot.
pub fn source_namespace(restore: &RestoreSession) -> &str {
    let named = restore.spec.data_source.as_ref().and_then(|source| source.namespace.as_deref());
    named.filter(|namespace| !namespace.is_empty()).or(restore.metadata.namespace.as_deref()).unwrap_or_default()
}

/// A Repository of another namespace must grant its use. Until it does, nothing is told of what there is.
fn granted(context: &Context, restore: &RestoreSession, from: &str, repository: Option<&str>) -> Result<(), String> {
    let own = restore.metadata.namespace.as_deref().unwrap_or_default();
    if from == own {
        return Ok(());
    }
    let found = repository.and_then(|name| context.caches.repositories.get(from, name));
    if found.is_some_and(|found| consent::granted(&found.metadata, own)) {
        return Ok(());
    }
    let name = repository.unwrap_or("<its name>");
    Err(format!(
        "no Repository of namespace {from} grants its use to {own} for this: kubectl -n {from} annotate repository {name} {}={own}",
        consent::GRANTED_TO
    ))
}

/// A restore's key.
pub fn key_of(restore: &RestoreSession) -> Key {
    let metadata = &restore.metadata;
    Key::of(Kind::RestoreSession, metadata)
}
