//! What is backed up or restored: which pods and volumes a target means at this moment.
//!
//! Observing is IO; everything that follows from what was seen is pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holdfast_api::TypedObjectReference;
use holdfast_api::names::component;
use holdfast_proto::v1;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};

pub mod consent;
pub mod environment;
mod held;
pub mod nodes;
pub mod observe;
pub mod paths;
#[cfg(test)]
mod tests;

use nodes::Nodes;
use paths::Place;

use crate::holder::keeper::has_ended;
use crate::holder::{Placement, Purpose, Wish};

/// Where KubeStash's pvc-addon mounts a claim that is backed up for itself.
pub const CLAIM_PATH: &str = "/kubestash-data";

/// A target as it was seen.
#[derive(Clone, Debug)]
pub struct Target {
    /// What kind of thing it is.
    pub shape: Shape,
    /// The claims of its namespace that its pods use, by name.
    pub claims: BTreeMap<String, Arc<PersistentVolumeClaim>>,
    /// Those of them whose volume is a directory of its node: such volumes never appear under the kubelet's directory.
    pub host_path_claims: BTreeSet<String>,
    /// Its namespace.
    pub namespace: String,
    /// What it is looked at for.
    pub purpose: Purpose,
    /// Holder pods of its namespace, by name.
    pub holders: BTreeMap<String, Arc<Pod>>,
}

/// The kinds of targets.
#[derive(Clone, Debug)]
pub enum Shape {
    /// It does not exist (yet).
    Missing(String),
    /// Nothing that this version can do.
    Unsupported(String),
    /// A claim, and the pods that mount it.
    Claim {
        /// Its name.
        name: String,
        /// Pods that mount it, but for holders.
        pods: Vec<Arc<Pod>>,
    },
    /// A Deployment, and its pods.
    Deployment {
        /// Its pods.
        pods: Vec<Arc<Pod>>,
        /// The pod that it would have, if it is to have none.
        idle: Option<Box<Pod>>,
    },
    /// A StatefulSet.
    StatefulSet {
        /// Its name.
        name: String,
        /// First ordinal.
        first: u32,
        /// Number of pods it should have.
        replicas: u32,
        /// Its pods.
        pods: Vec<Arc<Pod>>,
        /// Its pod template, without the claims that are each ordinal's own: those are named.
        template: Box<(Pod, Vec<String>)>,
    },
    /// A DaemonSet, by its nodes.
    DaemonSet(Nodes),
}

/// How one component's data is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum Reach {
    /// Mounted on a node.
    Ready(Access),
    /// There is no volume to it: every agent can do it.
    Anywhere,
    /// Nothing mounts it: a pod of ours has to.
    Unmounted(Box<Wish>),
    /// Not now; says what is waited for.
    Waiting(String),
    /// Not as it stands; says what is to be changed.
    Impossible(String),
}

/// Volumes of one pod on one node.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// The node.
    pub node: String,
    /// The pod's UID.
    pub pod_uid: String,
    /// What of which volume.
    pub volumes: Vec<Located>,
    /// The pod is a holder: it goes when nobody wants this any more.
    pub held: Option<Box<Wish>>,
}

/// A directory in a volume, and what it is called.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// The volume.
    pub volume: v1::VolumeAccess,
    /// Directory or file in it, relative; "" for all of it.
    pub path_in_volume: String,
    /// Its path in the container.
    pub container_path: String,
}

impl Target {
    /// For tests: without holders.
    #[cfg(test)]
    pub(crate) fn seen(purpose: Purpose, shape: Shape, claims: impl IntoIterator<Item = (String, Arc<PersistentVolumeClaim>)>) -> Self {
        let claims = claims.into_iter().collect();
        Self { shape, claims, host_path_claims: BTreeSet::new(), namespace: "demo".into(), purpose, holders: BTreeMap::new() }
    }

    /// Whether it exists.
    pub fn exists(&self) -> bool {
        !matches!(self.shape, Shape::Missing(_))
    }

