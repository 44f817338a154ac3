//! The cluster around Holdfast: the standalone API, and what scheduler, kubelet and workload controllers would do.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use holdfast_standalone::Standalone;
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod, ServiceAccount},
};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::place::Place;

pub(super) const NODES: [&str; 2] = ["n1", "n2"];
/// Where Holdfast runs.
pub(super) const OPERATOR_NAMESPACE: &str = "holdfast";
pub(super) const SHOP: &str = "shop";

/// A claim's volume, where it is mounted.
#[derive(Debug, Clone)]
pub(super) struct Volume {
    pub(super) name: String,
    pub(super) claim: String,
    pub(super) node: String,
    pub(super) pod_uid: String,
}

pub(super) struct Cluster {
    pub(super) api: Standalone,
    place: Arc<Place>,
    volumes: Mutex<Vec<Volume>>,
}

impl Cluster {
    pub(super) async fn start(place: &Arc<Place>) -> Result<Arc<Self>> {
        let api = Standalone::new();
        for definition in holdfast_api::crd::all() {
            let definition =
                serde_json::from_value(definition).context("a definition of our own")?;
            api.install(&definition)?;
        }
        let cluster = Arc::new(Self {
            api,
            place: Arc::clone(place),
            volumes: Mutex::default(),
        });
        for node in NODES {
            create(
                &Api::<Node>::all(cluster.client()),
                json!({"metadata": {"name": node}}),
            )
            .await?;
        }
        let namespace = json!({"metadata": {"name": OPERATOR_NAMESPACE}});
        create(
            &Api::<k8s_openapi::api::core::v1::Namespace>::all(cluster.client()),
            namespace,
        )
        .await?;
        let accounts = Api::<ServiceAccount>::namespaced(cluster.client(), OPERATOR_NAMESPACE);
        create(&accounts, json!({"metadata": {"name": "holdfast-agent"}})).await?;
        for node in NODES {
            cluster.agent_pod(node).await?;
        }
        Ok(cluster)
    }

    pub(super) fn client(&self) -> Client {
        self.api.client()
    }

