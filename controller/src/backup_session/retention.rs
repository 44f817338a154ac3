//! Retention, after a session has ended: what its RetentionPolicy no longer keeps is written down to be removed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holdfast_api::backup_session::{BackupSessionStatus, RetentionPolicyApplyStatus, RetentionPolicyPhase};
use holdfast_api::condition::kinds::{backup_session as kinds, snapshot as snapshot_kinds};
use holdfast_api::condition::{self, Condition};
use holdfast_api::reference::ObjectReference;
use holdfast_api::retention::{self, Candidate, Held, Outcome};
use holdfast_api::snapshot::SnapshotPhase;
use holdfast_api::{Repository, RestoreSession, RetentionPolicy, Snapshot, size};
use jiff::Timestamp;

use super::Observed;
use crate::action::Action;
use crate::cache::By;
use crate::context::Context;
use crate::events::first_of;
use crate::first_use;
use crate::invoker::{self, Invoker};
use crate::object::{Key, Named};
use crate::repository::ledger::{self, Entry};
use crate::restore_session::plan::holds_its_snapshot;
use crate::restore_session::{CHOSEN, source_namespace};

/// On an invoker: a time. What was taken until then is not held any more, although a volume shrank after it.
pub const RELEASE: &str = "holdfast.dev/release-held";
/// Snapshots removed by one session, at most; the next one goes on. A mistyped policy then shows before everything is gone.
const REMOVED_MAX: usize = 100;
/// Reason of what is said of Snapshots that go; said with the end of the session if that is good.
pub(super) const REMOVED: &str = "SnapshotsRemoved";
/// Names in an Event.
const NAMED_MAX: usize = 5;

/// What concerns the retention of one repository.
#[derive(Clone, Debug)]
pub struct Retention {
    /// The policy's name.
    pub reference: ObjectReference,
    /// The policy, or why it does not count.
    pub policy: Result<Arc<RetentionPolicy>, Problem>,
    /// Snapshots of this session in the repository that have ended and are not on their way out.
    pub snapshots: Vec<Arc<Snapshot>>,
    /// Those that a restore needs.
    pub pinned: BTreeSet<String>,
}

/// Why a policy does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// What it needs is not there, or not to be read: nothing is removed until then, and the backup is none the worse.
    Missing(String),
    /// It is wrong.
    Refused(String),
}

/// What a Snapshot holds, by component.
pub fn bytes(snapshot: &Snapshot) -> BTreeMap<String, u64> {
    let components = snapshot.status.iter().flat_map(|status| &status.components);
    components
        .filter_map(|(name, component)| {
            let sizes = component.restic_stats.iter().filter_map(|stats| stats.summary.as_ref());
            let total = size::sum(sizes.map(|summary| summary.size.as_deref()))?;
            Some((name.clone(), size::parse(&total)?))
        })
        .collect()
}

/// Whether a Snapshot is of a session in a repository.
pub fn is_of(snapshot: &Snapshot, namespace: &str, repository: &str, session: Option<&str>) -> bool {
    snapshot.metadata.namespace.as_deref() == Some(namespace)
        && snapshot.spec.repository.as_deref() == Some(repository)
        && snapshot.spec.session.as_deref() == session
}

fn phase(snapshot: &Snapshot) -> Option<SnapshotPhase> {
    snapshot.status.as_ref().and_then(|status| status.phase)
}

/// Looks at what a session that ends leaves behind in its repositories.
pub(super) async fn observe(
    context: &Context,
    observed: &Observed,
    key: &Key,
) -> Result<BTreeMap<String, Retention>, kube::Error> {
    let mut all = BTreeMap::new();
    let Some(invoker) = &observed.invoker else { return Ok(all) };
    let (effective, labels) = invoker::effective(context, invoker, &key.namespace).await?;
    let Some(spec) = observed.spec() else { return Ok(all) };
    let pinned = pinned(context, &key.namespace);
    // Of a retry all of them, too: what an earlier session of this name could not remove, or holds, is this one's as well.
    for (_, reference) in spec.repositories() {
        let Some(name) = &reference.name else { continue };
        let Some(policy) = effective.backend_of(reference).and_then(|backend| backend.retention_policy.clone()) else {
            continue;
        };
        let session = observed.session.spec.session.as_deref();
        let repository = observed.repositories.get(name);
        let mut snapshots = context.caches.snapshots.of(By::Repository, Named::new(&key.namespace, name));
        snapshots.retain(|snapshot| {
            is_of(snapshot, &key.namespace, name, session)
                && phase(snapshot).is_some_and(|phase| phase.is_terminal())
                && snapshot.metadata.deletion_timestamp.is_none()
                && !repository.is_some_and(|repository| ledger::has(repository, snapshot))
        });
        let retention = Retention {
            policy: policy_of(context, &policy, &key.namespace, &labels),
            reference: policy,
            // What KubeStash has stored counts apart, and is not removed.
            snapshots: snapshots.into_iter().filter(ledger::is_ours).collect(),
            pinned: pinned.clone(),
        };
        all.insert(name.clone(), retention);
    }
    Ok(all)
}

