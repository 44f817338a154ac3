//! What a RetentionPolicy removes, what frees its space, and what WipeOut leaves: nothing.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    at,
    cluster::{Cluster, SHOP},
    manifests::{Manifests, objects},
    place::Place,
    session::Watcher,
};

const CONFIGURATION: &str = "website-backup";
const CLAIM: &str = "website";
const BULK_BYTES: usize = 16 * 1024 * 1024;
const LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(25);

pub(super) async fn show(
    place: &Place,
    cluster: &Cluster,
    manifests: &Manifests,
    watcher: &Watcher,
) -> Result<()> {
    let client = cluster.client();
    let volumes = cluster.volumes();
    let volume = volumes
        .iter()
        .find(|volume| volume.claim.starts_with(CLAIM))
        .context("no volume of the website")?;
    let bulk = cluster.mounted(volume).join("sixteen MiB that change");
    at(fs::write(&bulk, noise(1)), &bulk)?;
    let backed_up = manifests.trigger(&[CONFIGURATION]).await?;
    watcher.backups_quietly(&backed_up).await?;
    at(fs::write(&bulk, noise(2)), &bulk)?;
    let repository = repository_of(&client).await?;
    let directory = place.repository().join(&repository.directory);

    let policies = objects(&client, "storage.kubestash.com", "RetentionPolicy");
    let keep_one = json!({"spec": {"successfulSnapshots": {"last": 1}}});
    policies
        .patch(
            "keep-two-months",
            &PatchParams::default(),
            &Patch::Merge(keep_one),
        )
        .await?;
    // The cache of the controller must have seen it.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let started = Instant::now();
    let backed_up = manifests.trigger(&[CONFIGURATION]).await?;
    watcher.backups_quietly(&backed_up).await?;
    let before = stored(&directory)?;
    until("one Snapshot to be left and the rest to be forgotten", async || {
        let left = snapshots(&client, &repository.name).await?;
        Ok(left == 1 && !notes(&client, &repository.name).await?)
    })
    .await?;
    println!(
        "  one Snapshot of {} left, the others forgotten {} ms after the backup was asked for",
        repository.name,
        started.elapsed().as_millis()
    );
    until("the space to be freed", async || {
        Ok(stored(&directory)? + (BULK_BYTES as u64) / 2 < before)
    })
    .await?;
    println!(
        "  {} MiB stored, {} MiB after the prunes",
        before >> 20,
        stored(&directory)? >> 20
    );
    wipe_out(place, manifests, &client).await
}

/// A configuration that takes everything along.
async fn wipe_out(place: &Place, manifests: &Manifests, client: &kube::Client) -> Result<()> {
    let repositories = objects(client, "storage.kubestash.com", "Repository");
    let configurations = objects(client, "core.kubestash.com", "BackupConfiguration");
    let (configuration, repository) = ("tiny-1-backup", "tiny-1-repository");
    let mut wanted = super::latency::configuration("tiny-1");
    wanted["spec"]["sessions"][0]["repositories"][0]["deletionPolicy"] = json!("WipeOut");
    manifests.apply_object(wanted).await?;
    until("the Repository to follow", async || {
        let found = repositories.get(repository).await?;
        Ok(found.data["spec"]["deletionPolicy"] == "WipeOut"
            && found.data["status"]["phase"] == "Ready"
            && found.metadata.finalizers.is_some())
    })
    .await?;
    let started = Instant::now();
    configurations
        .delete(configuration, &kube::api::DeleteParams::default())
        .await?;
    until("the Repository to go", async || {
        Ok(repositories.get_opt(repository).await?.is_none())
    })
    .await?;
    let left = stored(&place.repository().join("tiny-1"))?;
    if left > 0 {
        bail!("WipeOut left {left} bytes of {repository}");
    }
    println!(
        "  {configuration} deleted with deletionPolicy WipeOut: nothing of it was left after {} ms",
        started.elapsed().as_millis()
    );
    Ok(())
}

struct Found {
    name: String,
    directory: String,
}

async fn repository_of(client: &kube::Client) -> Result<Found> {
    let configurations = objects(client, "core.kubestash.com", "BackupConfiguration");
    let configuration = configurations.get(CONFIGURATION).await?;
    let reference = &configuration.data["spec"]["sessions"][0]["repositories"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(Found {
        name: text(&reference["name"]),
        directory: text(&reference["directory"]).trim_matches('/').to_owned(),
    })
}

async fn snapshots(client: &kube::Client, repository: &str) -> Result<usize> {
    let listed = objects(client, "storage.kubestash.com", "Snapshot")
        .list(&ListParams::default())
        .await?;
    let ours = listed
        .items
        .iter()
        .filter(|snapshot| snapshot.data["spec"]["repository"] == repository);
    Ok(ours.count())
}

/// Whether something is still to be forgotten.
async fn notes(client: &kube::Client, repository: &str) -> Result<bool> {
    let repository = objects(client, "storage.kubestash.com", "Repository")
        .get(repository)
        .await?;
    let annotations = repository.metadata.annotations.unwrap_or_default();
    Ok(annotations
        .keys()
        .any(|key| key.starts_with("forget.holdfast.dev/")))
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + LIMIT;
    while !holds().await? {
        if Instant::now() > deadline {
            bail!("waited {LIMIT:?} in vain for {what} in {SHOP}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Bytes of all files below a directory.
fn stored(directory: &Path) -> Result<u64> {
    let (mut bytes, mut open) = (0, vec![directory.to_owned()]);
    while let Some(directory) = open.pop() {
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            // A prune may be at it: what is gone meanwhile has no size.
            match entry.metadata() {
                Ok(entry_of) if entry_of.is_dir() => open.push(entry.path()),
                Ok(entry_of) => bytes += entry_of.len(),
                Err(_) => {}
            }
        }
    }
    Ok(bytes)
}

/// Bytes that neither compress nor repeat.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..BULK_BYTES / 8).flat_map(|_| next()).collect()
}
