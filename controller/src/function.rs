//! Functions that name an image run as pods: made once, watched to their end, timed out, and removed.
//!
//! Of what is run there is one pod at a time, named by its owner and the run: whoever runs it again, after a crash too, goes on with
//! the pod that is there. What nobody runs any more is removed by [`keeper`], and with its owner by Kubernetes.
//!
//! To have one run: fill in a [`Run`]; a plan's `apply` gives it to [`Functions::start`] or [`Functions::want`], which wakes the object
//! at its end, and the next look finds [`Functions::standing`]. What runs beside the reconcilers already awaits [`Functions::run`].

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_api::function::pod::{FunctionPod, Use};
use holdfast_api::labels;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::object::{Key, Named};
use crate::runs::{Runs, Standing};
use crate::spread::spread;
use crate::workqueue::WorkQueue;

pub mod keeper;
mod run;
pub mod verdict;

/// On pods of Functions, and on nothing else.
pub const LABEL: &str = "holdfast.dev/function";
/// How their names begin.
const NAME_PREFIX: &str = "holdfast-function-";
/// Pods of Functions that are run at once.
const RUNNING_MAX: usize = 64;
/// What is asked to end is given this time before its next run, if there is one, takes it for stuck.
pub const ENDING_MAX: Duration = Duration::from_secs(60);

/// One run of a Function.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Namespace of the owner and of the pod.
    pub namespace: String,
    /// The object that it is run for; with it the pod goes.
    pub owner: OwnerReference,
    /// Which of the owner's runs, in a few lower-case letters and digits, such as `prehook-0`.
    pub id: String,
    /// Value of KubeStash's component label, such as [`labels::COMPONENT_HOOK`].
    pub component: &'static str,
    /// Further labels of the pod, such as [`labels::of_invoker`].
    pub labels: BTreeMap<String, String>,
    /// Name of the Function.
    pub function: String,
    /// What it is used for.
    pub wanted: Use,
    /// How long it may take, with all that comes before its container starts.
    pub timeout: Duration,
    /// Its pod stays where it has ended until the object no longer wants it: a controller that dies before it has written down how it
    /// ended does not run it again.
    pub stays: bool,
}

impl Run {
    /// The pod's name: the same for the same run of the same owner.
    pub fn pod_name(&self) -> String {
        format!("{NAME_PREFIX}{}-{:016x}", self.id, spread(&format!("{}/{}", self.owner.uid, self.id)))
    }

    /// The same with its namespace.
    pub fn named(&self) -> Named {
        Named::new(&self.namespace, self.pod_name())
    }

    fn pod(&self, function: FunctionPod) -> Pod {
        let mut labels = function.labels;
        labels.extend(self.labels.clone());
        labels.insert(labels::MANAGED_BY.to_owned(), labels::MANAGED_BY_KUBESTASH.to_owned());
        labels.insert(labels::COMPONENT.to_owned(), self.component.to_owned());
        labels.insert(LABEL.to_owned(), "true".to_owned());
        let mut spec = function.spec;
        // The kubelet's own end of it, should no controller be there to see to it.
        spec.active_deadline_seconds = Some(i64::try_from(self.timeout.as_secs()).unwrap_or(i64::MAX).max(1));
        Pod {
            metadata: ObjectMeta {
                name: Some(self.pod_name()),
                namespace: Some(self.namespace.clone()),
                labels: Some(labels),
                annotations: Some(function.annotations).filter(|annotations| !annotations.is_empty()),
                owner_references: Some(vec![self.owner.clone()]),
                ..ObjectMeta::default()
            },
            spec: Some(spec),
            status: None,
        }
    }

    /// Whether a pod of this name is this run's.
    fn owns(&self, pod: &Pod) -> bool {
        is_function(pod) && pod.metadata.owner_references.iter().flatten().any(|owner| owner.uid == self.owner.uid)
    }
}

/// Whether a pod is a Function's, made by us.
pub fn is_function(pod: &Pod) -> bool {
    let is_labelled = pod.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(LABEL));
    is_labelled && pod.metadata.name.as_deref().is_some_and(|name| name.starts_with(NAME_PREFIX))
}

/// Runs Functions. What it knows is lost with the process, and with its leadership: the pods are there, and are gone on with.
#[derive(Clone)]
pub struct Functions {
    client: kube::Client,
    are_allowed: bool,
    shutdown: CancellationToken,
    begun: Runs<Named>,
    attended: Arc<Attended>,
    stays: Arc<Mutex<HashMap<Named, (Key, Attendance)>>>,
}

/// The pods that somebody waits for.
#[derive(Debug, Default)]
struct Attended {
    pods: Mutex<Pods>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Pods {
    /// By how many.
    waited_for: HashMap<Named, usize>,
    /// No longer waited for, and perhaps still there.
    left: HashSet<Named>,
}

/// As long as it lives its pod stays.
#[derive(Debug)]
struct Attendance {
    attended: Arc<Attended>,
    pod: Named,
}

impl Attended {
    fn pods(&self) -> MutexGuard<'_, Pods> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attend(self: &Arc<Self>, pod: Named) -> Attendance {
        let mut pods = self.pods();
        pods.left.remove(&pod);
        *pods.waited_for.entry(pod.clone()).or_default() += 1;
        Attendance { attended: Arc::clone(self), pod }
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        let mut pods = self.attended.pods();
        if let Some(count) = pods.waited_for.get_mut(&self.pod) {
            *count -= 1;
            if *count == 0 {
                pods.waited_for.remove(&self.pod);
                pods.left.insert(self.pod.clone());
            }
        }
        drop(pods);
        self.attended.changed.notify_one();
    }
}

