//! Part of a snapshot.

use std::path::Path;

use holdfast_mover::pattern::PatternSet;
use holdfast_mover::restore::{RestoreError, Target};
use holdfast_mover::stop::StopToken;
use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat};

use crate::fixture::{Fixture, is_root, noise, open};

fn names(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(at).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            }
            found.push(entry.path().strip_prefix(directory).unwrap().display().to_string());
        }
    }
    found.sort();
    found
}

fn filled() -> Fixture {
    let fixture = Fixture::new();
    for name in ["a/b/keep.txt", "a/b/drop.log", "a/c/deep/keep.txt", "logs/one.log", "top.txt"] {
        fixture.write(name, name);
    }
    fixture
}

fn restored(fixture: &Fixture, include: &[&str], exclude: &[&str]) -> Vec<String> {
    let snapshot = fixture.backup();
    let mut request = fixture.request(snapshot);
    (request.include, request.exclude) = (PatternSet::parse(include).unwrap(), PatternSet::parse(exclude).unwrap());
    let report = fixture.try_run(request, &StopToken::new()).unwrap();
    assert!(report.is_complete(), "{:#?}", report.issues);
    names(&fixture.target(""))
}

#[test]
fn include_brings_what_matches_and_the_way_there() {
    assert_eq!(restored(&filled(), &["/data/a/b"], &[]), ["a", "a/b", "a/b/drop.log", "a/b/keep.txt"]);
    assert_eq!(restored(&filled(), &["keep.txt"], &[]), ["a", "a/b", "a/b/keep.txt", "a/c", "a/c/deep", "a/c/deep/keep.txt"]);
    assert_eq!(restored(&filled(), &["/data/**/deep"], &[]), ["a", "a/c", "a/c/deep", "a/c/deep/keep.txt"]);
    assert_eq!(restored(&filled(), &["/elsewhere"], &[]), Vec::<String>::new());
}

#[test]
fn exclude_leaves_out_what_matches_and_all_below() {
    assert_eq!(restored(&filled(), &[], &["*.log", "/data/a/c"]), ["a", "a/b", "a/b/keep.txt", "logs", "top.txt"]);
    assert_eq!(restored(&filled(), &["/data/a"], &["drop.*"]), ["a", "a/b", "a/b/keep.txt", "a/c", "a/c/deep", "a/c/deep/keep.txt"]);
}

#[test]
fn links_survive_without_their_first_name() {
    let fixture = Fixture::new();
    fixture.write("a/first", noise(1, 200_000));
    rustix::fs::setxattr(fixture.source("a/first"), "user.note", b"kept", XattrFlags::empty()).unwrap();
    for name in ["b second", "c third"] {
        std::fs::hard_link(fixture.source("a/first"), fixture.source(name)).unwrap();
    }
    assert_eq!(restored(&fixture, &[], &["/data/a"]), ["b second", "c third"]);
    assert_same_without_first(&fixture);
}

/// What they are stands at the first name only.
#[test]
fn links_to_other_kinds_survive_without_their_first_name() {
    let fixture = Fixture::new();
    std::fs::create_dir(fixture.source("a")).unwrap();
    std::os::unix::fs::symlink("where to", fixture.source("a/symlink")).unwrap();
    mknodat(CWD, fixture.source("a/pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let mut names = vec!["pipe", "symlink"];
    if is_root() {
        mknodat(CWD, fixture.source("a/null"), FileType::CharacterDevice, Mode::RUSR, rustix::fs::makedev(1, 3)).unwrap();
        names.insert(0, "null");
    }
    for name in &names {
        std::fs::hard_link(fixture.source(&format!("a/{name}")), fixture.source(name)).unwrap();
    }
    assert_eq!(restored(&fixture, &[], &["/data/a"]), names);
    assert_same_without_first(&fixture);
}

fn assert_same_without_first(fixture: &Fixture) {
    std::fs::remove_dir_all(fixture.source("a")).unwrap();
    let differences = fixture.compare().differences;
    // Only the root's own time is another: a name was removed from it just now.
    assert!(differences.iter().all(|difference| difference.path.is_root()), "{differences:#?}");
}

#[test]
fn each_source_has_its_own_target() {
    let fixture = filled();
    let (one, two) = (fixture.source("a"), fixture.source("logs"));
    let snapshot = fixture.backup_of(&[("/data/a", &one), ("/data/logs", &two)]);
    let mut request = fixture.request(snapshot);
    std::fs::create_dir(fixture.target("x")).unwrap();
    request.targets = vec![Target { snapshot_path: b"/data/logs".to_vec(), root: open(&fixture.target("x")) }];
    fixture.try_run(request, &StopToken::new()).unwrap();
    assert_eq!(names(&fixture.target("")), ["x", "x/one.log"]);

    let mut request = fixture.request(snapshot);
    request.targets[0].snapshot_path = b"/data/none".to_vec();
    let error = fixture.try_run(request, &StopToken::new()).unwrap_err();
    assert!(matches!(&error, RestoreError::NoSuchSource { present, .. } if present == "/data/a, /data/logs"), "{error}");
}
