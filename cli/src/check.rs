//! `holdfast check`.

use std::sync::atomic::Ordering;

use holdfast_repository::{CheckOptions, CheckProgress, CheckReport};
use serde_json::json;

use crate::arguments::Global;
use crate::outcome::{Failure, Outcome};
use crate::{repository, signal, text};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Read the packs' own tables too.
    #[arg(long)]
    trailers: bool,
    /// Read and verify all data, or this share of the packs: --read-data or --read-data=N%.
    #[arg(long, value_name = "N%", num_args = 0..=1, require_equals = true, default_missing_value = "100%", value_parser = parse_percent)]
    read_data: Option<u8>,
}

fn parse_percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<u8>();
    number.ok().filter(|percent| (1..=100).contains(percent)).ok_or_else(|| "use --read-data or --read-data=N% with N from 1 to 100".into())
}

pub(crate) async fn run(global: &Global, arguments: &Arguments) -> Result<Outcome, Failure> {
    let repository = repository::open(global).await?;
    let stop = signal::stop_token()?;
    let options = CheckOptions { trailers: arguments.trailers, read_data_percent: arguments.read_data.unwrap_or(0), publish_bad: true };
    let progress = CheckProgress::default();
    // Stopped, it still ends its lease: a prune need not wait for it.
    let report = repository.check_until(options, &progress, stop.stopped()).await?.ok_or_else(|| Failure::new("stopped"))?;
    print_report(global, &report, progress.packs_done.load(Ordering::Relaxed));
    Ok(if report.is_clean() { Outcome::Done } else { Outcome::Failed })
}

fn print_report(global: &Global, report: &CheckReport, packs_looked_at: u64) {
    if global.json {
        let findings: Vec<_> = report
            .findings
            .iter()
            .map(|finding| {
                let snapshots: Vec<_> = finding.snapshots.iter().map(ToString::to_string).collect();
                json!({ "object": finding.object, "problem": finding.problem, "snapshots": snapshots })
            })
            .collect();
        println!(
            "{}",
            json!({
                "clean": report.is_clean(), "snapshots": report.snapshots, "packs": report.packs, "packs_looked_at": packs_looked_at,
                "blobs": report.blobs, "bytes_read": report.bytes_read, "findings": findings,
            })
        );
        return;
    }
    for finding in &report.findings {
        let snapshots: Vec<_> = finding.snapshots.iter().map(|id| id.short()).collect();
        let needed = if snapshots.is_empty() { String::new() } else { format!(" (needed by {})", snapshots.join(", ")) };
        println!("{}: {}{needed}", text::one_line(&finding.object), text::one_line(&finding.problem));
    }
    println!("{} snapshots, {} packs, {} blobs, {} read and verified", report.snapshots, report.packs, report.blobs, text::bytes(report.bytes_read));
    if report.is_clean() {
        println!("nothing is wrong");
    } else {
        println!("{} findings; the next backup that sees the data heals what it can", report.findings.len());
    }
}
