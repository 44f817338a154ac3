//! Restores over what is there already.

use std::os::unix::fs::{FileExt, MetadataExt, symlink};

use crate::fixture::{Fixture, noise};

#[test]
fn old_data_shows_nowhere() {
    let fixture = Fixture::new();
    let sparse = std::fs::File::create(fixture.source("sparse")).unwrap();
    sparse.set_len(4 << 20).unwrap();
    sparse.write_all_at(b"only this", 2 << 20).unwrap();
    fixture.write("short", "short");
    fixture.write("zeros", vec![0; 1 << 20]);
    fixture.write("empty", "");
    let snapshot = fixture.backup();
    for name in ["sparse", "short", "zeros", "empty"] {
        std::fs::write(fixture.target(name), noise(1, 6 << 20)).unwrap();
        rustix::fs::setxattr(fixture.target(name), "user.old", b"x", rustix::fs::XattrFlags::empty()).unwrap();
    }
    let inode = std::fs::metadata(fixture.target("sparse")).unwrap().ino();
    fixture.restore_whole(snapshot);
    fixture.assert_identical();
    assert_eq!(std::fs::metadata(fixture.target("sparse")).unwrap().ino(), inode, "who has it open sees the restored data");
}

#[test]
fn entries_of_another_kind_are_replaced_and_symlinks_never_followed() {
    let fixture = Fixture::new();
    fixture.write("directory/inside", "restored");
    fixture.write("file", "restored");
    fixture.write("linked", "restored");
    symlink("nowhere", fixture.source("symlink")).unwrap();
    let snapshot = fixture.backup();
    let outside = fixture.directory().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("inside"), "untouched").unwrap();
    symlink(&outside, fixture.target("directory")).unwrap();
    symlink(outside.join("inside"), fixture.target("file")).unwrap();
    std::fs::create_dir(fixture.target("linked")).unwrap();
    std::fs::write(fixture.target("symlink"), "a file").unwrap();
    fixture.restore_whole(snapshot);
    fixture.assert_identical();
    assert_eq!(std::fs::read_to_string(outside.join("inside")).unwrap(), "untouched");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn what_is_not_in_the_snapshot_stays() {
    let fixture = Fixture::new();
    fixture.write("d/restored", "restored");
    fixture.write("in the way", "restored");
    let snapshot = fixture.backup();
    std::fs::create_dir_all(fixture.target("d")).unwrap();
    std::fs::write(fixture.target("d/other"), "other").unwrap();
    std::fs::create_dir(fixture.target("in the way")).unwrap();
    std::fs::write(fixture.target("in the way/precious"), "data").unwrap();
    let report = fixture.restore(snapshot);
    assert_eq!(report.failed, 1, "{:#?}", report.issues);
    let issue = &report.issues[0];
    assert!(issue.path.to_string() == "in the way" && issue.what.contains("not empty"), "{issue}");
    assert_eq!(std::fs::read_to_string(fixture.target("in the way/precious")).unwrap(), "data");
    assert_eq!(std::fs::read_to_string(fixture.target("d/other")).unwrap(), "other");
    assert_eq!(std::fs::read_to_string(fixture.target("d/restored")).unwrap(), "restored");
}

/// Two names of one file in the target, of which the snapshot has one: the other must not change with it.
#[test]
fn another_name_of_an_old_file_keeps_its_content() {
    let fixture = Fixture::new();
    fixture.write("a", "restored");
    fixture.write("link 1", "linked");
    std::fs::hard_link(fixture.source("link 1"), fixture.source("link 2")).unwrap();
    let snapshot = fixture.backup();
    std::fs::write(fixture.target("a"), "old").unwrap();
    std::fs::hard_link(fixture.target("a"), fixture.target("kept")).unwrap();
    std::fs::write(fixture.target("link 2"), "old").unwrap();
    fixture.restore_whole(snapshot);
    assert_eq!(std::fs::read_to_string(fixture.target("kept")).unwrap(), "old");
    std::fs::remove_file(fixture.target("kept")).unwrap();
    let differences = fixture.compare().differences;
    // Only the root's own time is another: a name was removed from it just now.
    assert!(differences.iter().all(|difference| difference.path.is_root()), "{differences:#?}");
}

/// A default ACL of the target's root would give everything made below it an ACL and another mode.
#[test]
fn an_inherited_acl_does_not_stay() {
    let fixture = Fixture::new();
    fixture.write("d/file", "restored");
    rustix::fs::mknodat(rustix::fs::CWD, fixture.source("pipe"), rustix::fs::FileType::Fifo, 0o642.into(), 0).unwrap();
    let snapshot = fixture.backup();
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [(1_u16, 7_u16, u32::MAX), (2, 4, 1000), (4, 4, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)] {
        acl.extend_from_slice(&tag.to_le_bytes());
        acl.extend_from_slice(&permissions.to_le_bytes());
        acl.extend_from_slice(&id.to_le_bytes());
    }
    let set = rustix::fs::setxattr(fixture.target(""), "system.posix_acl_default", &acl, rustix::fs::XattrFlags::empty());
    if set == Err(rustix::io::Errno::NOTSUP) {
        eprintln!("skipped: no ACLs here");
        return;
    }
    set.unwrap();
    fixture.restore_whole(snapshot);
    fixture.assert_identical();
}