fn policy_of(
    context: &Context,
    reference: &ObjectReference,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> Result<Arc<RetentionPolicy>, Problem> {
    let name = Named::new(reference.namespace_or(namespace), &reference.name);
    let policy = context.caches.policies.get(&name.namespace, &name.name);
    let policy = policy.ok_or_else(|| Problem::Missing(format!("RetentionPolicy {name} does not exist; nothing is removed")))?;
    let user = holdfast_api::usage_policy::Namespace { name: namespace, labels };
    let allowed = name.namespace == namespace
        || policy.spec.usage_policy.as_ref().is_some_and(|usage| usage.allows(&name.namespace, user));
    if allowed {
        Ok(policy)
    } else {
        Err(Problem::Refused(format!("the usagePolicy of RetentionPolicy {name} does not allow namespace {namespace}")))
    }
}

/// Snapshots of a namespace that restores are at, or will be.
fn pinned(context: &Context, namespace: &str) -> BTreeSet<String> {
    pinned_by(context.caches.restores.select(holds_its_snapshot), namespace)
}

fn pinned_by(open: Vec<Arc<RestoreSession>>, namespace: &str) -> BTreeSet<String> {
    open.into_iter()
        .map(|restore| first_use::restore_as_begun(restore).0)
        .filter(|restore| source_namespace(restore) == namespace)
        .flat_map(|restore| {
            let chosen = restore.metadata.annotations.as_ref().and_then(|all| all.get(CHOSEN)).cloned();
            let named = restore.spec.data_source.as_ref().and_then(|source| source.snapshot.clone());
            [chosen, named]
        })
        .flatten()
        .collect()
}

/// Applies the policy of each repository; what is to go is written down on its Repository before the session says so.
pub(super) fn plan(observed: &Observed, status: &mut BackupSessionStatus, now: Timestamp) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut held = Vec::new();
    status.retention_policy.clear();
    for (name, retention) in &observed.retention {
        let mut applied = RetentionPolicyApplyStatus {
            ref_: Some(retention.reference.clone()),
            repository: Some(name.clone()),
            phase: Some(RetentionPolicyPhase::Applied),
            error: None,
        };
        let result = match (&retention.policy, observed.repositories.get(name)) {
            (Ok(policy), Some(repository)) => apply(observed, retention, policy, repository, now),
            (Err(problem), _) => Err(problem.clone()),
            (_, None) => Err(Problem::Missing(format!("Repository {name} does not exist"))),
        };
        match result {
            Ok((removal, hold)) => {
                actions.extend(removal);
                held.extend(hold.map(|hold| (name.clone(), hold)));
            }
            Err(problem) => {
                let (phase, message) = match problem {
                    Problem::Missing(message) => (RetentionPolicyPhase::Pending, message),
                    Problem::Refused(message) => (RetentionPolicyPhase::FailedToApply, message),
                };
                actions.push(Action::warning("RetentionNotApplied", message.clone()));
                (applied.phase, applied.error) = (Some(phase), Some(message));
            }
        }
        status.retention_policy.push(applied);
    }
    say_held(observed, status, &held, &mut actions, now);
    actions
}

type Removal = (Vec<Action>, Option<Held>);

fn apply(
    observed: &Observed,
    retention: &Retention,
    policy: &RetentionPolicy,
    repository: &Repository,
    now: Timestamp,
) -> Result<Removal, Problem> {
    let candidates: Vec<Candidate> = retention.snapshots.iter().map(|snapshot| candidate(snapshot, retention)).collect();
    let released = observed.invoker.as_ref().map(released).transpose().map_err(Problem::Missing)?.flatten();
    let verdict = retention::apply(&policy.spec, &candidates, released, now).map_err(|error| {
        Problem::Refused(format!("RetentionPolicy {}: maxRetentionPeriod: {error}", retention.reference.name))
    })?;
    let found = |name: &String| retention.snapshots.iter().find(|snapshot| snapshot.metadata.name.as_ref() == Some(name));
    let mut entries: Vec<Entry> = verdict
        .removed
        .iter()
        .take(REMOVED_MAX)
        .filter_map(|name| found(name).and_then(|snapshot| Entry::of(snapshot, ledger::engine_ids(snapshot))))
        .collect();
    entries.truncate(ledger::room(repository, &entries));
    let mut actions: Vec<Action> = ledger::record(repository, &entries).into_iter().collect();
    let names: Vec<&str> = entries.iter().map(|entry| entry.snapshot.as_str()).collect();
    if !names.is_empty() {
        let message = format!("RetentionPolicy {} no longer keeps {}", retention.reference.name, first_of(&names, NAMED_MAX));
        actions.push(Action::normal(REMOVED, message));
    }
    Ok((actions, verdict.held))
}

