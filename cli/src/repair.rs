//! `holdfast repair`.

use holdfast_repository::{CheckOptions, CheckProgress, RepairOptions, RepairReport, SnapshotId};
use serde_json::json;

use crate::arguments::Global;
use crate::check::parse_percent;
use crate::damage::{self, Sufferer};
use crate::outcome::{Failure, Outcome};
use crate::{repository, signal, text};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Look for rotten data first: all of it, or this share of the packs.
    #[arg(long, value_name = "N%", num_args = 0..=1, require_equals = true, default_missing_value = "100%", value_parser = parse_percent)]
    read_data: Option<u8>,
    /// Take snapshots whose own object is lost out of the list.
    #[arg(long)]
    forget_unreadable: bool,
}

pub(crate) async fn run(global: &Global, arguments: &Arguments) -> Result<Outcome, Failure> {
    let repository = repository::open(global).await?;
    let stop = signal::stop_token()?;
    let read_data_percent = arguments.read_data.unwrap_or(0);
    let options = RepairOptions {
        dry_run: arguments.dry_run,
        look: CheckOptions { trailers: read_data_percent > 0, read_data_percent, ..CheckOptions::default() },
        forget_unreadable: arguments.forget_unreadable,
        host: repository::host(),
    };
    let progress = CheckProgress::default();
    let report = repository.repair_until(&options, &progress, stop.stopped()).await?.ok_or_else(|| Failure::new("stopped"))?;
    let sufferers = damage::sufferers(&repository, &report.left).await?;
    if global.json {
        println!("{}", as_json(arguments.dry_run, &report, &sufferers));
    } else {
        print(arguments.dry_run, &report, &sufferers);
    }
    let would_be_clean = arguments.dry_run && !report.is_idle();
    Ok(if report.left.is_clean() && !would_be_clean { Outcome::Done } else { Outcome::Failed })
}

/// What was done, or would be, a line each.
fn deeds(report: &RepairReport) -> Vec<String> {
    let mut deeds = Vec::new();
    if let Some(rescued) = &report.rescued {
        let from = rescued.from.as_ref().map_or_else(|| "from the snapshots alone".to_owned(), |from| format!("made from {from}"));
        deeds.push(format!("{} cannot be read or is missing: {} follows it, {from}; what was forgotten in it is back", rescued.lost.join(", "), rescued.published));
        if rescued.condemns_all {
            deeds.push("more than one state is lost: the next backup sends everything again, and the next prune takes back what is used".into());
        }
    }
    for run in &report.runs_replaced {
        deeds.push(format!("{run}: replaced"));
    }
    if report.packs_indexed > 0 {
        let (packs, blobs) = (text::count(report.packs_indexed, "pack"), text::count(report.blobs_indexed, "blob"));
        deeds.push(format!("index: made again from the lists of {packs} with {blobs}"));
    }
    for pack in &report.marked_bad {
        deeds.push(format!("{pack}: marked bad, so that the next backup stores again what was in it"));
    }
    for pack in &report.good_again {
        deeds.push(format!("{pack}: was bad and is whole again"));
    }
    for id in &report.forgotten {
        deeds.push(format!("snapshot {}: forgotten, its own object is lost", id.short()));
    }
    deeds
}

fn print(dry_run: bool, report: &RepairReport, sufferers: &[Sufferer]) {
    for deed in deeds(report) {
        println!("{}{}", if dry_run { "would be done: " } else { "" }, text::one_line(&deed));
    }
    for (pack, reason) in &report.packs_unreadable {
        println!("{}: no run that can be read lists it, and its own list cannot be read either: {}", text::one_line(pack), text::one_line(reason));
    }
    damage::print(&report.left, sufferers);
    match (report.is_idle(), report.left.is_clean()) {
        (true, true) => println!("nothing to repair"),
        (false, true) => println!("{}", if dry_run { "run it without --dry-run to do this" } else { "repaired" }),
        (_, false) => {
            println!("{} {}", text::count(report.left.findings.len() as u64, "finding"), if dry_run { "before any repair" } else { "left" });
            damage::print_to_do(&report.left);
        }
    }
}

fn as_json(dry_run: bool, report: &RepairReport, sufferers: &[Sufferer]) -> serde_json::Value {
    let ids = |ids: &[SnapshotId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
    let rescued = report.rescued.as_ref().map(|rescued| {
        json!({ "lost": rescued.lost, "from": rescued.from, "published": rescued.published, "condemns_all": rescued.condemns_all })
    });
    let unreadable: Vec<_> = report.packs_unreadable.iter().map(|(pack, reason)| json!({ "object": pack, "problem": reason })).collect();
    json!({
        "dry_run": dry_run, "state": rescued, "runs_replaced": report.runs_replaced, "packs_indexed": report.packs_indexed,
        "blobs_indexed": report.blobs_indexed, "packs_unreadable": unreadable, "marked_bad": report.marked_bad, "good_again": report.good_again,
        "forgotten": ids(&report.forgotten), "unreadable": ids(&report.unreadable), "left": damage::as_json(&report.left, sufferers),
    })
}
