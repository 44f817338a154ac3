//! A worker's thread: takes a job through the whole chain, from the volume to the pack.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use holdfast_repository::{BlobId, BlobKind, Scratch};

use super::bundle_buffer::BundleBuffer;
use super::context::{CatalogSink, Context, STOP_POLL, lock};
use super::delta::Changes;
use super::error::BackupError;
use super::job::{Job, Outcome, OutcomeKind, ReadJob};
use super::large::LargeFile;
use super::open_file::{Failure, OpenFile};
use crate::catalog::{Entry, Extent, ExtentStream};
use crate::chunk::{ChunkStream, Cutter, Place, is_zero};
use crate::mutation::left_out;

/// See the module.
pub(super) struct Worker<'a> {
    pub(super) context: &'a Context,
    pub(super) jobs: Receiver<Job>,
    pub(super) outcomes: Sender<Vec<Outcome>>,
    /// Handed over when the job is done.
    ready: Vec<Outcome>,
    /// Large files that have sections left for whoever is free.
    pub(super) assist: (Sender<Arc<LargeFile>>, Receiver<Arc<LargeFile>>),
    pub(super) stream: ChunkStream,
    bundle: BundleBuffer,
    pub(super) changes: Changes,
    /// What is compared with the parent's, and what of it differs: kept for their memory.
    pub(super) window: Vec<u8>,
    pub(super) run: Vec<u8>,
    pub(super) scratch: Scratch,
}

/// Workers that are asked to help with one file.
const HELPERS_MAX: u64 = 64;

/// A file of a bundle, read: where its content stands.
struct Bundled {
    sequence: u64,
    entry: Entry,
    link: Option<super::job::Link>,
    parts: Vec<Part>,
}

