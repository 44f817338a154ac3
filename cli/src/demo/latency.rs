//! How long the control loop itself takes: claims of twenty-nine bytes, one and twenty at once.

use std::{fmt::Write as _, fs, time::Instant};

use anyhow::Result;
use serde_json::json;

use super::{
    at,
    cluster::{Cluster, SHOP},
    manifests::Manifests,
    session::Watcher,
};

const CLAIMS: usize = 20;
const TRIES: usize = 3;

/// Milliseconds from creating a BackupSession to seeing it Succeeded.
#[derive(Debug)]
pub(super) struct Latency {
    pub(super) one_ms: Vec<u128>,
    pub(super) twenty_ms: u128,
}

pub(super) async fn measure(
    cluster: &Cluster,
    manifests: &Manifests,
    watcher: &Watcher,
) -> Result<Latency> {
    let names: Vec<String> = (1..=CLAIMS)
        .map(|number| format!("tiny-{number}"))
        .collect();
    let (mut mounts, mut volumes) = (Vec::new(), Vec::new());
    for name in &names {
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": SHOP},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "16Mi"}}}});
        manifests.apply_object(claim).await?;
        mounts.push(json!({"name": name, "mountPath": format!("/data/{name}")}));
        volumes.push(json!({"name": name, "persistentVolumeClaim": {"claimName": name}}));
    }
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tiny", "namespace": SHOP},
        "spec": {"containers": [{"name": "main", "image": "busybox:1.37", "volumeMounts": mounts}], "volumes": volumes}});
    manifests.apply_object(pod).await?;
    cluster.run_pods().await?;
    for volume in cluster
        .volumes()
        .iter()
        .filter(|volume| names.contains(&volume.claim))
    {
        let file = cluster.mounted(volume).join("file");
        at(fs::write(&file, "twenty-nine bytes of content\n"), &file)?;
    }
    for name in &names {
        manifests.apply_object(configuration(name)).await?;
    }
    let configurations: Vec<String> = names.iter().map(|name| format!("{name}-backup")).collect();
    let first = watcher.first_sessions(&configurations).await?;
    watcher.backups_quietly(&first).await?;

    let mut one_ms = Vec::new();
    for _ in 0..TRIES {
        let started = Instant::now();
        let session = manifests.trigger(&configurations[..1]).await?;
        watcher.backups_quietly(&session).await?;
        one_ms.push(started.elapsed().as_millis());
    }
    let started = Instant::now();
    let sessions = manifests.trigger(&configurations).await?;
    watcher.backups_quietly(&sessions).await?;
    Ok(Latency {
        one_ms,
        twenty_ms: started.elapsed().as_millis(),
    })
}

pub(super) fn configuration(name: &str) -> serde_json::Value {
    json!({
        "apiVersion": "core.kubestash.com/v1alpha1", "kind": "BackupConfiguration",
        "metadata": {"name": format!("{name}-backup"), "namespace": SHOP},
        "spec": {
            "target": {"apiGroup": "", "kind": "PersistentVolumeClaim", "name": name, "namespace": SHOP},
            "backends": [{"name": "local", "storageRef": {"name": "local-storage", "namespace": SHOP},
                "retentionPolicy": {"name": "keep-two-months", "namespace": SHOP}}],
            "sessions": [{
                "name": "nightly",
                "scheduler": {"schedule": "30 2 * * *", "jobTemplate": {"backoffLimit": 1}},
                "repositories": [{"name": format!("{name}-repository"), "backend": "local", "directory": format!("/{name}"),
                    "encryptionSecret": {"name": "encrypt-secret", "namespace": SHOP}, "deletionPolicy": "Delete"}],
                "addon": {"name": "pvc-addon", "tasks": [{"name": "logical-backup"}]},
            }],
        },
    })
}

impl std::fmt::Display for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut tries = String::new();
        for (at, ms) in self.one_ms.iter().enumerate() {
            write!(tries, "{}{ms} ms", if at == 0 { "" } else { ", " })?;
        }
        writeln!(f, "  one claim of 29 bytes         {tries}")?;
        write!(f, "  twenty of them at once        {} ms", self.twenty_ms)
    }
}