    /// The components of a backup and how each is reached. All or nothing that concerns the whole target is said under
    /// the component `dump`.
    pub fn components(&self, paths: &[String]) -> BTreeMap<String, Reach> {
        match &self.shape {
            Shape::Missing(what) => one(component::DUMP, Reach::Waiting(what.clone())),
            Shape::Unsupported(what) => one(component::DUMP, Reach::Impossible(what.clone())),
            Shape::Claim { .. } | Shape::Deployment { .. } => one(component::DUMP, self.reach(component::DUMP, paths)),
            Shape::StatefulSet { first, replicas, name, .. } => {
                let ordinals = match replicas {
                    0 => self.idle_ordinals(),
                    _ => (*first..first.saturating_add(*replicas)).collect(),
                };
                if ordinals.is_empty() {
                    return one(component::DUMP, Reach::Waiting(format!("StatefulSet {name} has no replicas, and no ordinal has claims")));
                }
                self.each(ordinals.into_iter().map(component::stateful_set_pod), paths)
            }
            Shape::DaemonSet(nodes) => {
                let mut reaches = self.each(nodes.components(), paths);
                reaches.extend(nodes.missing().map(|what| (component::DUMP.to_owned(), Reach::Waiting(what))));
                reaches
            }
        }
    }

    fn each(&self, names: impl Iterator<Item = String>, paths: &[String]) -> BTreeMap<String, Reach> {
        let reached = |name: String| {
            let reach = self.reach(&name, paths);
            (name, reach)
        };
        names.map(reached).collect()
    }

    /// Whether it shows already which components a backup of it has.
    pub fn is_whole(&self) -> bool {
        match &self.shape {
            Shape::DaemonSet(nodes) => nodes.missing().is_none(),
            _ => true,
        }
    }

    /// How `paths` are reached for a component: of the pod that its name tells, if the target has several.
    pub fn reach(&self, of: &str, paths: &[String]) -> Reach {
        match &self.shape {
            Shape::Missing(what) => Reach::Waiting(what.clone()),
            Shape::Unsupported(what) => Reach::Impossible(what.clone()),
            Shape::Claim { name, pods } => self.reach_claim(name, pods, paths),
            Shape::Deployment { pods, idle } => match (first_usable(pods), idle) {
                (Some(pod), _) => self.reach_pod(pod, paths),
                (None, Some(idle)) if pods.iter().all(|pod| has_ended(pod)) => self.reach_idle(idle, paths),
                (None, _) => Reach::Waiting("no pod of the Deployment is running".into()),
            },
            Shape::StatefulSet { name, pods, first, replicas, template } => {
                let Some(ordinal) = component::stateful_set_ordinal(of) else {
                    return Reach::Impossible(format!(
                        "a component of StatefulSet {name} must name an ordinal: dump-pod-0"
                    ));
                };
                let pod_name = format!("{name}-{ordinal}");
                let pod = pods.iter().find(|pod| pod.metadata.name.as_deref() == Some(&pod_name) && is_usable(pod));
                let is_wanted = (*first..first.saturating_add(*replicas)).contains(&ordinal);
                let is_there = pods.iter().any(|pod| pod.metadata.name.as_deref() == Some(&pod_name) && !has_ended(pod));
                match pod {
                    Some(pod) => self.reach_pod(pod, paths),
                    None if is_wanted || is_there => Reach::Waiting(format!("pod {pod_name} is not running")),
                    None => self.reach_idle(&held::of_ordinal(template, &pod_name), paths),
                }
            }
            Shape::DaemonSet(nodes) => self.reach_node(nodes, of, paths),
        }
    }

    fn reach_claim(&self, claim: &str, pods: &[Arc<Pod>], paths: &[String]) -> Reach {
        let mut places = Vec::new();
        for path in paths {
            match paths::in_claim(claim, CLAIM_PATH, path) {
                Ok(place) => places.push(place),
                Err(problem) => return Reach::Impossible(problem.to_string()),
            }
        }
        match (first_usable(pods), pods.iter().find(|pod| !has_ended(pod))) {
            (Some(pod), _) => self.access(pod, places),
            (None, Some(pod)) => {
                let pod = pod.metadata.name.as_deref().unwrap_or_default();
                Reach::Waiting(format!("pod {pod} wants PersistentVolumeClaim {claim} and is not running"))
            }
            (None, None) => self.held(places, Placement::default()),
        }
    }

    fn reach_pod(&self, pod: &Pod, paths: &[String]) -> Reach {
        match places_in(pod, paths) {
            Ok(places) => self.access(pod, places),
            Err(reach) => reach,
        }
    }

