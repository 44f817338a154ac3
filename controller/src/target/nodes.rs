//! A DaemonSet: what each of its nodes has of it, and whether those are all.

use std::collections::BTreeSet;
use std::sync::Arc;

use holdfast_api::names::component;
use k8s_openapi::api::core::v1::Pod;

use super::{Reach, Target, first_usable};
use crate::events::first_of;
use crate::holder::Purpose;
use crate::holder::keeper::has_ended;

/// Nodes that a message names.
const NAMED_MAX: usize = 5;
/// By this field a DaemonSet's controller tells the scheduler which node a pod is for.
const NODE_FIELD: &str = "metadata.name";

/// A DaemonSet as it was seen.
#[derive(Clone, Debug)]
pub struct Nodes {
    /// The DaemonSet's name.
    pub name: String,
    /// On how many nodes it is to run, once its controller has counted them for this spec.
    pub wanted: Option<usize>,
    /// Its pods.
    pub pods: Vec<Arc<Pod>>,
}

impl Nodes {
    /// Those that have a pod, also one that does not run.
    fn known(&self) -> BTreeSet<&str> {
        self.pods.iter().filter(|pod| !has_ended(pod)).filter_map(|pod| node_of(pod)).collect()
    }

    /// An update may start one before it stops the other.
    fn pods_on(&self, node: &str) -> Vec<Arc<Pod>> {
        self.pods.iter().filter(|pod| !has_ended(pod) && node_of(pod) == Some(node)).cloned().collect()
    }

    /// A component for each of those that are known.
    pub(super) fn components(&self) -> impl Iterator<Item = String> {
        self.known().into_iter().map(component::daemon_set_node)
    }

    /// What is missing for all of its nodes to be known.
    pub(super) fn missing(&self) -> Option<String> {
        let known = self.known();
        match self.wanted {
            Some(wanted) if known.len() < wanted => {
                Some(format!("DaemonSet {} is to run on {wanted} nodes and has pods on {}", self.name, listed(&known)))
            }
            _ => known.is_empty().then(|| format!("DaemonSet {} has pods on no node", self.name)),
        }
    }
}

impl Target {
    /// How `paths` are reached for a component of a DaemonSet: by the pod on its node.
    pub(super) fn reach_node(&self, nodes: &Nodes, of: &str, paths: &[String]) -> Reach {
        let (name, node) = (&nodes.name, component::daemon_set_node_of(of));
        let pods = nodes.pods_on(node);
        match (first_usable(&pods), pods.first()) {
            (Some(pod), _) => return self.reach_pod(pod, paths),
            (None, Some(pod)) => {
                return Reach::Waiting(format!("pod {} on node {node} is not running", pod.metadata.name.as_deref().unwrap_or_default()));
            }
            (None, None) => {}
        }
        if of == component::DUMP {
            return Reach::Impossible(format!("a component of DaemonSet {name} must name a node: dump-<node>"));
        }
        let known = nodes.known();
        // A node whose pod is being replaced still counts; one that is gone does not.
        if nodes.wanted.is_none_or(|wanted| known.len() < wanted) {
            return Reach::Waiting(format!("DaemonSet {name} has no pod on node {node}"));
        }
        let mend = match self.purpose {
            Purpose::Restore => "; name the components to restore in spec.dataSource.components",
            Purpose::Backup => "",
        };
        Reach::Impossible(format!("node {node} is gone, or DaemonSet {name} is not to run there any more: it runs on {}{mend}", listed(&known)))
    }
}

fn listed(nodes: &BTreeSet<&str>) -> String {
    match nodes.iter().copied().collect::<Vec<_>>().as_slice() {
        [] => "no node".into(),
        names => first_of(names, NAMED_MAX),
    }
}

