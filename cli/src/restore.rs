//! `holdfast restore`.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use holdfast_mover::pattern::PatternSet;
use holdfast_mover::progress::Progress;
use holdfast_mover::restore::{self, IdMap, Issue, Owners, RestoreLimits, RestoreReport, RestoreRequest, Rules, Severity, Stored, Target};
use rustix::fs::{Mode, OFlags};
use serde_json::json;

use crate::arguments::Global;
use crate::outcome::{Failure, Outcome};
use crate::progress_bar::Bar;
use crate::restore_preview::{self, Wanted};
use crate::snapshot_choice::{self, Filter};
use crate::{repository, signal, text};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// `latest` (the newest, or the newest of --path or --host), or an id from `holdfast snapshots`.
    snapshot: String,
    /// The directory to restore into, made if it is not there. A snapshot of one path is restored straight into it, of several
    /// each into its own path below it. What is there and not in the snapshot stays.
    target: PathBuf,
    #[command(flatten)]
    manner: Manner,
    /// List what would be created, replaced or changed, by kind, size, time, owner and mode; nothing is written.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    filter: Filter,
}

/// What of a snapshot is restored, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Manner {
    /// Only what matches; restic's patterns, and as often as needed.
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// Nothing that matches.
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Leave out device nodes, set-id bits and file capabilities.
    #[arg(long)]
    no_privileges: bool,
    /// A recorded user id that becomes another, such as 0:1000; as often as needed.
    #[arg(long, value_name = "FROM:TO", conflicts_with = "no_owner")]
    owner_map: Vec<String>,
    /// The same for groups.
    #[arg(long, value_name = "FROM:TO", conflicts_with = "no_owner")]
    group_map: Vec<String>,
    /// Everything becomes yours. Without root that is so unless ids are mapped.
    #[arg(long)]
    no_owner: bool,
    /// Only extended attributes whose name matches, such as 'user.*'; ACLs are among them. Without it: all but labels such as
    /// security.selinux.
    #[arg(long, value_name = "PATTERN")]
    include_xattr: Vec<String>,
    /// No extended attribute whose name matches.
    #[arg(long, value_name = "PATTERN")]
    exclude_xattr: Vec<String>,
    /// Take a file whose size and time are right to be right, unread. Else what is there is read and compared. Not for what a
    /// restore left that a crash of the machine or a power failure cut off: a file of it may have both, and zeros for content.
    #[arg(long)]
    trust_times: bool,
    /// Say success before the data is on the disk, as most tools do: a power failure may then still cost it.
    #[arg(long)]
    no_sync: bool,
}

impl Manner {
    /// The request for these targets; issues are printed as they come.
    pub(crate) fn request(&self, global: &Global, targets: Vec<Target>, print: impl Fn(&str) + Send + Sync + 'static) -> Result<RestoreRequest, Failure> {
        let rules = self.rules()?;
        let gives_owners = matches!(rules.owners, Owners::Recorded { .. });
        Ok(RestoreRequest {
            targets,
            include: patterns(&self.include)?,
            exclude: patterns(&self.exclude)?,
            // Nobody but this command decides who writes here.
            may_write: Arc::new(|| true),
            device_nodes: !self.no_privileges && gives_owners,
            rules,
            sync: !self.no_sync,
            limits: RestoreLimits { memory_bytes: usize::try_from(global.memory).unwrap_or(usize::MAX), ..RestoreLimits::standard() },
            observer: Some(Arc::new(move |issue| print(&issue_line(issue)))),
        })
    }

    fn rules(&self) -> Result<Rules, Failure> {
        let ids = |texts: &[String]| IdMap::parse(texts).map_err(|error| Failure::new(error.to_string()));
        let is_mapped = !self.owner_map.is_empty() || !self.group_map.is_empty();
        let owners = if self.no_owner || !(is_mapped || rustix::process::geteuid().is_root()) {
            Owners::Own
        } else {
            Owners::Recorded { users: ids(&self.owner_map)?, groups: ids(&self.group_map)? }
        };
        Ok(Rules {
            owners,
            include_xattrs: patterns(&self.include_xattr)?,
            exclude_xattrs: patterns(&self.exclude_xattr)?,
            trust_times: self.trust_times,
        })
    }
}

fn patterns(patterns: &[String]) -> Result<PatternSet, Failure> {
    PatternSet::parse(patterns).map_err(|error| Failure::new(error.to_string()))
}

pub(crate) async fn run(global: &Global, arguments: Arguments) -> Result<Outcome, Failure> {
    // Mistakes in them are told before anything is opened.
    let (include, exclude, rules) = (patterns(&arguments.manner.include)?, patterns(&arguments.manner.exclude)?, arguments.manner.rules()?);
    let repository = repository::open(global).await?;
    let (snapshot, record) = snapshot_choice::find(&repository, &arguments.snapshot, &arguments.filter).await?;
    let sources: Vec<&[u8]> = record.sources.iter().map(|source| source.path.as_slice()).filter(|path| is_wanted(path, &arguments.filter.paths)).collect();
    let places = places(&sources, &arguments.target)?;
    if arguments.dry_run {
        return restore_preview::run(global, &repository, Wanted { snapshot, places, include, exclude, rules }).await;
    }
    let targets = targets(places, &arguments.target)?;
    let stop = signal::stop_token()?;
    let progress = Arc::new(Progress::default());
    let bar = Bar::show(global, &progress);
    let stored = Stored { snapshot, host: repository::host(), session: String::new(), component: String::new() };
    let request = arguments.manner.request(global, targets, bar.printer())?;
    let began = Instant::now();
    let report = restore::run(&repository, &stored, request, &progress, &stop).await?;
    drop(bar);
    print_report(global, &report, began.elapsed().as_secs_f64(), to_do(&report));
    Ok(if report.is_complete() { Outcome::Done } else { Outcome::Failed })
}

