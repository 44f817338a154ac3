//! A local cache of what never changes: index runs, snapshots, metadata blobs, each exactly as the store gave it, sealed.
//!
//! Names are immutable, so nothing in it can be out of date; contents are as hostile as a store's, so whoever takes one opens it as
//! if the store had given it, drops it if it does not open, and asks the store. Nothing here ever fails a caller: a disk that is full,
//! read-only or broken only means that there is no cache. Several processes share one: files appear whole, by rename.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Timespec, Timestamps};

use crate::environment::Environment;
use crate::id::hex;
use crate::lock::locked;
use crate::spill::Spill;
use crate::store::OBJECT_BYTES_MAX;

mod name;
pub(crate) use name::{CacheClass, CacheName};

/// What `Repository::use_cache` takes at most by default.
pub const CACHE_BYTES_MAX: u64 = 1 << 30;
/// What a process at work may spill, as a multiple of the cache's limit.
const SPILL_SHARE: u64 = 4;
/// Begins the name of a file that is not whole yet.
const UNFINISHED: &str = "tmp-";
/// An unfinished file this old has no writer any more.
const UNFINISHED_SECONDS: i64 = 3600;
/// A file that is used is marked as such at most this often.
const TOUCH_SECONDS: i64 = 3600;
/// Evicting goes down to this share, so that not every file evicts another.
const KEPT_PERCENT: u64 = 90;

/// What is in a cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheUsage {
    /// Files.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The cache of one repository; see the module.
#[derive(Debug)]
pub(crate) struct Cache {
    folders: [OwnedFd; CacheClass::ALL.len()],
    spill: Spill,
    environment: Environment,
    bytes_max: u64,
    /// Bytes in it as far as this process knows: counted at the first write, since others write too.
    bytes: Mutex<Option<u64>>,
    /// A write failed: reading goes on, writing does not.
    read_only: AtomicBool,
}

/// One file, as eviction sees it.
struct Kept {
    used: (i64, u64),
    class: CacheClass,
    name: String,
    bytes: u64,
}

impl Cache {
    /// In `folder` below `root`, both ours alone; made if absent.
    pub(crate) fn open(root: &OwnedFd, folder: &str, bytes_max: u64, environment: Environment) -> io::Result<Self> {
        let directory = subfolder(root, folder)?;
        let [index, snapshots, blobs] = CacheClass::ALL.map(|class| subfolder(&directory, class.folder()));
        let spill = Spill::new(environment.clone(), directory, bytes_max.saturating_mul(SPILL_SHARE));
        Ok(Self {
            folders: [index?, snapshots?, blobs?],
            spill,
            environment,
            bytes_max,
            bytes: Mutex::default(),
            read_only: AtomicBool::new(false),
        })
    }

    /// Into the same directory, beside the cache's files.
    pub(crate) fn spill(&self) -> &Spill {
        &self.spill
    }

    fn folder(&self, class: CacheClass) -> &OwnedFd {
        &self.folders[class as usize]
    }

    /// What stands there, not looked at.
    pub(crate) fn get(&self, name: &CacheName) -> Option<Bytes> {
        match self.read(name) {
            Ok(content) => content,
            Err(error) => {
                tracing::debug!(%error, "a cached file cannot be read");
                None
            }
        }
    }

    fn read(&self, name: &CacheName) -> io::Result<Option<Bytes>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(self.folder(name.class()), name.file(), flags, Mode::empty()) {
            Ok(file) => file,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let found = rustix::fs::fstat(&file)?;
        let bytes = u64::try_from(found.st_size).unwrap_or(u64::MAX);
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile || bytes > OBJECT_BYTES_MAX {
            return Ok(None);
        }
        let mut content = Vec::with_capacity(bytes as usize);
        let mut file = File::from(file);
        // One more than expected shows that it grew.
        Read::by_ref(&mut file).take(bytes + 1).read_to_end(&mut content)?;
        if found.st_mtime + TOUCH_SECONDS < self.now() {
            let now = Timespec { tv_sec: self.now(), tv_nsec: 0 };
            // Only eviction looks at it.
            let _ = rustix::fs::futimens(&file, &Timestamps { last_access: now, last_modification: now });
        }
        Ok(Some(content.into()))
    }

    fn now(&self) -> i64 {
        self.environment.clock.unix_ms() / 1000
    }

    /// Keeps `content`, which the store gave under a name that never gives anything else.
    pub(crate) fn put(&self, name: &CacheName, content: &[u8]) {
        if self.read_only.load(Ordering::Relaxed) || content.len() as u64 > self.bytes_max / 4 {
            return;
        }
        if let Err(error) = self.write(name, content) {
            tracing::debug!(%error, "the cache cannot be written; going on without");
            self.read_only.store(true, Ordering::Relaxed);
        }
    }