/// The node of a pod, also of one that the scheduler has not placed yet.
fn node_of(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = &spec.node_name {
        return Some(node);
    }
    let wanted = spec.affinity.as_ref()?.node_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref()?;
    let fields = wanted.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    fields.filter(|field| field.key == NODE_FIELD).find_map(|field| field.values.as_ref()?.first()).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PersistentVolumeClaim;
    use serde_json::json;

    use super::super::Shape;
    use super::*;

    /// A pod with a volume of its own; on its node, or only meant for it.
    fn pod(node: &str, phase: &str) -> Arc<Pod> {
        let mut pod = json!({
            "metadata": {"name": format!("logs-{node}"), "namespace": "demo", "uid": format!("{node}-uid")}, "status": {"phase": phase},
            "spec": {"volumes": [{"name": "own", "ephemeral": {}}, {"name": "host", "hostPath": {"path": "/var/log"}}],
                "containers": [{"name": "app", "volumeMounts": [{"name": "own", "mountPath": "/own"}, {"name": "host", "mountPath": "/host"}]}]},
        });
        match phase {
            "Pending" => pod["spec"]["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}}}),
            _ => pod["spec"]["nodeName"] = json!(node),
        }
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn target(purpose: Purpose, wanted: Option<usize>, pods: &[Arc<Pod>]) -> Target {
        let claims = pods.iter().filter_map(|pod| pod.metadata.name.as_ref()).map(|pod| {
            let claim = json!({"metadata": {"name": format!("{pod}-own"), "namespace": "demo", "uid": "u"}, "spec": {"volumeName": "pv"}});
            (format!("{pod}-own"), Arc::new(serde_json::from_value::<PersistentVolumeClaim>(claim).unwrap()))
        });
        Target::seen(purpose, Shape::DaemonSet(Nodes { name: "logs".into(), wanted, pods: pods.to_vec() }), claims)
    }

    fn own() -> Vec<String> {
        vec!["/own".into()]
    }

    #[test]
    fn a_daemon_set_is_reached_node_by_node() {
        let set = target(Purpose::Backup, Some(3), &[pod("a", "Running"), pod("b", "Pending"), pod("c", "Running"), pod("c", "Failed")]);
        let components = set.components(&own());
        assert_eq!(components.keys().collect::<Vec<_>>(), ["dump-a", "dump-b", "dump-c"]);
        for node in ["a", "c"] {
            let Reach::Ready(access) = &components[&format!("dump-{node}")] else { panic!("{components:?}") };
            assert_eq!((access.node.as_str(), access.volumes[0].volume.pvc_name.clone()), (node, format!("logs-{node}-own")));
        }
        assert_eq!(components["dump-b"], Reach::Waiting("pod logs-b on node b is not running".into()));
        assert_eq!(set.reach("a", &own()), components["dump-a"], "as older Snapshots have it");
        assert!(matches!(set.reach("dump-a", &["/host".into()]), Reach::Impossible(why) if why.contains("a hostPath volume")));
        assert!(matches!(set.reach("dump", &own()), Reach::Impossible(why) if why.contains("must name a node")));
    }

    #[test]
    fn all_nodes_of_a_daemon_set_are_known_when_each_that_it_is_to_run_on_has_a_pod() {
        let lacking = target(Purpose::Backup, Some(2), &[pod("a", "Running"), pod("b", "Failed")]);
        assert!(!lacking.is_whole());
        let expected = Reach::Waiting("DaemonSet logs is to run on 2 nodes and has pods on a".into());
        assert_eq!(lacking.components(&own()).get("dump"), Some(&expected));
        assert!(target(Purpose::Backup, Some(2), &[pod("a", "Running"), pod("b", "Pending")]).is_whole());
        assert!(target(Purpose::Backup, None, &[pod("a", "Running")]).is_whole(), "nobody has counted");
        let nowhere = target(Purpose::Backup, None, &[]);
        assert!(!nowhere.is_whole());
        assert_eq!(nowhere.components(&own()).get("dump"), Some(&Reach::Waiting("DaemonSet logs has pods on no node".into())));
    }

    #[test]
    fn a_node_that_a_daemon_set_has_left_is_said_and_one_that_may_come_is_waited_for() {
        let gone = |purpose, wanted| target(purpose, wanted, &[pod("a", "Running")]).reach("dump-b", &own());
        let Reach::Impossible(why) = gone(Purpose::Restore, Some(1)) else { panic!() };
        assert!(why.contains("node b is gone") && why.contains("it runs on a; name") && why.contains("spec.dataSource.components"), "{why}");
        assert!(matches!(gone(Purpose::Backup, Some(1)), Reach::Impossible(why) if !why.contains("spec.dataSource")));
        assert_eq!(gone(Purpose::Restore, Some(2)), Reach::Waiting("DaemonSet logs has no pod on node b".into()));
        assert!(matches!(gone(Purpose::Restore, None), Reach::Waiting(_)), "one that was just made");
    }
}
