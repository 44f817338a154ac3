//! The order of a restore, from the lease to the last sync.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, TryStreamExt};
use holdfast_repository::{Activity, Purpose, Repository, SnapshotRecord, SourceRecord};
use tokio::sync::Semaphore;

use super::attributes::Policy;
use super::directory::{Directory, TargetRoot};
use super::edges::EdgeMemory;
use super::flusher::Flusher;
use super::gate::{Gate, Halted};
use super::issue::Issues;
use super::planner::Planner;
use super::pool::{Pool, Ticket};
use super::selection::Selection;
use super::source::{Own, Source, Tree};
use super::turns::Turns;
use super::window::{BlobWork, Link, Run, Window, join_runs, locate, split};
use super::worker::{Counts, Job, Leftover, Shared, Unread};
use super::{RestoreError, RestoreReport, RestoreRequest, Stored, TargetReport};
use crate::catalog::Entry;
use crate::pattern::PatternSet;
use crate::progress::{self, Phase, Progress};
use crate::stop::StopToken;

/// How often the grant is looked at while nothing is being written.
const GATE_WATCH: Duration = Duration::from_millis(200);
/// How long a restore that was stopped tries to end its lease: the store may be what hangs. Left alone, it is fenced in time.
const STOPPED_FAREWELL: Duration = Duration::from_secs(2);
/// The same for one that came to its end, and may have bad blobs to publish.
const FAREWELL: Duration = Duration::from_secs(60);
/// Requests under way at once for one window; the memory for what they bring bounds them too.
const FETCHES_MAX: usize = 12;
/// Files without content, and holes, are handed over in groups of this many.
const PLAIN_FILES_PER_JOB: usize = 64;
/// Threads that compute at once.
const COMPUTING_MAX: usize = 64;
/// Threads more than that, since some wait for the disk: each has buffers of its own, so few.
const WAITING_MAX: usize = 2;
/// A fetched range is decoded in parts of this many stored bytes, by all threads.
const JOB_STORED_BYTES: u64 = 1 << 20;
/// What stands in the target is looked at in parts of this many bytes.
const LOOK_BYTES: u64 = 16 << 20;

pub(super) async fn run(
    repository: &Repository,
    stored: &Stored,
    request: RestoreRequest,
    progress: &Arc<Progress>,
    stop: &StopToken,
) -> Result<RestoreReport, RestoreError> {
    let gate = begin(&request, progress, stop);
    let opened = until_shut(&gate, open(repository, stored)).await;
    let own = match opened {
        Ok(opened) => opened?,
        Err(Halted) => return Err(cause(&gate)),
    };
    let reader = own.reader.clone();
    let result = Box::pin(run_with(&own, request, gate, progress)).await;
    let farewell = if stop.requested().is_some() { STOPPED_FAREWELL } else { FAREWELL };
    let closed = tokio::time::timeout(farewell, reader.close()).await;
    if !matches!(closed, Ok(Ok(()))) {
        tracing::warn!("the lease of this restore could not be ended; prune waits for it a little longer");
    }
    result
}

pub(super) async fn run_from(
    source: &dyn Source,
    request: RestoreRequest,
    progress: &Arc<Progress>,
    stop: &StopToken,
) -> Result<RestoreReport, RestoreError> {
    let gate = begin(&request, progress, stop);
    Box::pin(run_with(source, request, gate, progress)).await
}

fn begin(request: &RestoreRequest, progress: &Progress, stop: &StopToken) -> Arc<Gate> {
    progress.enter(Phase::Plan);
    Arc::new(Gate::new(Arc::clone(&request.may_write), stop.clone()))
}

async fn open(repository: &Repository, stored: &Stored) -> Result<Own, RestoreError> {
    let purpose = Purpose {
        activity: Activity::Restore,
        host: stored.host.clone(),
        session: stored.session.clone(),
        component: stored.component.clone(),
    };
    let reader = repository.reader(purpose).await?;
    // Only now: under the lease nothing of it can go.
    let record = reader.snapshot(&stored.snapshot).await?;
    Ok(Own { reader, record })
}

