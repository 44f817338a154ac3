//! The threads that write the target. Each does one job after the other: what a job decodes it writes at once, so that a blob
//! is in memory only once, and only as long as it is needed.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use holdfast_repository::BlobId;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};

use super::attributes::{Notes, Policy, Set, Standing, set_on_handle, set_on_name};
use super::content::Content;
use super::direct::Blocks;
use super::directory::{BENEATH, Cursor, Directory, TargetRoot, open_from_root};
use super::edges::EdgeMemory;
use super::file::FileTask;
use super::flusher::Flusher;
use super::gate::{Failure, Gate, Halted};
use super::issue::{Issue, Issues, Severity};
use super::place;
use super::private_directory::PrivateDirectory;
use super::run::unsynced;
use super::source::{Archive, Decoder, Fetched};
use super::turns::Turns;
use super::window::{BlobWork, Link, Make, Piece, Thing, Void};
use crate::catalog::{Entry, EntryKind, RelPath};
use crate::progress::Progress;

/// What all workers share.
pub(super) struct Shared {
    pub(super) gate: Arc<Gate>,
    pub(super) issues: Arc<Issues>,
    pub(super) progress: Arc<Progress>,
    pub(super) archive: Arc<dyn Archive>,
    pub(super) policy: Policy,
    pub(super) flusher: Flusher,
    pub(super) turns: Turns,
    pub(super) bytes_written: AtomicU64,
    /// Of these, those that the page cache has taken.
    pub(super) bytes_cached: AtomicU64,
    pub(super) counts: Vec<Counts>,
    pub(super) bad_blobs: std::sync::Mutex<std::collections::BTreeSet<BlobId>>,
    pub(super) open_files: AtomicUsize,
    pub(super) edge_memory: EdgeMemory,
}

impl Shared {
    pub(super) fn wrote(&self, bytes: u64) {
        self.bytes_written.fetch_add(bytes, Ordering::Relaxed);
        self.flusher.wrote(self.bytes_cached.fetch_add(bytes, Ordering::Relaxed), bytes);
    }

    /// Past the page cache.
    pub(super) fn wrote_direct(&self, bytes: u64) {
        self.bytes_written.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What was restored of one target.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) files: AtomicU64,
    pub(super) directories: AtomicU64,
    pub(super) others: AtomicU64,
    pub(super) links: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// Of the files: nothing of them had to be changed.
    pub(super) unchanged: AtomicU64,
    /// Entries that stay whose they are, because the rules say so.
    pub(super) owners_left: AtomicU64,
}

/// One piece of work.
pub(super) enum Job {
    Make(Vec<Make>),
    PlainFiles(Vec<Arc<FileTask>>),
    /// Holes and zeros: where, how long, and whether somebody wrote them.
    Voids(Vec<Void>),
    /// Blobs that the target may have already.
    Look(Vec<BlobWork>),
    /// A part of a pack, and what to take out of it.
    Blobs(Fetched, Vec<BlobWork>),
    /// A blob that was read by itself.
    Raw(Bytes, Vec<Piece>),
    /// A blob that cannot be had.
    Missing(BlobId, String, Vec<Piece>),
    /// A file whose list of extents cannot be had.
    Lost(Arc<FileTask>, String),
    Links(Vec<Link>),
    Finish(Vec<(Arc<Directory>, Entry)>),
    Sync(Arc<TargetRoot>),
}

/// What did not come out of a pack: another copy may.
pub(super) struct Unread {
    pub(super) id: BlobId,
    pub(super) reason: String,
    pub(super) pieces: Vec<Piece>,
}

/// What a job leaves over.
#[derive(Default)]
pub(super) struct Leftover {
    pub(super) unread: Vec<Unread>,
    /// Blobs that the target does not have.
    pub(super) wanted: Vec<BlobWork>,
}

/// One thread's hands.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    cursor: Cursor,
    private: PrivateDirectory,
    /// What stands in the target is read into this.
    pub(super) there: Vec<u8>,
    pub(super) blocks: Blocks,
}

impl Worker {
    /// On the thread that will use it, and no other.
    pub(super) fn of_this_thread(shared: Arc<Shared>) -> Self {
        Self { shared, cursor: Cursor::default(), private: PrivateDirectory::of_this_thread(), there: Vec::new(), blocks: Blocks::default() }
    }

    /// `decoder` is the thread's own.
    pub(super) fn run(&mut self, job: Job, decoder: &mut dyn Decoder) -> Result<Leftover, Halted> {
        self.shared.gate.pass()?;
        match job {
            Job::Blobs(fetched, blobs) => self.take_blobs(&fetched, blobs, decoder),
            Job::Look(blobs) => self.look(blobs),
            job => self.run_whole(job).map(|()| Leftover::default()),
        }
    }

