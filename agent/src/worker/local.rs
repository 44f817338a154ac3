//! A local directory as a backend (demo, tests, one's own disk): only below a prefix that the agent was started with.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat, openat2};
use rustix::io::Errno;

use crate::volume::BENEATH;

/// Deeper paths are a mistake.
const COMPONENTS_MAX: usize = 64;

/// Makes sure that `path` is a directory below one of `allowed`, without following a symlink below that, and returns it.
pub(super) fn prepare(path: &str, allowed: &[Vec<u8>]) -> Result<PathBuf, String> {
    let path = Path::new(path);
    let plain = path.is_absolute() && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !plain || path.components().count() > COMPONENTS_MAX {
        return Err(format!("{}: a local directory is an absolute path without `..`", path.display()));
    }
    let (prefix, below) = allowed
        .iter()
        .map(|prefix| Path::new(OsStr::from_bytes(prefix)))
        .find_map(|prefix| path.strip_prefix(prefix).ok().map(|below| (prefix, below)))
        .ok_or_else(|| format!("{}: not below a directory that this agent may use (--allow-local)", path.display()))?;
    make(prefix, below).map_err(|errno| format!("{}: {errno}", path.display()))?;
    Ok(path.to_owned())
}

fn make(prefix: &Path, below: &Path) -> Result<(), Errno> {
    let handle = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut directory = openat(CWD, prefix, handle, Mode::empty())?;
    for name in below {
        match mkdirat(&directory, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        directory = openat2(&directory, name, handle | OFlags::NOFOLLOW, Mode::empty(), BENEATH)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(directory: &Path) -> Vec<Vec<u8>> {
        vec![directory.as_os_str().as_bytes().to_vec()]
    }

    #[test]
    fn only_below_an_allowed_prefix() {
        let directory = tempfile::tempdir().unwrap();
        let inside = directory.path().join("a/b");
        assert_eq!(prepare(inside.to_str().unwrap(), &allowed(directory.path())).unwrap(), inside);
        assert!(inside.is_dir());
        for outside in ["/etc", "relative", &format!("{}/../x", directory.path().display()), &format!("{}x", directory.path().display())] {
            assert!(prepare(outside, &allowed(directory.path())).is_err(), "{outside}");
        }
        assert!(prepare(inside.to_str().unwrap(), &[]).is_err());
    }

    #[test]
    fn a_symlink_below_the_prefix_leads_nowhere() {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", directory.path().join("link")).unwrap();
        let through = directory.path().join("link/holdfast-test");
        assert!(prepare(through.to_str().unwrap(), &allowed(directory.path())).is_err());
        assert!(!Path::new("/etc/holdfast-test").exists());
    }
}