async fn run_with(
    source: &dyn Source,
    request: RestoreRequest,
    gate: Arc<Gate>,
    progress: &Arc<Progress>,
) -> Result<RestoreReport, RestoreError> {
    let issues = Arc::new(Issues::new(request.observer));
    let mut plans = Vec::with_capacity(request.targets.len());
    let mut targets = Vec::with_capacity(request.targets.len());
    for (index, target) in request.targets.into_iter().enumerate() {
        let tree = match until_shut(&gate, source.tree(&target.snapshot_path)).await {
            Ok(tree) => tree?,
            Err(Halted) => return Err(cause(&gate)),
        };
        let root = Arc::new(TargetRoot::open(index, target)?);
        plans.push((tree, Arc::clone(&root)));
        targets.push(root);
    }
    let lost = Arc::clone(&gate);
    let synced = if request.sync { targets.as_slice() } else { &[] };
    let (flusher, flusher_thread) = Flusher::start(synced, move |errno| {
        lost.shut(unsynced(errno));
    })?;
    let computing = request.limits.threads.clamp(1, COMPUTING_MAX);
    let shared = Arc::new(Shared {
        gate,
        issues: Arc::clone(&issues),
        progress: Arc::clone(progress),
        archive: source.archive(),
        policy: Policy::new(request.rules, request.device_nodes),
        flusher,
        turns: Turns::new(computing),
        bytes_written: AtomicU64::new(0),
        bytes_cached: AtomicU64::new(0),
        counts: targets.iter().map(|_| Counts::default()).collect(),
        bad_blobs: Mutex::default(),
        open_files: AtomicUsize::new(0),
        edge_memory: EdgeMemory::default(),
    });
    let patterns = (request.include, request.exclude);
    expect(progress, &plans, &patterns);
    // Who writes past the page cache waits for the disk.
    let threads = if targets.iter().any(|target| target.is_direct) { computing + WAITING_MAX } else { computing };
    let pool = Pool::start(threads, &shared)?;
    let work = Work { shared: &shared, pool: &pool, sync: request.sync, memory: Memory::of(request.limits.memory_bytes) };
    progress.enter(Phase::Write);
    let outcome = until_shut(&shared.gate, Box::pin(work.all(plans, &patterns))).await;
    pool.close().await;
    shared.flusher.close();
    flusher_thread.ended().await;
    match outcome {
        Ok(Ok(())) => Ok(report(&shared, &issues, &targets, progress)),
        // The workers know more of the cause than a failed read behind them.
        Ok(Err(error)) => Err(shared.gate.take_cause().unwrap_or(error)),
        Err(Halted) => Err(cause(&shared.gate)),
    }
}

pub(super) fn find_source<'r>(record: &'r SnapshotRecord, wanted: &[u8]) -> Result<&'r SourceRecord, RestoreError> {
    let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    record.sources.iter().find(|source| source.path == wanted).ok_or_else(|| RestoreError::NoSuchSource {
        wanted: text(wanted),
        present: record.sources.iter().map(|source| text(&source.path)).collect::<Vec<_>>().join(", "),
    })
}

/// How much there will be; with patterns nobody knows.
fn expect(progress: &Progress, plans: &[(Tree, Arc<TargetRoot>)], patterns: &(PatternSet, PatternSet)) {
    if !patterns.0.is_empty() || !patterns.1.is_empty() {
        return;
    }
    for (tree, _) in plans {
        progress::add(&progress.files_total, tree.files);
        progress::add(&progress.bytes_total, tree.bytes);
    }
}

/// Runs `work` until the gate shuts; then drops it, whatever it waits for.
async fn until_shut<T>(gate: &Gate, work: impl Future<Output = T>) -> Result<T, Halted> {
    let shut = async {
        while gate.pass().is_ok() {
            tokio::select! {
                () = tokio::time::sleep(GATE_WATCH) => {}
                () = gate.stopped() => {}
            }
        }
    };
    tokio::select! {
        biased;
        result = work => Ok(result),
        () = shut => Err(Halted),
    }
}

/// What a failed sync is.
pub(super) fn unsynced(errno: rustix::io::Errno) -> RestoreError {
    match errno {
        rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT => RestoreError::TargetFull { path: ".".into(), reason: errno.to_string() },
        errno => RestoreError::Target { reason: format!("what was written could not be brought to the disk: {errno}") },
    }
}

fn cause(gate: &Gate) -> RestoreError {
    gate.take_cause().unwrap_or_else(|| RestoreError::Target { reason: "a thread of the restore is gone".into() })
}

