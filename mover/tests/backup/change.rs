//! What did not change is not read; what did is, however well it hides.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime};

use holdfast_mover::backup::{ChangeRule, Parent};
use holdfast_mover::stop::StopToken;
use holdfast_repository::{CheckOptions, CheckProgress};

use crate::fixture::{Fixture, noise};

fn filled() -> Fixture {
    let fixture = Fixture::new();
    for number in 0..300 {
        fixture.write(&format!("d{:02}/f{number}", number % 20), &noise(number, 4000 + number as usize * 10));
    }
    fixture.write("large", &noise(1000, 9 << 20));
    fixture.write("empty", b"");
    std::os::unix::fs::symlink("large", fixture.path("symlink")).unwrap();
    fixture.settle();
    fixture
}

#[test]
fn unchanged_files_are_not_opened() {
    let fixture = filled();
    let first = fixture.backup();
    assert_eq!(first.sources[0].statistics.files_read, 302);
    assert_eq!(first.sources[0].statistics.files_new, 302);

    let second = fixture.backup();
    let statistics = second.sources[0].statistics;
    assert_eq!((statistics.files_read, statistics.bytes_read, statistics.files_new, statistics.files_changed), (0, 0, 0, 0));
    assert_eq!((statistics.files, statistics.bytes), (302, first.sources[0].statistics.bytes));
    assert_eq!(statistics.bytes_added, 0, "not even the catalog is new");
    assert_eq!((second.parent, second.parent_ignored), (Some(first.snapshot), None));
    assert_eq!(fixture.snapshot(first.snapshot).entries, fixture.snapshot(second.snapshot).entries);
    fixture.assert_same_files(second.snapshot);
}

#[test]
fn one_file_in_a_hundred_costs_little() {
    let fixture = filled();
    let first = fixture.backup().sources[0].statistics;
    for number in [5, 150, 299] {
        fixture.write(&format!("d{:02}/f{number}", number % 20), &noise(number + 5000, 4000));
    }
    std::fs::remove_file(fixture.path("d03/f3")).unwrap();
    fixture.write("new", b"new");
    fixture.settle();
    let report = fixture.backup();
    let statistics = report.sources[0].statistics;
    assert_eq!((statistics.files_read, statistics.files_new, statistics.files_changed), (4, 1, 3));
    assert_eq!(statistics.bytes_read, 3 * 4000 + 3);
    assert!(statistics.bytes_added * 50 < first.bytes_added, "{} of {}", statistics.bytes_added, first.bytes_added);
    fixture.assert_same_files(report.snapshot);
    assert!(!fixture.snapshot(report.snapshot).paths().contains(&"d03/f3".to_string()));
}

#[test]
fn a_change_that_restores_size_and_mtime_is_seen() {
    let fixture = filled();
    fixture.backup();
    let path = fixture.path("d00/f0");
    let mtime = std::fs::metadata(&path).unwrap().modified().unwrap();
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"sneaky", 100).unwrap();
    file.set_modified(mtime).unwrap();
    fixture.settle();
    let report = fixture.backup();
    assert_eq!(report.sources[0].statistics.files_read, 1);
    fixture.assert_same_files(report.snapshot);

    // The rule for cloned volumes cannot see it; that is what it declares.
    file.write_all_at(b"unseen", 100).unwrap();
    file.set_modified(mtime).unwrap();
    fixture.settle();
    let mut request = fixture.request();
    request.sources[0].change_rule = ChangeRule::SizeAndMtime;
    assert_eq!(fixture.try_run(request, StopToken::new()).unwrap().sources[0].statistics.files_read, 0);
}

#[test]
fn what_was_written_during_the_scan_is_read_again() {
    let fixture = filled();
    // In the future of this scan: its times will not tell a later change apart.
    let file = File::options().write(true).open(fixture.path("d01/f1")).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_secs(3600)).unwrap();
    fixture.settle();
    let first = fixture.backup();
    assert!(fixture.snapshot(first.snapshot).entry(b"d01/f1").flags.read_next_time);
    let second = fixture.backup().sources[0].statistics;
    assert_eq!(second.files_read, 1);
}