    fn access(&self, pod: &Pod, places: Vec<Place>) -> Reach {
        if places.is_empty() {
            return Reach::Impossible("no path is given: set the parameter `paths`".into());
        }
        let mut volumes = Vec::new();
        for place in places {
            match self.located(pod, place) {
                Ok(located) => volumes.push(located),
                Err(reach) => return reach,
            }
        }
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        Reach::Ready(Access { node, pod_uid: pod.metadata.uid.clone().unwrap_or_default(), volumes, held: None })
    }

    fn located(&self, pod: &Pod, place: Place) -> Result<Located, Reach> {
        let claim = self.reachable(&place.claim)?;
        let pv_name = volume_of(claim).ok_or_else(|| unbound(&place.claim))?;
        no_directory(claim, &place.claim).map_or(Ok(()), Err)?;
        let volume = v1::VolumeAccess {
            pvc_namespace: claim.metadata.namespace.clone().unwrap_or_default(),
            pvc_name: place.claim,
            pvc_uid: claim.metadata.uid.clone().unwrap_or_default(),
            pv_name: pv_name.to_owned(),
            pod_uid: pod.metadata.uid.clone().unwrap_or_default(),
            pod_name: pod.metadata.name.clone().unwrap_or_default(),
            volume_plugin: String::new(),
            block: false,
        };
        Ok(Located { volume, path_in_volume: place.path_in_volume, container_path: place.container_path })
    }

    /// A claim whose volume agents can reach once a pod mounts it.
    fn reachable(&self, name: &str) -> Result<&PersistentVolumeClaim, Reach> {
        let absent = || Reach::Waiting(format!("PersistentVolumeClaim {name} does not exist"));
        let claim = self.claims.get(name).ok_or_else(absent)?;
        if self.host_path_claims.contains(name) {
            return Err(Reach::Impossible(format!(
                "PersistentVolumeClaim {name} is bound to a hostPath PersistentVolume, which agents cannot reach"
            )));
        }
        Ok(claim)
    }
}

/// Why a claim's volume is no directory, if that is so.
fn no_directory(claim: &PersistentVolumeClaim, name: &str) -> Option<Reach> {
    let is_block = claim.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref()) == Some("Block");
    is_block.then(|| Reach::Impossible(format!("PersistentVolumeClaim {name} is a raw block device; those are not supported yet")))
}

/// The volume that a claim is bound to.
fn volume_of(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}

fn unbound(claim: &str) -> Reach {
    Reach::Waiting(format!("PersistentVolumeClaim {claim} is not bound"))
}

/// The places that paths in a pod mean.
fn places_in(pod: &Pod, paths: &[String]) -> Result<Vec<Place>, Reach> {
    let mut places: Vec<Place> = Vec::new();
    for path in paths {
        // One path below another, or the same twice: each place is read once.
        for place in paths::in_pod(pod, path).map_err(|problem| Reach::Impossible(problem.to_string()))? {
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    Ok(places)
}

fn one(name: &str, reach: Reach) -> BTreeMap<String, Reach> {
    BTreeMap::from([(name.to_owned(), reach)])
}

/// Whether a pod's volumes are mounted and may be used.
fn is_usable(pod: &Pod) -> bool {
    let on_node = pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    let running = pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"));
    on_node && running && pod.metadata.deletion_timestamp.is_none()
}

/// The pod whose volumes are used: a ready one first, then by name, so that the choice does not waver.
fn first_usable(pods: &[Arc<Pod>]) -> Option<&Arc<Pod>> {
    pods.iter().filter(|pod| is_usable(pod)).min_by_key(|pod| (!is_ready(pod), pod.metadata.name.clone()))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Whether two references name the same object.
pub fn same(
    left: &TypedObjectReference,
    left_namespace: &str,
    right: &TypedObjectReference,
    right_namespace: &str,
) -> bool {
    let group = |reference: &TypedObjectReference| match reference.api_group.as_deref() {
        None | Some("" | "v1") => String::new(),
        // Some manifests write the version with the group.
        Some(group) => group.split('/').next().unwrap_or_default().to_owned(),
    };
    left.name == right.name
        && left.kind == right.kind
        && group(left) == group(right)
        && left.namespace_or(left_namespace) == right.namespace_or(right_namespace)
}