fn is_wanted(source: &[u8], wanted: &[PathBuf]) -> bool {
    wanted.is_empty() || wanted.iter().any(|path| path.as_os_str().as_bytes() == source)
}

/// Each of the sources with its place.
pub(crate) fn places(sources: &[&[u8]], target: &Path) -> Result<Vec<(Vec<u8>, PathBuf)>, Failure> {
    if sources.is_empty() {
        return Err(Failure::new("the snapshot has none of the paths of --path; holdfast snapshots shows what it has"));
    }
    let is_single = sources.len() == 1;
    let place = |source: &&[u8]| {
        let place = if is_single { target.to_owned() } else { below(target, source)? };
        Ok((source.to_vec(), place))
    };
    sources.iter().map(place).collect()
}

/// The same, each with its directory, made if it is not there.
pub(crate) fn targets(places: Vec<(Vec<u8>, PathBuf)>, target: &Path) -> Result<Vec<Target>, Failure> {
    drop(open_directory(target)?);
    let open = |(source, place): (Vec<u8>, PathBuf)| {
        make_below(target, &place)?;
        Ok(Target { snapshot_path: source, root: open_directory(&place)? })
    };
    places.into_iter().map(open).collect()
}

/// The source's own path below the target. The path comes from the snapshot: only its names are used, never `..`.
fn below(target: &Path, source: &[u8]) -> Result<PathBuf, Failure> {
    let mut path = target.to_owned();
    for name in source.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".") {
        if name == b".." {
            return Err(Failure::new(format!("the snapshot's path {} is refused: it has a .. in it", text::path(source))));
        }
        path.push(std::ffi::OsString::from_vec(name.to_vec()));
    }
    Ok(path)
}

/// Makes the directories between the target and a place below it; a symlink among them is refused.
fn make_below(target: &Path, place: &Path) -> Result<(), Failure> {
    let mut path = target.to_owned();
    for name in place.strip_prefix(target).into_iter().flat_map(Path::components) {
        path.push(name);
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(unusable(&path, &"it is there and is no directory")),
            Err(_) => std::fs::create_dir(&path).map_err(|error| unusable(&path, &error))?,
        }
    }
    Ok(())
}

fn open_directory(path: &Path) -> Result<OwnedFd, Failure> {
    std::fs::create_dir_all(path).map_err(|error| unusable(path, &error))?;
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(|errno| unusable(path, &errno))
}

fn unusable(path: &Path, reason: &dyn std::fmt::Display) -> Failure {
    Failure::new(format!("cannot restore into {}: {reason}; give a directory that you may write to", path.display()))
}

fn issue_line(issue: &Issue) -> String {
    let word = match issue.severity {
        Severity::Failed => "failed",
        Severity::Unsupported => "warning",
        Severity::Withheld => "left out",
    };
    format!("{word}: {}: {}", issue.path, text::one_line(&issue.what))
}

pub(crate) fn print_report(global: &Global, report: &RestoreReport, seconds: f64, to_do: Option<String>) {
    let sum = |value: fn(&restore::TargetReport) -> u64| report.targets.iter().map(value).sum::<u64>();
    let (files, directories, others, links) = (sum(|target| target.files), sum(|target| target.directories), sum(|target| target.others), sum(|target| target.links));
    let (bytes, unchanged, not_owned) = (sum(|target| target.bytes), sum(|target| target.files_unchanged), sum(|target| target.owners_left));
    if global.json {
        println!(
            "{}",
            json!({
                "files": files, "directories": directories, "others": others, "links": links, "bytes": bytes, "bytes_read": report.bytes_read,
                "bytes_written": report.bytes_written, "files_unchanged": unchanged, "owners_left": not_owned,
                "failed": report.failed, "lost_parts": report.lost_parts, "warnings": report.warnings, "bad_blobs": report.bad_blobs.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "issues": report.issues.iter().map(issue_line).collect::<Vec<_>>(), "to_do": to_do, "seconds": seconds,
            })
        );
        return;
    }
    println!("restored {files} files, {directories} directories, {others} others, {links} links, {} in {seconds:.1} s", text::bytes(bytes));
    if unchanged > 0 || report.bytes_written < bytes / 2 {
        println!("{unchanged} files were there as they should; {} were written", text::bytes(report.bytes_written));
    }
    if not_owned > 0 {
        println!("{not_owned} entries are yours instead of their recorded owner's: {}", if rustix::process::geteuid().is_root() { "--no-owner" } else { "only root may give files away" });
    }
    if report.warnings > 0 {
        println!("{} warnings, named above", report.warnings);
    }
    if report.failed > 0 {
        println!("FAILED: {}", what_failed(report));
    }
    if let Some(advice) = to_do {
        println!("to do: {advice}");
    }
}

fn what_failed(report: &RestoreReport) -> String {
    let others = report.failed - report.lost_parts;
    let others = format!("{others} entries or attributes are not as they were; they are named above");
    let lost = format!("lost with all that was in it: {} of the list of entries, named above", text::count(report.lost_parts, "part"));
    match report.lost_parts {
        0 => others,
        parts if parts == report.failed => lost,
        _ => format!("{lost}; beside that {others}"),
    }
}

/// What helps where it is the repository that is damaged.
fn to_do(report: &RestoreReport) -> Option<String> {
    if report.bad_blobs.is_empty() && report.lost_parts == 0 {
        return None;
    }
    Some(match report.unreadable_runs.first() {
        Some(run) => format!("run holdfast repair, then this restore again: {} cannot be read, and what it lists may still be there", text::one_line(run)),
        None => "holdfast check names what is damaged and says what helps".to_owned(),
    })
}
