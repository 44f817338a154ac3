//! How far a backup or a restore is: counters that any thread may read while it runs.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// Shared by the running work (which adds) and whoever shows it (who reads).
#[derive(Debug, Default)]
pub struct Progress {
    /// Files finished, unchanged ones included.
    pub files_done: AtomicU64,
    /// Files in all; 0 while not known.
    pub files_total: AtomicU64,
    /// Bytes of content finished, unchanged ones included.
    pub bytes_done: AtomicU64,
    /// Bytes of content in all; 0 while not known.
    pub bytes_total: AtomicU64,
    /// Bytes read from the volume (backup) or from the repository (restore).
    pub bytes_read: AtomicU64,
    /// Bytes given to the repository's backend, after compression.
    pub bytes_stored: AtomicU64,
    phase: AtomicU8,
}

/// What the work is busy with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Not begun, or held back.
    #[default]
    Waiting = 0,
    /// Walking the volume and reading what changed.
    Read = 1,
    /// Making the snapshot durable.
    Commit = 2,
    /// Planning a restore.
    Plan = 3,
    /// Writing the volume.
    Write = 4,
}

impl Phase {
    /// The word that progress messages carry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Read => "read",
            Self::Commit => "commit",
            Self::Plan => "plan",
            Self::Write => "write",
        }
    }
}

impl Progress {
    /// What the work is busy with now.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            1 => Phase::Read,
            2 => Phase::Commit,
            3 => Phase::Plan,
            4 => Phase::Write,
            _ => Phase::Waiting,
        }
    }

    /// Enters a phase.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}
