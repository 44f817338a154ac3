//! Holder pods: a claim that no pod mounts is mounted by one that does nothing, for as long as an agent works on it.
//!
//! A plan says which it wants, each time anew, as it says which tasks it wants. What nobody wants any more goes.

pub mod keeper;
pub mod pod;

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_openapi::api::core::v1::{Affinity, Pod, PodSpec, Toleration};

/// On holder pods, and on nothing else.
pub const LABEL: &str = "holdfast.dev/holder";

/// What the volumes are needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// To be read: whoever else wants the volume has it.
    Backup,
    /// To be written: nobody is to see it half-filled.
    Restore,
}

/// A pod that is wanted, so that these claims are mounted together on some node.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// Of the claims.
    pub namespace: String,
    /// Their names.
    pub claims: BTreeSet<String>,
    /// What for.
    pub purpose: Purpose,
    /// Where the pod may be.
    pub placement: Placement,
}

/// Where the application's own pods may be: a claim that is bound by the holder must be where they can use it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Placement {
    /// As of a pod.
    pub node_selector: Option<std::collections::BTreeMap<String, String>>,
    /// As of a pod.
    pub affinity: Option<Affinity>,
    /// As of a pod; all, if the application is not known.
    pub tolerations: Option<Vec<Toleration>>,
}

impl Placement {
    /// Of the application's pods.
    pub fn of(spec: &PodSpec) -> Self {
        Self {
            node_selector: spec.node_selector.clone(),
            affinity: spec.affinity.clone(),
            tolerations: spec.tolerations.clone(),
        }
    }
}

impl Wish {
    /// The pod's name: one for the same claims, whoever wants it.
    pub fn pod_name(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.claims.hash(&mut hasher);
        format!("holdfast-holder-{:016x}", hasher.finish())
    }
}

impl std::fmt::Display for Wish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let claims: Vec<&str> = self.claims.iter().map(String::as_str).collect();
        write!(f, "pod {}/{}, which holds PersistentVolumeClaim {},", self.namespace, self.pod_name(), claims.join(", "))
    }
}

/// Whether a pod is a holder of ours.
pub fn is_holder(pod: &Pod) -> bool {
    pod.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(LABEL))
}
