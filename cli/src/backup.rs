//! `holdfast backup`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use holdfast_mover::backup::{self, BackupReport, BackupRequest, Exclude, Limits, Parent, Source};
use holdfast_mover::catalog::RelPath;
use holdfast_mover::pattern::PatternSet;
use holdfast_mover::progress::Progress;
use serde_json::json;

use crate::arguments::Global;
use crate::backup_source::{self, StreamArguments};
use crate::outcome::{Failure, Outcome};
use crate::progress_bar::Bar;
use crate::{repository, signal, text};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Directories or block devices to back up.
    #[arg(required_unless_present_any = ["stdin", "stdin_command"], value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    stream: StreamArguments,
    /// Leave out what matches; restic's patterns, and as often as needed.
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// The host to record, if not this machine's name.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Read everything, whatever earlier snapshots say.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    limits: LimitArguments,
}

/// What it may take of the machine.
#[derive(Debug, clap::Args)]
struct LimitArguments {
    /// Threads that read, hash and compress; as many as there are processors, if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    cpus: Option<u16>,
    /// Take only what nobody else wants of the processors and disks: the lowest priority, the idle IO class.
    #[arg(long)]
    idle: bool,
    /// Bytes to read per second at most, and of packs to write, such as 50MiB.
    #[arg(long, value_name = "SIZE", value_parser = crate::arguments::parse_rate)]
    bandwidth: Option<u64>,
    /// zstd's level: 1 is fast, 19 is small.
    #[arg(long, value_name = "LEVEL", default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=19))]
    compression: i32,
}

impl Arguments {
    /// Before any thread is started: see `--idle`.
    pub(crate) fn is_idle(&self) -> bool {
        self.limits.idle
    }
}

impl LimitArguments {
    fn limits(&self, global: &Global) -> Limits {
        let standard = Limits::default();
        Limits {
            memory_bytes: global.memory,
            cpus: self.cpus.map_or(standard.cpus, usize::from),
            bandwidth_bytes_per_second: self.bandwidth.unwrap_or(0),
            compression_level: self.compression,
        }
    }
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Outcome, Failure> {
    let exclude = PatternSet::parse(&arguments.exclude).map_err(|error| Failure::new(error.to_string()))?;
    let sources = match backup_source::stream(&arguments.stream)? {
        Some(stream) => vec![stream],
        None => arguments.paths.iter().map(|path| backup_source::path(path)).collect::<Result<Vec<_>, _>>()?,
    };
    let is_excluded = excluded(exclude, &sources);
    let repository = repository::open(global).await?;
    let stop = signal::stop_token()?;
    let progress = Arc::new(Progress::default());
    let bar = Bar::show(global, &progress);
    let print = bar.printer();
    let request = BackupRequest {
        sources,
        host: arguments.host.unwrap_or_else(repository::host),
        session: String::new(),
        component: String::new(),
        is_excluded,
        parent: if arguments.force { Parent::None } else { Parent::Auto },
        limits: arguments.limits.limits(global),
        extensions: BTreeMap::new(),
        on_unreadable: Some(Arc::new(move |what| print(&format!("could not read {}", text::one_line(what))))),
        on_released: None,
    };
    let began = Instant::now();
    let report = backup::run(&repository, request, progress, stop).await?;
    drop(bar);
    print_report(global, &report, began.elapsed().as_secs_f64());
    Ok(if report.unreadable_count > 0 { Outcome::Incomplete } else { Outcome::Done })
}

fn excluded(patterns: PatternSet, sources: &[Source]) -> Option<Arc<Exclude>> {
    if patterns.is_empty() {
        return None;
    }
    let split = |path: &[u8]| path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let bases: Vec<Vec<Vec<u8>>> = sources.iter().map(|source| split(&source.path)).collect();
    Some(Arc::new(move |number: usize, path: &RelPath, _is_directory: bool| {
        let base = bases.get(number).map(Vec::as_slice).unwrap_or_default();
        let names: Vec<&[u8]> = base.iter().map(Vec::as_slice).chain(path.components()).collect();
        patterns.matches(&names)
    }))
}

fn print_report(global: &Global, report: &BackupReport, seconds: f64) {
    for note in &report.notes {
        eprintln!("note: {}", text::one_line(note));
    }
    if let Some(reason) = &report.parent_ignored {
        eprintln!("warning: the last snapshot could not be used, everything was read: {}", text::one_line(reason));
    }
    let sum = |value: fn(&holdfast_repository::Statistics) -> u64| report.sources.iter().map(|source| value(&source.statistics)).sum::<u64>();
    let (files, bytes) = (sum(|statistics| statistics.files), sum(|statistics| statistics.bytes));
    let (files_read, bytes_read, bytes_added) =
        (sum(|statistics| statistics.files_read), sum(|statistics| statistics.bytes_read), sum(|statistics| statistics.bytes_added));
    if global.json {
        println!(
            "{}",
            json!({
                "snapshot": report.snapshot.to_string(), "short_id": report.snapshot.short(), "parent": report.parent.map(|id| id.to_string()),
                "files": files, "directories": sum(|statistics| statistics.directories), "bytes": bytes,
                "files_read": files_read, "bytes_read": bytes_read, "bytes_added": bytes_added, "bytes_stored": report.bytes_stored,
                "unreadable": report.unreadable_count, "changed_while_read": report.changed_while_read_count, "seconds": seconds,
            })
        );
        return;
    }
    println!("snapshot {} ({})", report.snapshot.short(), report.snapshot);
    println!("{files} files, {}; read {files_read} files, {}", text::bytes(bytes), text::bytes(bytes_read));
    println!("added {}, stored {}, in {seconds:.1} s", text::bytes(bytes_added), text::bytes(report.bytes_stored));
    if report.changed_while_read_count > 0 {
        println!("{} files changed while they were read, and are read again next time", report.changed_while_read_count);
    }
    if report.unreadable_count > 0 {
        println!("{} entries could not be read; they are named above", report.unreadable_count);
    }
}
