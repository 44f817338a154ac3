//! The catalog's thread: puts what the workers finish back into the order of the walk, and writes the catalog.

use std::collections::BTreeMap;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use holdfast_repository::Scratch;

use super::change::entry_of;
use super::context::{CatalogSink, Context, STOP_POLL};
use super::error::BackupError;
use super::job::{Job, Link, Outcome, OutcomeKind, ReadJob};
use super::links::LinkPaths;
use crate::catalog::{AppendError, CatalogSummary, CatalogWriter, Entry};
use crate::progress;

/// See the module. `jobs` is for names of a file whose first name could not be read.
pub(super) struct Sequencer<'a> {
    pub(super) context: &'a Context,
    pub(super) outcomes: Receiver<Vec<Outcome>>,
    pub(super) jobs: Sender<Job>,
}

/// Entries that came early.
#[derive(Default)]
struct Order {
    next: u64,
    early: BTreeMap<u64, OutcomeKind>,
    end: Option<u64>,
}

/// Batches of outcomes taken from the queue at once.
const BATCHES: usize = 8;

impl Order {
    /// Takes this one, and what else is there already.
    fn take(&mut self, first: Vec<Outcome>, more: &Receiver<Vec<Outcome>>) {
        for Outcome { sequence, result } in std::iter::once(first).chain(more.try_iter().take(BATCHES)).flatten() {
            match result {
                OutcomeKind::End => self.end = Some(sequence),
                result => drop(self.early.insert(sequence, result)),
            }
        }
    }
}

impl Sequencer<'_> {
    /// Runs until the catalog is whole. `None`: it never will be, all are to end.
    pub(super) fn run(self) -> Option<CatalogSummary> {
        let mut scratch = Scratch::new();
        let sink = CatalogSink { context: self.context, scratch: &mut scratch };
        let mut catalog = CatalogWriter::new(sink, self.context.shared.chunker.gear_seed);
        let written = self.write(&mut catalog).and_then(|is_whole| {
            if is_whole { catalog.finish().map(|(summary, _)| Some(summary)) } else { Ok(None) }
        });
        written.unwrap_or_else(|error| {
            self.context.fail(match error {
                AppendError::Write(error) => BackupError::Write(error),
                AppendError::OutOfOrder(path) => BackupError::Internal(format!("the catalog's entries are out of order at {path}")),
            });
            None
        })
    }

    fn write(&self, catalog: &mut CatalogWriter<CatalogSink<'_>>) -> Result<bool, AppendError> {
        let (mut order, mut links) = (Order::default(), LinkPaths::default());
        while order.end != Some(order.next) {
            if self.context.halted() {
                return Ok(false);
            }
            match self.outcomes.recv_timeout(STOP_POLL) {
                Ok(outcomes) => order.take(outcomes, &self.outcomes),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
            }
            let before = order.next;
            while let Some(result) = order.early.remove(&order.next) {
                match self.resolve(result, &mut links) {
                    Resolved::Entry(entry) => self.append(catalog, &entry)?,
                    Resolved::Nothing => {}
                    Resolved::Later => break,
                }
                order.next += 1;
            }
            // Told once for many: each time wakes the walk.
            if order.next > before {
                self.context.done_below(order.next);
            }
        }
        Ok(true)
    }

    fn resolve(&self, result: OutcomeKind, links: &mut LinkPaths) -> Resolved {
        match result {
            OutcomeKind::Entry(entry, link) => {
                if let Some(link) = link {
                    links.first(link, &entry);
                }
                Resolved::Entry(entry)
            }
            OutcomeKind::Follow(job) => self.follow(job, links),
            OutcomeKind::Nothing | OutcomeKind::End => Resolved::Nothing,
        }
    }

    /// Another name of a file: a link to its first name, if that is in the catalog as it is now. Else this name is read; its outcome
    /// comes with the same number.
    fn follow(&self, mut job: Box<ReadJob>, links: &mut LinkPaths) -> Resolved {
        let first = job.link.and_then(|Link { key, .. }| links.further(key));
        let has_first = first.is_some();
        if let Some(first) = first.filter(|first| first.is_still(&job.found.stat)) {
            let mut entry = entry_of(job.found.path.clone(), &job.found.stat, job.device);
            entry.mtime = first.mtime;
            if let crate::catalog::EntryKind::CharDevice { rdev } | crate::catalog::EntryKind::BlockDevice { rdev } = &mut entry.kind {
                *rdev = 0;
            }
            entry.link_to = Some(first.path);
            return Resolved::Entry(Box::new(entry));
        }
        if !job.found.stat.entry_kind().is_file() {
            self.context.changed(&job.found.path, "it was removed or replaced while it was read");
            return Resolved::Nothing;
        }
        if has_first {
            self.context.changed(&job.found.path, "it was written after its first name was read: it is kept as a file of its own");
        }
        if let Some(link) = &mut job.link {
            link.links = link.links.max(2);
        }
        // Workers never wait for this thread, so one of them takes it.
        if self.jobs.send(Job::Large(job)).is_err() {
            return Resolved::Nothing;
        }
        Resolved::Later
    }

    fn append(&self, catalog: &mut CatalogWriter<CatalogSink<'_>>, entry: &Entry) -> Result<(), AppendError> {
        if entry.kind.is_file() {
            let content_bytes = if entry.link_to.is_none() { entry.size } else { 0 };
            progress::add(&self.context.counters.files, 1);
            progress::add(&self.context.counters.bytes, content_bytes);
            progress::add(&self.context.shared.progress.files_done, 1);
            progress::add(&self.context.shared.progress.bytes_done, content_bytes);
        } else if entry.link_to.is_some() {
            progress::add(&self.context.counters.others, 1);
        }
        catalog.append(entry)
    }
}

enum Resolved {
    Entry(Box<Entry>),
    Nothing,
    Later,
}
