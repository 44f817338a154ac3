//! A disk that fails under a spilled index, for the calling thread: whatever read it is that fails.

use std::cell::Cell;

thread_local! {
    /// Reads of what was spilled until one fails; below 0 behind that one.
    static READS_LEFT: Cell<Option<i64>> = const { Cell::new(None) };
}

/// While it lives, indexes go to the disk where there is a directory, and one read of what is there fails; those after it do not.
pub(crate) struct Spilling(());

impl Spilling {
    /// The read behind `reads` others fails.
    pub(crate) fn failing_after(reads: u32) -> Self {
        READS_LEFT.set(Some(reads.into()));
        Self(())
    }

    /// Whether one failed.
    pub(crate) fn end(self) -> bool {
        READS_LEFT.get().is_some_and(|left| left < 0)
    }
}

impl Drop for Spilling {
    fn drop(&mut self) {
        READS_LEFT.set(None);
    }
}

pub(crate) fn is_on() -> bool {
    READS_LEFT.get().is_some()
}

/// Whether this read is the one.
pub(crate) fn fails() -> bool {
    let left = READS_LEFT.get();
    READS_LEFT.set(left.map(|left| left - 1));
    left == Some(0)
}
