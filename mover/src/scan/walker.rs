//! Walks a tree in the order of path components, one entry at a time.

use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::attributes::{FileType, Stat};
use super::handle::Handle;
use super::names::{self, Buffer, Name, Names};
use crate::catalog::RelPath;

/// Directories of the way down that keep their handle and their names; those above give them up and take them again.
const OPEN_LEVELS: usize = 64;
/// Names of one directory get at least this much memory, however deep it is.
const NAMES_BYTES_MIN: usize = 4 << 10;
/// Bytes of path that one call resolves on the way back up a deep tree.
const REOPEN_BYTES: usize = 2048;

/// Bounds and choices of a walk.
pub struct WalkOptions {
    /// Memory for names.
    pub names_bytes: usize,
    /// True for what is left out (a directory with all that is in it).
    pub is_excluded: Box<IsExcluded>,
}

/// See [`WalkOptions::is_excluded`].
pub type IsExcluded = dyn Fn(&RelPath, bool) -> bool + Send;

/// What the walk came upon.
pub enum Visit {
    /// An entry.
    Found(Found),
    /// Something that is there and could not be looked at, or not wholly; named in the report.
    Unreadable {
        /// Where.
        path: RelPath,
        /// Why.
        reason: String,
    },
    /// Another mount begins here; it is not entered.
    OtherMount {
        /// Where.
        path: RelPath,
        /// What begins here, of the other mount.
        stat: Stat,
    },
}

/// An entry.
pub struct Found {
    /// Where.
    pub path: RelPath,
    /// Its attributes: of the open handle if it is a directory, else by name.
    pub stat: Stat,
    /// The directory that it is in (for the root: itself).
    pub parent: Arc<Handle>,
    /// Of a directory, unless it could not be opened.
    pub directory: Option<Arc<Handle>>,
    /// The name in `parent`; empty for the root.
    pub name: Vec<u8>,
}

/// A walk under way.
pub struct Walker {
    options: WalkOptions,
    root: Arc<Handle>,
    /// Of the directory that the walk is in: the last level's.
    path: RelPath,
    levels: Vec<Level>,
    names_bytes: usize,
    buffer: Buffer,
    started: bool,
    queued: Option<Visit>,
}

/// A directory on the way down.
struct Level {
    path_bytes: usize,
    stat: Stat,
    handle: Option<Arc<Handle>>,
    names: Option<Names>,
    after: Option<Vec<u8>>,
    done: bool,
}

impl Walker {
    /// `root` must be readable.
    pub fn new(root: Handle, options: WalkOptions) -> Self {
        Self {
            options,
            root: Arc::new(root),
            path: RelPath::root(),
            levels: Vec::new(),
            names_bytes: 0,
            buffer: names::buffer(),
            started: false,
            queued: None,
        }
    }

    /// The next visit; none at the end. The error is the root's: nothing can be read then.
    pub fn step(&mut self) -> Result<Option<Visit>, Errno> {
        if !self.started {
            self.started = true;
            return self.start().map(Some);
        }
        loop {
            if let Some(visit) = self.queued.take() {
                return Ok(Some(visit));
            }
            let Some(depth) = self.levels.len().checked_sub(1) else {
                return Ok(None);
            };
            match self.next_name(depth) {
                Ok(Some(name)) => {
                    if let Some(visit) = self.visit(name) {
                        return Ok(Some(visit));
                    }
                }
                Ok(None) => self.leave(),
                Err(error) if depth == 0 => return Err(error),
                Err(error) => {
                    let path = self.path.clone();
                    self.leave();
                    return Ok(Some(Visit::Unreadable { path, reason: format!("names of the directory: {error}") }));
                }
            }
        }
    }

    fn start(&mut self) -> Result<Visit, Errno> {
        let stat = self.root.with(|fd| Stat::of_fd(fd))?;
        self.enter(RelPath::root(), Arc::clone(&self.root), stat.clone());
        let root = Arc::clone(&self.root);
        Ok(Visit::Found(Found {
            path: RelPath::root(),
            stat,
            parent: Arc::clone(&root),
            directory: Some(root),
            name: Vec::new(),
        }))
    }

    fn enter(&mut self, path: RelPath, handle: Arc<Handle>, stat: Stat) {
        self.path = path;
        self.levels.push(Level {
            path_bytes: self.path.as_bytes().len(),
            stat,
            handle: Some(handle),
            names: None,
            after: None,
            done: false,
        });
        if let Some(above) = self.levels.len().checked_sub(OPEN_LEVELS + 1) {
            self.set_names(above, None);
            self.levels[above].handle = None;
        }
    }

    fn leave(&mut self) {
        let depth = self.levels.len() - 1;
        self.set_names(depth, None);
        self.levels.pop();
        if let Some(above) = self.levels.last() {
            self.path = RelPath::parse(&self.path.as_bytes()[..above.path_bytes]).unwrap_or_default();
        }
    }

    /// Keeps the account of the memory that names take.
    fn set_names(&mut self, depth: usize, names: Option<Names>) {
        let level = &mut self.levels[depth];
        if let Some(old) = level.names.take() {
            self.names_bytes -= old.bytes();
            level.done = old.is_complete() && old.is_used_up();
            level.after = old.last_given().or(level.after.take());
        }
        self.names_bytes += names.as_ref().map_or(0, Names::bytes);
        level.names = names;
    }