    fn run_whole(&mut self, job: Job) -> Result<(), Halted> {
        match job {
            Job::Make(makes) => makes.into_iter().try_for_each(|make| self.make(make)),
            Job::PlainFiles(files) => files.iter().try_for_each(|file| self.take_plain(file)),
            Job::Voids(voids) => voids.iter().try_for_each(|void| {
                let content = if void.is_written { Content::Zeros(void.length) } else { Content::Hole(void.length) };
                self.write(&void.file, void.offset, content)
            }),
            // Split off above: these leave something over.
            Job::Blobs(..) | Job::Look(_) => Ok(()),
            Job::Raw(raw, pieces) => self.write_pieces(&raw, &pieces),
            Job::Missing(id, reason, pieces) => self.give_up(&id, &reason, &pieces),
            Job::Lost(file, reason) => {
                self.fail(&file, format!("where its content is stored cannot be read: {reason}"));
                self.end_one(&file)
            }
            Job::Links(links) => links.into_iter().try_for_each(|link| self.link(&link)),
            Job::Finish(directories) => directories.into_iter().try_for_each(|(directory, entry)| self.finish_directory(&directory, &entry)),
            Job::Sync(target) => self.sync(&target),
        }
    }

    /// An empty file, or one that only had to be planned to its end.
    fn take_plain(&mut self, file: &Arc<FileTask>) -> Result<(), Halted> {
        if file.entry.size == 0 { self.write(file, 0, Content::Bytes(&[])) } else { self.end_one(file) }
    }

    fn make(&mut self, make: Make) -> Result<(), Halted> {
        match make.thing {
            Thing::Directory(directory) => {
                let made = self.make_directory(&make.parent, &directory);
                if matches!(made, Err(Failure::Entry(_))) {
                    directory.fail();
                }
                self.settle(&make.parent, &directory.path, made)
            }
            Thing::Special(entry) => {
                let made = self.make_special(&make.parent, &entry);
                self.settle(&make.parent, &entry.path, made)
            }
        }
    }

    fn make_directory(&mut self, parent: &Arc<Directory>, directory: &Directory) -> Result<(), Failure> {
        let shared = Arc::clone(&self.shared);
        shared.gate.pass()?;
        let name = directory.path.name().unwrap_or_default();
        let at = self.open(parent)?;
        let made = place::make_directory(at, name).map_err(|errno| shared.gate.refused(&directory.path, "make the directory", errno))?;
        if made {
            directory.made(parent.inherits(at));
        }
        Ok(())
    }

