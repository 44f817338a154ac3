//! The threads that read one source.

use std::sync::Arc;
use std::thread::{Builder, Scope};

use holdfast_repository::Statistics;
use rustix::fs::OFlags;
use tokio::sync::oneshot;

use super::change::unsettled_from;
use super::context::{AbortOnPanic, Context, Shared};
use super::error::BackupError;
use super::job::{Job, Outcome};
use super::links::LinkCensus;
use super::lister::{Lister, State, VISIT_BATCHES, walk};
use super::parent::{ParentCursor, ParentSource};
use super::request::{ChangeRule, Limits, LookAgain, Source};
use super::open_file::Failure;
use super::sequencer::Sequencer;
use super::single::Single;
use super::worker::Worker;
use crate::catalog::{CatalogSummary, RelPath, Timestamp};
use crate::mutation::carried;
use crate::scan::{FileType, Handle, IsExcluded, NamedXattrs, RootIdentity, Stat, VolumeHandles, WalkOptions, Walker, root_identity};

/// Handles that are not of directories in bundles.
const OTHER_HANDLES: usize = 512;
const BUNDLE_DIRECTORIES_MAX: usize = 512;

/// A source whose handle can be taken back.
pub(super) struct OpenSource {
    root: Handle,
    pub(super) path: Vec<u8>,
    pub(super) pvc_uid: String,
    pub(super) path_in_volume: Vec<u8>,
    change_rule: ChangeRule,
    look_again: Option<Arc<LookAgain>>,
}

impl OpenSource {
    pub(super) fn new(source: Source, handles: &VolumeHandles) -> Self {
        let Source { root, path, pvc_uid, path_in_volume, change_rule, look_again } = source;
        Self { root: handles.adopt(root), path, pvc_uid, path_in_volume, change_rule, look_again }
    }

    fn display(&self) -> String {
        String::from_utf8_lossy(&self.path).escape_debug().to_string()
    }

    fn unreadable(&self, reason: impl std::fmt::Display) -> BackupError {
        BackupError::VolumeUnreadable { path: self.display(), reason: reason.to_string() }
    }
}

/// A source that was read.
#[derive(Debug)]
pub(super) struct SourceOutcome {
    pub(super) catalog: CatalogSummary,
    pub(super) statistics: Statistics,
    pub(super) started_unix_ms: i64,
    pub(super) ended_unix_ms: i64,
    pub(super) parent_lost: Option<String>,
}

/// Begins to read a source on threads of its own. They end soon after a stop, unless one of them hangs in an upload: then it
/// ends with that, holding nothing of the volume.
pub(super) fn start(
    shared: Arc<Shared>,
    source: Arc<OpenSource>,
    parent: Option<ParentSource>,
    limits: Limits,
    is_excluded: impl Fn(&RelPath, bool) -> bool + Send + 'static,
) -> Result<oneshot::Receiver<Result<SourceOutcome, BackupError>>, BackupError> {
    let (answer, outcome) = oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    let cursor = match parent {
        Some(parent) => ParentCursor::start(&shared.writer, parent.catalog, shared.stop.clone()),
        None => ParentCursor::none(),
    };
    let reading = move || {
        let reader = SourceReader { shared, source, limits, runtime };
        // Nobody waits for the answer any more after a stop.
        let _ = answer.send(reader.read(cursor, Box::new(is_excluded)));
    };
    Builder::new().name("backup".into()).spawn(carried(reading)).map_err(|error| internal("a thread could not be started", error))?;
    Ok(outcome)
}

fn internal(what: &str, error: impl std::fmt::Display) -> BackupError {
    BackupError::Internal(format!("{what}: {error}"))
}

struct SourceReader {
    shared: Arc<Shared>,
    source: Arc<OpenSource>,
    limits: Limits,
    runtime: tokio::runtime::Handle,
}

