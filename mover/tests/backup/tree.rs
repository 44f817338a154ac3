//! Every kind of entry, every name, every depth.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;

use holdfast_mover::backup::Limits;
use holdfast_mover::catalog::EntryKind;
use holdfast_mover::stop::StopToken;
use rustix::fs::{FileType, Mode, OFlags, XattrFlags};

use crate::fixture::{Fixture, noise};

#[test]
fn all_kinds_and_any_name() {
    let fixture = Fixture::new();
    let names: [&[u8]; 6] = [b"new\nline", b"\xff\xfe invalid", b" ", b"-rf", b"\x01\x1b[2J", "ünïcödé".as_bytes()];
    for name in names {
        std::fs::write(fixture.source.path().join(OsStr::from_bytes(name)), name).unwrap();
    }
    std::os::unix::fs::symlink("nowhere", fixture.path("dangling")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, fixture.path("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    drop(UnixListener::bind(fixture.path("socket")).unwrap());
    std::fs::create_dir(fixture.path("empty-directory")).unwrap();
    rustix::fs::setxattr(fixture.path("-rf"), "user.note", b"kept", XattrFlags::empty()).unwrap();
    rustix::fs::setxattr(fixture.path("empty-directory"), "user.d", b"", XattrFlags::empty()).unwrap();

    let report = fixture.backup();
    assert_eq!(report.unreadable_count, 0, "{:?}", report.unreadable_first);
    let contents = fixture.snapshot(report.snapshot);
    assert_eq!(contents.entries.len(), 1 + names.len() + 4);
    assert!(contents.entries.is_sorted_by(|a, b| a.path < b.path));
    for name in names {
        assert_eq!(fixture.content(&contents, contents.entry(name)), name);
    }
    assert_eq!(contents.entry(b"dangling").kind, EntryKind::Symlink { target: b"nowhere".to_vec() });
    assert_eq!(contents.entry(b"fifo").kind, EntryKind::Fifo);
    assert_eq!(contents.entry(b"socket").kind, EntryKind::Socket);
    assert_eq!(contents.entry(b"-rf").xattrs, [(b"user.note".to_vec(), b"kept".to_vec())]);
    assert_eq!(contents.entry(b"empty-directory").xattrs, [(b"user.d".to_vec(), Vec::new())]);
}

/// `lsetxattr` on a symbolic link needs a name space that links may have: `trusted`, and root.
#[test]
fn attributes_of_what_cannot_be_opened() {
    let fixture = Fixture::new();
    std::os::unix::fs::symlink("target", fixture.path("symlink")).unwrap();
    std::fs::create_dir(fixture.path("d")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, fixture.path("d/fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    for name in ["symlink", "d/fifo"] {
        if rustix::fs::lsetxattr(fixture.path(name), "trusted.holdfast", name.as_bytes(), XattrFlags::empty()).is_err() {
            eprintln!("skipped: trusted attributes need root");
            return;
        }
    }
    let before = std::env::current_dir().unwrap();
    let contents = fixture.snapshot(fixture.backup().snapshot);
    for name in ["symlink", "d/fifo"] {
        assert_eq!(contents.entry(name.as_bytes()).xattrs, [(b"trusted.holdfast".to_vec(), name.as_bytes().to_vec())]);
    }
    assert_eq!(std::env::current_dir().unwrap(), before, "the process stays where it is");
}

#[test]
fn hard_links_are_one_file() {
    let fixture = Fixture::new();
    fixture.write("b/first", b"content");
    fixture.write("alone", b"alone");
    std::fs::hard_link(fixture.path("b/first"), fixture.path("c-second")).unwrap();
    std::fs::hard_link(fixture.path("b/first"), fixture.path("a-earlier")).unwrap();
    std::os::unix::fs::symlink("x", fixture.path("link1")).unwrap();
    std::fs::hard_link(fixture.path("link1"), fixture.path("link2")).unwrap();
    fixture.settle();
    for _ in ["first", "incremental"] {
        let report = fixture.backup();
        let contents = fixture.snapshot(report.snapshot);
        let first = contents.entry(b"a-earlier");
        assert_eq!(first.link_to, None);
        assert_eq!(fixture.content(&contents, first), b"content");
        for name in [&b"b/first"[..], b"c-second"] {
            assert_eq!(contents.entry(name).link_to.as_ref(), Some(&first.path));
            assert!(contents.entry(name).extents.is_empty());
        }
        assert_eq!(contents.entry(b"link2").link_to.as_ref(), Some(&contents.entry(b"link1").path));
        assert_eq!(contents.entry(b"alone").link_to, None);
        assert_eq!(report.sources[0].statistics.bytes, 12, "content counts once");
    }
}

/// Deeper than the walk keeps handles for, and a path longer than any call takes; with names left to visit on the way back up.
#[test]
fn a_tree_deeper_than_path_max() {
    const LEVELS: usize = 300;
    let fixture = Fixture::new();
    let mut at: OwnedFd = std::fs::File::open(fixture.source.path()).unwrap().into();
    let name = "n".repeat(100);
    for level in 0..LEVELS {
        for side in ["a", "z"] {
            let file = rustix::fs::openat(&at, side, OFlags::CREATE | OFlags::WRONLY, Mode::from_raw_mode(0o600)).unwrap();
            rustix::io::write(&file, format!("{side}{level}").as_bytes()).unwrap();
        }
        rustix::fs::mkdirat(&at, name.as_str(), Mode::from_raw_mode(0o700)).unwrap();
        at = rustix::fs::openat(&at, name.as_str(), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    fixture.settle();
    let report = fixture.backup();
    assert_eq!(report.unreadable_count, 0, "{:?}", report.unreadable_first);
    let contents = fixture.snapshot(report.snapshot);
    assert_eq!(contents.entries.len(), 1 + 3 * LEVELS);
    let deepest = contents.entries.iter().max_by_key(|entry| entry.path.as_bytes().len()).unwrap();
    assert!(deepest.path.as_bytes().len() > 3 * 4096 && deepest.kind.is_directory());
    for level in [0, 150, LEVELS - 1] {
        let path = [vec![name.as_str(); level], vec!["z"]].concat().join("/");
        assert_eq!(fixture.content(&contents, contents.entry(path.as_bytes())), format!("z{level}").as_bytes());
    }
    assert_eq!(fixture.backup().sources[0].statistics.files_read, 0);
}

/// More names than the memory for them: the directory is read in passes, and none is lost or seen twice.
#[test]
fn a_directory_larger_than_its_memory() {
    let fixture = Fixture::new();
    for number in 0..6000 {
        std::fs::File::create(fixture.path(&format!("some-longer-name-{:05}", number * 7919 % 6000))).unwrap();
    }
    std::fs::create_dir(fixture.path("some-longer-name-03000.d")).unwrap();
    fixture.write("some-longer-name-03000.d/inside", b"inside");
    let mut request = fixture.request();
    // A tenth of this is for names: 6,000 of them take thirty times as much.
    request.limits = Limits { memory_bytes: 100_000, ..request.limits };
    let report = fixture.try_run(request, StopToken::new()).unwrap();
    let contents = fixture.snapshot(report.snapshot);
    assert_eq!(contents.entries.len(), 6000 + 3);
    assert!(contents.entries.is_sorted_by(|a, b| a.path < b.path));
}

#[test]
fn excluded_paths_are_not_looked_at() {
    let fixture = Fixture::new();
    for name in ["keep/a", "cache/b", "keep/b.tmp"] {
        fixture.write(name, &noise(1, 10));
    }
    let mut request = fixture.request();
    request.is_excluded = Some(std::sync::Arc::new(|_, path, is_directory| {
        (is_directory && path.as_bytes() == b"cache") || path.as_bytes().ends_with(b".tmp")
    }));
    let report = fixture.try_run(request, StopToken::new()).unwrap();
    assert_eq!(fixture.snapshot(report.snapshot).paths(), [".", "keep", "keep/a"]);
}