    fn make_special(&mut self, parent: &Arc<Directory>, entry: &Entry) -> Result<(), Failure> {
        let shared = Arc::clone(&self.shared);
        shared.gate.pass()?;
        let name = entry.path.name().unwrap_or_default();
        let mode = Mode::from_raw_mode(entry.mode & 0o7777);
        let (kind, rdev) = match entry.kind {
            EntryKind::Symlink { .. } => (FileType::Symlink, 0),
            EntryKind::Fifo => (FileType::Fifo, 0),
            EntryKind::Socket => (FileType::Socket, 0),
            EntryKind::CharDevice { rdev } => (FileType::CharacterDevice, rdev),
            EntryKind::BlockDevice { rdev } => (FileType::BlockDevice, rdev),
            EntryKind::Directory | EntryKind::File => return Err(Failure::Entry("it is no special file".into())),
        };
        if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) && !shared.policy.privileged {
            self.report(parent, &entry.path, Severity::Withheld, "a device node, which this restore may not make".into());
            return Ok(());
        }
        if parent.has_failed() {
            return Err(Failure::Entry("its directory was not restored".into()));
        }
        let at = self.cursor.open(parent).map_err(|errno| shared.gate.refused(&entry.path, "open its directory", errno))?;
        let made = match &entry.kind {
            EntryKind::Symlink { target } => place::make_symlink(at, name, target),
            _ => place::make_special(at, name, kind, mode, rdev),
        };
        made.map_err(|errno| shared.gate.refused(&entry.path, "make it", errno))?;
        let Set { notes, owner_left, .. } = set_on_name(&self.private, at, name, entry, &shared.policy)
            .map_err(|errno| shared.gate.refused(&entry.path, "set its attributes", errno))?;
        self.report_notes(parent, &entry.path, notes);
        let counts = &shared.counts[parent.target.index];
        counts.others.fetch_add(1, Ordering::Relaxed);
        counts.owners_left.fetch_add(owner_left.into(), Ordering::Relaxed);
        Ok(())
    }

    fn link(&mut self, link: &Link) -> Result<(), Halted> {
        let made = self.try_link(link);
        self.settle(&link.parent, &link.entry.path, made)
    }

    fn try_link(&mut self, link: &Link) -> Result<(), Failure> {
        let shared = Arc::clone(&self.shared);
        shared.gate.pass()?;
        let (Some(first_parent), Some(first_name)) = (link.first.parent(), link.first.name()) else {
            return Err(Failure::Entry("it links to the root".into()));
        };
        let unusable = || Failure::Entry(format!("its first name, {}, was not restored", link.first));
        if shared.issues.has_failed(&link.parent.target.source, &link.first) {
            return Err(unusable());
        }
        let is_device = matches!(link.entry.kind, EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. });
        if is_device && !shared.policy.privileged {
            self.report(&link.parent, &link.entry.path, Severity::Withheld, "a device node, which this restore may not make".into());
            return Ok(());
        }
        let first_at = open_from_root(&link.parent.target.root, &first_parent).map_err(|_| unusable())?;
        // A forged catalog may name what only the target has.
        match rustix::fs::statat(&first_at, first_name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_restored(&stat, &link.entry) => {}
            _ => return Err(unusable()),
        }
        let at = self.open(&link.parent)?;
        let made = place::make_link((first_at.as_fd(), first_name), at, link.entry.path.name().unwrap_or_default());
        made.map_err(|errno| shared.gate.refused(&link.entry.path, "link it", errno))?;
        shared.counts[link.parent.target.index].links.fetch_add(1, Ordering::Relaxed);
        if link.entry.kind.is_file() {
            crate::progress::add(&shared.progress.files_done, 1);
        }
        Ok(())
    }

    fn finish_directory(&mut self, directory: &Arc<Directory>, entry: &Entry) -> Result<(), Halted> {
        if directory.has_failed() {
            return Ok(());
        }
        let finished = self.try_finish_directory(directory, entry);
        self.settle(directory, &directory.path, finished)
    }

    fn try_finish_directory(&mut self, directory: &Arc<Directory>, entry: &Entry) -> Result<(), Failure> {
        let shared = Arc::clone(&self.shared);
        shared.gate.pass()?;
        let refused = |errno| shared.gate.refused(&directory.path, "set its attributes", errno);
        let at = self.open(directory)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat2(at, c".", flags, Mode::empty(), BENEATH).map_err(refused)?;
        let standing = Standing::of(&rustix::fs::fstat(&fd).map_err(refused)?, !directory.is_new() || directory.inherits(at));
        let Set { notes, owner_left, .. } = set_on_handle(fd.as_fd(), entry, &shared.policy, &standing).map_err(refused)?;
        self.report_notes(directory, &directory.path, notes);
        let counts = &shared.counts[directory.target.index];
        counts.directories.fetch_add(1, Ordering::Relaxed);
        counts.owners_left.fetch_add(owner_left.into(), Ordering::Relaxed);
        Ok(())
    }

    /// What is called restored is on the disk, and errors that were put off show now.
    fn sync(&mut self, target: &Arc<TargetRoot>) -> Result<(), Halted> {
        rustix::fs::syncfs(&target.sync).map_err(|errno| self.shared.gate.shut(unsynced(errno)))
    }

    pub(super) fn open(&mut self, directory: &Arc<Directory>) -> Result<std::os::fd::BorrowedFd<'_>, Failure> {
        if directory.has_failed() {
            return Err(Failure::Entry("its directory was not restored".into()));
        }
        let shared = Arc::clone(&self.shared);
        self.cursor.open(directory).map_err(|errno| shared.gate.refused(&directory.path, "open its directory", errno))
    }

    pub(super) fn fail(&self, file: &FileTask, what: String) {
        if file.fail() {
            self.report(&file.directory, &file.entry.path, Severity::Failed, what);
        }
    }

    /// The entry's failure is reported; a shut gate is passed on.
    pub(super) fn settle(&self, directory: &Directory, path: &RelPath, result: Result<(), Failure>) -> Result<(), Halted> {
        match result {
            Ok(()) => Ok(()),
            Err(Failure::Halted) => Err(Halted),
            Err(Failure::Entry(what)) => {
                self.report(directory, path, Severity::Failed, what);
                Ok(())
            }
        }
    }

    pub(super) fn report_notes(&self, directory: &Directory, path: &RelPath, notes: Notes) {
        for (severity, what) in notes {
            self.report(directory, path, severity, what);
        }
    }

    fn report(&self, directory: &Directory, path: &RelPath, severity: Severity, what: String) {
        self.shared.issues.add(Issue { severity, source: directory.target.source.clone(), path: path.clone(), what });
    }
}

/// What the file system calls an entry of this kind.
pub(super) fn file_type(kind: &EntryKind) -> FileType {
    match kind {
        EntryKind::File => FileType::RegularFile,
        EntryKind::Directory => FileType::Directory,
        EntryKind::Symlink { .. } => FileType::Symlink,
        EntryKind::Fifo => FileType::Fifo,
        EntryKind::Socket => FileType::Socket,
        EntryKind::CharDevice { .. } => FileType::CharacterDevice,
        EntryKind::BlockDevice { .. } => FileType::BlockDevice,
    }
}

/// Whether this is what a link's entry says that its first name is. Whole seconds: some file systems keep no more.
fn is_restored(stat: &Stat, entry: &Entry) -> bool {
    let kind = file_type(&entry.kind);
    FileType::from_raw_mode(stat.st_mode) == kind
        && stat.st_mtime == entry.mtime.secs
        && (kind != FileType::RegularFile || u64::try_from(stat.st_size) == Ok(entry.size))
}