impl Functions {
    /// Runs Functions, where that is allowed at all, and wakes the objects of those that have ended, until `shutdown`.
    pub fn new(client: kube::Client, queue: WorkQueue, are_allowed: bool, shutdown: CancellationToken) -> Self {
        Self { client, are_allowed, shutdown, begun: Runs::new(queue, RUNNING_MAX), attended: Arc::default(), stays: Arc::default() }
    }

    /// Whether they run here at all.
    pub fn are_allowed(&self) -> bool {
        self.are_allowed
    }

    /// What `work` comes to, unless this process ends before.
    pub async fn until_shutdown<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.shutdown.run_until_cancelled(work).await
    }

    /// Begins a run that was not begun, or goes on with its pod; false if too many run. Its end wakes `key`.
    pub fn start(&self, key: &Key, run: Run) -> bool {
        let named = run.named();
        let stays = run.stays.then(|| self.attended.attend(named.clone()));
        let functions = self.clone();
        let started =
            self.begun.start(key.clone(), named.clone(), async move { functions.until_shutdown(functions.run(&run)).await });
        if let Some(stays) = stays.filter(|_| started) {
            self.stays.lock().unwrap_or_else(PoisonError::into_inner).entry(named).or_insert((key.clone(), stays));
        }
        started
    }

    /// These runs are wanted for an object, and no others: those are stopped, and their pods go. False if too many run.
    pub fn want(&self, key: &Key, runs: Vec<Run>) -> bool {
        let wanted: HashSet<Named> = runs.iter().map(Run::named).collect();
        self.keep(key, |pod| wanted.contains(pod));
        let mut have_begun = true;
        for run in runs {
            have_begun &= self.start(key, run);
        }
        have_begun
    }

    fn keep(&self, key: &Key, is_kept: impl Fn(&Named) -> bool) {
        self.begun.keep(key, &is_kept);
        self.stays.lock().unwrap_or_else(PoisonError::into_inner).retain(|pod, (theirs, _)| theirs != key || is_kept(pod));
    }

    /// How the run with this pod stands; none that was not started here.
    pub fn standing(&self, pod: &Named) -> Option<Standing> {
        self.begun.standing(pod)
    }

    /// The object is gone, or has what it wanted: what still runs for it is stopped, and its pods go.
    pub fn forget(&self, object: &Key) {
        self.keep(object, |_| false);
    }

    /// Another may lead now, and goes on with the pods: here nobody follows them any more. Hooks that run Functions have stopped before.
    pub async fn let_go(&self) {
        self.begun.let_go().await;
        self.stays.lock().unwrap_or_else(PoisonError::into_inner).clear();
        // Nobody waits for them here, and yet they stay: somebody may, elsewhere or here again.
        self.attended.pods().left.clear();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    pub(super) fn run(id: &str, uid: &str) -> Run {
        let owner = json!({"apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupSession", "name": "s", "uid": uid});
        Run {
            namespace: "demo".into(),
            owner: serde_json::from_value(owner).unwrap(),
            id: id.into(),
            component: labels::COMPONENT_HOOK,
            labels: BTreeMap::new(),
            function: "f".into(),
            wanted: Use::default(),
            timeout: Duration::from_secs(30),
            stays: false,
        }
    }

    #[test]
    fn a_run_has_one_pod_and_another_has_another() {
        let name = run("prehook-0", "u").pod_name();
        assert_eq!(name, run("prehook-0", "u").pod_name());
        assert!(name.starts_with("holdfast-function-prehook-0-") && name.len() <= 63, "{name}");
        assert_ne!(name, run("prehook-1", "u").pod_name());
        assert_ne!(name, run("prehook-0", "other").pod_name());
    }

    #[test]
    fn its_labels_are_kubestash_s_and_ours_whatever_was_asked_for() {
        let asked = [("app", "x"), (labels::COMPONENT, "kubestash-backup"), (LABEL, "no")];
        let asked = asked.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let run = run("prehook-0", "u");
        let pod = run.pod(FunctionPod { labels: asked, ..FunctionPod::default() });
        let labels = pod.metadata.labels.clone().unwrap();
        assert_eq!(labels["app"], "x");
        assert_eq!((labels[labels::COMPONENT].as_str(), labels[LABEL].as_str()), ("kubestash-hook", "true"));
        assert_eq!(labels[labels::MANAGED_BY], "kubestash.com");
        assert_eq!(pod.spec.as_ref().unwrap().active_deadline_seconds, Some(30));
        assert!(run.owns(&pod) && is_function(&pod));
        let of_another = Run { owner: OwnerReference { uid: "other".into(), ..run.owner.clone() }, ..run };
        assert!(!of_another.owns(&pod), "a name alone makes no pod ours");
    }
}