/// The parts of the memory limit; the index, the code and the threads' buffers have the rest.
struct Memory {
    window_bytes: usize,
    /// In KiB: a semaphore counts no further than 32 bits.
    fetched: Arc<Semaphore>,
    fetched_kib: u32,
}

impl Memory {
    fn of(memory_bytes: usize) -> Self {
        let fetched_kib = u32::try_from((memory_bytes / 4) >> 10).unwrap_or(u32::MAX >> 4).max(1 << 10);
        Self { window_bytes: (memory_bytes / 24).max(1 << 20), fetched: Arc::new(Semaphore::new(fetched_kib as usize)), fetched_kib }
    }

    fn cost_kib(&self, bytes: u64) -> u32 {
        // What is larger than all there is gets all there is, and waits until nobody else has any.
        u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).clamp(1, self.fetched_kib)
    }
}

/// A window of which all is on its way, and what remains to be done when that has arrived.
struct Ending<'a> {
    under_way: FuturesUnordered<BoxFuture<'a, Result<(), RestoreError>>>,
    tickets: Vec<Ticket>,
    links: Vec<Link>,
    finishes: Vec<(Arc<Directory>, Entry)>,
}

fn in_groups<T>(mut all: Vec<T>) -> impl Iterator<Item = Vec<T>> {
    std::iter::from_fn(move || {
        let rest = all.len().saturating_sub(PLAIN_FILES_PER_JOB);
        (!all.is_empty()).then(|| all.split_off(rest))
    })
}

/// The part of a restore that the gate can cut off.
struct Work<'a> {
    shared: &'a Arc<Shared>,
    pool: &'a Pool,
    sync: bool,
    memory: Memory,
}

