//! What happened, in numbers that come from the repository and the file systems themselves.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use holdfast_mover::fidelity::{self, Aspect};
use holdfast_repository::{Environment, Repository, SecretBytes, SnapshotId, Statistics, store};

use super::{cluster::Cluster, latency::Latency, place::Place};

/// The password of deploy/examples/storage.yaml.
const PASSWORD: &[u8] = b"change-me-to-something-long";
const REPOSITORIES: [&str; 3] = ["notes", "website", "database"];
const DIFFERENCES_SHOWN: usize = 20;

#[derive(Debug)]
struct Row {
    what: &'static str,
    took: Duration,
    counted: Statistics,
    stored_bytes: u64,
}

pub(super) struct Report {
    place: Arc<Place>,
    rows: Vec<Row>,
    counted: BTreeSet<SnapshotId>,
    restored: Option<Duration>,
    compared: Option<(u64, u64)>,
}

impl Report {
    pub(super) fn new(place: &Arc<Place>) -> Self {
        Self {
            place: Arc::clone(place),
            rows: Vec::new(),
            counted: BTreeSet::new(),
            restored: None,
            compared: None,
        }
    }

    /// Reads from the repositories what the snapshots counted that came since the last row.
    pub(super) async fn backup(&mut self, what: &'static str, took: Duration) -> Result<()> {
        let mut counted = Statistics::default();
        for name in REPOSITORIES {
            let directory = self.place.repository().join(name);
            let password = SecretBytes::new(PASSWORD.to_vec());
            let repository =
                Repository::open(store::local(&directory)?, &password, Environment::system())
                    .await
                    .with_context(|| format!("open the repository {}", directory.display()))?;
            for (id, record) in repository.snapshots().await?.readable {
                if self.counted.insert(id) {
                    add(&mut counted, &record.statistics);
                }
            }
        }
        let stored_bytes = size_of(&self.place.repository())?;
        self.rows.push(Row {
            what,
            took,
            counted,
            stored_bytes,
        });
        Ok(())
    }

    pub(super) fn restore(&mut self, took: Duration) {
        self.restored = Some(took);
    }

    /// Compares every volume with what was lost. Returns the number of differences.
    pub(super) fn compare(&mut self, cluster: &Cluster) -> Result<u64> {
        let (mut entries, mut bytes, mut differences) = (0, 0, 0);
        for volume in cluster.volumes() {
            let (lost, restored) = (self.place.lost(&volume.name), cluster.mounted(&volume));
            let comparison = fidelity::compare(&lost, &restored)?;
            entries += comparison.entries;
            bytes += comparison.bytes;
            let losses: Vec<_> = comparison
                .differences
                .iter()
                .filter(|one| one.aspect != Aspect::Holes)
                .collect();
            for difference in losses.iter().take(DIFFERENCES_SHOWN) {
                println!("  {}: {difference}", volume.claim);
            }
            differences += losses.len() as u64;
            println!(
                "  {}: {} entries, {} compared, {} differences",
                volume.claim,
                comparison.entries,
                bytes_text(comparison.bytes),
                losses.len()
            );
        }
        self.compared = Some((entries, bytes));
        Ok(differences)
    }

    pub(super) fn print(&self, latency: &Latency) {
        println!();
        println!(
            "  {:<16}{:>10}{:>12}{:>9}{:>12}{:>12}{:>12}{:>12}",
            "", "files", "bytes", "time", "per second", "read", "added", "repository"
        );
        for row in &self.rows {
            let Statistics {
                files,
                bytes,
                bytes_read,
                bytes_stored,
                ..
            } = row.counted;
            print_row(
                row.what,
                files,
                bytes,
                row.took,
                bytes_text(bytes_read),
                bytes_text(bytes_stored),
                bytes_text(row.stored_bytes),
            );
        }
        if let (Some(took), Some(last)) = (self.restored, self.rows.last()) {
            print_row(
                "restore",
                last.counted.files,
                last.counted.bytes,
                took,
                String::new(),
                String::new(),
                String::new(),
            );
        }
        if let Some(second) = self.rows.get(1) {
            println!(
                "\n  the second backup read {} of {} files",
                second.counted.files_read, second.counted.files
            );
        }
        if let Some((entries, bytes)) = self.compared {
            println!("  compared: {entries} entries, {}", bytes_text(bytes));
        }
        println!("{latency}");
    }
}

fn print_row(
    what: &str,
    files: u64,
    bytes: u64,
    took: Duration,
    read: String,
    added: String,
    stored: String,
) {
    let seconds = took.as_secs_f64().max(0.001);
    let speed = bytes_text((bytes as f64 / seconds) as u64);
    println!(
        "  {what:<16}{files:>10}{:>12}{:>9}{speed:>12}{read:>12}{added:>12}{stored:>12}",
        bytes_text(bytes),
        format!("{seconds:.1} s")
    );
}

fn add(sum: &mut Statistics, more: &Statistics) {
    sum.files += more.files;
    sum.bytes += more.bytes;
    sum.bytes_read += more.bytes_read;
    sum.bytes_stored += more.bytes_stored;
    sum.files_read += more.files_read;
}

fn size_of(directory: &Path) -> Result<u64> {
    let (mut bytes, mut open) = (0, vec![PathBuf::from(directory)]);
    while let Some(directory) = open.pop() {
        for entry in super::at(fs::read_dir(&directory), &directory)? {
            let entry = super::at(entry, &directory)?;
            let metadata = super::at(entry.metadata(), &entry.path())?;
            if metadata.is_dir() {
                open.push(entry.path());
            } else {
                bytes += metadata.len();
            }
        }
    }
    Ok(bytes)
}

fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, "B");
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {unit}")
    }
}
