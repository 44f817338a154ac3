//! System calls that rustix has no form of.
#![expect(unsafe_code, reason = "each is one call with memory of this frame")]

use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::io::Errno;

/// Not in our bindings; the same on every architecture.
const SYS_CACHESTAT: libc::c_long = 451;
const IOPRIO_WHO_PROCESS: libc::c_int = 1;
/// The class "idle" (3) in the bits above the level, which it has none of.
const IOPRIO_IDLE: libc::c_int = 3 << 13;

#[repr(C)]
struct Range {
    offset: u64,
    length: u64,
}

#[repr(C)]
#[derive(Default)]
struct CacheStat {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// Pages of a file's range that are in the page cache; Linux 6.5.
pub(crate) fn cached_pages(file: BorrowedFd<'_>, offset: u64, length: u64) -> Result<u64, Errno> {
    let (range, mut stat) = (Range { offset, length }, CacheStat::default());
    // SAFETY: the kernel reads the one structure and writes the other, both of its own layout, and both outlive the call.
    let answer = unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), std::ptr::from_ref(&range), std::ptr::from_mut(&mut stat), 0) };
    if answer == 0 { Ok(stat.cached) } else { Err(last_errno()) }
}

/// The disk serves the calling thread, and those that it starts from now on, when nobody else wants it.
pub(crate) fn set_io_idle() -> Result<(), Errno> {
    // SAFETY: three integers; 0 is the calling thread.
    let answer = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE) };
    if answer == 0 { Ok(()) } else { Err(last_errno()) }
}

/// For tests: the class that the calling thread has.
#[cfg(test)]
pub(crate) fn is_io_idle() -> bool {
    // SAFETY: two integers; 0 is the calling thread.
    let answer = unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0) };
    answer >> 13 == 3
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