impl Work<'_> {
    async fn all(&self, plans: Vec<(Tree, Arc<TargetRoot>)>, patterns: &(PatternSet, PatternSet)) -> Result<(), RestoreError> {
        for (tree, target) in plans {
            let selection = Selection::new(patterns.0.clone(), patterns.1.clone(), &target.source);
            let issues = Arc::clone(&self.shared.issues);
            let mut planner = Planner::new(tree, selection, Arc::clone(&target), issues);
            let mut window = planner.next(self.memory.window_bytes).await?;
            let mut ending = None;
            while let Some(current) = window {
                // While this window is fetched, the one before comes to its end, and the next is planned.
                let (begun, (), next) = tokio::try_join!(self.begin(current), self.end(ending.take()), planner.next(self.memory.window_bytes))?;
                (ending, window) = (Some(begun), next);
            }
            self.end(ending).await?;
            if self.sync {
                self.hand(Job::Sync(target)).await?;
            }
        }
        Ok(())
    }

    /// Until all that the window needs is on its way.
    async fn begin(&self, mut window: Window) -> Result<Ending<'_>, RestoreError> {
        self.hand(Job::Make(std::mem::take(&mut window.makes))).await?;
        let mut tickets = Vec::new();
        tickets.extend(in_groups(std::mem::take(&mut window.plain_files)).map(|files| self.pool.hand(Job::PlainFiles(files), None)));
        for (file, reason) in std::mem::take(&mut window.lost_files) {
            tickets.push(self.pool.hand(Job::Lost(file, reason), None));
        }
        tickets.extend(in_groups(std::mem::take(&mut window.voids)).map(|voids| self.pool.hand(Job::Voids(voids), None)));
        let (located, missing) = locate(std::mem::take(&mut window.blobs), &*self.shared.archive);
        for (id, pieces) in missing {
            let is_hidden = !self.shared.archive.unreadable_runs().is_empty();
            let reason = if is_hidden { "no index run that can be read lists it" } else { "it is not in the repository" };
            self.rescue(Unread { id, reason: reason.into(), pieces }).await?;
        }
        let mut runs = join_runs(self.wanted(located).await?).into_iter();
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < FETCHES_MAX
                && let Some(run) = runs.next()
            {
                under_way.push(self.write_run(run).boxed());
            }
            if runs.len() == 0 {
                return Ok(Ending { under_way, tickets, links: window.links, finishes: window.finishes });
            }
            under_way.try_next().await?;
        }
    }

    /// What the target does not have yet.
    async fn wanted(&self, located: Vec<BlobWork>) -> Result<Vec<BlobWork>, RestoreError> {
        let (may_stand, mut wanted): (Vec<_>, Vec<_>) = located.into_iter().partition(BlobWork::may_stand);
        if may_stand.is_empty() {
            return Ok(wanted);
        }
        let parts = split(may_stand, LOOK_BYTES, |work| work.location.raw_bytes());
        let tickets: Vec<Ticket> = parts.into_iter().map(|part| self.pool.hand(Job::Look(part), None)).collect();
        for ticket in tickets {
            wanted.extend(self.finished(ticket).await?.wanted);
        }
        Ok(wanted)
    }

    /// The last of the window: what needs all that is before it.
    async fn end(&self, ending: Option<Ending<'_>>) -> Result<(), RestoreError> {
        let Some(mut ending) = ending else { return Ok(()) };
        while ending.under_way.try_next().await?.is_some() {}
        for ticket in ending.tickets {
            self.finished(ticket).await?;
        }
        self.hand(Job::Links(ending.links)).await?;
        self.hand(Job::Finish(ending.finishes)).await
    }

    async fn write_run(&self, run: Run) -> Result<(), RestoreError> {
        let over = |_| RestoreError::Target { reason: "the restore is over".into() };
        let bytes = run.range.end - run.range.start;
        let permit = Arc::clone(&self.memory.fetched).acquire_many_owned(self.memory.cost_kib(bytes)).await.map_err(over)?;
        let fetched = self.shared.archive.fetch(run.pack, run.range).await;
        let unread = match fetched {
            Ok(fetched) => {
                progress::add(&self.shared.progress.bytes_read, bytes);
                let permit = Arc::new(permit);
                let parts = split(run.blobs, JOB_STORED_BYTES, |work| work.location.stored_bytes());
                let hand = |part| self.pool.hand(Job::Blobs(fetched.clone(), part), Some(Arc::clone(&permit)));
                let tickets: Vec<Ticket> = parts.into_iter().map(hand).collect();
                drop((fetched, permit));
                let mut unread = Vec::new();
                for ticket in tickets {
                    unread.extend(self.finished(ticket).await?.unread);
                }
                unread
            }
            Err(error) if error.is_damage() => {
                let reason = error.to_string();
                run.blobs.into_iter().map(|work| Unread { id: work.id, reason: reason.clone(), pieces: work.pieces }).collect()
            }
            Err(error) => return Err(error.into()),
        };
        for blob in unread {
            self.rescue(blob).await?;
        }
        Ok(())
    }

    /// Another copy of the blob, or a newer index, may have it. Not having it costs the files that need it, no others.
    async fn rescue(&self, blob: Unread) -> Result<(), RestoreError> {
        match self.shared.archive.read_blob(&blob.id).await {
            Ok(raw) => self.hand(Job::Raw(raw, blob.pieces)).await,
            Err(error) if error.is_damage() => self.hand(Job::Missing(blob.id, blob.reason, blob.pieces)).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn hand(&self, job: Job) -> Result<(), RestoreError> {
        self.finished(self.pool.hand(job, None)).await.map(drop)
    }

    async fn finished(&self, ticket: Ticket) -> Result<Leftover, RestoreError> {
        ticket.done().await.map_err(|Halted| cause(&self.shared.gate))
    }
}

fn report(shared: &Shared, issues: &Issues, targets: &[Arc<TargetRoot>], progress: &Progress) -> RestoreReport {
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let collected = issues.collect();
    let targets = targets.iter().zip(&shared.counts).map(|(target, counts)| TargetReport {
        snapshot_path: target.source.clone(),
        files: count(&counts.files),
        directories: count(&counts.directories),
        others: count(&counts.others),
        links: count(&counts.links),
        bytes: count(&counts.bytes),
        files_unchanged: count(&counts.unchanged),
        owners_left: count(&counts.owners_left),
    });
    RestoreReport {
        targets: targets.collect(),
        bytes_read: count(&progress.bytes_read),
        bytes_written: count(&shared.bytes_written),
        failed: collected.failed,
        warnings: collected.warnings,
        issues: collected.named,
        lost_parts: collected.lost_parts,
        unreadable_runs: shared.archive.unreadable_runs(),
        bad_blobs: shared.bad_blobs.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect(),
    }
}
