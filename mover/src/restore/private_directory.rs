//! A working directory (and umask) of one thread's own. Extended attributes of symlinks and special files can only be set by
//! path; with this, the path is a single name in a directory that we hold, and no `/proc` is needed.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::thread::UnshareFlags;

/// Made once, by the thread that uses it, which must be one of our own and end soon.
#[derive(Debug)]
pub(super) struct PrivateDirectory {
    is_private: bool,
}

impl PrivateDirectory {
    pub(super) fn of_this_thread() -> Self {
        // SAFETY: only working directory, root and umask are parted from the other threads; descriptors stay shared.
        #[allow(unsafe_code)]
        let unshared = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) };
        let is_private = unshared.is_ok();
        if is_private {
            // What we make gets exactly the mode that we say.
            rustix::process::umask(Mode::empty());
        }
        Self { is_private }
    }

    /// A path of `name` in `parent`, good until the next call. The last component is the caller's not to follow.
    pub(super) fn reach(&self, parent: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>, Errno> {
        let mut path = if self.is_private {
            rustix::process::fchdir(parent)?;
            b"./".to_vec()
        } else {
            // Where `unshare` is forbidden there is at least the list of our own descriptors.
            format!("/proc/self/fd/{}/", parent.as_raw_fd()).into_bytes()
        };
        path.extend_from_slice(name);
        Ok(path)
    }
}
