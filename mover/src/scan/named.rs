//! Extended attributes of what cannot be opened for them.

use rustix::io::Errno;

use super::attributes::{Stat, Xattrs, xattrs_of_name};
use super::handle::{Handle, Inside};
use super::walker::Found;

/// Reads by name, in a working directory that the thread has for itself: to be used on one thread, which starts no others.
#[derive(Debug)]
pub struct NamedXattrs {
    working_directory: WorkingDirectory,
}

impl Default for NamedXattrs {
    fn default() -> Self {
        Self { working_directory: WorkingDirectory::Shared }
    }
}

impl NamedXattrs {
    /// Extended attributes of what cannot be opened for them: symbolic links, special files, unreadable directories. Needs this
    /// thread to have a working directory of its own, which the first call sees to.
    pub fn of(&mut self, found: &Found) -> Xattrs {
        if found.name.is_empty() {
            return super::attributes::xattrs_of_handle(&found.parent);
        }
        match self.working_directory.enter(&found.parent) {
            Ok(true) => {}
            // Said once for all of them, at the first.
            Ok(false) => return Xattrs::default(),
            Err(error) => {
                let missing = Some(format!("extended attributes (here and of all symbolic links and special files): {error}"));
                return Xattrs { list: Vec::new(), missing };
            }
        }
        let xattrs = xattrs_of_name(&found.name);
        match found.parent.with(|fd| Stat::of_name(fd, &found.name)) {
            Ok(now) if now.is_same_inode(&found.stat) && !now.is_mount_root => xattrs,
            // Another file took the name: these may be its attributes.
            _ => Xattrs { list: Vec::new(), missing: Some("it was replaced while it was read".into()) },
        }
    }
}

/// A working directory is a handle too.
impl Drop for NamedXattrs {
    fn drop(&mut self) {
        self.working_directory.leave();
    }
}

/// The thread's working directory, apart from that of the process.
#[derive(Debug)]
enum WorkingDirectory {
    Shared,
    /// Counted as a handle while it lives.
    Own { _inside: Inside },
    Refused,
}

impl WorkingDirectory {
    /// False if this thread may not have one; the reason was the error of the first call.
    fn enter(&mut self, directory: &Handle) -> Result<bool, Errno> {
        if let Self::Shared = self {
            if let Err(error) = unshare_working_directory() {
                *self = Self::Refused;
                return Err(error);
            }
            *self = Self::Own { _inside: Inside::of(directory) };
        }
        match self {
            Self::Refused => Ok(false),
            _ => directory.with(|fd| rustix::process::fchdir(fd)).map(|()| true),
        }
    }

    fn leave(&mut self) {
        if let Self::Own { .. } = self {
            // Nothing that can be done would help if even this fails; the thread's end gives it up in any case.
            let _ = rustix::process::chdir(c"/");
            *self = Self::Shared;
        }
    }
}

/// Splits off this thread's working directory (and root, and umask, which it keeps) from those of the process.
#[allow(unsafe_code)]
fn unshare_working_directory() -> Result<(), Errno> {
    // SAFETY: CLONE_FS alone leaves file descriptors and memory shared; no other thread relies on this one's working directory.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) }
}
