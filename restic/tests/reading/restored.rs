//! Restores of what restic stored, compared entry by entry.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use holdfast_mover::fidelity::torture::noise;
use holdfast_mover::pattern::PatternSet;
use holdfast_mover::restore::{RestoreError, Severity, Target};
use holdfast_restic::testing::Forger;

use crate::fixture::{Fixture, PATH, VERSIONS, is_root, open};
use crate::laid::State;

#[test]
fn every_entry_comes_back_as_it_was() {
    if !is_root() {
        return;
    }
    for version in VERSIONS {
        for (number, state) in [(1, State::First), (2, State::Second)] {
            let fixture = Fixture::new(version);
            let report = fixture.restore_all(number);
            assert!(report.is_complete() && report.warnings == 0, "{version}: {:#?}", report.issues);
            assert_eq!(report.targets[0].links, 2);
            let comparison = fixture.compare(state);
            assert!(comparison.is_identical() && comparison.entries > 60, "{version}: {:#?}", comparison.differences);
            let sparse = std::fs::metadata(fixture.path("target/sparse.img")).unwrap();
            assert!(sparse.blocks() * 512 <= 512 << 10, "long runs of zeros come back as holes: {}", sparse.blocks() * 512);
        }
    }
}

#[test]
fn what_stands_there_is_compared_and_only_what_differs_is_written() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new("v2");
    fixture.restore_all(1);
    let again = fixture.restore_all(1);
    // A file with several names is made anew: the others may be somebody else's.
    assert_eq!((again.bytes_written, again.failed), (600_014, 0), "{:#?}", again.issues);
    assert_eq!(again.targets[0].files_unchanged, again.targets[0].files - 2);
    std::fs::write(fixture.path("target/hello.txt"), "changed").unwrap();
    std::fs::remove_file(fixture.path("target/dir/link")).unwrap();
    std::fs::write(fixture.path("target/beside"), "stays").unwrap();
    let report = fixture.restore_all(2);
    assert!(report.is_complete(), "{:#?}", report.issues);
    assert!(report.bytes_written < 610_000, "{}", report.bytes_written);
    assert_eq!(std::fs::read(fixture.path("target/beside")).unwrap(), b"stays");
    for left in ["beside", "dir/deep/f7"] {
        std::fs::remove_file(fixture.path("target").join(left)).unwrap();
    }
    // Another file beside changed its directory.
    let report = fixture.restore_all(2);
    assert!(report.is_complete());
    let comparison = fixture.compare(State::Second);
    assert!(comparison.is_identical(), "{:#?}", comparison.differences);
}

#[test]
fn parts_are_restored_by_patterns() {
    let fixture = Fixture::new("v1");
    let mut request = fixture.request(PATH);
    request.include = PatternSet::parse(&["/kubestash-data/dir/deep/f1*".to_owned(), "another name*".to_owned()]).unwrap();
    request.exclude = PatternSet::parse(&["f13".to_owned()]).unwrap();
    request.device_nodes = false;
    let report = fixture.restore(&fixture.snapshot(1), request).unwrap();
    // f1, f10 to f19 without f13; and a second name whose first is not wanted.
    assert_eq!((report.targets[0].files, report.targets[0].links), (11, 0), "{:#?}", report.issues);
    assert_eq!(std::fs::metadata(fixture.path("target/dir/another name of big.bin")).unwrap().len(), 600_000);
    assert!(!fixture.path("target/hello.txt").exists() && !fixture.path("target/empty").exists());
}

#[test]
fn several_paths_go_to_several_targets() {
    let fixture = Fixture::new("v2");
    let snapshot = fixture.snapshot(3);
    std::fs::create_dir(fixture.path("second")).unwrap();
    let mut request = fixture.request("/kubestash-data/dir");
    request.targets.push(Target { snapshot_path: b"/kubestash-data/empty".to_vec(), root: open(&fixture.path("second")) });
    let report = fixture.restore(&snapshot, request).unwrap();
    assert_eq!((report.targets[0].files, report.targets[1].directories), (41, 1), "{:#?}", report.issues);
    assert!(fixture.path("target/deep/new").exists());
    // A root of which nothing was recorded stays as it is.
    let other = Fixture::new("v2");
    let before = std::fs::metadata(other.path("target")).unwrap().mode();
    let report = other.restore(&snapshot, other.request("/")).unwrap();
    assert!(other.path("target/kubestash-data/dir/deep/new").exists() && !other.path("target/kubestash-data/hello.txt").exists(), "{:#?}", report.issues);
    assert_eq!(std::fs::metadata(other.path("target")).unwrap().mode(), before);
}

