//! What is wrong in a repository, for somebody who was woken up by it: the object, who suffers, which files, and what to do.

use std::collections::BTreeSet;

use holdfast_mover::losses::{self, Losses};
use holdfast_repository::{Activity, CheckReport, Finding, Repository, SnapshotId, SnapshotRecord};
use serde_json::{Value, json};

use crate::outcome::Failure;
use crate::{repository, text};

/// Snapshots whose files are named, the newest first: each is a walk through its catalog.
const SNAPSHOTS_MAX: usize = 16;
const NAMES_MAX: usize = 20;

/// One snapshot that something is lost of.
pub(crate) struct Sufferer {
    id: SnapshotId,
    /// None if its own object is lost.
    found: Option<(SnapshotRecord, Losses)>,
}

/// Who suffers from what a check found, and in which files.
pub(crate) async fn sufferers(repository: &Repository, report: &CheckReport) -> Result<Vec<Sufferer>, Failure> {
    let affected = report.affected();
    if affected.is_empty() {
        return Ok(Vec::new());
    }
    let reader = repository.reader(repository::purpose(Activity::Browse)).await?;
    let mut sufferers = Vec::new();
    let mut named: Vec<(SnapshotId, Option<SnapshotRecord>)> = Vec::new();
    for id in affected {
        let record = reader.snapshot(&id).await;
        named.push((id, record.ok()));
    }
    named.sort_by_key(|(id, record)| (std::cmp::Reverse(record.as_ref().map(|record| record.end_ms)), *id));
    for (id, record) in named.into_iter().take(SNAPSHOTS_MAX) {
        let found = match record {
            Some(record) => {
                let lost = losses::of_snapshot(&reader, &record, &|blob| report.lost.contains(blob), NAMES_MAX).await?;
                Some((record, lost))
            }
            None => None,
        };
        sufferers.push(Sufferer { id, found });
    }
    if let Err(error) = reader.close().await {
        eprintln!("warning: the lease could not be ended: {}", text::one_line(&error.to_string()));
    }
    Ok(sufferers)
}

pub(crate) fn print(report: &CheckReport, sufferers: &[Sufferer]) {
    for finding in &report.findings {
        println!("{}", line(finding));
    }
    for sufferer in sufferers {
        sufferer.print();
    }
    let unnamed = report.affected().len().saturating_sub(sufferers.len());
    if unnamed > 0 {
        println!("{unnamed} older snapshots lose files too");
    }
    if report.lost_more {
        println!("more is lost than is remembered one by one: the files named here are not all");
    }
    for leftover in &report.leftovers {
        println!("{} (nothing needs it)", line(leftover));
    }
}

fn line(finding: &Finding) -> String {
    let mut line = format!("{}: {}", text::one_line(&finding.object), text::one_line(&finding.problem));
    if finding.lost_blobs > 0 {
        line.push_str(&format!("; {} lost with it", text::count(finding.lost_blobs, "blob")));
    }
    if !finding.snapshots.is_empty() {
        let ids: Vec<_> = finding.snapshots.iter().take(SNAPSHOTS_MAX).map(SnapshotId::short).collect();
        let more = finding.snapshots.len() - ids.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        line.push_str(&format!("; needed by {}{more}", ids.join(", ")));
    }
    line
}

impl Sufferer {
    fn print(&self) {
        let id = self.id.short();
        let Some((record, losses)) = &self.found else {
            println!("snapshot {id}: its own object is lost, and with it which files it has");
            return;
        };
        let paths: Vec<_> = record.sources.iter().map(|source| text::path(&source.path)).collect();
        let of = format!("snapshot {id} ({} of {}, {})", paths.join(", "), text::one_line(&record.host), text::time(record.end_ms));
        if losses.is_none() {
            println!("{of}: no file of it is lost");
            return;
        }
        match losses.files_count {
            0 => println!("{of}: cannot be restored whole"),
            count => println!("{of}: {} of {} cannot be restored whole", text::count(count, "file"), text::bytes(losses.bytes)),
        }
        for file in &losses.files {
            println!("  {}", text::path(file));
        }
        let more = losses.files_count - losses.files.len() as u64;
        if more > 0 {
            println!("  and {more} more");
        }
        for part in &losses.unnamed {
            match &part.until {
                Some(until) => println!("  everything from {} until before {}: the names are lost too", text::path(&part.from), text::path(until)),
                None => println!("  everything from {} on: the names are lost too", text::path(&part.from)),
            }
        }
    }

    fn as_json(&self) -> Value {
        let Some((record, losses)) = &self.found else {
            return json!({ "id": self.id.to_string(), "readable": false });
        };
        let unnamed: Vec<_> = losses
            .unnamed
            .iter()
            .map(|part| json!({ "from": text::path(&part.from), "until": part.until.as_ref().map(|path| text::path(path)) }))
            .collect();
        json!({
            "id": self.id.to_string(), "readable": true, "host": record.host, "end_ms": record.end_ms,
            "files": losses.files.iter().map(|file| text::path(file)).collect::<Vec<_>>(),
            "files_count": losses.files_count, "bytes": losses.bytes, "unnamed": unnamed,
        })
    }
}

pub(crate) fn as_json(report: &CheckReport, sufferers: &[Sufferer]) -> Value {
    let finding = |finding: &Finding| {
        let snapshots: Vec<_> = finding.snapshots.iter().map(ToString::to_string).collect();
        json!({ "object": finding.object, "problem": finding.problem, "lost_blobs": finding.lost_blobs, "snapshots": snapshots })
    };
    json!({
        "clean": report.is_clean(), "snapshots": report.snapshots, "packs": report.packs, "blobs": report.blobs, "bytes_read": report.bytes_read,
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
        "leftovers": report.leftovers.iter().map(finding).collect::<Vec<_>>(),
        "affected": sufferers.iter().map(Sufferer::as_json).collect::<Vec<_>>(),
        "to_do": to_do(report),
    })
}

/// What to do, one line for each kind of damage, the first things first.
pub(crate) fn to_do(report: &CheckReport) -> Vec<&'static str> {
    let kinds: BTreeSet<_> = report.findings.iter().filter_map(|finding| kind(&finding.object)).collect();
    kinds.into_iter().map(|(_, advice)| advice).collect()
}

fn kind(object: &str) -> Option<(u8, &'static str)> {
    let folder = object.split('/').next().unwrap_or_default();
    Some(match folder {
        "state" => (0, "state: run holdfast repair (or just the next backup): a new state is made from the last that can be read"),
        "index" => (1, "index: run holdfast repair: it is made again from the packs"),
        "packs" | "refs" => (
            2,
            "packs: run the backup again while the data is still there: what is lost is stored again and the older snapshots heal with it; \
             or bring the object back from a copy of the store and run holdfast repair; what exists nowhere any more stays lost: holdfast forget \
             takes such a snapshot out of the list",
        ),
        "snapshots" => (
            3,
            "snapshots: bring the object back from a copy of the store; or holdfast repair --forget-unreadable takes it out of the list",
        ),
        "keys" => (4, "keys: that password opens nothing any more: holdfast key remove, then holdfast key add"),
        _ => return None,
    })
}

pub(crate) fn print_to_do(report: &CheckReport) {
    for advice in to_do(report) {
        println!("to do: {advice}");
    }
}
