//! Components that pods fill: a task whose Function names an image. One pod for each Snapshot and task, and of the Snapshots of one
//! session and application one after the other, since KubeStash's plugins go through all of them.

use std::sync::Arc;
use std::time::Duration;

use holdfast_api::snapshot::{Component, ComponentPhase, Snapshot};
use holdfast_api::{BackupSession, TypedObjectReference, labels};

use super::plan::Pass;
use super::{Observed, result};
use crate::action::Action;
use crate::function::Run;
use crate::object::as_owner;
use crate::runs::Standing;
use crate::spread::spread;
use crate::target::Reach;
use crate::work::pod::{self, PodTask, Seen};

/// How soon another Snapshot's pod may have ended.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// The pod of a task. `target` is what is backed up, as the one that takes the backup names it.
pub(super) fn run(
    task: &PodTask,
    snapshot: &Snapshot,
    session: &BackupSession,
    target: Option<&TypedObjectReference>,
    timeout: Option<&str>,
) -> Run {
    let namespace = snapshot.metadata.namespace.clone().unwrap_or_default();
    let invoker = session.spec.invoker.clone().unwrap_or_default();
    let repository = snapshot.spec.repository.as_deref();
    let known = [
        ("namespace", Some(namespace.as_str())),
        ("backupSession", session.metadata.name.as_deref()),
        ("snapshot", snapshot.metadata.name.as_deref()),
        ("repository", repository),
        ("repoName", repository),
        ("invokerKind", Some(invoker.kind.as_str())),
        ("invokerName", Some(invoker.name.as_str())),
    ];
    let of_snapshot = spread(&format!("{}/{}", snapshot.metadata.uid.as_deref().unwrap_or_default(), task.component));
    Run {
        owner: as_owner(session),
        id: format!("backup-{of_snapshot:016x}"),
        component: labels::COMPONENT_BACKUP,
        labels: labels::of_invoker(&invoker.kind, &namespace, &invoker.name),
        function: task.function.clone(),
        wanted: task.wanted(&known, target, &namespace),
        timeout: pod::timeout(timeout),
        stays: true,
        namespace,
    }
}

/// Of the Snapshots of one session the first whose pod for this component comes before this one's, and has not ended.
pub(super) fn before(snapshot: &Snapshot, others: &[Arc<Snapshot>], component: &str) -> Option<String> {
    let is_open = |other: &Snapshot| {
        let status = other.status.as_ref().filter(|status| status.total_components.is_some());
        // What has not named its components yet may have this one.
        status.is_none_or(|status| status.components.get(component).is_some_and(|component| !has_ended(component)))
    };
    let before = others.iter().filter(|other| {
        other.metadata.name < snapshot.metadata.name
            && other.metadata.uid != snapshot.metadata.uid
            && other.spec.app_ref == snapshot.spec.app_ref
            && other.metadata.deletion_timestamp.is_none()
            && is_open(other)
    });
    before.filter_map(|other| other.metadata.name.clone()).min()
}

fn has_ended(component: &Component) -> bool {
    component.phase.is_some_and(ComponentPhase::is_terminal)
}

/// Whether a pod has ended, and the status does not say so yet.
pub(super) fn has_unwritten_end(observed: &Observed) -> bool {
    pod::has_unwritten_end(&observed.pods, |component| is_written(&observed.snapshot, component))
}

fn is_written(snapshot: &Snapshot, component: &str) -> bool {
    snapshot.status.as_ref().and_then(|status| status.components.get(component)).is_some_and(has_ended)
}

impl Pass<'_> {
    /// Brings the component of a pod on.
    pub(super) fn advance_pod(&mut self, name: &str, component: &mut Component, pod: &Seen) {
        let runs = pod.standing == Some(Standing::Running);
        if has_ended(component) {
            // It says for itself how it went, as KubeStash's plugins do, and may be about to do so in other Snapshots.
            if runs && self.timed_out().is_none() {
                self.has_running_pods = true;
                self.wanted.push(pod.wanted());
            }
            return;
        }
        match &pod.standing {
            Some(Standing::Ended(end)) => {
                match end {
                    Ok(()) => {
                        component.phase = Some(ComponentPhase::Succeeded);
                        component.error = None;
                    }
                    Err(why) => result::fail(component, why.clone()),
                }
                // Until that is written down it stays.
                self.wanted.push(pod.wanted());
                return;
            }
            Some(Standing::Running) => component.phase = Some(ComponentPhase::Running),
            None => {}
        }
        if let Some(reason) = self.timed_out() {
            result::fail(component, reason);
            return;
        }
        if runs {
            self.wanted.push(pod.wanted());
            return;
        }
        self.begin_pod(name, component, pod);
    }

    /// Whether a pod that has not ended may have named this component itself, and is at work on it.
    pub(super) fn is_a_plugins_own(&self, name: &str) -> bool {
        let observed = self.observed;
        let is_open = |(name, pod): (&String, &Seen)| match pod.standing {
            Some(Standing::Running) => true,
            Some(Standing::Ended(_)) => false,
            None => !is_written(&observed.snapshot, name),
        };
        !observed.reaches.contains_key(name) && observed.pods.iter().any(is_open)
    }

    fn begin_pod(&mut self, name: &str, component: &mut Component, pod: &Seen) {
        if let Some(Reach::Waiting(why)) = self.observed.reaches.get(name) {
            if self.is_patient() {
                self.wait_for(format!("component {name}: {why}"));
            } else {
                result::fail(component, why.clone());
            }
            return;
        }
        match self.open_repository() {
            Ok(Some(_)) => {}
            Ok(None) => return self.look_again(LOOK_AGAIN),
            Err(reason) => return result::fail(component, reason),
        }
        if let Some(other) = &pod.before {
            self.events.push(Action::normal("Waiting", format!("component {name}: the pod of Snapshot {other} comes first")));
            return self.look_again(LOOK_AGAIN);
        }
        self.wanted.push(pod.wanted());
    }
}
