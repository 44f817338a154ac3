//! What is not kept of watched objects: with ten thousand pods and hundreds of thousands of Snapshots it is most of them.

use crate::backup_blueprint::applications::is_relevant;
use crate::snapshot::driver;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PartialObjectMeta;
use holdfast_api::snapshot::stats::{BackupSummary, ResticStats};
use holdfast_api::{Snapshot, size};
use k8s_openapi::api::core::v1::{
    Container, Namespace, PersistentVolumeClaim, PersistentVolumeClaimSpec, Pod, PodSpec, PodStatus, Volume,
};

/// A Snapshot is kept as it is meant, not as KubeStash's words have it. A finished one keeps what lists, statistics, retention and removal need: of each component one identifier and how much it
/// holds. A restore reads the rest afresh.
pub(super) fn snapshot(snapshot: &mut Snapshot) {
    driver::understand(snapshot);
    let Some(status) = snapshot.status.as_mut() else { return };
    if status.phase.is_some_and(|phase| phase.is_terminal()) {
        for component in status.components.values_mut() {
            component.restic_stats = summary(&component.restic_stats).into_iter().collect();
            component.restic_stats.shrink_to_fit();
        }
        // Whose it is, what it is found by: of no more interest to us.
        snapshot.metadata.labels = None;
        snapshot.metadata.owner_references = None;
    }
}

/// One for all paths of a component: they are one snapshot of the engine.
fn summary(stats: &[ResticStats]) -> Option<ResticStats> {
    let summaries = || stats.iter().filter_map(|stats| stats.summary.as_ref());
    let id = summaries().find_map(|summary| summary.id.clone())?;
    let size = size::sum(summaries().map(|summary| summary.size.as_deref()));
    Some(ResticStats { summary: Some(BackupSummary { id: Some(id), size, ..BackupSummary::default() }), progress: None })
}

/// A pod keeps its place, its volumes, and where its containers have them.
pub(super) fn pod(pod: &mut Pod) {
    if let Some(spec) = pod.spec.take() {
        // A subPathExpr may read an annotation.
        let expanded = spec.containers.iter().any(has_expression);
        pod.metadata.annotations = pod.metadata.annotations.take().filter(|_| expanded);
        pod.spec = Some(PodSpec {
            // A DaemonSet's pod says there which node it is for.
            affinity: spec.affinity.filter(|_| spec.node_name.is_none()),
            node_name: spec.node_name,
            volumes: spec.volumes.map(|volumes| volumes.into_iter().map(volume).collect()),
            containers: spec.containers.into_iter().map(container).collect(),
            ..PodSpec::default()
        });
    }
    if let Some(status) = pod.status.take() {
        let conditions = status
            .conditions
            .map(|conditions| conditions.into_iter().filter(|condition| condition.type_ == "Ready").collect());
        pod.status = Some(PodStatus { phase: status.phase, conditions, ..PodStatus::default() });
    }
}

/// Of a claim's volume which claim; of any other what kind of volume it is.
fn volume(volume: Volume) -> Volume {
    fn bare<T: Default>(source: Option<T>) -> Option<T> {
        source.map(|_| T::default())
    }
    Volume {
        persistent_volume_claim: volume.persistent_volume_claim,
        ephemeral: bare(volume.ephemeral),
        secret: bare(volume.secret),
        config_map: bare(volume.config_map),
        projected: bare(volume.projected),
        downward_api: bare(volume.downward_api),
        empty_dir: bare(volume.empty_dir),
        ..volume
    }
}

fn container(container: Container) -> Container {
    let expanded = has_expression(&container);
    Container {
        name: container.name,
        volume_mounts: container.volume_mounts,
        volume_devices: container.volume_devices,
        // Only a subPathExpr reads the environment.
        env: container.env.filter(|_| expanded),
        ..Container::default()
    }
}

fn has_expression(container: &Container) -> bool {
    container.volume_mounts.iter().flatten().any(|mount| mount.sub_path_expr.is_some())
}

/// What an application asks of blueprints, and its labels.
fn only_asked_for(metadata: &mut ObjectMeta) {
    if let Some(annotations) = &mut metadata.annotations {
        annotations.retain(|annotation, _| is_relevant(annotation));
    }
    metadata.annotations = metadata.annotations.take().filter(|annotations| !annotations.is_empty());
    metadata.owner_references = None;
}

/// A namespace keeps its labels, which usage policies select by, and what it asks of blueprints.
pub(super) fn namespace(namespace: &mut PartialObjectMeta<Namespace>) {
    only_asked_for(&mut namespace.metadata);
}

/// A workload keeps its name, and what it asks of blueprints.
pub(super) fn metadata<K>(object: &mut PartialObjectMeta<K>) {
    only_asked_for(&mut object.metadata);
    object.metadata.labels = None;
}

/// A claim keeps its volume, its labels, and what it asks of blueprints.
pub(super) fn claim(claim: &mut PersistentVolumeClaim) {
    only_asked_for(&mut claim.metadata);
    claim.status = None;
    if let Some(spec) = claim.spec.take() {
        claim.spec = Some(PersistentVolumeClaimSpec {
            volume_name: spec.volume_name,
            volume_mode: spec.volume_mode,
            ..PersistentVolumeClaimSpec::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_keeps_where_it_is_to_be_until_it_is_there() {
        let affinity = serde_json::json!({"nodeAffinity": {}});
        for (node, kept) in [(None, true), (Some("a"), false)] {
            let mut stripped: Pod =
                serde_json::from_value(serde_json::json!({"spec": {"containers": [], "affinity": affinity, "nodeName": node}})).unwrap();
            pod(&mut stripped);
            let spec = stripped.spec.unwrap();
            assert_eq!((spec.affinity.is_some(), spec.node_name.as_deref()), (kept, node));
        }
    }

    #[test]
    fn a_finished_snapshot_keeps_what_retention_needs() {
        let mut stripped: Snapshot = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "s"}, "spec": {"repository": "r"},
            "status": {"phase": "Succeeded", "components": {"dump": {"driver": "Holdfast", "resticStats": [
                {"summary": {"id": "e-1", "hostPath": "/a", "size": "1024 B", "uploaded": "3 B"}},
                {"summary": {"id": "e-1", "hostPath": "/b", "size": "2.000 KiB", "uploaded": "3 B"}},
            ]}}},
        }))
        .unwrap();
        snapshot(&mut stripped);
        let component = &stripped.status.as_ref().unwrap().components["dump"];
        assert_eq!(component.restic_stats.len(), 1);
        assert_eq!(crate::backup_session::retention::bytes(&stripped), [("dump".to_owned(), 3072)].into());
        assert_eq!(crate::repository::ledger::engine_ids(&stripped), ["e-1".to_owned()].into());
    }
}
