//! A source that is no directory: a block device, or a stream such as standard input. Its catalog has one file.
//!
//! A device is read as a large file is, and compared with its parent; what it does not hold is written zeros, never a hole. A
//! stream is read once, in order, by one thread.

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use rustix::time::ClockId;

use super::change::entry_of;
use super::context::{CatalogSink, Context, lock};
use super::error::BackupError;
use super::large::LargeFile;
use super::open_file::{Failure, OpenFile};
use super::parent::ParentCursor;
use super::worker::Worker;
use crate::catalog::{AppendError, CatalogSummary, CatalogWriter, Entry, ExtentSpool, RelPath, Timestamp};
use crate::chunk::READ_BYTES;
use crate::progress;
use crate::scan::{FileType, Handle, Stat};

/// See the module.
pub(super) struct Single<'a> {
    pub(super) context: &'a Context,
    pub(super) name: RelPath,
    pub(super) handle: Handle,
    pub(super) stat: Stat,
    pub(super) workers: usize,
}

impl Single<'_> {
    /// Reads it all. A failure of the source is one of the backup: there is nothing else in it.
    pub(super) fn read(self, mut parent: ParentCursor) -> Result<CatalogSummary, Failure> {
        let now = rustix::time::clock_gettime(ClockId::Realtime);
        let now = Timestamp { secs: now.tv_sec, nanos: u32::try_from(now.tv_nsec).unwrap_or_default() };
        let mut stat = Stat { mtime: now, ctime: now, inode: 0, links: 1, is_mount_root: false, ..self.stat.clone() };
        let context = self.context;
        let mut worker = Worker::alone(context);
        let is_device = stat.file_type == FileType::BlockDevice;
        (stat.file_type, stat.mode) = (FileType::File, 0o600);
        let spool = if is_device {
            stat.size = self.handle.with(|fd| rustix::fs::seek(fd, SeekFrom::End(0)))?;
            let basis = parent.entry(&self.name).filter(|entry| entry.kind.is_file());
            let file = LargeFile::new(OpenFile::of_device(self.handle, stat.clone()), basis.as_ref(), context);
            read_device(&file, context, self.workers);
            file.take_spool()?
        } else {
            read_stream(&self.handle, &mut worker)?
        };
        let content = spool.finish(&mut CatalogSink { context, scratch: &mut worker.scratch });
        let content = content.map_err(|error| worker.write_failed(error))?;
        if is_device && content.length != stat.size {
            return Err(Failure::Unreadable(format!("the device ended after {} of {} bytes", content.length, stat.size)));
        }
        let mut entry = entry_of(self.name, &stat, 0);
        (entry.size, entry.extents, entry.extent_lists) = (content.length, content.extents, content.lists);
        // Nothing says whether a device or a stream changed.
        entry.flags.read_next_time = true;
        count(context, &entry);
        let mut root = entry_of(RelPath::root(), &Stat { file_type: FileType::Directory, mode: 0o755, ..stat }, 0);
        root.flags.read_next_time = true;
        catalog(context, &mut worker, &[root, entry])
    }
}

fn count(context: &Context, entry: &Entry) {
    let counters = &context.counters;
    for counter in [&counters.files, &counters.files_read, &counters.directories, &context.shared.progress.files_done] {
        progress::add(counter, 1);
    }
    progress::add(&counters.bytes, entry.size);
    progress::add(&context.shared.progress.bytes_done, entry.size);
}

fn catalog(context: &Context, worker: &mut Worker<'_>, entries: &[Entry]) -> Result<CatalogSummary, Failure> {
    let sink = CatalogSink { context, scratch: &mut worker.scratch };
    let mut catalog = CatalogWriter::new(sink, context.shared.chunker.gear_seed);
    let written = entries.iter().try_for_each(|entry| catalog.append(entry)).and_then(|()| catalog.finish());
    written.map(|(summary, _)| summary).map_err(|error| {
        context.fail(match error {
            AppendError::Write(error) => BackupError::Write(error),
            AppendError::OutOfOrder(path) => BackupError::Internal(format!("the catalog's entries are out of order at {path}")),
        });
        Failure::Halted
    })
}

fn read_device(file: &LargeFile, context: &Context, workers: usize) {
    std::thread::scope(|scope| {
        for _ in 1..workers {
            scope.spawn(|| file.work(&mut Worker::alone(context)));
        }
        file.work(&mut Worker::alone(context));
    });
}

fn read_stream(handle: &Handle, worker: &mut Worker<'_>) -> Result<ExtentSpool, Failure> {
    let context = worker.context;
    let (mut spool, mut position, mut extents) = (ExtentSpool::default(), 0_u64, Vec::new());
    worker.stream.begin(1);
    loop {
        let room = worker.stream.room(position, READ_BYTES as u64);
        let (wanted, length) = (room.len(), fill(handle, room)?);
        context.count_read(length as u64);
        worker.stream.filled(position, length);
        position += length as u64;
        let is_end = length < wanted;
        worker.store_chunks(is_end, &mut extents)?;
        lock(&context.shared.refs).extents(&extents);
        let mut sink = CatalogSink { context, scratch: &mut worker.scratch };
        let pushed = extents.drain(..).try_for_each(|extent| spool.push(extent, &mut sink));
        pushed.map_err(|error| worker.write_failed(error))?;
        if is_end {
            return Ok(spool);
        }
        if context.halted() {
            return Err(Failure::Halted);
        }
    }
}

/// Until `room` is full or the stream ends: a pipe gives little at a time.
fn fill(handle: &Handle, room: &mut [u8]) -> Result<usize, Errno> {
    let mut filled = 0;
    while filled < room.len() {
        match handle.with(|fd| rustix::io::read(fd, &mut room[filled..])) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
