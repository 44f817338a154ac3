//! The threads that write the target. Each does one job after the other: what a job decodes it writes at once, so that a blob
//! is in memory only once, and only as long as it is needed.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use holdfast_repository::{BlobId, Fetched, Reader, Scratch};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::attributes::{Notes, Privileges, set_on_handle, set_on_name};
use super::directory::{BENEATH, Cursor, Directory, TargetRoot, open_from_root};
use super::file::FileTask;
use super::gate::{Failure, Gate, Halted};
use super::issue::{Issue, Issues, Severity};
use super::place;
use super::private_directory::PrivateDirectory;
use super::window::{BlobWork, Link, Make, Piece, Thing};
use crate::catalog::{Entry, EntryKind, RelPath};
use crate::progress::Progress;

/// Between two looks at the grant at most this much is written.
const BATCH_BYTES: usize = 1 << 20;
/// Files that wait for their other parts stay open up to this many; beyond, they are opened again.
const OPEN_FILES_MAX: usize = 256;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// What all workers share.
pub(super) struct Shared {
    pub(super) gate: Gate,
    pub(super) issues: Arc<Issues>,
    pub(super) progress: Arc<Progress>,
    pub(super) reader: Reader,
    pub(super) privileged: bool,
    pub(super) counts: Vec<Counts>,
    pub(super) bad_blobs: std::sync::Mutex<std::collections::BTreeSet<BlobId>>,
    pub(super) open_files: AtomicUsize,
}

/// What was restored of one target.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) files: AtomicU64,
    pub(super) directories: AtomicU64,
    pub(super) others: AtomicU64,
    pub(super) links: AtomicU64,
    pub(super) bytes: AtomicU64,
}

/// One piece of work.
pub(super) enum Job {
    Make(Vec<Make>),
    PlainFiles(Vec<Arc<FileTask>>),
    Zeros(Arc<FileTask>, u64, u64),
    /// A part of a pack, and what to take out of it.
    Blobs(Fetched, Vec<BlobWork>),
    /// A blob that was read by itself.
    Raw(Bytes, Vec<Piece>),
    /// A blob that cannot be had.
    Missing(BlobId, String, Vec<Piece>),
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

/// One thread's hands.
pub(super) struct Worker {
    shared: Arc<Shared>,
    cursor: Cursor,
    private: PrivateDirectory,
}

impl Worker {
    /// On the thread that will use it, and no other.
    pub(super) fn of_this_thread(shared: Arc<Shared>) -> Self {
        Self { shared, cursor: Cursor::default(), private: PrivateDirectory::of_this_thread() }
    }

    /// `scratch` is the thread's own.
    pub(super) fn run(&mut self, job: Job, scratch: &mut Scratch) -> Result<Vec<Unread>, Halted> {
        self.shared.gate.pass()?;
        match job {
            Job::Blobs(fetched, blobs) => return self.take_blobs(&fetched, blobs, scratch),
            job => self.run_whole(job)?,
        }
        Ok(Vec::new())
    }

