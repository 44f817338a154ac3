//! Whose the entries become, and which attributes come back.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use holdfast_mover::pattern::PatternSet;
use holdfast_mover::restore::{IdMap, Owners, RestoreReport, Rules};
use holdfast_mover::stop::StopToken;
use holdfast_repository::SnapshotId;
use rustix::fs::XattrFlags;

use crate::fixture::{Fixture, is_root};

fn restore(fixture: &Fixture, snapshot: SnapshotId, rules: Rules) -> RestoreReport {
    let mut request = fixture.request(snapshot);
    request.rules = rules;
    let report = fixture.try_run(request, &StopToken::new()).unwrap();
    assert!(report.is_complete(), "{:#?}", report.issues);
    report
}

fn owner(path: &Path) -> (u32, u32) {
    let metadata = std::fs::symlink_metadata(path).unwrap();
    (metadata.uid(), metadata.gid())
}

fn set_owner(path: &Path, uid: u32, gid: u32) {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid)).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn owners_are_mapped_or_left() {
    if !is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let fixture = Fixture::new();
    fixture.write("d/theirs", "1234's");
    fixture.write("d/set-id", "1234's, and a program");
    fixture.write("d/ours", "0's");
    std::os::unix::fs::symlink("theirs", fixture.source("d/link")).unwrap();
    for name in ["d/theirs", "d/set-id", "d/link", "d"] {
        set_owner(&fixture.source(name), 1234, 4321);
    }
    set_mode(&fixture.source("d/set-id"), 0o4755);
    let snapshot = fixture.backup();
    let map = |texts: [&str; 1]| IdMap::parse(texts).unwrap();
    restore(&fixture, snapshot, Rules { owners: Owners::Recorded { users: map(["1234:77"]), groups: map(["4321:88"]) }, ..Rules::default() });
    for name in ["d/theirs", "d/set-id", "d/link", "d"] {
        assert_eq!(owner(&fixture.target(name)), (77, 88), "{name}");
    }
    assert_eq!(owner(&fixture.target("d/ours")), (0, 0));
    assert_eq!(mode(&fixture.target("d/set-id")), 0o4755);

    std::fs::remove_dir_all(fixture.target("d")).unwrap();
    let report = restore(&fixture, snapshot, Rules { owners: Owners::Own, ..Rules::default() });
    assert_eq!(report.targets[0].owners_left, 4);
    for name in ["d/theirs", "d/set-id", "d/link", "d", "d/ours"] {
        assert_eq!(owner(&fixture.target(name)), (0, 0), "{name}");
    }
    assert_eq!(mode(&fixture.target("d/set-id")), 0o755, "nobody's program becomes root's");
    assert!(report.warnings == 1 && report.issues[0].what.contains("set-id"), "{:#?}", report.issues);
}

#[test]
fn attributes_come_back_by_their_names() {
    let fixture = Fixture::new();
    fixture.write("file", "content");
    let set = |path: &Path, name: &str, value: &str| rustix::fs::setxattr(path, name, value.as_bytes(), XattrFlags::empty());
    if set(&fixture.source("file"), "user.good", "snapshot") == Err(rustix::io::Errno::NOTSUP) {
        eprintln!("skipped: no extended attributes here");
        return;
    }
    set(&fixture.source("file"), "user.bad", "snapshot").unwrap();
    set(&fixture.source("file"), "user.other", "snapshot").unwrap();
    let snapshot = fixture.backup();
    std::fs::write(fixture.target("file"), "old").unwrap();
    for name in ["user.bad", "user.surplus", "user.bad.too"] {
        set(&fixture.target("file"), name, "target").unwrap();
    }
    let patterns = |patterns: &[&str]| PatternSet::parse(patterns).unwrap();
    let rules = Rules { include_xattrs: patterns(&["user.*"]), exclude_xattrs: patterns(&["user.bad*"]), ..Rules::default() };
    restore(&fixture, snapshot, rules);
    let value = |name: &str| {
        let mut buffer = [0; 100];
        rustix::fs::getxattr(fixture.target("file"), name, &mut buffer[..]).ok().map(|bytes| String::from_utf8_lossy(&buffer[..bytes]).into_owned())
    };
    let found = ["user.good", "user.other", "user.bad", "user.bad.too", "user.surplus"].map(value);
    let found = found.each_ref().map(|value| value.as_deref());
    assert_eq!(found, [Some("snapshot"), Some("snapshot"), Some("target"), Some("target"), None], "what is excluded is left alone");
    fixture.restore_whole(snapshot);
    fixture.assert_identical();
}

/// A label names the pod that had the volume then.
#[test]
fn labels_stay_behind_and_what_the_target_has_stays() {
    let fixture = Fixture::new();
    fixture.write("file", "content");
    let set = |path: &Path, value: &str| rustix::fs::setxattr(path, "security.selinux", value.as_bytes(), XattrFlags::empty());
    if set(&fixture.source("file"), "then").is_err() {
        eprintln!("skipped: no label can be set here");
        return;
    }
    let snapshot = fixture.backup();
    std::fs::write(fixture.target("file"), "old").unwrap();
    set(&fixture.target("file"), "now").unwrap();
    let label = || {
        let mut buffer = [0; 100];
        let bytes = rustix::fs::getxattr(fixture.target("file"), "security.selinux", &mut buffer[..]).unwrap();
        String::from_utf8_lossy(&buffer[..bytes]).into_owned()
    };
    fixture.restore_whole(snapshot);
    assert_eq!(label(), "now");
    restore(&fixture, snapshot, Rules { include_xattrs: PatternSet::parse(["security.selinux"]).unwrap(), ..Rules::default() });
    assert_eq!(label(), "then", "it was asked for");
}

/// What a directory hands down (its group, by the set-group-id bit) does not stay.
#[test]
fn a_group_that_is_handed_down_does_not_stay() {
    if !is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let fixture = Fixture::new();
    for (name, mode) in [("plain", 0o644), ("odd", 0o077), ("read-only", 0o444), ("private", 0o600), ("set-id", 0o6755), ("group", 0o460)] {
        for (place, owner) in [("", 0), ("d/", 55)] {
            fixture.write(&format!("{place}{name}"), name);
            let path = fixture.source(&format!("{place}{name}"));
            set_owner(&path, owner, owner);
            set_mode(&path, mode);
        }
    }
    let snapshot = fixture.backup();
    set_owner(&fixture.target(""), 0, 999);
    set_mode(&fixture.target(""), 0o2777);
    fixture.restore_whole(snapshot);
    fixture.assert_identical();
}
