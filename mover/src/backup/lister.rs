//! The walk's threads: one goes from name to name; the other looks at every entry, takes what is unchanged from the parent, and
//! gives out the rest to be read.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender};
use holdfast_repository::BlobId;
use rustix::io::Errno;

use super::change::{entry_of, is_unchanged, is_unsettled};
use super::context::{Context, STOP_POLL, lock};
use super::error::BackupError;
use super::job::{Job, Link, Outcome, OutcomeKind, ReadJob};
use super::links::{LinkCensus, LinkRole};
use super::parent::ParentCursor;
use super::request::ChangeRule;
use crate::catalog::{Entry, EntryKind, Extent, RelPath, border_hash, is_border};
use crate::progress;
use crate::scan::attributes::{Xattrs, xattrs_of_handle};
use crate::scan::{FileType, Found, Handle, NamedXattrs, Stat, Visit, Walker};

/// A bundle has at most so many files,
const BUNDLE_FILES_MAX: usize = 1024;
const SEND_WAIT: Duration = STOP_POLL;
/// Visits handed over at once, and how many such batches may wait: each visit may hold the handle of a directory.
const VISITS: usize = 64;
pub(super) const VISIT_BATCHES: usize = 2;

/// What the walk hands over.
pub(super) enum Visits {
    Some(Vec<Visit>),
    /// These are the last ones.
    Last(Vec<Visit>),
}

/// Walks to the end; the system calls of the walk are half of the work where nothing changed.
pub(super) fn walk(context: &Context, mut walker: Walker, visits: &Sender<Visits>) {
    let mut batch = Vec::with_capacity(VISITS);
    while !context.halted() {
        match walker.step() {
            Ok(Some(visit)) => batch.push(visit),
            Ok(None) => return hand_over(context, visits, Visits::Last(batch)),
            Err(Errno::CANCELED) => return,
            Err(error) => {
                let (path, reason) = (context.source_path.clone(), error.to_string());
                return context.fail(BackupError::VolumeUnreadable { path, reason });
            }
        }
        if batch.len() >= VISITS {
            hand_over(context, visits, Visits::Some(std::mem::replace(&mut batch, Vec::with_capacity(VISITS))));
        }
    }
}

fn hand_over(context: &Context, visits: &Sender<Visits>, mut batch: Visits) {
    while !context.halted() {
        match visits.send_timeout(batch, SEND_WAIT) {
            Err(SendTimeoutError::Timeout(back)) => batch = back,
            Ok(()) | Err(SendTimeoutError::Disconnected(_)) => return,
        }
    }
}

/// See the module.
pub(super) struct Lister<'a> {
    pub(super) context: &'a Context,
    pub(super) visits: Receiver<Visits>,
    pub(super) root: Arc<Handle>,
    pub(super) xattrs: NamedXattrs,
    pub(super) parent: ParentCursor,
    pub(super) jobs: Sender<Job>,
    pub(super) outcomes: Sender<Vec<Outcome>>,
    pub(super) links: LinkCensus,
    /// and files of at most so many directories, each of which keeps a handle open until the bundle is read.
    pub(super) bundle_directories_max: usize,
    pub(super) state: State,
}

/// What the walk remembers.
#[derive(Default)]
pub(super) struct State {
    sequence: u64,
    /// Not handed over yet: an entry at a time would wake the catalog's thread for each.
    ready: Vec<Outcome>,
    bundle: Vec<ReadJob>,
    bundle_bytes: u64,
    bundle_directories: usize,
    devices: Vec<u64>,
    last_known: Option<(BlobId, u32)>,
    links_apart: bool,
}

