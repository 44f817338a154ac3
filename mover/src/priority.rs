//! How much of the machine this process asks for.

use rustix::process::setpriority_process;

use crate::syscall;

/// The lowest: whatever else runs comes first.
const NICE_LOWEST: i32 = 19;

/// Takes only the processors and disks that nobody else wants. Call it while the process has one thread: later ones inherit it.
/// What the kernel refuses stays as it was; the work is the same.
pub fn stand_back() {
    if let Err(error) = setpriority_process(None, NICE_LOWEST) {
        tracing::debug!(%error, "the priority stays as it is");
    }
    if let Err(error) = syscall::set_io_idle() {
        tracing::debug!(%error, "the disk's priority stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_threads_stand_back_too() {
        // Both priorities are the thread's own here, so that no other test is slowed.
        let ours = std::thread::spawn(|| {
            stand_back();
            std::thread::spawn(|| (rustix::process::getpriority_process(None), syscall::is_io_idle())).join().unwrap()
        });
        assert_eq!(ours.join().unwrap(), (Ok(NICE_LOWEST), true));
    }
}
