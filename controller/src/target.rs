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
pub mod observe;
pub mod paths;
#[cfg(test)]
mod tests;

use paths::Place;

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
        /// Pods that mount it.
        pods: Vec<Arc<Pod>>,
    },
    /// A Deployment, and its pods.
    Deployment {
        /// Its pods.
        pods: Vec<Arc<Pod>>,
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
    },
}

/// How one component's data is reached.
#[derive(Clone, Debug, PartialEq)]
pub enum Reach {
    /// Mounted on a node.
    Ready(Access),
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
            Shape::Claim { .. } | Shape::Deployment { .. } => one(component::DUMP, self.reach(None, paths)),
            Shape::StatefulSet { first, replicas, name, .. } => {
                if *replicas == 0 {
                    return one(component::DUMP, Reach::Waiting(format!("StatefulSet {name} has no replicas")));
                }
                let ordinals = *first..first.saturating_add(*replicas);
                ordinals
                    .map(|ordinal| (component::stateful_set_pod(ordinal), self.reach(Some(ordinal), paths)))
                    .collect()
            }
        }
    }

    /// How `paths` are reached: of the pod with this ordinal, if the target has ordinals.
    pub fn reach(&self, ordinal: Option<u32>, paths: &[String]) -> Reach {
        match &self.shape {
            Shape::Missing(what) => Reach::Waiting(what.clone()),
            Shape::Unsupported(what) => Reach::Impossible(what.clone()),
            Shape::Claim { name, pods } => self.reach_claim(name, pods, paths),
            Shape::Deployment { pods } => match first_usable(pods) {
                Some(pod) => self.reach_pod(pod, paths),
                None => Reach::Waiting("no pod of the Deployment is running".into()),
            },
            Shape::StatefulSet { name, pods, .. } => {
                let Some(ordinal) = ordinal else {
                    return Reach::Impossible(format!(
                        "a component of StatefulSet {name} must name an ordinal: dump-pod-0"
                    ));
                };
                let pod_name = format!("{name}-{ordinal}");
                let pod = pods.iter().find(|pod| pod.metadata.name.as_deref() == Some(&pod_name) && is_usable(pod));
                match pod {
                    Some(pod) => self.reach_pod(pod, paths),
                    None => Reach::Waiting(format!("pod {pod_name} is not running")),
                }
            }
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
        match first_usable(pods) {
            Some(pod) => self.access(pod, places),
            None => Reach::Waiting(format!("no running pod mounts PersistentVolumeClaim {claim}")),
        }
    }

    fn reach_pod(&self, pod: &Pod, paths: &[String]) -> Reach {
        let mut places: Vec<Place> = Vec::new();
        for path in paths {
            match paths::in_pod(pod, path) {
                // One path below another, or the same twice: each place is read once.
                Ok(found) => {
                    for place in found {
                        if !places.contains(&place) {
                            places.push(place);
                        }
                    }
                }
                Err(problem) => return Reach::Impossible(problem.to_string()),
            }
        }
        self.access(pod, places)
    }

    fn access(&self, pod: &Pod, places: Vec<Place>) -> Reach {
        if places.is_empty() {
            return Reach::Impossible("no path is given: set the parameter `paths`".into());
        }
        let mut volumes = Vec::new();
        for place in places {
            let Some(claim) = self.claims.get(&place.claim) else {
                return Reach::Waiting(format!("PersistentVolumeClaim {} does not exist", place.claim));
            };
            if self.host_path_claims.contains(&place.claim) {
                return Reach::Impossible(format!(
                    "PersistentVolumeClaim {} is bound to a hostPath PersistentVolume, which agents cannot reach",
                    place.claim
                ));
            }
            match located(pod, claim, place) {
                Ok(located) => volumes.push(located),
                Err(reach) => return reach,
            }
        }
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        Reach::Ready(Access { node, pod_uid: pod.metadata.uid.clone().unwrap_or_default(), volumes })
    }
}

fn located(pod: &Pod, claim: &PersistentVolumeClaim, place: Place) -> Result<Located, Reach> {
    let spec = claim.spec.as_ref();
    let Some(pv_name) = spec.and_then(|spec| spec.volume_name.clone()).filter(|name| !name.is_empty()) else {
        return Err(Reach::Waiting(format!("PersistentVolumeClaim {} is not bound", place.claim)));
    };
    if spec.and_then(|spec| spec.volume_mode.as_deref()) == Some("Block") {
        return Err(Reach::Impossible(format!(
            "PersistentVolumeClaim {} is a raw block device; those are not supported yet",
            place.claim
        )));
    }
    let volume = v1::VolumeAccess {
        pvc_namespace: claim.metadata.namespace.clone().unwrap_or_default(),
        pvc_name: place.claim,
        pvc_uid: claim.metadata.uid.clone().unwrap_or_default(),
        pv_name,
        pod_uid: pod.metadata.uid.clone().unwrap_or_default(),
        pod_name: pod.metadata.name.clone().unwrap_or_default(),
        volume_plugin: String::new(),
        block: false,
    };
    Ok(Located { volume, path_in_volume: place.path_in_volume, container_path: place.container_path })
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