impl SourceReader {
    fn read(
        &self,
        cursor: ParentCursor,
        is_excluded: Box<IsExcluded>,
    ) -> Result<SourceOutcome, BackupError> {
        let source = &self.source;
        let started_unix_ms = unix_ms();
        let stat = source.root.with(|fd| Stat::of_fd(fd)).map_err(|error| source.unreadable(error))?;
        if stat.file_type != FileType::Directory {
            return self.read_single(stat, cursor, started_unix_ms);
        }
        let identity = source.root.with(|fd| root_identity(fd)).map_err(|error| source.unreadable(error))?;
        if identity.links == 0 {
            return Err(BackupError::VolumeChanged { path: source.display() });
        }
        let root = source.root.open(b".", OFlags::RDONLY | OFlags::DIRECTORY).map_err(|error| source.unreadable(error))?;
        // What was written before this moment has its final times after it. A failure of the volume's own writing is not ours.
        if let Err(error) = root.with(|fd| rustix::fs::syncfs(fd)) {
            tracing::warn!(path = source.display(), %error, "syncfs");
        }
        let settled_before = root.with(|fd| Ok(unsettled_from(fd))).map_err(|error| source.unreadable(error))?;
        let context = Context::new(Arc::clone(&self.shared), source.display(), source.change_rule, settled_before, self.runtime.clone());
        let walker = Walker::new(root, WalkOptions { names_bytes: self.limits.names_bytes(), is_excluded });
        let (catalog, parent_lost) = self.run_threads(&context, walker, cursor)?;
        if let Some(error) = context.failure() {
            return Err(error);
        }
        let Some(catalog) = catalog else {
            return Err(self.shared.stop.requested().map_or_else(|| BackupError::Internal("the walk did not end".into()), Into::into));
        };
        self.verify(&identity)?;
        let statistics = context.counters.statistics();
        if statistics.unreadable > 0 && catalog.entries <= 1 {
            return Err(source.unreadable("nothing below it could be read"));
        }
        Ok(SourceOutcome { catalog, statistics, started_unix_ms, ended_unix_ms: unix_ms(), parent_lost })
    }

