//! `holdfast restic`: what restic stored, such as KubeStash's data, with nothing but its place and its password.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use holdfast_mover::progress::Progress;
use holdfast_mover::restore as mover;
use holdfast_repository::ReadError;
use holdfast_restic::{DumpError, OpenError, Part, Repository, Snapshot, SnapshotSource, Snapshots};
use serde_json::{Value, json};

use crate::arguments::Global;
use crate::outcome::{Failure, Outcome};
use crate::progress_bar::Bar;
use crate::restore::{self, Manner};
use crate::{repository, signal, text};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    /// List the snapshots.
    Snapshots,
    /// Restore a snapshot into a directory.
    Restore(Restore),
    /// Write one file of a snapshot to standard output, such as the dump of a database.
    Dump(Dump),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Restore {
    /// `latest`, or an id from `holdfast restic snapshots`.
    snapshot: String,
    /// The directory to restore into, made if it is not there. A snapshot of one path is restored straight into it, of several
    /// each into its own path below it. What is there and not in the snapshot stays.
    target: PathBuf,
    /// Only this directory of the snapshot; as often as needed.
    #[arg(long = "path", value_name = "PATH")]
    paths: Vec<String>,
    #[command(flatten)]
    manner: Manner,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Dump {
    /// `latest`, or an id from `holdfast restic snapshots`.
    snapshot: String,
    /// The file, by its whole path.
    file: String,
}

pub(crate) async fn run(global: &Global, verb: Verb) -> Result<Outcome, Failure> {
    let opened = Repository::open(repository::foreign_store(global)?, &repository::password(global)?).await.map_err(|error| unopened(&error))?;
    match verb {
        Verb::Snapshots => snapshots(global, &opened).await,
        Verb::Restore(arguments) => restore(global, &opened, &arguments).await,
        Verb::Dump(arguments) => dump(global, &opened, &arguments).await,
    }
}

async fn snapshots(global: &Global, opened: &Repository) -> Result<Outcome, Failure> {
    let all = opened.snapshots().await.map_err(|error| unread(&error))?;
    if global.json {
        let unreadable: Vec<Value> = all.unreadable.iter().map(|(id, error)| json!({ "id": id.to_string(), "error": error.to_string() })).collect();
        let readable: Vec<Value> = all.readable.iter().map(as_json).collect();
        println!("{}", json!({ "snapshots": readable, "unreadable": unreadable }));
        return Ok(Outcome::Done);
    }
    println!("{:8}  {:20}  {:20}  PATHS", "ID", "TIME", "HOST");
    for snapshot in &all.readable {
        let paths: Vec<String> = snapshot.paths.iter().map(|path| text::path(path.as_bytes())).collect();
        println!("{:8}  {:20}  {:20}  {}", snapshot.id.short(), text::time(snapshot.time_ms), text::path(snapshot.hostname.as_bytes()), paths.join(" "));
    }
    warn_of_unreadable(&all);
    Ok(Outcome::Done)
}

fn warn_of_unreadable(all: &Snapshots) {
    for (id, error) in &all.unreadable {
        eprintln!("warning: snapshot {} cannot be read: {}", id.short(), text::one_line(&error.to_string()));
    }
}

fn as_json(snapshot: &Snapshot) -> Value {
    json!({
        "id": snapshot.id.to_string(),
        "short_id": snapshot.id.short(),
        "time_ms": snapshot.time_ms,
        "host": snapshot.hostname,
        "paths": snapshot.paths,
        "tags": snapshot.tags,
    })
}

async fn restore(global: &Global, opened: &Repository, arguments: &Restore) -> Result<Outcome, Failure> {
    let snapshot = find(opened, &arguments.snapshot).await?;
    let paths = if arguments.paths.is_empty() { &snapshot.paths } else { &arguments.paths };
    let sources: Vec<&[u8]> = paths.iter().map(String::as_bytes).collect();
    let parts = paths.iter().map(|path| Part { path: path.clone(), snapshot: snapshot.clone() }).collect();
    let source = source(global, opened, parts).await?;
    let targets = restore::targets(restore::places(&sources, &arguments.target)?, &arguments.target)?;
    let stop = signal::stop_token()?;
    let progress = Arc::new(Progress::default());
    let bar = Bar::show(global, &progress);
    let mut request = arguments.manner.request(global, targets, bar.printer())?;
    request.limits.memory_bytes = source.memory_left(request.limits.memory_bytes);
    let began = Instant::now();
    let report = mover::run_from(&source, request, &progress, &stop).await?;
    drop(bar);
    let is_damaged = !report.bad_blobs.is_empty() || report.lost_parts > 0;
    let to_do = is_damaged.then(|| "restic check --read-data names what is damaged".to_owned());
    restore::print_report(global, &report, began.elapsed().as_secs_f64(), to_do);
    Ok(if report.is_complete() { Outcome::Done } else { Outcome::Failed })
}

async fn dump(global: &Global, opened: &Repository, arguments: &Dump) -> Result<Outcome, Failure> {
    if std::io::stdout().is_terminal() {
        return Err(Failure::new("standard output is a terminal; send the file somewhere: holdfast restic dump SNAPSHOT FILE > PLACE"));
    }
    let snapshot = find(opened, &arguments.snapshot).await?;
    let source = source(global, opened, vec![Part { path: "/".into(), snapshot }]).await?;
    let stop = signal::stop_token()?;
    tokio::select! {
        dumped = source.dump(&arguments.file, std::io::stdout()) => dumped.map(|_| Outcome::Done).map_err(|error| undumped(error)),
        () = stop.stopped() => Err(Failure::new("stopped; what was written is not the whole file")),
    }
}

async fn source(global: &Global, opened: &Repository, parts: Vec<Part>) -> Result<SnapshotSource, Failure> {
    let memory_bytes = usize::try_from(global.memory).unwrap_or(usize::MAX);
    SnapshotSource::open(opened, parts, memory_bytes).await.map_err(|error| unopened(&error))
}

async fn find(opened: &Repository, wanted: &str) -> Result<Snapshot, Failure> {
    if wanted != "latest" {
        return opened.snapshot(wanted).await.map_err(|error| unread(&error));
    }
    let mut all = opened.snapshots().await.map_err(|error| unread(&error))?;
    warn_of_unreadable(&all);
    all.readable.pop().ok_or_else(|| Failure::new("there are no snapshots here"))
}

fn unopened(error: &OpenError) -> Failure {
    match error {
        OpenError::NotARepository { .. } => {
            Failure::new(format!("{error}; check --repo: KubeStash's are in <directory of the Repository>/repository/v1/<session>/<component>"))
        }
        OpenError::WrongPassword { .. } => Failure::new(format!("{error}; check --password-file or HOLDFAST_PASSWORD: it is RESTIC_PASSWORD of KubeStash's Secret")),
        OpenError::TooLarge { .. } => Failure::new(format!("{error} (--memory)")),
        OpenError::TooNew { .. } => Failure::new(error.to_string()),
        OpenError::Read(error) => unread(error),
    }
}

fn unread(error: &ReadError) -> Failure {
    match error {
        ReadError::NotFound { .. } => Failure::new(format!("{error}; holdfast restic snapshots lists them")),
        ReadError::Damaged { .. } => Failure::new(format!("{error}; restic check names what else is damaged")),
        // What a store says is the same for every repository.
        error => error.clone().into(),
    }
}

fn undumped(error: DumpError) -> Failure {
    match error {
        DumpError::Find(error) => error.into(),
        DumpError::NotAFile { .. } | DumpError::Output(_) => Failure::new(error.to_string()),
        DumpError::Read(_) | DumpError::Length { .. } => Failure::new(format!("{error}; what was written is not the whole file")),
    }
}
