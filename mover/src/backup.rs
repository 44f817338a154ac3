//! Volume to repository: one walk, one snapshot.
//!
//! Threads: the walk ([`lister`]) looks at every entry and takes what is unchanged from the parent's catalog, which streams in
//! beside it; workers take what must be read through the whole chain (read, cut, hash, look up, compress, seal); the catalog's
//! thread ([`sequencer`]) puts the results back in order. Queues are bounded, and so is how far the walk may be ahead.
//!
//! Invariants: a snapshot is committed only if the walk came to its end and the volume is still the one it began on. What could
//! not be read is named, never silently missing. An extent goes into a catalog only if the writer answers for its blob. No
//! thread owns a handle of the volume (see [`crate::scan::handle`]).

mod basis;
mod bundle_buffer;
mod change;
mod context;
mod delta;
mod error;
mod job;
mod large;
mod links;
mod lister;
mod open_file;
mod parent;
mod pipeline;
mod read_ahead;
mod rebundle;
mod refs;
mod report;
mod request;
mod sequencer;
mod single;
mod worker;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_repository::{
    Activity, CommitError, Purpose, Repository, SnapshotDraft, SnapshotId, SourceRecord, Statistics, WriteError, Writer, WriterOptions,
};

pub use error::BackupError;
pub use report::{BackupReport, NAMED_MAX, SourceReport};
pub use request::{BackupRequest, ChangeRule, Exclude, Limits, LookAgain, Parent, Source, Tell};

use crate::chunk::Duplicates;
use crate::progress::{Phase, Progress};
use crate::scan::VolumeHandles;
use crate::stop::{Stop, StopToken};
use context::{Named, Shared, lock};
use parent::{ParentSource, Parents};
use pipeline::{OpenSource, SourceOutcome};
use rebundle::Rebundle;
use refs::Refs;

/// How often the sources are read again because blobs that were to be used again had gone by the time of the commit.
const PASSES_MAX: usize = 4;
/// After a stop, the repository gets this long to save what was read. The volume was let go before.
const SAVE_WAIT: Duration = Duration::from_secs(30);

/// Backs up, and commits one snapshot. `stop` may ask at any time for an end: see [`Stop`].
pub async fn run(
    repository: &Repository,
    request: BackupRequest,
    progress: Arc<Progress>,
    stop: StopToken,
) -> Result<BackupReport, BackupError> {
    if request.sources.is_empty() {
        return Err(BackupError::InvalidRequest("there is nothing to back up"));
    }
    let purpose = Purpose {
        activity: Activity::Backup,
        host: request.host.clone(),
        session: request.session.clone(),
        component: request.component.clone(),
    };
    let options = WriterOptions {
        data_pack_bytes: request.limits.data_pack_bytes(),
        compression_level: request.limits.compression_level,
        upload_bytes_per_second: request.limits.bandwidth_bytes_per_second,
    };
    let mut beginning = Box::pin(repository.begin_with(purpose, options));
    let writer = tokio::select! {
        writer = &mut beginning => writer?,
        () = stop.stopped() => {
            let refused = refused(request, &stop);
            // Its lease may stand already, and would be waited for.
            give_back(async { beginning.await?.abandon().await }).await;
            return Err(refused);
        }
    };
    let mut backup = Backup::new(repository, writer, request, progress, stop).await?;
    let result = backup.run().await;
    if result.is_err() {
        backup.end_without_snapshot().await;
    }
    result
}

/// Stopped before it began: the volume's handles go with the request.
fn refused(mut request: BackupRequest, stop: &StopToken) -> BackupError {
    let on_released = request.on_released.take();
    drop(request);
    let reason = stop.requested().unwrap_or(Stop::Cancel);
    if let (Stop::Release, Some(on_released)) = (reason, on_released) {
        on_released();
    }
    reason.into()
}

struct Backup {
    shared: Arc<Shared>,
    request: BackupRequest,
    sources: Vec<Arc<OpenSource>>,
    parents: Parents,
    start_ms: i64,
}

