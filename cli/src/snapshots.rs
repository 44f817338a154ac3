//! `holdfast snapshots`.

use holdfast_repository::{SnapshotId, SnapshotRecord};
use serde_json::{Value, json};

use crate::arguments::Global;
use crate::outcome::{Failure, Outcome};
use crate::snapshot_choice::Filter;
use crate::{repository, text};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    filter: Filter,
}

pub(crate) async fn run(global: &Global, arguments: &Arguments) -> Result<Outcome, Failure> {
    let repository = repository::open(global).await?;
    let mut snapshots = repository.snapshots().await?;
    snapshots.readable.retain(|(_, record)| arguments.filter.accepts(record));
    if global.json {
        let unreadable: Vec<Value> = snapshots.unreadable.iter().map(|(id, error)| json!({ "id": id.to_string(), "error": error.to_string() })).collect();
        let readable: Vec<Value> = snapshots.readable.iter().map(|(id, record)| as_json(id, record)).collect();
        println!("{}", json!({ "snapshots": readable, "unreadable": unreadable }));
        return Ok(Outcome::Done);
    }
    println!("{:8}  {:20}  {:20}  {:>10}  {:>10}  PATHS", "ID", "TIME", "HOST", "FILES", "SIZE");
    for (id, record) in &snapshots.readable {
        let paths: Vec<String> = record.sources.iter().map(|source| text::path(&source.path)).collect();
        println!(
            "{:8}  {:20}  {:20}  {:>10}  {:>10}  {}",
            id.short(),
            text::time(record.end_ms),
            text::path(record.host.as_bytes()),
            record.statistics.files,
            text::bytes(record.statistics.bytes),
            paths.join(" ")
        );
    }
    for (id, error) in &snapshots.unreadable {
        eprintln!("warning: snapshot {} cannot be read: {}", id.short(), text::one_line(&error.to_string()));
    }
    Ok(Outcome::Done)
}

fn as_json(id: &SnapshotId, record: &SnapshotRecord) -> Value {
    json!({
        "id": id.to_string(),
        "short_id": id.short(),
        "host": record.host,
        "paths": record.sources.iter().map(|source| text::path(&source.path)).collect::<Vec<_>>(),
        "session": record.session,
        "component": record.component,
        "start_ms": record.start_ms,
        "end_ms": record.end_ms,
        "parent": record.parent.map(|parent| parent.to_string()),
        "files": record.statistics.files,
        "directories": record.statistics.directories,
        "bytes": record.statistics.bytes,
        "bytes_read": record.statistics.bytes_read,
        "bytes_added": record.statistics.bytes_added,
        "bytes_stored": record.statistics.bytes_stored,
        "unreadable": record.statistics.unreadable,
    })
}