#[test]
fn content_is_found_again_after_a_rename() {
    let fixture = filled();
    fixture.backup();
    std::fs::rename(fixture.path("large"), fixture.path("renamed")).unwrap();
    fixture.settle();
    let report = fixture.backup();
    let statistics = report.sources[0].statistics;
    assert_eq!(statistics.bytes_read, 9 << 20);
    assert!(statistics.bytes_added < 100_000, "{} bytes were added", statistics.bytes_added);
    fixture.assert_same_files(report.snapshot);
}

#[test]
fn without_a_parent_everything_is_read_and_nothing_is_sent() {
    let fixture = filled();
    fixture.backup();
    let mut request = fixture.request();
    request.parent = Parent::None;
    let report = fixture.try_run(request, StopToken::new()).unwrap();
    let statistics = report.sources[0].statistics;
    assert_eq!((statistics.files_read, report.parent), (302, None));
    assert_eq!(statistics.bytes_added, 0, "the same tree gives the same bundles, chunks and segments");
}

#[test]
fn a_damaged_parent_does_not_stop_a_backup() {
    let fixture = filled();
    let first = fixture.backup();
    damage(&fixture.store_directory.path().join("holdfast/v1/packs/meta"));
    let report = fixture.backup();
    assert_eq!(report.sources[0].statistics.files_read, 302, "{:?}", report.parent_ignored);
    assert!(report.parent_ignored.is_some(), "it says why");
    assert_ne!(report.snapshot, first.snapshot);
    fixture.assert_same_files(report.snapshot);
}

/// Flips a bit in the middle of every object below.
fn damage(directory: &std::path::Path) {
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            damage(&entry.path());
            continue;
        }
        let mut bytes = std::fs::read(entry.path()).unwrap();
        for at in (60..bytes.len()).step_by(97) {
            bytes[at] ^= 1;
        }
        std::fs::write(entry.path(), bytes).unwrap();
    }
}

/// Unchanged files whose blobs turn out rotten are read again: the backup heals what a check has found.
#[test]
fn what_a_check_found_rotten_is_read_again() {
    let fixture = filled();
    let first = fixture.backup();
    damage(&fixture.store_directory.path().join("holdfast/v1/packs/data"));
    let options = CheckOptions { read_data_percent: 100, publish_bad: true, ..CheckOptions::default() };
    let check = fixture.block_on(fixture.repository.check(options, &CheckProgress::default())).unwrap();
    assert!(!check.findings.is_empty());
    let second = fixture.backup();
    assert_eq!(second.parent, Some(first.snapshot));
    assert!(second.sources[0].statistics.files_read >= 300, "{:?}", second.sources[0].statistics);
    fixture.assert_same_files(second.snapshot);
}

/// A claim's parent is found by its UID and the path in the volume, wherever and under whatever name it is mounted.
#[test]
fn a_claim_is_known_by_its_uid() {
    let fixture = filled();
    let run = |uid: &str, path: &str, in_volume: &str| {
        let mut request = fixture.request();
        let source = &mut request.sources[0];
        (source.pvc_uid, source.path, source.path_in_volume) = (uid.into(), path.into(), in_volume.into());
        fixture.try_run(request, StopToken::new()).unwrap()
    };
    let first = run("uid-1", "/data", "");
    assert_eq!(run("uid-1", "/elsewhere", "").parent, Some(first.snapshot));
    assert_eq!(run("uid-2", "/data", "").parent, None);
    assert_eq!(run("uid-1", "/data", "sub").parent, None);
    assert_eq!(run("", "/data", "").parent, None);
}

#[test]
fn two_sources_make_one_snapshot() {
    let fixture = filled();
    let other = tempfile::TempDir::new().unwrap();
    std::fs::write(other.path().join("other"), b"other").unwrap();
    fixture.settle();
    for files_read in [303, 0] {
        let mut request = fixture.request();
        request.sources.push(crate::fixture::source(other.path()));
        let report = fixture.try_run(request, StopToken::new()).unwrap();
        assert_eq!(report.sources.iter().map(|source| source.statistics.files_read).sum::<u64>(), files_read);
        assert_eq!(fixture.snapshot(report.snapshot).paths().iter().filter(|path| *path == ".").count(), 2);
    }
}