#[test]
fn a_path_that_the_snapshot_does_not_have_or_that_is_a_file_is_refused() {
    let fixture = Fixture::new("v2");
    let restore = |number: usize, path: &str| fixture.restore(&fixture.snapshot(number), fixture.request(path)).unwrap_err();
    assert!(matches!(restore(1, "/data"), RestoreError::NoSuchSource { .. }));
    assert!(matches!(restore(1, "/kubestash-data/../etc"), RestoreError::NoSuchSource { .. }));
    assert!(matches!(restore(4, "/dump.sql"), RestoreError::BadCatalog { reason, .. } if reason.contains("no directory")));
}

#[test]
fn privileges_come_back_only_where_they_may() {
    if !is_root() {
        return;
    }
    let fixture = Fixture::new("v2");
    let mut request = fixture.request(PATH);
    request.device_nodes = false;
    let report = fixture.restore(&fixture.snapshot(1), request).unwrap();
    assert!(report.is_complete());
    assert_eq!(report.issues.iter().filter(|issue| issue.severity == Severity::Withheld).count(), 3, "{:#?}", report.issues);
    assert_eq!(std::fs::metadata(fixture.path("target/setuid")).unwrap().mode() & 0o7777, 0o755);
    assert!(!fixture.path("target/null").exists() && !fixture.path("target/loop").exists());
    assert!(std::fs::symlink_metadata(fixture.path("target/pipe")).unwrap().file_type().is_fifo());
}

#[test]
fn nothing_is_written_when_the_grant_is_over() {
    let fixture = Fixture::new("v2");
    let asked = Arc::new(AtomicU32::new(0));
    let mut request = fixture.request(PATH);
    request.may_write = Arc::new({
        let asked = Arc::clone(&asked);
        move || asked.fetch_add(1, Ordering::Relaxed) < 20
    });
    assert!(matches!(fixture.restore(&fixture.snapshot(1), request), Err(RestoreError::GrantLapsed)));
    let mut never = fixture.request(PATH);
    let target = fixture.path("never");
    std::fs::create_dir(&target).unwrap();
    never.targets[0].root = open(&target);
    never.may_write = Arc::new(|| false);
    assert!(matches!(fixture.restore(&fixture.snapshot(1), never), Err(RestoreError::GrantLapsed)));
    assert_eq!(std::fs::read_dir(target).unwrap().count(), 0);
}

/// Blobs that zstd makes no shorter are stored compressed all the same: their lengths do not tell.
#[test]
fn what_compression_left_as_long_as_it_was_comes_back() {
    // Noise with a run in it: each byte more of the run saves one, and somewhere it is even.
    let mut candidates = (0..200).map(|run| [noise(1, 300), vec![b'a'; run]].concat());
    let content = candidates.find(|raw| zstd::bulk::compress(raw, 1).unwrap().len() == raw.len()).unwrap();
    let fixture = Fixture::new("v2");
    let repository = fixture.open();
    let mut forger = Forger::new(&repository, &fixture.path("repository"));
    let blob = forger.add("data", &content, content.len());
    let tree = forger.tree(&[format!(r#"{{"name":"f","type":"file","mtime":"2020-01-02T03:04:05Z","size":{},"content":["{blob}"]}}"#, content.len())]);
    let id = forger.snapshot(tree);
    let snapshot = fixture.runtime.block_on(repository.snapshot(&id)).unwrap();
    let report = fixture.restore(&snapshot, fixture.request("/")).unwrap();
    assert!(report.is_complete(), "{:#?}", report.issues);
    assert_eq!(std::fs::read(fixture.path("target/f")).unwrap(), content);
}