    fn write(&self, name: &CacheName, content: &[u8]) -> io::Result<()> {
        self.make_room(content.len() as u64)?;
        let folder = self.folder(name.class());
        let unfinished = format!("{UNFINISHED}{}", hex(&self.environment.random::<16>()));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(folder, &*unfinished, flags, Mode::RUSR | Mode::WUSR)?;
        // Not synced: what a crash cuts short does not open, and is fetched again.
        let written = File::from(file).write_all(content).and_then(|()| Ok(rustix::fs::renameat(folder, &*unfinished, folder, name.file())?));
        if written.is_err() {
            let _ = rustix::fs::unlinkat(folder, &*unfinished, AtFlags::empty());
        }
        written
    }

    fn make_room(&self, more: u64) -> io::Result<()> {
        let mut bytes = locked(&self.bytes);
        let now = match *bytes {
            Some(bytes) => bytes,
            None => self.usage()?.bytes,
        };
        *bytes = Some(if now + more > self.bytes_max { self.evict(self.bytes_max.saturating_sub(more))? } else { now } + more);
        Ok(())
    }

    /// Takes away what was used longest ago until 90 % of `bytes_max` are left; the bytes that are.
    fn evict(&self, bytes_max: u64) -> io::Result<u64> {
        let mut kept = self.list()?;
        let mut bytes: u64 = kept.iter().map(|kept| kept.bytes).sum();
        if bytes <= bytes_max {
            return Ok(bytes);
        }
        kept.sort_unstable_by_key(|kept| kept.used);
        let goal = bytes_max / 100 * KEPT_PERCENT;
        for old in kept {
            if bytes <= goal {
                break;
            }
            self.unlink(old.class, &old.name)?;
            bytes -= old.bytes;
        }
        Ok(bytes)
    }

    /// What does not open, or is of no use any more.
    pub(crate) fn remove(&self, name: &CacheName) {
        if let Err(error) = self.unlink(name.class(), name.file()) {
            tracing::debug!(%error, "a cached file cannot be removed");
        }
    }

    fn unlink(&self, class: CacheClass, file: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(self.folder(class), file, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Files of a class that `lives` denies leave, and what crashed writers left: the repository does not have them any more.
    pub(crate) fn sweep(&self, class: CacheClass, lives: impl Fn(&str) -> bool) {
        let swept = self.each(class, &mut |name, found| {
            let gone = if name.starts_with(UNFINISHED) { found.st_mtime + UNFINISHED_SECONDS < self.now() } else { !lives(name) };
            if gone { self.unlink(class, name) } else { Ok(()) }
        });
        if let Err(error) = swept {
            tracing::debug!(%error, "the cache cannot be swept");
        }
    }

    pub(crate) fn usage(&self) -> io::Result<CacheUsage> {
        let kept = self.list()?;
        Ok(CacheUsage { objects: kept.len() as u64, bytes: kept.iter().map(|kept| kept.bytes).sum() })
    }

    pub(crate) fn limit(&self, bytes_max: u64) -> io::Result<u64> {
        self.evict(bytes_max)
    }

    fn list(&self) -> io::Result<Vec<Kept>> {
        let mut kept = Vec::new();
        for class in CacheClass::ALL {
            self.each(class, &mut |name, found| {
                let bytes = u64::try_from(found.st_size).unwrap_or_default();
                kept.push(Kept { used: (found.st_mtime, found.st_mtime_nsec), class, name: name.to_owned(), bytes });
                Ok(())
            })?;
        }
        Ok(kept)
    }

    fn each(&self, class: CacheClass, visit: &mut dyn FnMut(&str, &rustix::fs::Stat) -> io::Result<()>) -> io::Result<()> {
        let folder = self.folder(class);
        let names: BTreeSet<String> = Dir::read_from(folder)?
            .filter_map(|entry| entry.ok()?.file_name().to_str().ok().map(str::to_owned))
            .filter(|name| name != "." && name != "..")
            .collect();
        for name in names {
            match rustix::fs::statat(folder, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) => visit(&name, &found)?,
                // Another process was faster.
                Err(rustix::io::Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

/// Never through a link: whoever can write here could otherwise send our writes elsewhere.
fn subfolder(parent: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(parent, Path::new(name), Mode::RWXU) {
        Ok(()) | Err(rustix::io::Errno::EXIST | rustix::io::Errno::ROFS) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, Path::new(name), flags, Mode::empty())?)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod scenarios;
