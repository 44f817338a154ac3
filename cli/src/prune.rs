//! `holdfast prune`, and `holdfast forget --prune`.

use std::sync::Arc;
use std::time::Duration;

use holdfast_repository::{PruneOptions, PruneProgress, PruneReport, Repository};
use serde_json::json;

use crate::arguments::{Global, parse_size};
use crate::outcome::{Failure, Outcome};
use crate::{repository, signal, text};

/// How often it looks whom the prune waits for.
const INTERVAL: Duration = Duration::from_millis(500);
/// Part of the memory that sorting may hold.
const SORT_PART: u64 = 6;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) how: How,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct How {
    /// Free at once what is unused, not only what an earlier prune found unused too. Backups and restores that run are waited for as ever.
    #[arg(long)]
    pub(crate) now: bool,
    /// Do not wait for backups and restores that run: what they may need stays for the next prune.
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Copy at most so much out of packs that are only partly used, such as 10GiB.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) repack_budget: Option<u64>,
    /// On a store that cannot refuse to overwrite: nobody else writes to the repository while this runs.
    #[arg(long)]
    pub(crate) nobody_else_writes: bool,
}

impl How {
    pub(crate) fn says_something(&self) -> bool {
        self.now || self.no_wait || self.nobody_else_writes || self.repack_budget.is_some()
    }
}

pub(crate) async fn run(global: &Global, arguments: &Arguments) -> Result<Outcome, Failure> {
    let repository = repository::open(global).await?;
    let report = prune(global, &repository, &arguments.how, arguments.dry_run).await?;
    if global.json {
        println!("{}", as_json(&report, arguments.dry_run));
    } else {
        print(&report, arguments.dry_run);
    }
    // Whoever runs it by a schedule must hear that space is never freed.
    let nothing_went = report.deletions_refused > 0 && report.packs_deleted + report.objects_deleted == 0;
    Ok(if nothing_went { Outcome::Failed } else { Outcome::Done })
}

pub(crate) async fn prune(global: &Global, repository: &Repository, how: &How, dry_run: bool) -> Result<PruneReport, Failure> {
    let stop = signal::stop_token()?;
    let options = PruneOptions {
        now: how.now,
        no_wait: how.no_wait,
        dry_run,
        writers_held: how.nobody_else_writes,
        repack_bytes_max: how.repack_budget.unwrap_or(u64::MAX),
        memory_bytes: usize::try_from(global.memory / SORT_PART).unwrap_or(usize::MAX),
        host: repository::host(),
        ..PruneOptions::default()
    };
    let progress = Arc::new(PruneProgress::default());
    let teller = tokio::spawn(tell(Arc::clone(&progress)));
    let report = repository.prune(&options, &progress, stop.stopped()).await;
    teller.abort();
    Ok(report?)
}

/// A line for each lease that it begins to wait for.
async fn tell(progress: Arc<PruneProgress>) {
    let mut told = std::collections::BTreeSet::new();
    loop {
        tokio::time::sleep(INTERVAL).await;
        for waiting in progress.waiting_for() {
            if told.insert(waiting.lease) {
                eprintln!("waiting for {}, at most until it has shown no sign of life for 10 minutes", text::one_line(&waiting.to_string()));
            }
        }
    }
}

pub(crate) fn print(report: &PruneReport, dry_run: bool) {
    let would = |done: &str, due: &str| if dry_run { format!("would {due}") } else { done.to_owned() };
    let packs = |count| text::count(count, "pack");
    println!("{}; {} of {} before", text::count(report.snapshots, "snapshot"), packs(report.packs), text::bytes(report.pack_bytes));
    for lease in &report.fenced {
        println!("fenced {}: no sign of life for 10 minutes", lease.short());
    }
    if report.packs_rewritten > 0 {
        let did = would("copied", "copy");
        println!("{did} {} out of {} of which only a part was used", text::bytes(report.bytes_rewritten), packs(report.packs_rewritten));
    }
    if dry_run {
        println!("would condemn {} that nothing uses", packs(report.packs_condemned));
    } else {
        println!("deleted {} of {}, and {}", packs(report.packs_deleted), text::bytes(report.bytes_deleted), text::count(report.objects_deleted, "old record"));
    }
    if report.packs_damaged > 0 {
        let (damaged, are) = (text::count(report.packs_damaged, "pack"), if report.packs_damaged == 1 { "is" } else { "are" });
        eprintln!("warning: {damaged} that snapshots need {are} missing, cut or rotten; run holdfast check: it says what is lost, and what to do");
    }
    if let Some(refusal) = &report.refusal {
        let said = text::one_line(refusal);
        println!("{} were not let go ({said}): they stay due, and each prune asks for them again", text::count(report.deletions_refused, "object"));
    }
    if report.packs_taken_back > 0 {
        println!("kept {} that a backup has used since", packs(report.packs_taken_back));
    }
    if report.packs_unused > 0 {
        println!("unused so far: {} of {}; the next prune deletes them, holdfast prune --now does at once", packs(report.packs_unused), text::bytes(report.bytes_unused));
    }
    if report.packs_waiting > 0 {
        let whom: Vec<_> = report.waiting_for.iter().map(|waiting| text::one_line(&waiting.to_string())).collect();
        println!("not deleted until these have ended: {}; {}", packs(report.packs_waiting), whom.join(", "));
    }
}

pub(crate) fn as_json(report: &PruneReport, dry_run: bool) -> serde_json::Value {
    let leases: Vec<_> = report.waiting_for.iter().map(|waiting| json!({ "lease": waiting.lease.to_string(), "what": waiting.to_string() })).collect();
    let fenced: Vec<_> = report.fenced.iter().map(ToString::to_string).collect();
    json!({
        "dry_run": dry_run, "snapshots": report.snapshots, "packs_before": report.packs, "pack_bytes_before": report.pack_bytes,
        "packs_condemned": report.packs_condemned, "packs_rewritten": report.packs_rewritten, "bytes_rewritten": report.bytes_rewritten,
        "packs_deleted": report.packs_deleted, "bytes_deleted": report.bytes_deleted, "records_deleted": report.objects_deleted,
        "packs_taken_back": report.packs_taken_back, "packs_damaged": report.packs_damaged, "packs_unused": report.packs_unused, "bytes_unused": report.bytes_unused,
        "packs_waiting": report.packs_waiting, "waiting_for": leases, "fenced": fenced, "runs_merged": report.runs_merged,
        "deletions_refused": report.deletions_refused, "refusal": report.refusal,
    })
}