enum Part {
    Bundle { offset: u32, length: u32 },
    Known(Extent),
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        context: &'a Context,
        jobs: Receiver<Job>,
        outcomes: Sender<Vec<Outcome>>,
        assist: (Sender<Arc<LargeFile>>, Receiver<Arc<LargeFile>>),
    ) -> Self {
        let stream = ChunkStream::new(Cutter::new(&context.shared.chunker));
        let (bundle, changes, window, run) = (BundleBuffer::default(), Changes::default(), Vec::new(), Vec::new());
        Self { context, jobs, outcomes, ready: Vec::new(), assist, stream, bundle, changes, window, run, scratch: Scratch::new() }
    }

    /// Without jobs: for a source that is one file.
    pub(super) fn alone(context: &'a Context) -> Self {
        Self::new(context, crossbeam_channel::never(), crossbeam_channel::unbounded().0, crossbeam_channel::unbounded())
    }

    /// Works until the jobs end, or all is to end.
    pub(super) fn run(mut self) {
        let poll: Duration = STOP_POLL;
        let (assist, jobs) = (self.assist.1.clone(), self.jobs.clone());
        while !self.context.halted() {
            crossbeam_channel::select_biased! {
                recv(assist) -> file => if let Ok(file) = file {
                    file.work(&mut self);
                },
                recv(jobs) -> job => match job {
                    Ok(Job::Bundle(files)) => self.bundle(files),
                    Ok(Job::Large(file)) => {
                        self.large(*file);
                        self.deliver();
                    }
                    Err(_) => return,
                },
                default(poll) => {}
            }
        }
    }

    fn emit(&mut self, sequence: u64, result: OutcomeKind) {
        self.ready.push(Outcome { sequence, result });
    }

    fn deliver(&mut self) {
        if !self.ready.is_empty() {
            // The catalog's thread ends first only when all are to end.
            let _ = self.outcomes.send(std::mem::take(&mut self.ready));
        }
    }

    fn emit_failure(&mut self, job: &ReadJob, failure: Failure) {
        match failure {
            Failure::Gone => self.context.changed(&job.found.path, "it was removed or replaced before it could be read"),
            Failure::Unreadable(reason) => self.context.unreadable(&job.found.path, &reason),
            Failure::Halted => return,
        }
        self.emit(job.sequence, OutcomeKind::Nothing);
    }

    pub(super) fn write_failed(&self, error: holdfast_repository::WriteError) -> Failure {
        self.context.fail(BackupError::Write(error));
        Failure::Halted
    }

    /// Stores what is in the stream, chunk by chunk; the rest too if the section ends here.
    pub(super) fn store_chunks(&mut self, is_end: bool, extents: &mut Vec<Extent>) -> Result<(), Failure> {
        while let Some(chunk) = self.stream.chunk(is_end) {
            if self.context.halted() {
                return Err(Failure::Halted);
            }
            let length = chunk.len();
            let stored = self.context.store(BlobKind::Data, chunk, &mut self.scratch);
            let blob = stored.map_err(|error| self.write_failed(error))?;
            self.stream.consume(blob, length, extents);
        }
        if is_end {
            self.stream.skip_empty(extents);
        }
        Ok(())
    }

    fn bundle(&mut self, files: Vec<ReadJob>) {
        self.bundle.clear();
        let mut fresh: HashMap<BlobId, (u32, u32)> = HashMap::new();
        let mut read: Vec<Bundled> = Vec::with_capacity(files.len());
        let mut grown = Vec::new();
        for job in files {
            match self.read_small(&job, &mut fresh) {
                Ok(Some(bundled)) => read.push(bundled),
                Ok(None) => grown.push(job),
                Err(failure) => self.emit_failure(&job, failure),
            }
        }
        let blob = match self.store_bundle() {
            Ok(blob) => blob,
            Err(_) => return,
        };
        if let Some(blob) = blob {
            for (content, (offset, length)) in fresh {
                self.context.shared.duplicates.insert(content, Place { blob, offset, length });
            }
        }
        for bundled in read {
            self.emit_bundled(bundled, blob);
        }
        self.deliver();
        for job in grown {
            self.large(job);
            self.deliver();
        }
    }

    fn store_bundle(&mut self) -> Result<Option<BlobId>, Failure> {
        if self.bundle.len() == 0 {
            return Ok(None);
        }
        let stored = self.context.store(BlobKind::Bundle, self.bundle.content(), &mut self.scratch);
        stored.map(Some).map_err(|error| self.write_failed(error))
    }

    fn emit_bundled(&mut self, bundled: Bundled, blob: Option<BlobId>) {
        let Bundled { sequence, mut entry, link, parts } = bundled;
        for part in parts {
            let extent = match (part, blob) {
                (Part::Known(extent), _) => extent,
                (Part::Bundle { offset, length }, Some(blob)) => Extent::Blob { blob, offset, length },
                // A part of the bundle without a bundle cannot be; if it were, the file would be damaged by going on.
                (Part::Bundle { .. }, None) => {
                    return self.context.fail(BackupError::Internal("a file has a part of a bundle that is empty".into()));
                }
            };
            entry.extents.push(extent);
        }
        lock(&self.context.shared.refs).extents(&entry.extents);
        self.emit(sequence, OutcomeKind::Entry(Box::new(entry), link));
    }

    /// Reads a small file to the end of the bundle. `None`: it is not small any more.
    fn read_small(&mut self, job: &ReadJob, fresh: &mut HashMap<BlobId, (u32, u32)>) -> Result<Option<Bundled>, Failure> {
        let file = OpenFile::open(job)?;
        let size = file.before.size;
        if size >= u64::from(self.context.shared.chunker.small_file_bytes) {
            return Ok(None);
        }
        let start = self.bundle.len();
        let read = self.read_small_content(&file, size, fresh).and_then(|parts| {
            let length = parts.iter().map(Part::length).sum();
            Ok((parts, file.entry(job, self.context, length)?))
        });
        let (parts, entry) = match read {
            Ok(read) => read,
            Err(failure) => {
                // Places that were noted for this file's content are cut off with it.
                fresh.retain(|_, (offset, _)| (*offset as usize) < start);
                self.bundle.truncate(start);
                return Err(failure);
            }
        };
        Ok(Some(Bundled { sequence: job.sequence, entry, link: job.link, parts }))
    }

    fn read_small_content(
        &mut self,
        file: &OpenFile,
        size: u64,
        fresh: &mut HashMap<BlobId, (u32, u32)>,
    ) -> Result<Vec<Part>, Failure> {
        let may_have_holes = file.before.allocated_bytes < size;
        let (mut parts, mut position) = (Vec::new(), 0);
        while position < size {
            let run = if may_have_holes { file.next_data(position, size)? } else { Some((position, size)) };
            let Some((from, to)) = run else {
                let end = file.size_now()?.min(size);
                push_hole(&mut parts, end.saturating_sub(position));
                break;
            };
            push_hole(&mut parts, from - position);
            let length = self.read_run(file, from, to, fresh, &mut parts)?;
            if length < to - from {
                break;
            }
            position = to;
        }
        Ok(parts)
    }

    /// Reads a run of data. The same content as that of an earlier run is not kept twice.
    fn read_run(
        &mut self,
        file: &OpenFile,
        from: u64,
        to: u64,
        fresh: &mut HashMap<BlobId, (u32, u32)>,
        parts: &mut Vec<Part>,
    ) -> Result<u64, Failure> {
        let start = self.bundle.len();
        let length = file.read_small(self.context, self.bundle.room((to - from) as usize), from)?;
        self.bundle.filled(length);
        if length == 0 {
            return Ok(0);
        }
        let content = &self.bundle.content()[start..];
        if content.len() >= 4096 && is_zero(content) {
            parts.push(Part::Known(Extent::Zero { length: length as u64 }));
            self.bundle.truncate(start);
            return Ok(length as u64);
        }
        let id = self.context.shared.writer.blob_id(BlobKind::Bundle, content);
        if left_out!(SameBuffer) {
            self.bundle.truncate(start);
            let again = file.read_small(self.context, self.bundle.room(length), from)?;
            self.bundle.filled(again);
        }
        let place = (start as u32, length as u32);
        if let Some((offset, length)) = fresh.get(&id).copied() {
            parts.push(Part::Bundle { offset, length });
            self.bundle.truncate(start);
        } else if let Some(Place { blob, offset, length }) = self.context.shared.duplicates.find(&id) {
            parts.push(Part::Known(Extent::Blob { blob, offset, length }));
            self.bundle.truncate(start);
        } else {
            fresh.insert(id, place);
            parts.push(Part::Bundle { offset: place.0, length: place.1 });
        }
        Ok(length as u64)
    }

    /// A file to chunks of its own, unless the parent's can stand for it.
    fn large(&mut self, mut job: ReadJob) {
        if let Some(entry) = job.reuse.take() {
            if self.reuse(&entry) {
                return self.emit(job.sequence, OutcomeKind::Entry(entry, job.link));
            }
            job.basis = Some(entry);
        }
        let file = match OpenFile::open(&job) {
            Ok(file) => Arc::new(LargeFile::new(file, job.basis.as_deref(), self.context)),
            Err(failure) => return self.emit_failure(&job, failure),
        };
        for _ in 1..file.sections().min(HELPERS_MAX) {
            // The receiver lives as long as this worker.
            let _ = self.assist.0.send(Arc::clone(&file));
        }
        file.work(self);
        file.wait_for_helpers();
        match self.finish_large(&job, &file) {
            Ok(entry) => self.emit(job.sequence, OutcomeKind::Entry(Box::new(entry), job.link)),
            Err(failure) => self.emit_failure(&job, failure),
        }
    }

    fn finish_large(&mut self, job: &ReadJob, file: &LargeFile) -> Result<Entry, Failure> {
        let context = self.context;
        let spool = file.take_spool()?;
        let content = spool.finish(&mut CatalogSink { context, scratch: &mut self.scratch });
        let content = content.map_err(|error| self.write_failed(error))?;
        let mut entry = file.open_file().entry(job, context, content.length)?;
        (entry.extents, entry.extent_lists) = (content.extents, content.lists);
        Ok(entry)
    }

    /// True if every blob of a giant file can be used again; the snapshot needs them then.
    fn reuse(&mut self, entry: &Entry) -> bool {
        let writer = &self.context.shared.writer;
        let mut stream = ExtentStream::new(Arc::new(writer.clone()), entry);
        let mut extents = Vec::new();
        let known = |extent: &Extent| match extent {
            Extent::Blob { blob, offset, length } => {
                writer.known(blob).is_some_and(|raw_bytes| u64::from(*offset) + u64::from(*length) <= u64::from(raw_bytes))
            }
            Extent::Hole { .. } | Extent::Zero { .. } => true,
        };
        // Two passes, so that a file that cannot be used again leaves no trace in the refs; the lists are small.
        for noting in [false, true] {
            loop {
                match self.context.wait(stream.next()) {
                    Some(Ok(Some(extent))) if noting || known(&extent) => extents.push(extent),
                    Some(Ok(None)) => break,
                    // Unreadable, gone, or stopped: the file itself is there.
                    _ => return false,
                }
                if extents.len() >= 1024 {
                    self.note(noting, &mut extents, &mut stream);
                }
            }
            self.note(noting, &mut extents, &mut stream);
            stream = ExtentStream::new(Arc::new(writer.clone()), entry);
        }
        true
    }

    fn note(&self, noting: bool, extents: &mut Vec<Extent>, stream: &mut ExtentStream) {
        let lists = stream.take_opened();
        if noting {
            let mut refs = lock(&self.context.shared.refs);
            refs.extents(extents);
            lists.into_iter().for_each(|(blob, raw_bytes)| refs.whole(blob, raw_bytes));
        }
        extents.clear();
    }
}

impl Part {
    fn length(&self) -> u64 {
        match self {
            Self::Bundle { length, .. } => u64::from(*length),
            Self::Known(extent) => extent.length(),
        }
    }
}

fn push_hole(parts: &mut Vec<Part>, length: u64) {
    if length > 0 {
        parts.push(Part::Known(Extent::Hole { length }));
    }
}