impl Lister<'_> {
    /// Walks to the end. Returns why the parent was lost on the way, if it was.
    pub(super) fn run(mut self) -> Option<String> {
        loop {
            if self.context.halted() {
                return None;
            }
            match self.visits.recv_timeout(STOP_POLL) {
                Ok(Visits::Some(visits)) => {
                    visits.into_iter().for_each(|visit| self.visit(visit));
                    self.deliver();
                }
                Ok(Visits::Last(visits)) => {
                    visits.into_iter().for_each(|visit| self.visit(visit));
                    break;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        self.flush();
        self.emit(self.state.sequence, OutcomeKind::End);
        self.deliver();
        self.parent.lost()
    }

    fn visit(&mut self, visit: Visit) {
        match visit {
            Visit::Found(found) => self.found(found),
            Visit::Unreadable { path, reason } => self.context.unreadable(&path, &reason),
            Visit::OtherMount { path, stat } => self.other_mount(path, &stat),
        }
    }

    /// Nothing of the other mount belongs to this volume, but a directory must be there again for it to be mounted on.
    fn other_mount(&mut self, path: RelPath, stat: &Stat) {
        self.context.note(&path, "another mount, not entered");
        if stat.file_type == FileType::Directory {
            self.make_room();
            let mut entry = entry_of(path, stat, 0);
            // What is below the mount could not be seen: neither its names nor its attributes stand for anything.
            (entry.inode, entry.flags.read_next_time) = (0, true);
            progress::add(&self.context.counters.directories, 1);
            self.emit_entry(entry, None);
        }
    }

    fn make_room(&mut self) {
        if !self.context.has_room(self.state.sequence) {
            // The catalog may be waiting for the very files that are held back for a bundle.
            self.flush();
            self.deliver();
            self.context.wait_for_room(self.state.sequence);
        }
    }

    fn found(&mut self, found: Found) {
        let before = self.parent.entry(&found.path);
        if self.parent.is_lost() {
            self.context.parent_lost.store(true, Ordering::Release);
        }
        let device = self.device(found.stat.device);
        self.make_room();
        match found.stat.file_type {
            FileType::File => self.file(found, device, before),
            FileType::Directory => self.directory(found, device, before),
            _ => self.other(found, device, before),
        }
    }

    /// The root's device is 0, others are numbered as they appear.
    fn device(&mut self, device: u64) -> u64 {
        let known = self.state.devices.iter().position(|known| *known == device);
        let number = known.unwrap_or_else(|| {
            self.state.devices.push(device);
            self.state.devices.len() - 1
        });
        number as u64
    }

    fn next_sequence(&mut self) -> u64 {
        self.state.sequence += 1;
        self.state.sequence - 1
    }

    fn emit(&mut self, sequence: u64, result: OutcomeKind) {
        self.state.ready.push(Outcome { sequence, result });
    }

    fn deliver(&mut self) {
        if !self.state.ready.is_empty() {
            // The catalog's thread ends first only when all are to end.
            let _ = self.outcomes.send(std::mem::take(&mut self.state.ready));
        }
    }

    fn emit_entry(&mut self, entry: Entry, link: Option<Link>) {
        let sequence = self.next_sequence();
        self.emit(sequence, OutcomeKind::Entry(Box::new(entry), link));
    }

    fn directory(&mut self, found: Found, device: u64, before: Option<Entry>) {
        let mut entry = entry_of(found.path.clone(), &found.stat, device);
        entry.flags.listing_incomplete = found.directory.is_none();
        let same = before.filter(|before| self.context.change_rule == ChangeRule::Full && self.is_unchanged(before, device, &found));
        match (same, &found.directory) {
            (Some(before), _) => entry.xattrs = before.xattrs,
            (None, Some(directory)) => self.keep_xattrs(&mut entry, xattrs_of_handle(directory)),
            (None, None) => {
                let xattrs = self.xattrs.of(&found);
                self.keep_xattrs(&mut entry, xattrs);
            }
        }
        entry.flags.read_next_time = is_unsettled(&found.stat, self.context.settled_before);
        progress::add(&self.context.counters.directories, 1);
        self.emit_entry(entry, None);
    }

    fn is_unchanged(&self, before: &Entry, device: u64, found: &Found) -> bool {
        is_unchanged(self.context.change_rule, before, device, &found.stat)
    }

    fn keep_xattrs(&self, entry: &mut Entry, xattrs: Xattrs) {
        entry.xattrs = xattrs.list;
        if let Some(reason) = xattrs.missing {
            entry.flags.xattrs_incomplete = true;
            self.context.unreadable(&entry.path, &reason);
        }
    }

    /// Symbolic links, pipes, sockets, devices.
    fn other(&mut self, found: Found, device: u64, before: Option<Entry>) {
        let role = Link::of(&found.stat).map(|link| (link, self.links.role(link, &found.path)));
        if let Some((link, LinkRole::Further)) = role {
            return self.follow(found, device, link);
        }
        let unchanged = before.filter(|before| self.context.change_rule == ChangeRule::Full && self.is_unchanged(before, device, &found));
        let entry = unchanged.or_else(|| self.read_other(&found, device));
        let link = role.and_then(|(link, role)| self.group(link, role, &found));
        match entry {
            Some(entry) => {
                progress::add(&self.context.counters.others, 1);
                self.emit_entry(entry, link);
            }
            None => {
                let sequence = self.next_sequence();
                self.emit(sequence, OutcomeKind::Nothing);
            }
        }
    }

    fn read_other(&mut self, found: &Found, device: u64) -> Option<Entry> {
        let mut entry = entry_of(found.path.clone(), &found.stat, device);
        if let EntryKind::Symlink { target } = &mut entry.kind {
            match found.parent.with(|fd| rustix::fs::readlinkat(fd, found.name.as_slice(), Vec::new())) {
                Ok(text) if !text.as_bytes().is_empty() => *target = text.into_bytes(),
                Ok(_) => {
                    self.context.unreadable(&found.path, "an empty symbolic link");
                    return None;
                }
                Err(Errno::NOENT | Errno::INVAL) => {
                    self.context.changed(&found.path, "it was removed or replaced while it was read");
                    return None;
                }
                Err(error) => {
                    self.context.unreadable(&found.path, &format!("symbolic link: {error}"));
                    return None;
                }
            }
        }
        let xattrs = self.xattrs.of(found);
        self.keep_xattrs(&mut entry, xattrs);
        entry.flags.read_next_time = is_unsettled(&found.stat, self.context.settled_before);
        Some(entry)
    }

    /// The group that further names of it will find, unless there is no memory for it.
    fn group(&mut self, link: Link, role: LinkRole, found: &Found) -> Option<Link> {
        if role == LinkRole::Apart {
            if !std::mem::replace(&mut self.state.links_apart, true) {
                self.context.unreadable(&found.path, "more hard links than the memory limit has room for: from here on they are kept as files of their own");
            }
            return None;
        }
        Some(link)
    }

    /// Thousands of such names may wait for their turn: they hold no handle of their directory, and are found from the root in
    /// the rare case that they must be read.
    fn follow(&mut self, mut found: Found, device: u64, link: Link) {
        found.name = found.path.as_bytes().to_vec();
        found.parent = Arc::clone(&self.root);
        let sequence = self.next_sequence();
        let job = ReadJob { sequence, found, device, link: Some(link), reuse: None, basis: None };
        self.emit(sequence, OutcomeKind::Follow(Box::new(job)));
    }

    fn file(&mut self, found: Found, device: u64, before: Option<Entry>) {
        let role = Link::of(&found.stat).map(|link| (link, self.links.role(link, &found.path)));
        if let Some((link, LinkRole::Further)) = role {
            return self.follow(found, device, link);
        }
        let link = role.and_then(|(link, role)| self.group(link, role, &found));
        let counter = if before.is_some() { &self.context.counters.files_changed } else { &self.context.counters.files_new };
        let Some(entry) = before.filter(|before| before.kind.is_file()) else {
            progress::add(counter, 1);
            return self.read(found, device, link, None, None);
        };
        if !self.is_unchanged(&entry, device, &found) {
            progress::add(counter, 1);
            return self.read(found, device, link, None, Some(Box::new(entry)));
        }
        if !entry.extent_lists.is_empty() {
            let entry = self.as_it_is(entry, &found, device);
            return self.read(found, device, link, Some(Box::new(entry)), None);
        }
        if !self.is_all_known(&entry.extents) || self.is_to_be_rebundled(&entry) {
            return self.read(found, device, link, None, Some(Box::new(entry)));
        }
        let entry = self.as_it_is(entry, &found, device);
        lock(&self.context.shared.refs).extents(&entry.extents);
        self.emit_entry(entry, link);
    }

    /// The parent's entry; where the rule does not compare the attributes, with those of today.
    fn as_it_is(&mut self, entry: Entry, found: &Found, device: u64) -> Entry {
        if self.context.change_rule == ChangeRule::Full {
            return entry;
        }
        let mut now = entry_of(entry.path.clone(), &found.stat, device);
        (now.extents, now.extent_lists) = (entry.extents, entry.extent_lists);
        let xattrs = self.xattrs.of(found);
        self.keep_xattrs(&mut now, xattrs);
        now.flags.read_next_time = is_unsettled(&found.stat, self.context.settled_before);
        now
    }

    /// Neighbours share bundles, so that most answers are the last one's.
    fn is_all_known(&mut self, extents: &[Extent]) -> bool {
        extents.iter().all(|extent| {
            let Extent::Blob { blob, offset, length } = extent else {
                return true;
            };
            let raw_bytes = match self.state.last_known {
                Some((known, raw_bytes)) if known == *blob => Some(raw_bytes),
                _ => self.context.shared.writer.known(blob),
            };
            self.state.last_known = raw_bytes.map(|raw_bytes| (*blob, raw_bytes));
            raw_bytes.is_some_and(|raw_bytes| u64::from(*offset) + u64::from(*length) <= u64::from(raw_bytes))
        })
    }

    /// A small file in a bundle that is mostly dead is put into a new one, while the budget lasts.
    fn is_to_be_rebundled(&self, entry: &Entry) -> bool {
        let is_small = entry.size < u64::from(self.context.shared.chunker.small_file_bytes);
        is_small && entry.extents.iter().any(|extent| self.context.shared.rebundle.takes(extent))
    }

    fn read(&mut self, found: Found, device: u64, link: Option<Link>, reuse: Option<Box<Entry>>, basis: Option<Box<Entry>>) {
        let small_bytes = u64::from(self.context.shared.chunker.small_file_bytes);
        let is_large = found.stat.size >= small_bytes || reuse.is_some();
        // Only large files are compared; the others would only keep its memory.
        let basis = basis.filter(|basis| is_large && basis.link_to.is_none());
        let job = ReadJob { sequence: self.next_sequence(), found, device, link, reuse, basis };
        if is_large {
            return self.send(Job::Large(Box::new(job)));
        }
        let is_new_directory =
            self.state.bundle.last().is_none_or(|last| !Arc::ptr_eq(&last.found.parent, &job.found.parent));
        if is_new_directory && self.state.bundle_directories >= self.bundle_directories_max {
            self.flush();
        }
        self.add_to_bundle(job, is_new_directory);
    }

    /// Ends the bundle where the file's own name and size say so: then the same tree gives the same bundles.
    fn add_to_bundle(&mut self, job: ReadJob, is_new_directory: bool) {
        let mean = u64::from(self.context.shared.chunker.bundle_bytes);
        let size = job.found.stat.size;
        let hash = border_hash(self.context.shared.chunker.gear_seed, &job.found.name);
        self.state.bundle.push(job);
        self.state.bundle_bytes += size;
        self.state.bundle_directories += usize::from(is_new_directory);
        let bytes = self.state.bundle_bytes;
        let full = bytes >= 2 * mean || self.state.bundle.len() >= BUNDLE_FILES_MAX;
        if full || (bytes >= mean / 2 && is_border(hash, size.max(1), mean / 2)) {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let bundle = std::mem::take(&mut self.state.bundle);
        (self.state.bundle_bytes, self.state.bundle_directories) = (0, 0);
        if !bundle.is_empty() {
            self.send(Job::Bundle(bundle));
        }
    }

    fn send(&self, mut job: Job) {
        while !self.context.halted() {
            match self.jobs.send_timeout(job, SEND_WAIT) {
                Err(SendTimeoutError::Timeout(back)) => job = back,
                // No worker is left: all are to end.
                Ok(()) | Err(SendTimeoutError::Disconnected(_)) => return,
            }
        }
    }
}