    fn next_name(&mut self, depth: usize) -> Result<Option<Name>, Errno> {
        loop {
            let level = &mut self.levels[depth];
            if let Some(name) = level.names.as_mut().and_then(Names::next) {
                return Ok(Some(name));
            }
            if level.done || level.names.as_ref().is_some_and(Names::is_complete) {
                return Ok(None);
            }
            self.set_names(depth, None);
            let handle = self.reopened(depth)?;
            let budget = (self.options.names_bytes.saturating_sub(self.names_bytes) / 2).max(NAMES_BYTES_MIN);
            let after = self.levels[depth].after.clone();
            let names = Names::read(&handle, after.as_deref(), budget, &mut self.buffer)?;
            self.levels[depth].handle = Some(handle);
            self.set_names(depth, Some(names));
        }
    }

    /// The handle of a directory that gave it up: found again by its path from the root, and refused if it is another one now.
    fn reopened(&self, depth: usize) -> Result<Arc<Handle>, Errno> {
        let level = &self.levels[depth];
        if let Some(handle) = &level.handle {
            return Ok(Arc::clone(handle));
        }
        let mut handle = Arc::clone(&self.root);
        let mut rest = &self.path.as_bytes()[..level.path_bytes];
        while !rest.is_empty() {
            let end = step_bytes(rest);
            handle = Arc::new(handle.open(&rest[..end], OFlags::RDONLY | OFlags::DIRECTORY)?);
            rest = rest.get(end + 1..).unwrap_or_default();
        }
        if handle.with(|fd| Stat::of_fd(fd))?.is_same_inode(&level.stat) { Ok(handle) } else { Err(Errno::STALE) }
    }

    fn visit(&mut self, name: Name) -> Option<Visit> {
        let level = self.levels.last()?;
        let parent = level.handle.clone()?;
        let path = match self.path.join(&name.bytes) {
            Ok(path) => path,
            Err(error) => return Some(Visit::Unreadable { path: self.path.clone(), reason: format!("a name in it: {error}") }),
        };
        if name.is_directory {
            if (self.options.is_excluded)(&path, true) {
                return None;
            }
            // A system call less for each directory. Whatever stands in the way is looked at below.
            if let Ok((handle, stat)) = open_directory(&parent, &name.bytes) {
                return Some(self.enter_found(Found { path, stat, parent, directory: None, name: name.bytes }, handle));
            }
        }
        let stat = match parent.with(|fd| Stat::of_name(fd, &name.bytes)) {
            Ok(stat) => stat,
            // Removed since it was listed: not a failure, it was not there when we came.
            Err(Errno::NOENT) => return None,
            Err(error) => return Some(Visit::Unreadable { path, reason: error.to_string() }),
        };
        if (self.options.is_excluded)(&path, stat.file_type == FileType::Directory) {
            return None;
        }
        if stat.is_mount_root {
            return Some(Visit::OtherMount { path, stat });
        }
        let found = Found { path, stat, parent, directory: None, name: name.bytes };
        if found.stat.file_type == FileType::Directory { self.visit_directory(found) } else { Some(Visit::Found(found)) }
    }

    fn enter_found(&mut self, found: Found, handle: Handle) -> Visit {
        let handle = Arc::new(handle);
        self.enter(found.path.clone(), Arc::clone(&handle), found.stat.clone());
        Visit::Found(Found { directory: Some(handle), ..found })
    }

    fn visit_directory(&mut self, found: Found) -> Option<Visit> {
        match open_directory(&found.parent, &found.name) {
            Ok((handle, stat)) => return Some(self.enter_found(Found { stat, ..found }, handle)),
            Err(Errno::NOENT) => return None,
            Err(Errno::XDEV) => return Some(Visit::OtherMount { path: found.path, stat: found.stat }),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return Some(Visit::Unreadable { path: found.path, reason: "it was replaced while it was read".into() });
            }
            // Its own attributes are known and kept; what is in it is missing, and said to be.
            Err(error) => {
                let reason = format!("directory: {error}");
                self.queued = Some(Visit::Unreadable { path: found.path.clone(), reason });
            }
        }
        Some(Visit::Found(found))
    }

    /// The root, as a handle.
    pub fn root(&self) -> Arc<Handle> {
        Arc::clone(&self.root)
    }
}

/// A directory with its own attributes: of what was opened, not of the name.
fn open_directory(parent: &Handle, name: &[u8]) -> Result<(Handle, Stat), Errno> {
    let handle = parent.open(name, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let stat = handle.with(|fd| Stat::of_fd(fd))?;
    Ok((handle, stat))
}

/// How many bytes of `rest` (whole names) one call resolves.
fn step_bytes(rest: &[u8]) -> usize {
    if rest.len() <= REOPEN_BYTES {
        return rest.len();
    }
    let slash = |byte: &u8| *byte == b'/';
    let before = rest[..REOPEN_BYTES].iter().rposition(slash);
    before.or_else(|| rest.iter().position(slash)).unwrap_or(rest.len())
}
