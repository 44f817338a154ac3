//! Tasks of a restore that pods do, in their place among the others.

use std::time::Duration;

use holdfast_api::restore_session::{ComponentRestoreStatus, RestorePhase};
use holdfast_api::{RestoreSession, labels};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::plan::{self, Pass};
use super::{Observed, source_namespace};
use crate::context::Context;
use crate::finalizer;
use crate::function::{ENDING_MAX, Run};
use crate::holder::keeper;
use crate::object::as_owner;
use crate::runs::Standing;
use crate::spread::spread;
use crate::work::pod::{self, PodTask, Seen};

/// The pod of a task; none while it is not known what is restored.
pub(super) fn run(task: &PodTask, observed: &Observed) -> Option<Run> {
    let restore = &observed.restore;
    let metadata = &restore.metadata;
    let namespace = metadata.namespace.clone().unwrap_or_default();
    let name = metadata.name.clone().unwrap_or_default();
    let snapshot = observed.snapshot.as_ref()?;
    let repository = snapshot.spec.repository.as_deref();
    let known = [
        ("namespace", Some(namespace.as_str())),
        ("restoreSession", Some(name.as_str())),
        ("snapshot", snapshot.metadata.name.as_deref()),
        ("repository", repository),
        ("repoName", repository),
        ("repoNamespace", Some(source_namespace(restore))),
        ("invokerKind", Some(RestoreSession::KIND)),
        ("invokerName", Some(name.as_str())),
    ];
    Some(Run {
        owner: as_owner(restore.as_ref()),
        id: format!("restore-{:016x}", spread(&task.component)),
        component: labels::COMPONENT_RESTORE,
        labels: labels::of_invoker(RestoreSession::KIND, &namespace, &name),
        function: task.function.clone(),
        wanted: task.wanted(&known, restore.spec.target.as_ref(), &namespace),
        timeout: pod::timeout(restore.spec.restore_timeout.as_deref()),
        stays: true,
        namespace,
    })
}

/// Whether a pod has ended, and the status does not say so yet.
pub(super) fn has_unwritten_end(observed: &Observed) -> bool {
    let status = observed.restore.status.as_ref();
    pod::has_unwritten_end(&observed.pods, |component| status.and_then(|status| status.components.get(component)).is_some_and(has_ended))
}

/// Whether a pod of it may still be at work.
pub(super) fn are_at_work(context: &Context, observed: &Observed) -> bool {
    let now = context.clock.now();
    observed.pods.values().any(|pod| {
        let found = context.caches.pods.get(&pod.run.namespace, &pod.run.pod_name());
        found.is_some_and(|found| is_at_work(&found, &pod.run.owner.uid, now))
    })
}

/// One that was asked to end and does not, as on a node that is gone, is not waited for for ever; somebody else's in its place not at all.
pub(super) fn is_at_work(pod: &Pod, owner_uid: &str, now: Timestamp) -> bool {
    let is_own = pod.metadata.owner_references.iter().flatten().any(|owner| owner.uid == owner_uid);
    // What is left of its grace period is negative.
    let is_stuck = Duration::try_from(finalizer::waited(&pod.metadata, now)).is_ok_and(|waited| waited >= ENDING_MAX);
    is_own && !keeper::has_ended(pod) && !is_stuck
}

fn has_ended(component: &ComponentRestoreStatus) -> bool {
    component.phase.is_some_and(RestorePhase::is_terminal)
}

impl Pass<'_> {
    /// Brings the component of a pod on: it has its own phase, or none.
    pub(super) fn advance_pod(&mut self, component: &mut ComponentRestoreStatus, pod: &Seen, is_late: bool) {
        let mut go_on = || self.wanted.push(pod.wanted());
        if has_ended(component) {
            // It says for itself how it went, as KubeStash's plugins do, and comes to its end.
            if pod.standing == Some(Standing::Running) && !is_late {
                go_on();
                self.has_running_pods = true;
            }
            return;
        }
        match &pod.standing {
            Some(Standing::Ended(Ok(()))) => {
                component.phase = Some(RestorePhase::Succeeded);
                component.error = None;
                go_on();
                return;
            }
            Some(Standing::Ended(Err(why))) => return plan::fail(component, why.clone()),
            Some(Standing::Running) => component.phase = Some(RestorePhase::Running),
            None => {}
        }
        if is_late {
            return self.fail_elsewhere(component, plan::TOO_LATE);
        }
        go_on();
    }
}
