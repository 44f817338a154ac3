//! Manifests: one file of a repository, whose bytes the controller gives, or takes back. No volume is touched.
//!
//! A stream that ends too early is no backup: what the controller has said of its end is asked for before anything is committed.

use std::io::{self, Write};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use holdfast_mover::backup::{self, BackupRequest, ChangeRule, LookAgain, Parent, Source};
use holdfast_mover::dump::{self, DumpError};
use holdfast_mover::progress::Progress;
use holdfast_mover::scan::root_identity;
use holdfast_proto::PIECE_BYTES_MAX;
use holdfast_proto::v1::task_failure::Reason;
use holdfast_proto::v1::{Assign, BackupResult, Data, DataAnswer, DataPiece, RestoreResult, ReturnManifests, StoreManifests, TaskFailure, TaskProgress};
use holdfast_repository::{Activity, Purpose, Reader, SnapshotId};
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::backend::Opened;
use super::backup::{failed, limits, repository_bytes, result};
use super::link::Link;
use super::{engine, failure, progress};

/// How often the controller is asked how far it is.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Pieces that wait for the controller.
const PIECES_AHEAD: usize = 2;

/// How far the exchange is, shared with who tells it.
#[derive(Debug, Default)]
struct Moved {
    bytes: AtomicU64,
    objects: AtomicU64,
    objects_total: AtomicU64,
}

impl Moved {
    fn shown(&self, phase: &str, stored: u64) -> TaskProgress {
        TaskProgress {
            bytes_done: self.bytes.load(Relaxed),
            files_done: self.objects.load(Relaxed),
            files_total: self.objects_total.load(Relaxed),
            bytes_stored: stored,
            phase: phase.into(),
            ..TaskProgress::default()
        }
    }
}

/// How the stream ended: its last piece, or why there is none.
type Ending = OnceLock<Result<Data, TaskFailure>>;

/// Stores what the controller gives.
pub(super) async fn store(task: StoreManifests, assign: &Assign, backend: &Opened, link: &Arc<Link>) -> Result<BackupResult, TaskFailure> {
    let (repository, store) = tokio::select! {
        opened = engine::open(task.repository, backend) => opened?,
        () = link.stop.stopped() => return Err(failure::cancelled()),
    };
    let (to_backup, source) = channel().map_err(|error| failure::failure(Reason::Internal, format!("no pipe can be had: {error}"), true))?;
    let (ending, moved) = (Arc::new(Ending::new()), Arc::new(Moved::default()));
    let look_again = look_again(&source, Arc::clone(&ending));
    let request = BackupRequest {
        sources: vec![Source {
            root: source,
            path: task.path.into_bytes(),
            pvc_uid: String::new(),
            path_in_volume: Vec::new(),
            change_rule: ChangeRule::Full,
            look_again: Some(look_again),
        }],
        host: task.host,
        session: task.session,
        component: assign.task.clone().unwrap_or_default().component,
        is_excluded: None,
        parent: Parent::None,
        limits: limits(assign),
        extensions: task.labels.into_iter().map(|(name, value)| (name, value.into_bytes())).collect(),
        on_unreadable: None,
        on_released: None,
    };
    let feeding = tokio::spawn(feed(Arc::clone(link), to_backup, Arc::clone(&ending), Arc::clone(&moved)));
    let progress = Arc::new(Progress::default());
    let report = tokio::select! {
        report = backup::run(&repository, request, Arc::clone(&progress), link.stop.clone()) => report,
        never = progress::tell(link, || moved.shown("read", progress.bytes_stored.load(Relaxed))) => match never {},
    };
    feeding.abort();
    let last = match ending.get() {
        Some(Err(why)) => return Err(why.clone()),
        Some(Ok(last)) => last.clone(),
        None => Data::default(),
    };
    let report = report.map_err(|error| failed(&error))?;
    let mut result = result(report, repository_bytes(store.as_ref()).await);
    (result.unreadable_count, result.unreadable_first) = (last.left_out_count, last.left_out_first);
    for source in &mut result.sources {
        source.files = last.objects;
    }
    Ok(result)
}

fn channel() -> io::Result<(pipe::Sender, OwnedFd)> {
    let (sender, receiver) = pipe::pipe()?;
    Ok((sender, receiver.into_blocking_fd()?))
}

/// Asked when the stream has ended and before anything is committed: only the controller's word makes it whole.
fn look_again(source: &OwnedFd, ending: Arc<Ending>) -> Arc<LookAgain> {
    let identity = root_identity(source.as_fd());
    Arc::new(move || match ending.get() {
        Some(Ok(_)) => Ok(identity?),
        _ => Err(io::Error::other("the controller has not given all of it")),
    })
}

/// The ending is set before the stream is closed.
async fn feed(link: Arc<Link>, mut to_backup: pipe::Sender, ending: Arc<Ending>, moved: Arc<Moved>) {
    let ended = tokio::select! {
        ended = feed_all(&link, &mut to_backup, &moved) => ended,
        () = link.stop.stopped() => Err(failure::cancelled()),
    };
    // Nobody else sets it.
    let _ = ending.set(ended);
}