fn candidate(snapshot: &Snapshot, retention: &Retention) -> Candidate {
    let name = snapshot.metadata.name.clone().unwrap_or_default();
    let status = snapshot.status.as_ref();
    let taken = status.and_then(|status| status.snapshot_time.as_ref()).or(snapshot.metadata.creation_timestamp.as_ref());
    let has_gaps = status.is_some_and(|status| condition::is_true(&status.conditions, snapshot_kinds::FILES_UNREADABLE));
    Candidate {
        taken: taken.map_or(Timestamp::MIN, |time| time.0),
        outcome: match phase(snapshot) {
            Some(SnapshotPhase::Succeeded) if has_gaps => Outcome::WithGaps,
            Some(SnapshotPhase::Succeeded) => Outcome::Whole,
            _ => Outcome::Failed,
        },
        bytes: bytes(snapshot),
        is_pinned: retention.pinned.contains(&name),
        name,
    }
}

/// Until when what was taken is released.
fn released(invoker: &Invoker) -> Result<Option<Timestamp>, String> {
    let text = invoker.metadata().annotations.as_ref().and_then(|annotations| annotations.get(RELEASE));
    text.map(|text| text.parse().map_err(|_| format!("annotation {RELEASE}: {text:?} is not a time such as {:.0}", Timestamp::UNIX_EPOCH)))
        .transpose()
}

fn say_held(
    observed: &Observed,
    status: &mut BackupSessionStatus,
    held: &[(String, Held)],
    actions: &mut Vec<Action>,
    now: Timestamp,
) {
    if held.is_empty() {
        condition::remove(&mut status.conditions, kinds::SNAPSHOTS_HELD);
        return;
    }
    let texts: Vec<String> = held.iter().map(|(repository, held)| text(observed, repository, held)).collect();
    let message = texts.join("; ");
    actions.push(Action::warning(kinds::SNAPSHOTS_HELD, message.clone()));
    let condition = Condition::new(kinds::SNAPSHOTS_HELD, true, snapshot_kinds::VOLUME_SHRANK, message, now);
    condition::set(&mut status.conditions, condition);
}

fn text(observed: &Observed, repository: &str, held: &Held) -> String {
    let invoker = observed.session.spec.invoker.as_ref();
    let invoker = invoker.map(|invoker| format!("{} {}", invoker.kind.to_lowercase(), invoker.name)).unwrap_or_default();
    let shrink = &held.shrink;
    let namespace = observed.session.metadata.namespace.as_deref().unwrap_or_default();
    let names: Vec<&str> = held.names.iter().map(String::as_str).collect();
    let what = if names.is_empty() { "nothing yet".to_owned() } else { first_of(&names, NAMED_MAX) };
    let before = observed.retention.get(repository).and_then(|retention| {
        let found = retention.snapshots.iter().find(|snapshot| snapshot.metadata.name.as_ref() == Some(&shrink.before))?;
        Some(candidate(found, retention).taken)
    });
    format!(
        "Repository {repository}: component {} held {} in Snapshot {} and {} in {}; retention holds {what}. If that is right: kubectl -n \
         {namespace} annotate --overwrite {invoker} {RELEASE}={}",
        shrink.component,
        size::format(shrink.bytes_before),
        shrink.before,
        size::format(shrink.bytes_after),
        shrink.after,
        before.unwrap_or(Timestamp::UNIX_EPOCH),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_a_restore_is_at_or_names_is_needed_in_its_own_namespace() {
        let restore = |chosen: Option<&str>, source: Value, conditions: Value, generation: i64| -> Arc<RestoreSession> {
            let annotations: BTreeMap<&str, &str> = chosen.map(|chosen| (CHOSEN, chosen)).into_iter().collect();
            let status = json!({"phase": "Running", "components": {"dump": {"phase": "Running"}}, "conditions": conditions});
            Arc::new(serde_json::from_value(json!({"metadata": {"name": "back", "namespace": "demo", "annotations": annotations, "generation": generation},
                "spec": {"dataSource": source}, "status": status})).unwrap())
        };
        let latest = restore(Some("newest"), json!({"repository": "repo", "snapshot": "latest"}), json!([]), 1);
        let named = restore(None, json!({"repository": "repo", "snapshot": "old"}), json!([]), 1);
        let elsewhere = restore(Some("theirs"), json!({"repository": "repo", "namespace": "shop"}), json!([]), 1);
        let open = vec![latest.clone(), named, elsewhere];
        let of = |namespace: &str| pinned_by(open.clone(), namespace).into_iter().collect::<Vec<_>>();
        assert_eq!(of("demo"), ["latest", "newest", "old"]);
        assert_eq!(of("shop"), ["theirs"]);
        // It goes on as it was begun, whatever its spec says since.
        let mut begun = Vec::new();
        first_use::keep_restore(&latest, false, &mut begun, Timestamp::UNIX_EPOCH);
        let changed = restore(Some("newest"), json!({"repository": "repo", "namespace": "shop"}), json!(begun), 2);
        assert!(pinned_by(vec![changed.clone()], "demo").contains("newest") && pinned_by(vec![changed], "shop").is_empty());
    }
}
