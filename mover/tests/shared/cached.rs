//! What of a file is in the page cache. For more than one of the test programs.

use std::fs::File;
use std::os::fd::AsRawFd as _;

use rustix::fs::Advice;

/// Pages of the file that are in the page cache, by cachestat(2). `None`: this kernel does not tell.
#[allow(unsafe_code)]
pub(crate) fn cached_pages(file: &File) -> Option<u64> {
    let (range, mut stat) = ([0_u64, 0], [0_u64; 5]);
    // SAFETY: two numbers are read, five written; the length 0 stands for all of the file.
    let answer = unsafe { libc::syscall(451, file.as_raw_fd(), range.as_ptr(), stat.as_mut_ptr(), 0) };
    (answer == 0).then_some(stat[0])
}

/// False where the kernel does not tell, or the file system does not give up its cache: then there is nothing to see.
pub(crate) fn made_cold(file: &File) -> bool {
    file.sync_all().unwrap();
    rustix::fs::fadvise(file, 0, None, Advice::DontNeed).unwrap();
    cached_pages(file) == Some(0)
}