async fn feed_all(link: &Link, to_backup: &mut pipe::Sender, moved: &Moved) -> Result<Data, TaskFailure> {
    let mut offset = 0;
    loop {
        let mut data = link.data(offset, u32::try_from(PIECE_BYTES_MAX).unwrap_or(u32::MAX)).await;
        if !data.error.is_empty() {
            return Err(failure::failure(Reason::VolumeUnreadable, data.error, data.retry_may_help));
        }
        // The backup has ended, and says why.
        to_backup.write_all(&data.bytes).await.map_err(|error| failure::failure(Reason::Internal, format!("the backup ended early: {error}"), true))?;
        offset += data.bytes.len() as u64;
        moved.bytes.store(offset, Relaxed);
        moved.objects.store(data.objects, Relaxed);
        if data.last {
            data.bytes.clear();
            return Ok(data);
        }
    }
}

/// Gives a stored file to the controller, and waits for what that makes of it.
pub(super) async fn give_back(task: ReturnManifests, assign: &Assign, backend: &Opened, link: &Arc<Link>) -> Result<RestoreResult, TaskFailure> {
    let snapshot = engine::snapshot_id(&task.snapshot_id)?;
    let moved = Moved::default();
    let given = async {
        let (repository, _store) = engine::open(task.repository, backend).await?;
        let host = assign.task.clone().unwrap_or_default().namespace;
        let reader = repository.reader(Purpose::new(Activity::Restore, host)).await.map_err(|error| failure::read(&error))?;
        let given = give_all(&reader, &snapshot, &task.path, link, &moved).await;
        if let Err(error) = reader.close().await {
            tracing::warn!(%error, "the lease of a restore could not be ended");
        }
        wait_for_end(given?, link, &moved).await
    };
    tokio::select! {
        given = given => given,
        () = link.stop.stopped() => Err(failure::stopped(link.stop.requested())),
        never = progress::tell(link, || moved.shown("write", 0)) => match never {},
    }
}

/// Sends all of it; where it ended.
async fn give_all(reader: &Reader, snapshot: &SnapshotId, path: &str, link: &Link, moved: &Moved) -> Result<DataAnswer, TaskFailure> {
    let record = reader.snapshot(snapshot).await.map_err(|error| match error.is_not_found() {
        true => failure::failure(Reason::SnapshotNotFound, failure::chain(&error), false),
        false => failure::read(&error),
    })?;
    let (sender, mut pieces) = mpsc::channel(PIECES_AHEAD);
    let giving = async move {
        let (mut offset, mut held) = (0, Vec::new());
        while let Some(piece) = pieces.recv().await {
            let before = std::mem::replace(&mut held, piece);
            if !before.is_empty() {
                offset = give(link, moved, DataPiece { task: None, offset, bytes: before, last: false }).await?.offset;
            }
        }
        // The last is kept back until it is known that all could be read.
        Ok::<_, TaskFailure>(DataPiece { task: None, offset, bytes: held, last: true })
    };
    let (last, dumped) = tokio::join!(giving, dump::dump(reader, &record, path.as_bytes(), Pieces { sender, buffer: Vec::new() }));
    let last = last?;
    dumped.map_err(|error| unreadable(&error))?;
    give(link, moved, last).await
}

async fn give(link: &Link, moved: &Moved, piece: DataPiece) -> Result<DataAnswer, TaskFailure> {
    let answer = link.give(piece).await;
    moved.bytes.store(answer.offset, Relaxed);
    moved.objects.store(answer.done, Relaxed);
    moved.objects_total.store(answer.total, Relaxed);
    if answer.error.is_empty() { Ok(answer) } else { Err(failure::failure(Reason::TargetUnwritable, answer.error, answer.retry_may_help)) }
}

async fn wait_for_end(mut answer: DataAnswer, link: &Link, moved: &Moved) -> Result<RestoreResult, TaskFailure> {
    loop {
        if let Some(result) = answer.result {
            return Ok(result);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
        answer = give(link, moved, DataPiece { task: None, offset: answer.offset, bytes: Vec::new(), last: true }).await?;
    }
}

fn unreadable(error: &DumpError) -> TaskFailure {
    let message = failure::chain(error);
    match error {
        DumpError::List(_) | DumpError::NotAFile { .. } => failure::failure(Reason::SnapshotNotFound, message, false),
        DumpError::Read(error) => failure::read(error),
        DumpError::Catalog(_) | DumpError::Length { .. } => failure::failure(Reason::RepositoryDamaged, message, false),
        DumpError::Output(_) => failure::failure(Reason::Internal, message, true),
    }
}

/// Cuts a file into pieces for the controller.
struct Pieces {
    sender: mpsc::Sender<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Pieces {
    fn pass_on(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.sender.blocking_send(std::mem::take(&mut self.buffer)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PIECE_BYTES_MAX - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == PIECE_BYTES_MAX {
            self.pass_on()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()
    }
}
