//! `holdfast stats`.

use holdfast_repository::{BlobCount, Objects, RepositoryStats, SnapshotId, SnapshotStats};
use serde_json::{Value, json};

use crate::arguments::Global;
use crate::outcome::{Failure, Outcome};
use crate::snapshot_choice::{self, Filter};
use crate::{repository, text};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Of one snapshot: `latest`, or an id from `holdfast snapshots`.
    #[arg(long, value_name = "SNAPSHOT")]
    snapshot: Option<String>,
    #[command(flatten)]
    filter: Filter,
}

pub(crate) async fn run(global: &Global, arguments: &Arguments) -> Result<Outcome, Failure> {
    let repository = repository::open(global).await?;
    let host = repository::host();
    match &arguments.snapshot {
        None => {
            let stats = repository.stats(&host).await?;
            if global.json { println!("{}", as_json(&stats)) } else { print(&stats) }
        }
        Some(wanted) => {
            let (id, _) = snapshot_choice::find(&repository, wanted, &arguments.filter).await?;
            let stats = repository.snapshot_stats(&host, &id).await?;
            if global.json { println!("{}", snapshot_as_json(&id, &stats)) } else { print_snapshot(&id, &stats) }
        }
    }
    Ok(Outcome::Done)
}

fn objects(objects: &Objects) -> String {
    format!("{:>10}  {}", objects.count, text::bytes(objects.bytes))
}

fn blobs(blobs: &BlobCount) -> String {
    format!("{:>10}  {} stored of {}", blobs.count, text::bytes(blobs.stored_bytes), text::bytes(blobs.raw_bytes))
}

fn print(stats: &RepositoryStats) {
    println!("snapshots    {:>10}  {} in their files", stats.snapshots, text::bytes(stats.referenced_bytes));
    println!("objects      {}", objects(&stats.total()));
    for (folder, of_folder) in &stats.objects {
        println!("  {folder:<11}{}", objects(of_folder));
    }
    println!("blobs used   {}", blobs(&stats.used));
    println!("blobs unused {}", blobs(&stats.unused));
    if stats.unlisted_packs.count > 0 {
        println!("packs in no index run {}  {} (of a backup that runs or was interrupted)", stats.unlisted_packs.count, text::bytes(stats.unlisted_packs.bytes));
    }
    print_missing(stats.missing);
}

fn print_snapshot(id: &SnapshotId, stats: &SnapshotStats) {
    let counted = &stats.statistics;
    println!("snapshot     {}", id.short());
    println!("files        {:>10}  {}", counted.files, text::bytes(counted.bytes));
    println!("directories  {:>10}", counted.directories);
    println!("others       {:>10}", counted.others);
    println!("blobs        {}", blobs(&stats.used));
    println!("only its own {}", blobs(&stats.unique));
    print_missing(stats.missing);
}

fn print_missing(missing: u64) {
    if missing > 0 {
        println!("{} in no index run that can be read: run holdfast check", text::count(missing, "used blob"));
    }
}

fn blobs_as_json(blobs: &BlobCount) -> Value {
    json!({ "count": blobs.count, "raw_bytes": blobs.raw_bytes, "stored_bytes": blobs.stored_bytes })
}

fn objects_as_json(objects: &Objects) -> Value {
    json!({ "count": objects.count, "bytes": objects.bytes })
}

fn as_json(stats: &RepositoryStats) -> Value {
    let folders: serde_json::Map<String, Value> = stats.objects.iter().map(|(folder, objects)| ((*folder).to_owned(), objects_as_json(objects))).collect();
    json!({
        "snapshots": stats.snapshots, "referenced_bytes": stats.referenced_bytes, "total": objects_as_json(&stats.total()), "objects": folders,
        "used": blobs_as_json(&stats.used), "unused": blobs_as_json(&stats.unused), "unlisted_packs": objects_as_json(&stats.unlisted_packs),
        "missing": stats.missing,
    })
}

fn snapshot_as_json(id: &SnapshotId, stats: &SnapshotStats) -> Value {
    let counted = &stats.statistics;
    json!({
        "id": id.to_string(), "files": counted.files, "directories": counted.directories, "others": counted.others, "bytes": counted.bytes,
        "used": blobs_as_json(&stats.used), "unique": blobs_as_json(&stats.unique), "missing": stats.missing,
    })
}
