//! `holdfast forget`.

use std::collections::BTreeSet;

use holdfast_repository::{Candidate, PruneReport, Retention, SnapshotId, Snapshots};
use serde_json::json;

use crate::arguments::Global;
use crate::outcome::{Failure, Outcome};
use crate::snapshot_choice::{self, Filter};
use crate::{prune, repository, text};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Snapshots to forget, as `holdfast snapshots` names them; or none, and what to keep.
    #[arg(value_name = "SNAPSHOT", conflicts_with_all = ["last", "hourly", "daily", "weekly", "monthly", "yearly"])]
    snapshots: Vec<String>,
    /// Keep the newest N of each host and paths.
    #[arg(long = "keep-last", value_name = "N", default_value_t = 0, hide_default_value = true)]
    last: u32,
    /// Keep the newest of each of the last N hours that have one.
    #[arg(long = "keep-hourly", value_name = "N", default_value_t = 0, hide_default_value = true)]
    hourly: u32,
    /// The same for days.
    #[arg(long = "keep-daily", value_name = "N", default_value_t = 0, hide_default_value = true)]
    daily: u32,
    /// The same for weeks, from Monday.
    #[arg(long = "keep-weekly", value_name = "N", default_value_t = 0, hide_default_value = true)]
    weekly: u32,
    /// The same for months.
    #[arg(long = "keep-monthly", value_name = "N", default_value_t = 0, hide_default_value = true)]
    monthly: u32,
    /// The same for years.
    #[arg(long = "keep-yearly", value_name = "N", default_value_t = 0, hide_default_value = true)]
    yearly: u32,
    #[command(flatten)]
    filter: Filter,
    /// Only say what would be forgotten.
    #[arg(long)]
    dry_run: bool,
    /// Then free the space of what nothing uses any more, as holdfast prune does.
    #[arg(long, conflicts_with = "dry_run")]
    prune: bool,
    #[command(flatten)]
    how: prune::How,
}

pub(crate) async fn run(global: &Global, arguments: &Arguments) -> Result<Outcome, Failure> {
    let Arguments { last, hourly, daily, weekly, monthly, yearly, .. } = *arguments;
    let retention = Retention { last, hourly, daily, weekly, monthly, yearly };
    if arguments.snapshots.is_empty() && retention.is_empty() {
        return Err(Failure::new("name the snapshots to forget, or say what to keep: holdfast forget SNAPSHOT... or holdfast forget --keep-daily 7"));
    }
    if !arguments.prune && arguments.how.says_something() {
        return Err(Failure::new("--now, --no-wait, --repack-budget and --nobody-else-writes are for --prune: holdfast forget --prune"));
    }
    let repository = repository::open(global).await?;
    let due = if arguments.snapshots.is_empty() {
        let Snapshots { readable, unreadable } = repository.snapshots().await?;
        // What it cannot read it cannot count, and might count wrongly beside.
        if let Some((id, error)) = unreadable.first() {
            return Err(Failure::new(format!("snapshot {} cannot be read ({error}), so nothing is forgotten by a policy; run holdfast check: it says what to do", id.short())));
        }
        let candidates: Vec<_> =
            readable.iter().filter(|(_, record)| arguments.filter.accepts(record)).map(|(id, record)| Candidate::of(*id, record)).collect();
        retention.forgets(&candidates)
    } else {
        let mut named = BTreeSet::new();
        for wanted in &arguments.snapshots {
            named.insert(snapshot_choice::find(&repository, wanted, &arguments.filter).await?.0);
        }
        named
    };
    let due: Vec<SnapshotId> = due.into_iter().collect();
    let forgotten = if arguments.dry_run { 0 } else { repository.forget(&due).await? };
    let pruned = if arguments.prune { Some(prune::prune(global, &repository, &arguments.how, false).await) } else { None };
    // What was forgotten is forgotten, whatever became of the prune.
    let report = pruned.as_ref().and_then(|pruned| pruned.as_ref().ok());
    print(global, arguments, &due, forgotten, report);
    pruned.transpose().map(|_| Outcome::Done)
}

fn print(global: &Global, arguments: &Arguments, due: &[SnapshotId], forgotten: usize, pruned: Option<&PruneReport>) {
    let dry_run = arguments.dry_run;
    if global.json {
        let ids: Vec<_> = due.iter().map(ToString::to_string).collect();
        println!("{}", json!({ "snapshots": ids, "forgotten": forgotten, "dry_run": dry_run, "prune": pruned.map(|report| prune::as_json(report, false)) }));
        return;
    }
    for id in due {
        println!("{} {}", if dry_run { "would forget" } else { "forgot" }, text::one_line(&id.short()));
    }
    let count = text::count(forgotten as u64, "snapshot");
    match (due.is_empty(), dry_run) {
        (true, _) => println!("nothing to forget"),
        (false, true) => println!("{} would be forgotten", text::count(due.len() as u64, "snapshot")),
        (false, false) if pruned.is_some() => println!("{count} forgotten"),
        // Why is said next, by the error.
        (false, false) if arguments.prune => println!("{count} forgotten; the space of what only they needed is not freed"),
        (false, false) => println!("{count} forgotten; holdfast prune frees what only they needed"),
    }
    if let Some(report) = pruned {
        prune::print(report, false);
    }
}
