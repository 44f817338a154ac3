//! From claims to PersistentVolumes, and back to nothing: what `csi-provisioner` does on each node (`--node-deployment`).

use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use crate::files::Files;
use crate::plugin::BYTES;
use crate::{DRIVER, TOPOLOGY_KEY};

const ROUND_MS: u64 = 300;
/// Set by the scheduler, for a class that waits for its first consumer.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const MEBIBYTE: u64 = 1 << 20;

/// Looks again and again. A round that fails is said, and followed by the next.
pub(crate) async fn run(client: Client, node: &str, files: &Files) {
    loop {
        if let Err(error) = round(&client, node, files).await {
            tracing::warn!(%error, "a look at the claims fails");
        }
        tokio::time::sleep(Duration::from_millis(ROUND_MS)).await;
    }
}

async fn round(client: &Client, node: &str, files: &Files) -> Result<(), kube::Error> {
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    let classes: Vec<StorageClass> = Api::all(client.clone()).list(&ListParams::default()).await?.items;
    let classes: Vec<StorageClass> = classes.into_iter().filter(|class| class.provisioner == DRIVER).collect();
    let claims: Vec<PersistentVolumeClaim> = Api::all(client.clone()).list(&ListParams::default()).await?.items;
    for claim in claims.iter().filter(|claim| claim.spec.as_ref().is_some_and(|spec| spec.volume_name.is_none())) {
        let Some(class) = classes.iter().find(|class| claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()) == Some(&class.name_any()))
        else {
            continue;
        };
        if claim.annotations().get(SELECTED_NODE).map(String::as_str) != Some(node) {
            continue;
        }
        match volume(claim, class, node) {
            Ok(volume) => provision(&volumes, &volume).await?,
            Err(problem) => tracing::warn!(claim = claim.name_any(), problem, "no volume is made"),
        }
    }
    for released in volumes.list(&ListParams::default()).await?.items.iter().filter(|volume| is_to_go(volume, node)) {
        remove(&volumes, released, files).await?;
    }
    Ok(())
}

async fn provision(volumes: &Api<PersistentVolume>, volume: &PersistentVolume) -> Result<(), kube::Error> {
    match volumes.create(&PostParams::default(), volume).await {
        Ok(_) => tracing::info!(volume = volume.name_any(), "provisioned"),
        // Made in an earlier round: its claim is not bound yet.
        Err(kube::Error::Api(answer)) if answer.is_already_exists() => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

async fn remove(volumes: &Api<PersistentVolume>, volume: &PersistentVolume, files: &Files) -> Result<(), kube::Error> {
    let name = volume.name_any();
    match files.remove(&name).await {
        Ok(true) => {
            volumes.delete(&name, &DeleteParams::default()).await?;
            tracing::info!(volume = name, "removed");
        }
        Ok(false) => {}
        Err(error) => tracing::warn!(volume = name, %error, "a volume is not removed"),
    }
    Ok(())
}

fn is_to_go(volume: &PersistentVolume, node: &str) -> bool {
    let Some(spec) = &volume.spec else { return false };
    let released = volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Released");
    let ours = spec.csi.as_ref().is_some_and(|csi| csi.driver == DRIVER && csi.volume_attributes.as_ref().is_some_and(|more| more.get("node").map(String::as_str) == Some(node)));
    ours && released && spec.persistent_volume_reclaim_policy.as_deref() == Some("Delete") && volume.metadata.deletion_timestamp.is_none()
}

/// The volume that a claim asks for, on this node.
fn volume(claim: &PersistentVolumeClaim, class: &StorageClass, node: &str) -> Result<PersistentVolume, String> {
    let spec = claim.spec.as_ref().ok_or("the claim has no spec")?;
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err("raw block volumes are not provided".into());
    }
    let asked = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()?.get("storage"));
    let asked = &asked.ok_or("the claim asks for no size")?.0;
    let name = format!("pvc-{}", claim.uid().ok_or("the claim has no uid")?);
    let volume = json!({
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": asked},
            "accessModes": spec.access_modes,
            "storageClassName": class.name_any(),
            "persistentVolumeReclaimPolicy": class.reclaim_policy.as_deref().unwrap_or("Delete"),
            "mountOptions": class.mount_options,
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.namespace(), "name": claim.name_any(), "uid": claim.uid()},
            "csi": {"driver": DRIVER, "volumeHandle": name, "fsType": "ext4",
                    "volumeAttributes": {BYTES: bytes(asked)?.to_string(), "node": node}},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": TOPOLOGY_KEY, "operator": "In", "values": [node]}]}]}},
        },
    });
    serde_json::from_value(volume).map_err(|error| error.to_string())
}

/// Claims of tests are counted in Mi and Gi.
fn bytes(quantity: &str) -> Result<u64, String> {
    let wrong = || format!("{quantity:?} is no number of Mi or Gi");
    let (number, unit) = match (quantity.strip_suffix("Mi"), quantity.strip_suffix("Gi")) {
        (Some(number), _) => (number, MEBIBYTE),
        (_, Some(number)) => (number, 1024 * MEBIBYTE),
        _ => return Err(wrong()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(wrong)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_gets_a_volume_of_its_size_on_its_node() {
        let claim = json!({"metadata": {"name": "data", "namespace": "app", "uid": "0a-1"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}}});
        let class = json!({"metadata": {"name": "fast"}, "provisioner": DRIVER, "reclaimPolicy": "Retain"});
        let made = volume(&serde_json::from_value(claim).unwrap(), &serde_json::from_value(class).unwrap(), "n2").unwrap();
        let spec = made.spec.unwrap();
        assert_eq!(made.metadata.name.as_deref(), Some("pvc-0a-1"));
        assert_eq!(spec.csi.unwrap().volume_attributes.unwrap()[BYTES], (64 * MEBIBYTE).to_string());
        assert_eq!(spec.persistent_volume_reclaim_policy.as_deref(), Some("Retain"));
    }

    #[test]
    fn sizes_are_mebibytes_and_gibibytes() {
        assert_eq!(bytes("64Mi"), Ok(64 * MEBIBYTE));
        assert_eq!(bytes("2Gi"), Ok(2048 * MEBIBYTE));
        assert!(bytes("1e9").is_err() && bytes("99999999999999999Gi").is_err());
    }
}
