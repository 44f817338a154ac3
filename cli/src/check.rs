//! `holdfast check`.

use std::sync::atomic::Ordering;

use holdfast_repository::{CheckOptions, CheckProgress, CheckReport};

use crate::arguments::Global;
use crate::damage::Sufferer;
use crate::outcome::{Failure, Outcome};
use crate::{damage, repository, signal, text};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Read the packs' own tables too.
    #[arg(long)]
    trailers: bool,
    /// Read and verify all data, or this share of the packs: --read-data or --read-data=N%.
    #[arg(long, value_name = "N%", num_args = 0..=1, require_equals = true, default_missing_value = "100%", value_parser = parse_percent)]
    read_data: Option<u8>,
}

pub(crate) fn parse_percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<u8>();
    number.ok().filter(|percent| (1..=100).contains(percent)).ok_or_else(|| "use --read-data or --read-data=N% with N from 1 to 100".into())
}

pub(crate) async fn run(global: &Global, arguments: &Arguments) -> Result<Outcome, Failure> {
    let repository = repository::open(global).await?;
    let stop = signal::stop_token()?;
    let read_data_percent = arguments.read_data.unwrap_or(0);
    let options = CheckOptions { trailers: arguments.trailers, read_data_percent, publish_bad: true, ..CheckOptions::default() };
    let progress = CheckProgress::default();
    // Stopped, it still ends its lease: a prune need not wait for it.
    let report = repository.check_until(options, &progress, stop.stopped()).await?.ok_or_else(|| Failure::new("stopped"))?;
    let sufferers = damage::sufferers(&repository, &report).await?;
    print_report(global, &report, &sufferers, progress.packs_done.load(Ordering::Relaxed));
    Ok(if report.is_clean() { Outcome::Done } else { Outcome::Failed })
}

fn print_report(global: &Global, report: &CheckReport, sufferers: &[Sufferer], packs_looked_at: u64) {
    if global.json {
        let mut value = damage::as_json(report, sufferers);
        value["packs_looked_at"] = packs_looked_at.into();
        println!("{value}");
        return;
    }
    damage::print(report, sufferers);
    println!("{} snapshots, {} packs, {} blobs, {} read and verified", report.snapshots, report.packs, report.blobs, text::bytes(report.bytes_read));
    if report.is_clean() {
        println!("nothing is wrong");
    } else {
        println!("{}", text::count(report.findings.len() as u64, "finding"));
        damage::print_to_do(report);
    }
}
