use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use rustix::fs::{CWD, mknodat};

use super::*;
use crate::catalog::{RelPath, testing};

const OWNER: u32 = 1234;

fn set(directory: &OwnedFd, kind: EntryKind) -> Result<Set, Errno> {
    let entry = Entry { uid: OWNER, gid: OWNER, mode: 0o666, ..testing::entry(RelPath::parse(b"name").unwrap(), kind) };
    set_on_name(&PrivateDirectory::of_this_thread(), directory.as_fd(), b"name", &entry, &Policy::new(Rules::default(), true))
}

/// Who may rename in the directory has put it there between the making and the rest.
#[test]
fn what_took_the_name_of_a_special_file_is_not_given_away() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: needs root");
    }
    let place = tempfile::TempDir::new().unwrap();
    let directory: OwnedFd = std::fs::File::open(place.path()).unwrap().into();
    let (name, secret) = (place.path().join("name"), place.path().join("secret"));
    let state = || {
        let data = std::fs::symlink_metadata(&name).unwrap();
        (data.uid(), data.gid(), data.mode(), data.mtime())
    };
    std::fs::write(&secret, "of somebody else").unwrap();
    rustix::fs::chmod(&secret, Mode::RUSR).unwrap();
    std::fs::rename(&secret, &name).unwrap();
    let null = EntryKind::CharDevice { rdev: rustix::fs::makedev(1, 3) };
    let before = state();
    for kind in [EntryKind::Fifo, EntryKind::Socket, EntryKind::Symlink { target: b"x".to_vec() }, null.clone()] {
        assert_eq!(set(&directory, kind).err(), Some(Errno::STALE));
        assert_eq!(state(), before);
    }
    // A second name of somebody's pipe, and another device.
    std::fs::remove_file(&name).unwrap();
    mknodat(CWD, &secret, FileType::Fifo, Mode::RUSR, 0).unwrap();
    std::fs::hard_link(&secret, &name).unwrap();
    assert_eq!(set(&directory, EntryKind::Fifo).err(), Some(Errno::STALE));
    assert_eq!(state().0, 0);
    std::fs::remove_file(&name).unwrap();
    mknodat(CWD, &name, FileType::CharacterDevice, Mode::RUSR, rustix::fs::makedev(1, 5)).unwrap();
    assert_eq!(set(&directory, null).err(), Some(Errno::STALE));
    assert_eq!(state().0, 0);
}

#[test]
fn special_files_and_symlinks_get_all_by_their_handle() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: needs root");
    }
    let place = tempfile::TempDir::new().unwrap();
    let directory: OwnedFd = std::fs::File::open(place.path()).unwrap().into();
    let name = place.path().join("name");
    for kind in [FileType::Fifo, FileType::Socket, FileType::Symlink] {
        let (kind, mode) = match kind {
            FileType::Symlink => {
                std::fs::write(place.path().join("pointed-to"), "stays").unwrap();
                std::os::unix::fs::symlink("pointed-to", &name).unwrap();
                (EntryKind::Symlink { target: b"pointed-to".to_vec() }, 0o777)
            }
            kind => {
                mknodat(CWD, &name, kind, Mode::RUSR, 0).unwrap();
                (if kind == FileType::Fifo { EntryKind::Fifo } else { EntryKind::Socket }, 0o666)
            }
        };
        let set = set(&directory, kind).unwrap();
        assert!(set.notes.is_empty(), "{:?}", set.notes);
        let data = std::fs::symlink_metadata(&name).unwrap();
        assert_eq!((data.uid(), data.gid(), data.mode() & 0o7777), (OWNER, OWNER, mode));
        std::fs::remove_file(&name).unwrap();
    }
    assert_eq!(std::fs::metadata(place.path().join("pointed-to")).unwrap().uid(), 0);
}