    /// A block device or a stream: one file.
    fn read_single(&self, stat: Stat, cursor: ParentCursor, started_unix_ms: i64) -> Result<SourceOutcome, BackupError> {
        let source = &self.source;
        let name = source.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let name = RelPath::parse(name).ok().filter(|name| !name.is_root()).ok_or_else(|| source.unreadable("it has no name"))?;
        let handle = source.root.with(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 0)).map_err(|error| source.unreadable(error))?;
        let handle = self.shared.handles.adopt(handle);
        let (rule, settled) = (source.change_rule, Timestamp::default());
        let context = Context::new(Arc::clone(&self.shared), source.display(), rule, settled, self.runtime.clone());
        let single = Single { context: &context, name, handle, stat, workers: self.limits.workers() };
        let read = single.read(cursor);
        if let Some(error) = context.failure() {
            return Err(error);
        }
        let catalog = read.map_err(|failure| match failure {
            Failure::Unreadable(reason) => source.unreadable(reason),
            Failure::Gone => source.unreadable("it is gone"),
            Failure::Halted => self.shared.stop.requested().map_or_else(|| BackupError::Internal("the source was not read to its end".into()), Into::into),
        })?;
        if let Some(look_again) = &source.look_again {
            look_again().map_err(|error| source.unreadable(error))?;
        }
        Ok(SourceOutcome { catalog, statistics: context.counters.statistics(), started_unix_ms, ended_unix_ms: unix_ms(), parent_lost: None })
    }

    /// The volume must still be the one that the walk began on.
    fn verify(&self, before: &RootIdentity) -> Result<(), BackupError> {
        let source = &self.source;
        let now = source.root.with(|fd| root_identity(fd)).map_err(|error| source.unreadable(error))?;
        let again = match &source.look_again {
            Some(look_again) => look_again().ok(),
            None => Some(now),
        };
        // The number of names of the root is its subdirectories', which come and go; none at all means that it was removed.
        let same = |other: &RootIdentity| RootIdentity { links: before.links, ..*other } == *before && other.links > 0;
        if same(&now) && again.as_ref().is_some_and(same) {
            Ok(())
        } else {
            Err(BackupError::VolumeChanged { path: source.display() })
        }
    }

    fn run_threads(
        &self,
        context: &Context,
        walker: Walker,
        cursor: ParentCursor,
    ) -> Result<(Option<CatalogSummary>, Option<String>), BackupError> {
        let workers = self.limits.workers();
        let (jobs, jobs_receiver) = crossbeam_channel::bounded::<Job>(2 * workers);
        let (outcomes, outcomes_receiver) = crossbeam_channel::unbounded::<Vec<Outcome>>();
        let assist = crossbeam_channel::unbounded();
        let (visits, visits_receiver) = crossbeam_channel::bounded(VISIT_BATCHES);
        let lister = Lister {
            context,
            visits: visits_receiver,
            root: walker.root(),
            xattrs: NamedXattrs::default(),
            parent: cursor,
            jobs: jobs.clone(),
            outcomes: outcomes.clone(),
            links: LinkCensus::new(self.limits.links_bytes()),
            bundle_directories_max: bundle_directories_max(workers),
            state: State::default(),
        };
        let sequencer = Sequencer { context, outcomes: outcomes_receiver, jobs };
        std::thread::scope(|scope| {
            let started = (|| {
                for number in 0..workers {
                    let worker =
                        Worker::new(context, jobs_receiver.clone(), outcomes.clone(), assist.clone());
                    spawn(scope, context, format!("backup-read-{number}"), move || worker.run())?;
                }
                drop((outcomes, jobs_receiver));
                let catalog = spawn(scope, context, "backup-catalog".into(), move || sequencer.run())?;
                spawn(scope, context, "backup-walk".into(), move || walk(context, walker, &visits))?;
                let list = spawn(scope, context, "backup-list".into(), move || lister.run())?;
                Ok::<_, std::io::Error>((catalog, list))
            })();
            match started {
                // A thread that panicked has said so in the context.
                Ok((catalog, list)) => Ok((catalog.join().ok().flatten(), list.join().ok().flatten())),
                Err(error) => {
                    let error = internal("a thread could not be started", error);
                    context.fail(BackupError::Internal("a thread could not be started".into()));
                    Err(error)
                }
            }
        })
    }
}

fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    context: &'scope Context,
    name: String,
    work: impl FnOnce() -> T + Send + 'scope,
) -> std::io::Result<std::thread::ScopedJoinHandle<'scope, T>> {
    let work = carried(work);
    Builder::new().name(name).spawn_scoped(scope, move || {
        let _abort = AbortOnPanic(context);
        work()
    })
}

/// Each small file keeps its directory open until it is read: raises the soft limit of open files as far as it may, and shares
/// what there is.
fn bundle_directories_max(workers: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const WANTED: u64 = 65_536;
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(WANTED).min(WANTED);
    let mut files = limit.current.unwrap_or(WANTED);
    if files < wanted && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }).is_ok() {
        files = wanted;
    }
    share_of_handles(usize::try_from(files).unwrap_or(usize::MAX), workers)
}

/// Bundles exist in the queue (two for each worker), at the workers, and at the walk.
fn share_of_handles(files: usize, workers: usize) -> usize {
    let bundles = 3 * workers + 1;
    (files.saturating_sub(OTHER_HANDLES) / bundles).clamp(1, BUNDLE_DIRECTORIES_MAX)
}

/// For people; no rule compares it.
pub(super) fn unix_ms() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_bundles_fit_the_limit_of_open_files() {
        for (files, workers) in [(1024, 1), (1024, 4), (1024, 64), (4096, 8), (65_536, 2)] {
            let share = share_of_handles(files, workers);
            assert!(share >= 1 && share * (3 * workers + 1) + OTHER_HANDLES <= files, "{files} files, {workers} workers");
        }
    }
}
