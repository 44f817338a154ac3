//! The cluster is lost, with every object in it; another one is given the applications, the storage and its Secret, and reads back what
//! was stored.

use std::{collections::BTreeSet, fs, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use holdfast_mover::fidelity::{self, Aspect};
use kube::{Client, api::ListParams};
use tokio::time::Instant;

use super::{
    SESSION_LIMIT, at,
    cluster::Cluster,
    manifests::{self, Manifests, objects},
    operator::Operator,
    place::Place,
    session::Watcher,
};

/// Claims whose Snapshots are restored, and how.
const RESTORED: [(&str, manifests::File, &str); 2] = [
    ("notes", manifests::RESTORES[0], "notes-restore"),
    ("website", manifests::RESTORES[1], "website-restore"),
];
const LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// `lost` is the cluster that is no more: only its volumes and the list of its Snapshots are looked at, to compare.
pub(super) async fn show(place: &Arc<Place>, lost: &Cluster, no_sandbox: bool) -> Result<()> {
    super::heading("The cluster is lost; another one is given the storage and its Secret");
    for volume in lost.volumes() {
        let compared = place.lost(&volume.name);
        if compared.exists() {
            at(fs::remove_dir_all(&compared), &compared)?;
        }
    }
    let cluster = Cluster::start(place).await?;
    let manifests = Manifests::new(cluster.client(), place);
    manifests.apply_definitions().await?;
    let operator = Operator::start(&cluster, place, no_sandbox).await?;
    let shown = read_back_and_restore(lost, &cluster, &manifests).await;
    if shown.is_err() {
        manifests.print_troubles().await;
    }
    operator.stop().await;
    shown
}

async fn read_back_and_restore(
    lost: &Cluster,
    cluster: &Cluster,
    manifests: &Manifests,
) -> Result<()> {
    manifests.apply(manifests::APPLICATIONS).await?;
    cluster.make_pods().await?;
    cluster.run_pods().await?;
    let expected = good_snapshots(&lost.client()).await?;
    let started = Instant::now();
    manifests.apply(manifests::STORAGE).await?;
    while good_snapshots(&cluster.client()).await? != expected {
        if started.elapsed() > LIMIT {
            let found = good_snapshots(&cluster.client()).await?;
            bail!("expected the Snapshots {expected:?} and found {found:?}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    println!(
        "  kubectl get snapshots: {} of them are back after {} ms",
        expected.len(),
        started.elapsed().as_millis()
    );
    let watcher = Watcher::new(cluster.client(), SESSION_LIMIT);
    for (_, file, _) in RESTORED {
        manifests.apply(file).await?;
    }
    watcher.restores(&RESTORED.map(|(.., session)| session)).await?;
    for (claim, ..) in RESTORED {
        compare(lost, cluster, claim)?;
    }
    Ok(())
}

async fn good_snapshots(client: &Client) -> Result<BTreeSet<String>> {
    let listed = objects(client, "storage.kubestash.com", "Snapshot")
        .list(&ListParams::default())
        .await?;
    let good = listed
        .items
        .into_iter()
        .filter(|snapshot| snapshot.data["status"]["phase"] == "Succeeded");
    Ok(good.filter_map(|snapshot| snapshot.metadata.name).collect())
}

fn compare(lost: &Cluster, cluster: &Cluster, claim: &str) -> Result<()> {
    let mounted = |cluster: &Cluster| {
        let volumes = cluster.volumes();
        let volume = volumes.iter().find(|volume| volume.claim == claim);
        volume
            .map(|volume| cluster.mounted(volume))
            .with_context(|| format!("no volume of claim {claim}"))
    };
    let comparison = fidelity::compare(&mounted(lost)?, &mounted(cluster)?)?;
    let differences: Vec<_> = comparison
        .differences
        .iter()
        .filter(|one| one.aspect != Aspect::Holes)
        .collect();
    if let Some(first) = differences.first() {
        bail!("{claim}: {} differences, the first: {first}", differences.len());
    }
    println!("  {claim}: {} entries, no differences", comparison.entries);
    Ok(())
}
