//! Turns at computing: as many at once as the request allows threads. A thread that waits for the disk gives its turn away meanwhile, so that
//! there may be more threads than turns.

use std::sync::{Condvar, Mutex, PoisonError};

pub(super) struct Turns {
    free: Mutex<usize>,
    given: Condvar,
}

/// A turn, until this is dropped.
struct Turn<'t>(&'t Turns);

impl Turns {
    pub(super) fn new(count: usize) -> Self {
        Self { free: Mutex::new(count), given: Condvar::new() }
    }

    /// Does this in a turn of its own.
    pub(super) fn compute<T>(&self, work: impl FnOnce() -> T) -> T {
        let _turn = self.take();
        work()
    }

    /// Does this while another has the caller's turn.
    pub(super) fn wait<T>(&self, write: impl FnOnce() -> T) -> T {
        self.give();
        let written = write();
        std::mem::forget(self.take());
        written
    }

    fn take(&self) -> Turn<'_> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.given.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Turn(self)
    }

    fn give(&self) {
        *self.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.given.notify_one();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.give();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_more_compute_at_once_than_there_are_turns_and_who_waits_needs_none() {
        let turns = Turns::new(2);
        let (computing, most, waiting) = (AtomicUsize::new(0), AtomicUsize::new(0), std::sync::Barrier::new(6));
        let compute = || {
            most.fetch_max(computing.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(5));
            computing.fetch_sub(1, Ordering::SeqCst);
        };
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    turns.compute(|| {
                        compute();
                        // All six are in here at once, or this never ends.
                        turns.wait(|| waiting.wait());
                        compute();
                    });
                });
            }
        });
        assert_eq!(most.into_inner(), 2);
        assert_eq!(*turns.free.lock().unwrap(), 2, "all are given back");
    }
}
