//! What does not fit into memory, for a while on disk: encrypted under a key that dies with the process, in files without a name.
//!
//! A `Spill` is a directory and a budget; a `SpillFile` gives back by place what was appended; a `Sorter` sorts records of any number
//! in bounded memory. All of it blocks: for plain threads and `spawn_blocking`. What comes back was written by this process, or is
//! an error: the disk is not trusted with more than room.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags};
use zeroize::Zeroizing;

use crate::crypto::{Cipher, DOMAIN, TAG_BYTES};
use crate::environment::Environment;
use crate::id::hex;

mod sorter;
pub use sorter::{Sorted, Sorter};

/// Marks spilled bytes in the additional data, apart from everything that is stored.
const AAD_SPILL: u8 = 0x20;
/// What `Repository::use_spill` takes at most by default: as much as beside a cache.
pub const SPILL_BYTES_MAX: u64 = 4 << 30;
/// No single append is larger: a reader allocates what a place says.
const PLAIN_BYTES_MAX: usize = 64 << 20;

/// Why something could not be spilled or had back. All of them end the work that needs it; none is about the repository.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SpillError {
    /// There is no directory to spill to.
    #[error("more than fits into the memory allowed, and no directory to spill to: give --cache-dir or more --memory")]
    NoDirectory,
    /// The budget of the directory is used up.
    #[error("more than {bytes_max} bytes would be spilled to disk")]
    TooMuch {
        /// The budget.
        bytes_max: u64,
    },
    /// The directory's file system refused: full, read-only, failing.
    #[error("what does not fit into memory could not be put on disk: {source}")]
    Io {
        /// Its words.
        source: Arc<io::Error>,
    },
    /// What came back is not what was written.
    #[error("what was spilled to disk came back changed")]
    Changed,
    /// One record or append above the limit.
    #[error("{bytes} bytes in one record, above the limit")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
}

impl From<io::Error> for SpillError {
    fn from(error: io::Error) -> Self {
        Self::Io { source: Arc::new(error) }
    }
}

impl From<rustix::io::Errno> for SpillError {
    fn from(errno: rustix::io::Errno) -> Self {
        io::Error::from(errno).into()
    }
}

/// Where to spill; clones share directory and budget.
#[derive(Debug, Clone)]
pub struct Spill {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: Option<OwnedFd>,
    environment: Environment,
    bytes_max: u64,
    bytes: AtomicU64,
}

impl Spill {
    /// Into files without a name below `directory`, at most `bytes_max` bytes at any moment.
    pub fn new(environment: Environment, directory: OwnedFd, bytes_max: u64) -> Self {
        Self::with(environment, Some(directory), bytes_max)
    }

    /// Nowhere: what outgrows its memory is `SpillError::NoDirectory`.
    pub fn nowhere(environment: Environment) -> Self {
        Self::with(environment, None, 0)
    }

    fn with(environment: Environment, directory: Option<OwnedFd>, bytes_max: u64) -> Self {
        Self { inner: Arc::new(Inner { directory, environment, bytes_max, bytes: AtomicU64::new(0) }) }
    }

    /// Whether there is a directory.
    pub fn has_directory(&self) -> bool {
        self.inner.directory.is_some()
    }

    /// Bytes spilled at this moment.
    pub fn bytes(&self) -> u64 {
        self.inner.bytes.load(Ordering::Relaxed)
    }

    /// An empty file; it is gone when it is dropped, or when the process dies.
    pub fn file(&self) -> Result<SpillFile, SpillError> {
        let directory = self.inner.directory.as_ref().ok_or(SpillError::NoDirectory)?;
        let file = File::from(unnamed(directory, &self.inner.environment)?);
        let key = Zeroizing::new(self.inner.environment.random::<32>());
        let cipher = Cipher::new(&key).map_err(|_| io::Error::other("no cipher"))?;
        Ok(SpillFile { spill: self.clone(), file, cipher, end: 0, buffer: Vec::new() })
    }

    /// Sorts what is pushed, with at most about `memory_bytes` of it in memory.
    pub fn sorter(&self, memory_bytes: usize) -> Sorter {
        Sorter::new(self.clone(), memory_bytes)
    }

    fn reserve(&self, bytes: u64) -> Result<(), SpillError> {
        let bytes_max = self.inner.bytes_max;
        let room = |now: u64| now.checked_add(bytes).filter(|sum| *sum <= bytes_max);
        self.inner.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).map(|_| ()).map_err(|_| SpillError::TooMuch { bytes_max })
    }
}

/// Without a name where the file system can, else with one that is removed at once: no crash leaves anything.
fn unnamed(directory: &OwnedFd, environment: &Environment) -> Result<OwnedFd, SpillError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mode = Mode::RUSR | Mode::WUSR;
    if let Ok(file) = rustix::fs::openat(directory, ".", OFlags::RDWR | OFlags::CLOEXEC | OFlags::TMPFILE, mode) {
        return Ok(file);
    }
    let name = format!("spill-{}", hex(&environment.random::<16>()));
    let file = rustix::fs::openat(directory, &*name, flags | OFlags::CREATE | OFlags::EXCL, mode)?;
    rustix::fs::unlinkat(directory, &*name, AtFlags::empty())?;
    Ok(file)
}

/// Where an append stands in its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpillPlace {
    offset: u64,
    plain_bytes: u32,
}

/// Appended to, read by place; sealed under a key of its own that is nowhere else.
#[derive(Debug)]
pub struct SpillFile {
    spill: Spill,
    file: File,
    cipher: Cipher,
    end: u64,
    buffer: Vec<u8>,
}

impl SpillFile {
    /// Appends `plain`; larger appends cost less each.
    pub fn append(&mut self, plain: &[u8]) -> Result<SpillPlace, SpillError> {
        if plain.len() > PLAIN_BYTES_MAX {
            return Err(SpillError::TooLarge { bytes: plain.len() });
        }
        let place = SpillPlace { offset: self.end, plain_bytes: plain.len() as u32 };
        let sealed_bytes = (plain.len() + TAG_BYTES) as u64;
        self.spill.reserve(sealed_bytes)?;
        // Counted before it is written, so that an append that failed half-way neither reuses its nonce nor is forgotten at the drop.
        self.end += sealed_bytes;
        self.buffer.clear();
        self.buffer.extend_from_slice(plain);
        // The offset is the counter: no two appends of this key's file have the same.
        self.cipher.seal(place.offset, &additional_data(), &mut self.buffer, 0).map_err(|_| io::Error::other("the cipher refused"))?;
        self.file.write_all_at(&self.buffer, place.offset)?;
        Ok(place)
    }

    /// What was appended there, into `plain`, which is replaced.
    pub fn read(&self, place: &SpillPlace, plain: &mut Vec<u8>) -> Result<(), SpillError> {
        #[cfg(test)]
        if crate::testing::spilling::fails() {
            return Err(io::Error::other("as a test says").into());
        }
        let mut sealed = vec![0; place.plain_bytes as usize + TAG_BYTES];
        self.file.read_exact_at(&mut sealed, place.offset).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => SpillError::Changed,
            _ => error.into(),
        })?;
        self.cipher.open(place.offset, &additional_data(), &sealed, plain).map_err(|_| SpillError::Changed)
    }
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        self.spill.inner.bytes.fetch_sub(self.end, Ordering::Relaxed);
    }
}

fn additional_data() -> [u8; DOMAIN.len() + 1] {
    let mut aad = [AAD_SPILL; DOMAIN.len() + 1];
    aad[..DOMAIN.len()].copy_from_slice(DOMAIN);
    aad
}

#[cfg(test)]
mod tests;
