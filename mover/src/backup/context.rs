//! What the threads of one source share.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_repository::{BlobId, BlobKind, ChunkerParameters, Pace, Scratch, Statistics, WriteError, Writer};

use super::error::BackupError;
use super::open_file::CacheTells;
use super::rebundle::Rebundle;
use super::refs::Refs;
use super::report::NAMED_MAX;
use super::request::{ChangeRule, Tell};
use crate::catalog::{BlobSink, RelPath, Timestamp};
use crate::chunk::Duplicates;
use crate::progress::{self, Progress};
use crate::scan::VolumeHandles;
use crate::stop::StopToken;

/// How often a thread that waits looks whether it should stop.
pub(super) const STOP_POLL: Duration = Duration::from_millis(50);
/// Entries that the walk may be ahead of the catalog: what it costs to keep them until it is their turn is bounded by this.
const WINDOW_ENTRIES: u64 = 8192;

/// Shared by all sources of a backup.
pub(super) struct Shared {
    pub(super) writer: Writer,
    pub(super) chunker: ChunkerParameters,
    pub(super) stop: StopToken,
    pub(super) progress: Arc<Progress>,
    pub(super) handles: VolumeHandles,
    pub(super) duplicates: Duplicates,
    pub(super) pace: Pace,
    pub(super) rebundle: Rebundle,
    pub(super) refs: Mutex<Refs>,
    pub(super) named: Mutex<Named>,
    pub(super) on_unreadable: Option<Arc<Tell>>,
}

/// What the report names.
#[derive(Debug, Default)]
pub(super) struct Named {
    pub(super) unreadable_first: Vec<String>,
    pub(super) changed_first: Vec<String>,
    pub(super) notes: Vec<String>,
}

/// Shared by the threads of one source.
pub(super) struct Context {
    pub(super) shared: Arc<Shared>,
    pub(super) source_path: String,
    pub(super) change_rule: ChangeRule,
    /// What has a time at or after this may change again without showing it.
    pub(super) settled_before: Timestamp,
    pub(super) counters: Counters,
    /// The parent's catalog turned out damaged: what is stored of it is looked at before it is used again.
    pub(super) parent_lost: AtomicBool,
    /// A [`CacheTells`].
    cache_tells: AtomicU8,
    runtime: tokio::runtime::Handle,
    abort: AtomicBool,
    failure: Mutex<Option<BackupError>>,
    window: Window,
}

/// The counts of a source while it runs; the same names as in [`Statistics`].
#[derive(Debug, Default)]
#[allow(missing_docs)]
pub(super) struct Counters {
    pub(super) files: AtomicU64,
    pub(super) directories: AtomicU64,
    pub(super) others: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) bytes_read: AtomicU64,
    pub(super) bytes_added: AtomicU64,
    pub(super) bytes_stored: AtomicU64,
    pub(super) files_read: AtomicU64,
    pub(super) files_new: AtomicU64,
    pub(super) files_changed: AtomicU64,
    pub(super) unreadable: AtomicU64,
    pub(super) changed_while_read: AtomicU64,
}

impl Counters {
    pub(super) fn statistics(&self) -> Statistics {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Statistics {
            files: get(&self.files),
            directories: get(&self.directories),
            others: get(&self.others),
            bytes: get(&self.bytes),
            bytes_read: get(&self.bytes_read),
            bytes_added: get(&self.bytes_added),
            bytes_stored: get(&self.bytes_stored),
            files_read: get(&self.files_read),
            files_new: get(&self.files_new),
            files_changed: get(&self.files_changed),
            unreadable: get(&self.unreadable),
            changed_while_read: get(&self.changed_while_read),
        }
    }
}