impl Backup {
    async fn new(
        repository: &Repository,
        writer: Writer,
        mut request: BackupRequest,
        progress: Arc<Progress>,
        stop: StopToken,
    ) -> Result<Self, BackupError> {
        let handles = VolumeHandles::new();
        let mut parents = tokio::select! {
            parents = parent::find(&writer, request.parent, &request.host, &request.sources) => parents,
            () = stop.stopped() => Parents { sources: request.sources.iter().map(|_| None).collect(), ..Parents::default() },
        };
        let sources = std::mem::take(&mut request.sources);
        let sources = sources.into_iter().map(|source| Arc::new(OpenSource::new(source, &handles))).collect();
        expect(&progress, &parents);
        let shared = Shared {
            writer,
            chunker: repository.chunker(),
            stop,
            progress,
            handles,
            duplicates: Duplicates::default(),
            pace: repository.pace(request.limits.bandwidth_bytes_per_second),
            rebundle: Rebundle::new(std::mem::take(&mut parents.mostly_dead), parents.content_bytes()),
            refs: Mutex::new(Refs::default()),
            named: Mutex::new(Named::default()),
            on_unreadable: request.on_unreadable.clone(),
        };
        Ok(Self { shared: Arc::new(shared), request, sources, parents, start_ms: pipeline::unix_ms() })
    }

    async fn run(&mut self) -> Result<BackupReport, BackupError> {
        for _ in 1..PASSES_MAX {
            let outcomes = self.read_sources().await?;
            match self.commit(&outcomes).await {
                // Fenced while it read, and a prune took what it wanted to use again: what is gone is read again.
                Err(BackupError::Commit(CommitError::Gone { missing, .. })) => {
                    tracing::warn!(blobs = missing.len(), "blobs of the parent are gone; the files that need them are read again");
                    // It has places in bundles that may be among them, and is asked before anything is stored.
                    self.shared.duplicates.clear();
                    *lock(&self.shared.refs) = Refs::default();
                    *lock(&self.shared.named) = Named::default();
                }
                Err(error) => return Err(error),
                Ok(snapshot) => return Ok(self.report(snapshot, outcomes)),
            }
        }
        let outcomes = self.read_sources().await?;
        let snapshot = self.commit(&outcomes).await?;
        Ok(self.report(snapshot, outcomes))
    }