    pub(super) fn volumes(&self) -> Vec<Volume> {
        self.volumes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Where the volume's pod sees it.
    pub(super) fn mounted(&self, volume: &Volume) -> PathBuf {
        self.place.mounted(volume)
    }

    /// The token that a kubelet would project into the agent's pod.
    pub(super) fn agent_token(&self, node: &str) -> Result<String> {
        let account = format!("{OPERATOR_NAMESPACE}/holdfast-agent");
        Ok(self.api.mint_token(
            &account,
            &format!("holdfast-agent-{node}"),
            node,
            "holdfast",
        )?)
    }

    async fn agent_pod(&self, node: &str) -> Result<()> {
        let pods = Api::<Pod>::namespaced(self.client(), OPERATOR_NAMESPACE);
        let pod = json!({
            "metadata": {"name": format!("holdfast-agent-{node}"), "labels": {"app.kubernetes.io/name": "holdfast", "app.kubernetes.io/component": "agent"}},
            "spec": {"nodeName": node, "serviceAccountName": "holdfast-agent", "containers": [{"name": "agent", "image": "holdfast-agent"}]},
        });
        create(&pods, pod).await?;
        Ok(())
    }

    /// Makes the pods of the workloads.
    pub(super) async fn make_pods(&self) -> Result<()> {
        let deployments = Api::<Deployment>::namespaced(self.client(), SHOP)
            .list(&ListParams::default())
            .await?;
        for deployment in deployments {
            self.pods_of_deployment(&deployment).await?;
        }
        let sets = Api::<StatefulSet>::namespaced(self.client(), SHOP)
            .list(&ListParams::default())
            .await?;
        for set in sets {
            self.pods_of_set(&set).await?;
        }
        Ok(())
    }

    /// Schedules every pod that does not run yet, binds its claims, mounts its volumes and lets it run.
    pub(super) async fn run_pods(&self) -> Result<()> {
        let pods = Api::<Pod>::namespaced(self.client(), SHOP)
            .list(&ListParams::default())
            .await?;
        let waiting = pods.items.into_iter().filter(|pod| {
            pod.status
                .as_ref()
                .and_then(|status| status.phase.as_deref())
                != Some("Running")
        });
        for (turn, pod) in waiting.enumerate() {
            self.run_pod(pod, NODES[turn % NODES.len()]).await?;
        }
        Ok(())
    }

    async fn pods_of_deployment(&self, deployment: &Deployment) -> Result<()> {
        let object = serde_json::to_value(deployment)?;
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let mut pod = object["spec"]["template"].clone();
        pod["metadata"]["name"] = json!(format!("{name}-5d8f7c9b6-x2k4q"));
        let set = format!("{name}-5d8f7c9b6");
        pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": true,
            "name": set, "uid": self.replica_set(deployment, &set).await?}]);
        self.create_pod(pod).await
    }

    async fn replica_set(&self, deployment: &Deployment, name: &str) -> Result<String> {
        let sets = Api::<k8s_openapi::api::apps::v1::ReplicaSet>::namespaced(self.client(), SHOP);
        let object = serde_json::to_value(deployment)?;
        let set = json!({
            "metadata": {"name": name, "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "controller": true,
                "name": object["metadata"]["name"], "uid": object["metadata"]["uid"]}]},
            "spec": {"selector": object["spec"]["selector"], "template": object["spec"]["template"]},
        });
        Ok(create(&sets, set).await?.metadata.uid.unwrap_or_default())
    }

    async fn pods_of_set(&self, set: &StatefulSet) -> Result<()> {
        let object = serde_json::to_value(set)?;
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let claims = Api::<PersistentVolumeClaim>::namespaced(self.client(), SHOP);
        for ordinal in 0..object["spec"]["replicas"].as_i64().unwrap_or(1) {
            let mut pod = object["spec"]["template"].clone();
            let mut volumes = pod["spec"]["volumes"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            for template in object["spec"]["volumeClaimTemplates"]
                .as_array()
                .into_iter()
                .flatten()
            {
                let volume = template["metadata"]["name"].as_str().unwrap_or_default();
                let claim = format!("{volume}-{name}-{ordinal}");
                create(
                    &claims,
                    json!({"metadata": {"name": claim}, "spec": template["spec"]}),
                )
                .await?;
                volumes
                    .push(json!({"name": volume, "persistentVolumeClaim": {"claimName": claim}}));
            }
            pod["spec"]["volumes"] = json!(volumes);
            pod["metadata"]["name"] = json!(format!("{name}-{ordinal}"));
            pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"] = json!(ordinal.to_string());
            pod["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] =
                json!(format!("{name}-{ordinal}"));
            pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "StatefulSet", "controller": true,
                "name": name, "uid": object["metadata"]["uid"]}]);
            self.create_pod(pod).await?;
        }
        Ok(())
    }

    async fn create_pod(&self, pod: Value) -> Result<()> {
        create(&Api::<Pod>::namespaced(self.client(), SHOP), pod).await?;
        Ok(())
    }

    async fn run_pod(&self, pod: Pod, node: &str) -> Result<()> {
        let pods = Api::<Pod>::namespaced(self.client(), SHOP);
        let name = pod.metadata.name.clone().unwrap_or_default();
        let spec = serde_json::to_value(&pod.spec)?;
        let scheduled = json!({"spec": {"nodeName": node}});
        pods.patch(&name, &PatchParams::default(), &Patch::Merge(scheduled))
            .await?;
        for volume in spec["volumes"].as_array().into_iter().flatten() {
            if let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() {
                self.bind(claim, node, pod.metadata.uid.as_deref().unwrap_or_default())
                    .await?;
            }
        }
        let containers = spec["containers"].as_array().into_iter().flatten();
        let ready: Vec<Value> = containers
            .map(|container| {
                json!({"name": container["name"], "image": container["image"], "imageID": "", "ready": true,
                    "restartCount": 0, "state": {"running": {}}})
            })
            .collect();
        let status = json!({"status": {"phase": "Running", "containerStatuses": ready,
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}]}});
        pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
            .await?;
        Ok(())
    }

    async fn bind(&self, claim: &str, node: &str, pod_uid: &str) -> Result<()> {
        let claims = Api::<PersistentVolumeClaim>::namespaced(self.client(), SHOP);
        let bound = claims.get(claim).await?;
        let volume = Volume {
            name: format!("pvc-{}", bound.metadata.uid.unwrap_or_default()),
            claim: claim.to_owned(),
            node: node.to_owned(),
            pod_uid: pod_uid.to_owned(),
        };
        let object = json!({
            "metadata": {"name": volume.name},
            "spec": {"capacity": {"storage": "5Gi"}, "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
                "csi": {"driver": "demo.holdfast.dev", "volumeHandle": volume.name},
                "claimRef": {"kind": "PersistentVolumeClaim", "namespace": SHOP, "name": claim}},
        });
        create(&Api::<PersistentVolume>::all(self.client()), object).await?;
        let params = PatchParams::default();
        claims
            .patch(
                claim,
                &params,
                &Patch::Merge(json!({"spec": {"volumeName": volume.name}})),
            )
            .await?;
        claims
            .patch_status(
                claim,
                &params,
                &Patch::Merge(json!({"status": {"phase": "Bound"}})),
            )
            .await?;
        self.place.mount(&volume)?;
        self.volumes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(volume);
        Ok(())
    }
}

/// Creates a typed object from its fields.
pub(super) async fn create<T>(api: &Api<T>, object: Value) -> Result<T>
where
    T: Clone + DeserializeOwned + serde::Serialize + std::fmt::Debug,
{
    let typed: T = serde_json::from_value(object)?;
    Ok(api.create(&PostParams::default(), &typed).await?)
}