/// A panic elsewhere does not spoil what these locks hold: every change of it is one statement.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Context {
    pub(super) fn new(
        shared: Arc<Shared>,
        source_path: String,
        change_rule: ChangeRule,
        settled_before: Timestamp,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        Self {
            shared,
            runtime,
            parent_lost: AtomicBool::new(false),
            cache_tells: AtomicU8::new(CacheTells::Count as u8),
            source_path,
            change_rule,
            settled_before,
            counters: Counters::default(),
            abort: AtomicBool::new(false),
            failure: Mutex::new(None),
            window: Window::default(),
        }
    }

    /// True once every thread is to end.
    pub(super) fn halted(&self) -> bool {
        self.abort.load(Ordering::Acquire) || self.shared.stop.requested().is_some()
    }

    /// Ends every thread; the first reason counts.
    pub(super) fn fail(&self, error: BackupError) {
        lock(&self.failure).get_or_insert(error);
        self.abort.store(true, Ordering::Release);
    }

    pub(super) fn failure(&self) -> Option<BackupError> {
        lock(&self.failure).take()
    }

    /// For the report: where, and what.
    fn name(&self, path: &RelPath, what: &str) -> String {
        if path.is_root() { format!("{}: {what}", self.source_path) } else { format!("{}/{path}: {what}", self.source_path) }
    }

    pub(super) fn unreadable(&self, path: &RelPath, reason: &str) {
        let line = self.name(path, reason);
        progress::add(&self.counters.unreadable, 1);
        if let Some(tell) = &self.shared.on_unreadable {
            tell(&line);
        }
        push_bounded(&mut lock(&self.shared.named).unreadable_first, line);
    }

    pub(super) fn changed(&self, path: &RelPath, how: &str) {
        progress::add(&self.counters.changed_while_read, 1);
        push_bounded(&mut lock(&self.shared.named).changed_first, self.name(path, how));
    }

    pub(super) fn note(&self, path: &RelPath, what: &str) {
        push_bounded(&mut lock(&self.shared.named).notes, self.name(path, what));
    }

    /// Stores a blob unless it is stored, and counts what that took.
    pub(super) fn store(&self, kind: BlobKind, raw: &[u8], scratch: &mut Scratch) -> Result<BlobId, WriteError> {
        let writer = &self.shared.writer;
        let (id, fine) = writer.identify(kind, raw);
        if writer.known(&id).is_some() && !self.is_rotten(kind, &id) {
            return Ok(id);
        }
        let added = writer.add(kind, id, raw, fine, scratch)?;
        if added.was_new {
            progress::add(&self.counters.bytes_added, raw.len() as u64);
            progress::add(&self.counters.bytes_stored, u64::from(added.stored_bytes));
            progress::add(&self.shared.progress.bytes_stored, u64::from(added.stored_bytes));
        }
        Ok(id)
    }

    /// Waits for something of the repository on this (plain) thread; `None` once stopped.
    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        self.runtime.block_on(async {
            tokio::select! {
                output = future => Some(output),
                () = self.shared.stop.stopped() => None,
            }
        })
    }

    /// However long it is, the thread looks whether all are to end.
    fn wait_in_pieces(&self, wait: impl Future<Output = ()>) {
        self.runtime.block_on(async {
            tokio::pin!(wait);
            while !self.halted() && tokio::time::timeout(STOP_POLL, &mut wait).await.is_err() {}
        });
    }

    /// After damage in the parent's catalog its neighbours are suspect: the same segment, found in the index, may be as rotten.
    /// A copy that fails this reading is not known any more, and is stored anew.
    fn is_rotten(&self, kind: BlobKind, id: &BlobId) -> bool {
        let is_suspect = matches!(kind, BlobKind::Catalog | BlobKind::ExtentList) && self.parent_lost.load(Ordering::Acquire);
        is_suspect && matches!(self.wait(self.shared.writer.read_blob(kind, id)), Some(Err(_)))
    }

    /// How small files are asked for what of them is in the page cache.
    pub(super) fn cache_tells(&self) -> CacheTells {
        let tells = self.cache_tells.load(Ordering::Relaxed);
        [CacheTells::Count, CacheTells::Wait].into_iter().find(|way| *way as u8 == tells).unwrap_or(CacheTells::Nothing)
    }

    pub(super) fn cache_tells_only(&self, tells: CacheTells) {
        self.cache_tells.fetch_max(tells as u8, Ordering::Relaxed);
    }

    /// Bytes came from the volume.
    pub(super) fn count_read(&self, bytes: u64) {
        progress::add(&self.counters.bytes_read, bytes);
        progress::add(&self.shared.progress.bytes_read, bytes);
        if let Some(wait) = self.shared.pace.spend(bytes) {
            self.wait_in_pieces(wait);
        }
    }

    /// Waits until entry `sequence` is within the window. False: not yet, and what the caller holds back should be sent first.
    pub(super) fn has_room(&self, sequence: u64) -> bool {
        self.window.has_room(sequence)
    }

    /// Waits for room, or until halted.
    pub(super) fn wait_for_room(&self, sequence: u64) {
        while !self.has_room(sequence) && !self.halted() {
            self.window.wait(sequence);
        }
    }

    /// The catalog has all entries below `sequence`.
    pub(super) fn done_below(&self, sequence: u64) {
        self.window.advance(sequence);
    }
}

fn push_bounded(list: &mut Vec<String>, line: String) {
    if list.len() < NAMED_MAX {
        list.push(line);
    }
}

/// Asked for every entry, so that asking takes no lock; moved for many at once, and woken only who waits.
#[derive(Debug, Default)]
struct Window {
    done: AtomicU64,
    waiting: AtomicUsize,
    gate: Mutex<()>,
    moved: Condvar,
}

impl Window {
    fn has_room(&self, sequence: u64) -> bool {
        sequence < self.done.load(Ordering::SeqCst) + WINDOW_ENTRIES
    }

    fn advance(&self, done: u64) {
        self.done.store(done, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            // Whoever is between its look and its wait holds the gate: it is woken, and not missed.
            drop(lock(&self.gate));
            self.moved.notify_all();
        }
    }

    /// Until there may be room; the caller looks again.
    fn wait(&self, sequence: u64) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let gate = lock(&self.gate);
        if !self.has_room(sequence) {
            drop(self.moved.wait_timeout(gate, STOP_POLL));
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Ends the other threads if this one panics: they would wait for it for ever.
pub(super) struct AbortOnPanic<'a>(pub(super) &'a Context);

impl Drop for AbortOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(BackupError::Internal("a thread of the backup panicked".into()));
        }
    }
}

/// Stores catalog blobs and extent lists, and notes that the snapshot needs them.
pub(super) struct CatalogSink<'a> {
    pub(super) context: &'a Context,
    pub(super) scratch: &'a mut Scratch,
}

impl BlobSink for CatalogSink<'_> {
    fn store(&mut self, kind: BlobKind, raw: &[u8]) -> Result<BlobId, WriteError> {
        let id = self.context.store(kind, raw, self.scratch)?;
        lock(&self.context.shared.refs).whole(id, raw.len() as u64);
        Ok(id)
    }
}