    async fn read_sources(&mut self) -> Result<Vec<SourceOutcome>, BackupError> {
        self.shared.progress.enter(Phase::Read);
        let mut outcomes = Vec::with_capacity(self.sources.len());
        for (number, source) in self.sources.iter().enumerate() {
            let parent = self.parents.sources.get(number).cloned().flatten();
            let is_excluded = self.request.is_excluded.clone();
            let reading = pipeline::start(
                Arc::clone(&self.shared),
                Arc::clone(source),
                parent,
                self.request.limits,
                move |path, is_directory| is_excluded.as_ref().is_some_and(|excluded| excluded(number, path, is_directory)),
            )?;
            let outcome = tokio::select! {
                outcome = reading => {
                    outcome.map_err(|_| BackupError::Internal("the backup's thread ended without a word".into()))
                }
                () = self.shared.stop.stopped() => return Err(self.stopped_error()),
            };
            let outcome = match outcome? {
                Err(_) if self.shared.stop.requested().is_some() => return Err(self.stopped_error()),
                outcome => outcome?,
            };
            if let Some(reason) = &outcome.parent_lost {
                self.parents.ignored.get_or_insert(format!("its catalog could not be read to the end: {reason}"));
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    fn stopped_error(&self) -> BackupError {
        self.shared.stop.requested().unwrap_or(Stop::Cancel).into()
    }

    async fn commit(&mut self, outcomes: &[SourceOutcome]) -> Result<SnapshotId, BackupError> {
        self.shared.progress.enter(Phase::Commit);
        let writer = &self.shared.writer;
        let refs = lock(&self.shared.refs).sorted(|blob| writer.known(blob));
        let commit = writer.commit(self.draft(outcomes), || refs.iter().copied());
        tokio::pin!(commit);
        loop {
            tokio::select! {
                committed = &mut commit => return Ok(committed?),
                () = self.shared.stop.stopped(), if !self.shared.handles.are_revoked() => {
                    if self.shared.stop.requested() == Some(Stop::Cancel) {
                        return Err(BackupError::Cancelled);
                    }
                    // Everything is read: the volume can go, and the snapshot is made all the same.
                    let_go(&self.shared.handles, &mut self.request.on_released).await;
                }
            }
        }
    }

    fn draft(&self, outcomes: &[SourceOutcome]) -> SnapshotDraft {
        let records = self.sources.iter().zip(outcomes).map(|(source, outcome)| SourceRecord {
            path: source.path.clone(),
            pvc_uid: source.pvc_uid.clone(),
            path_in_volume: source.path_in_volume.clone(),
            catalog: Some(outcome.catalog.root),
            statistics: outcome.statistics,
        });
        SnapshotDraft {
            host: self.request.host.clone(),
            sources: records.collect(),
            session: self.request.session.clone(),
            component: self.request.component.clone(),
            start_ms: self.start_ms,
            scan_ms: outcomes.first().map_or(self.start_ms, |outcome| outcome.started_unix_ms),
            parent: self.parent(),
            statistics: sum(outcomes),
            extensions: self.request.extensions.clone(),
        }
    }

    fn parent(&self) -> Option<SnapshotId> {
        self.parents.sources.first().and_then(|parent| parent.as_ref().map(|parent| parent.snapshot))
    }

    fn report(&self, snapshot: SnapshotId, outcomes: Vec<SourceOutcome>) -> BackupReport {
        let total = sum(&outcomes);
        let named = std::mem::take(&mut *lock(&self.shared.named));
        let sources = self.sources.iter().zip(outcomes).enumerate().map(|(number, (source, outcome))| SourceReport {
            path: source.path.clone(),
            statistics: outcome.statistics,
            started_unix_ms: outcome.started_unix_ms,
            ended_unix_ms: outcome.ended_unix_ms,
            parent: self.parents.sources.get(number).and_then(|parent| parent.as_ref().map(|parent| parent.snapshot)),
        });
        BackupReport {
            snapshot,
            sources: sources.collect(),
            bytes_stored: self.shared.writer.stored_bytes(),
            unreadable_count: total.unreadable,
            unreadable_first: named.unreadable_first,
            changed_while_read_count: total.changed_while_read,
            changed_first: named.changed_first,
            notes: named.notes,
            parent: self.parent(),
            parent_ignored: self.parents.ignored.clone(),
        }
    }

    /// Lets go of the volume first, then tells the repository. What was uploaded helps the next backup; that this one ended
    /// without a snapshot frees its lease. If neither can be done in time, the lease is fenced by whoever prunes.
    async fn end_without_snapshot(&mut self) {
        let_go(&self.shared.handles, &mut self.request.on_released).await;
        let writer = &self.shared.writer;
        give_back(async {
            if self.shared.stop.requested() == Some(Stop::Release) {
                writer.checkpoint().await?;
            }
            writer.abandon().await
        })
        .await;
    }
}

/// Ends a lease, for as long as the repository may take.
async fn give_back(end: impl Future<Output = Result<(), WriteError>>) {
    match tokio::time::timeout(SAVE_WAIT, end).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the lease of a backup that ended early could not be given back"),
        Err(_) => tracing::warn!("the repository did not answer; the lease of a backup that ended early is left to expire"),
    }
}

/// Closes every handle of the volumes.
async fn let_go(handles: &VolumeHandles, on_released: &mut Option<Box<dyn FnOnce() + Send>>) {
    let closing = handles.clone();
    // It may wait for a system call that is under way, so not on a thread of the runtime.
    let closed = tokio::task::spawn_blocking(move || closing.close_all()).await.unwrap_or(false);
    if !closed {
        tracing::warn!("a system call on the volume does not come back; its handle is closed when it does");
    } else if let Some(on_released) = on_released.take() {
        on_released();
    }
}

/// The parent's counts are the best guess of what is to come.
fn expect(progress: &Progress, parents: &Parents) {
    let sum = |count: fn(&Statistics) -> u64| {
        let all: Option<u64> =
            parents.sources.iter().map(|parent| parent.as_ref().map(|ParentSource { statistics, .. }| count(statistics))).sum();
        all.unwrap_or(0)
    };
    progress.files_total.store(sum(|statistics| statistics.files), std::sync::atomic::Ordering::Relaxed);
    progress.bytes_total.store(sum(|statistics| statistics.bytes), std::sync::atomic::Ordering::Relaxed);
}

fn sum(outcomes: &[SourceOutcome]) -> Statistics {
    outcomes.iter().fold(Statistics::default(), |sum, outcome| {
        let next = &outcome.statistics;
        Statistics {
            files: sum.files + next.files,
            directories: sum.directories + next.directories,
            others: sum.others + next.others,
            bytes: sum.bytes + next.bytes,
            bytes_read: sum.bytes_read + next.bytes_read,
            bytes_added: sum.bytes_added + next.bytes_added,
            bytes_stored: sum.bytes_stored + next.bytes_stored,
            files_read: sum.files_read + next.files_read,
            files_new: sum.files_new + next.files_new,
            files_changed: sum.files_changed + next.files_changed,
            unreadable: sum.unreadable + next.unreadable,
            changed_while_read: sum.changed_while_read + next.changed_while_read,
        }
    })
}