    fn run_whole(&mut self, job: Job) -> Result<(), Halted> {
        match job {
            Job::Make(makes) => makes.into_iter().try_for_each(|make| self.make(make)),
            Job::PlainFiles(files) => files.iter().try_for_each(|file| self.end_one(file)),
            Job::Zeros(file, offset, length) => self.write(&file, offset, Content::Zeros(length)),
            // Split off above: it alone leaves something over.
            Job::Blobs(..) => Ok(()),
            Job::Raw(raw, pieces) => self.write_pieces(&raw, &pieces),
            Job::Missing(id, reason, pieces) => self.give_up(&id, &reason, &pieces),
            Job::Links(links) => links.into_iter().try_for_each(|link| self.link(&link)),
            Job::Finish(directories) => directories.into_iter().try_for_each(|(directory, entry)| self.finish_directory(&directory, &entry)),
            Job::Sync(target) => self.sync(&target),
        }
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
        place::make_directory(at, name).map_err(|errno| shared.gate.refused(&directory.path, "make the directory", errno))
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
        if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) && !shared.privileged {
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
        let notes = set_on_name(&self.private, at, name, entry, Privileges(shared.privileged))
            .map_err(|errno| shared.gate.refused(&entry.path, "set its attributes", errno))?;
        self.report_notes(parent, &entry.path, notes);
        shared.counts[parent.target.index].others.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn take_blobs(&mut self, fetched: &Fetched, blobs: Vec<BlobWork>, scratch: &mut Scratch) -> Result<Vec<Unread>, Halted> {
        let shared = Arc::clone(&self.shared);
        let mut unread = Vec::new();
        for BlobWork { id, location, pieces } in blobs {
            match shared.reader.decode(fetched, &id, &location, scratch) {
                Ok(raw) => self.write_pieces(raw, &pieces)?,
                Err(error) => unread.push(Unread { id, reason: error.to_string(), pieces }),
            }
        }
        Ok(unread)
    }

    fn write_pieces(&mut self, raw: &[u8], pieces: &[Piece]) -> Result<(), Halted> {
        for piece in pieces {
            let start = piece.blob_offset as usize;
            match start.checked_add(piece.length as usize).and_then(|end| raw.get(start..end)) {
                Some(bytes) => self.write(&piece.file, piece.file_offset, Content::Bytes(bytes))?,
                None => {
                    self.fail(&piece.file, "the catalog wants more of a blob than there is".into());
                    self.end_one(&piece.file)?;
                }
            }
        }
        Ok(())
    }

    fn give_up(&mut self, id: &BlobId, reason: &str, pieces: &[Piece]) -> Result<(), Halted> {
        self.shared.bad_blobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(*id);
        for piece in pieces {
            self.fail(&piece.file, format!("part of its content cannot be had: blob {id}: {reason}"));
            self.end_one(&piece.file)?;
        }
        Ok(())
    }

    fn write(&mut self, file: &Arc<FileTask>, offset: u64, content: Content<'_>) -> Result<(), Halted> {
        if !file.has_failed() {
            match self.try_write(file, offset, content) {
                Ok(()) => {}
                Err(Failure::Halted) => return Err(Halted),
                Err(Failure::Entry(what)) => self.fail(file, what),
            }
        }
        crate::progress::add(&self.shared.progress.bytes_done, content.length());
        self.end_one(file)
    }

    fn try_write(&mut self, file: &Arc<FileTask>, offset: u64, content: Content<'_>) -> Result<(), Failure> {
        let fd = self.open_file(file)?;
        let mut done = 0;
        while done < content.length() {
            self.shared.gate.pass()?;
            let batch = content.batch(done);
            let written = write_all(&fd, batch, offset + done);
            written.map_err(|errno| self.shared.gate.refused(&file.entry.path, "write it", errno))?;
            done += batch.len() as u64;
        }
        Ok(())
    }

    /// The file's handle: kept while not too many are.
    fn open_file(&mut self, file: &Arc<FileTask>) -> Result<Arc<OwnedFd>, Failure> {
        let mut state = file.state();
        if let Some(fd) = &state.fd {
            return Ok(Arc::clone(fd));
        }
        let shared = Arc::clone(&self.shared);
        shared.gate.pass()?;
        let refused = |errno| shared.gate.refused(&file.entry.path, "make it", errno);
        let at = self.open(&file.directory)?;
        let fd = match state.identity {
            Some(identity) => place::reopen_file(at, file.name(), identity).map_err(refused)?,
            None => {
                let opened = place::open_file(at, file.name()).map_err(refused)?;
                state.identity = Some(opened.identity);
                state.is_new = opened.is_new;
                if file.entry.size > 0 {
                    rustix::fs::ftruncate(&opened.fd, file.entry.size).map_err(refused)?;
                }
                opened.fd
            }
        };
        let fd = Arc::new(fd);
        if shared.open_files.load(Ordering::Relaxed) < OPEN_FILES_MAX {
            shared.open_files.fetch_add(1, Ordering::Relaxed);
            state.fd = Some(Arc::clone(&fd));
        }
        Ok(fd)
    }

    /// One write of a file less to come; after the last, the file is finished.
    fn end_one(&mut self, file: &Arc<FileTask>) -> Result<(), Halted> {
        if !file.end_one() {
            return Ok(());
        }
        crate::progress::add(&self.shared.progress.files_done, 1);
        let finished = match if file.has_failed() { Ok(()) } else { self.finish_file(file) } {
            Err(Failure::Entry(what)) => {
                self.fail(file, what);
                self.discard(file)
            }
            Ok(()) if file.has_failed() => self.discard(file),
            other => other,
        };
        if file.state().fd.take().is_some() {
            self.shared.open_files.fetch_sub(1, Ordering::Relaxed);
        }
        self.settle(&file.directory, &file.entry.path, finished)
    }

    fn finish_file(&mut self, file: &Arc<FileTask>) -> Result<(), Failure> {
        let fd = self.open_file(file)?;
        let shared = Arc::clone(&self.shared);
        shared.gate.pass()?;
        let notes = set_on_handle(std::os::fd::AsFd::as_fd(&*fd), &file.entry, Privileges(shared.privileged))
            .map_err(|errno| shared.gate.refused(&file.entry.path, "set its attributes", errno))?;
        self.report_notes(&file.directory, &file.entry.path, notes);
        let counts = &shared.counts[file.directory.target.index];
        counts.files.fetch_add(1, Ordering::Relaxed);
        counts.bytes.fetch_add(file.entry.size, Ordering::Relaxed);
        Ok(())
    }

    /// A file that is not whole does not stay under its name, unless something stood there before.
    fn discard(&mut self, file: &Arc<FileTask>) -> Result<(), Failure> {
        let is_ours = {
            let state = file.state();
            state.is_new && state.identity.is_some()
        };
        if !is_ours {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        shared.gate.pass()?;
        let at = self.open(&file.directory)?;
        match place::remove(at, file.name()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(shared.gate.refused(&file.entry.path, "remove what was written of it", errno)),
        }
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
        if is_device && !shared.privileged {
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
        let made = place::make_link((std::os::fd::AsFd::as_fd(&first_at), first_name), at, link.entry.path.name().unwrap_or_default());
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
        let notes = set_on_handle(std::os::fd::AsFd::as_fd(&fd), entry, Privileges(shared.privileged)).map_err(refused)?;
        self.report_notes(directory, &directory.path, notes);
        shared.counts[directory.target.index].directories.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// What is called restored is on the disk, and errors that were put off show now.
    fn sync(&mut self, target: &Arc<TargetRoot>) -> Result<(), Halted> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let synced = rustix::fs::openat(&target.root, c".", flags, Mode::empty()).and_then(|fd| rustix::fs::syncfs(&fd));
        match synced.map_err(|errno| self.shared.gate.refused(RelPath::root(), "sync the file system", errno)) {
            Ok(()) => Ok(()),
            Err(Failure::Halted) => Err(Halted),
            Err(Failure::Entry(reason)) => Err(self.shared.gate.shut(super::RestoreError::Target { reason })),
        }
    }

    fn open(&mut self, directory: &Arc<Directory>) -> Result<std::os::fd::BorrowedFd<'_>, Failure> {
        if directory.has_failed() {
            return Err(Failure::Entry("its directory was not restored".into()));
        }
        let shared = Arc::clone(&self.shared);
        self.cursor.open(directory).map_err(|errno| shared.gate.refused(&directory.path, "open its directory", errno))
    }

    fn fail(&self, file: &FileTask, what: String) {
        if file.fail() {
            self.report(&file.directory, &file.entry.path, Severity::Failed, what);
        }
    }

    /// The entry's failure is reported; a shut gate is passed on.
    fn settle(&self, directory: &Directory, path: &RelPath, result: Result<(), Failure>) -> Result<(), Halted> {
        match result {
            Ok(()) => Ok(()),
            Err(Failure::Halted) => Err(Halted),
            Err(Failure::Entry(what)) => {
                self.report(directory, path, Severity::Failed, what);
                Ok(())
            }
        }
    }

    fn report_notes(&self, directory: &Directory, path: &RelPath, notes: Notes) {
        for (severity, what) in notes {
            self.report(directory, path, severity, what);
        }
    }

    fn report(&self, directory: &Directory, path: &RelPath, severity: Severity, what: String) {
        self.shared.issues.add(Issue { severity, source: directory.target.source.clone(), path: path.clone(), what });
    }
}

/// Whether this is what a link's entry says that its first name is. Whole seconds: some file systems keep no more.
fn is_restored(stat: &Stat, entry: &Entry) -> bool {
    let kind = match entry.kind {
        EntryKind::File => FileType::RegularFile,
        EntryKind::Directory => FileType::Directory,
        EntryKind::Symlink { .. } => FileType::Symlink,
        EntryKind::Fifo => FileType::Fifo,
        EntryKind::Socket => FileType::Socket,
        EntryKind::CharDevice { .. } => FileType::CharacterDevice,
        EntryKind::BlockDevice { .. } => FileType::BlockDevice,
    };
    FileType::from_raw_mode(stat.st_mode) == kind
        && stat.st_mtime == entry.mtime.secs
        && (kind != FileType::RegularFile || u64::try_from(stat.st_size) == Ok(entry.size))
}

/// What a write puts into a file.
#[derive(Clone, Copy)]
enum Content<'a> {
    Bytes(&'a [u8]),
    Zeros(u64),
}

impl Content<'_> {
    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(length) => *length,
        }
    }

    /// The next bytes to write after `done`; not empty while `done` is less than the length.
    fn batch(&self, done: u64) -> &[u8] {
        match self {
            Self::Bytes(bytes) => {
                let start = usize::try_from(done).unwrap_or(bytes.len()).min(bytes.len());
                &bytes[start..bytes.len().min(start + BATCH_BYTES)]
            }
            Self::Zeros(length) => {
                let left = usize::try_from(length - done).unwrap_or(usize::MAX);
                &ZEROS[..left.min(ZEROS.len())]
            }
        }
    }
}

fn write_all(fd: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(fd, bytes, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
