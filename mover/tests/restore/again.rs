//! Restores over what an earlier one, or somebody else, left: only what differs is written.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use holdfast_mover::restore::{RestoreError, RestoreReport, Rules};
use holdfast_mover::stop::StopToken;

use crate::fixture::{Fixture, noise};

const FILES: u64 = 300;

fn filled() -> Fixture {
    let fixture = Fixture::new();
    for number in 0..FILES {
        fixture.write(&format!("d{}/f{number}", number % 7), noise(number, 500 + 131 * number as usize));
    }
    fixture.write("large", noise(7777, 12 << 20));
    fixture
}

fn untouched(report: &RestoreReport) -> (u64, u64) {
    (report.targets[0].files_unchanged, report.bytes_written)
}

/// Every entry's time of change: what was not touched keeps it.
fn ctimes(directory: &Path) -> BTreeMap<String, (i64, i64)> {
    let mut found = BTreeMap::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(at).unwrap().map(Result::unwrap) {
            let metadata = std::fs::symlink_metadata(entry.path()).unwrap();
            if metadata.is_dir() {
                open.push(entry.path());
            }
            found.insert(entry.path().display().to_string(), (metadata.ctime(), metadata.ctime_nsec()));
        }
    }
    found
}

#[test]
fn what_is_right_is_not_fetched_not_written_and_not_touched() {
    let fixture = filled();
    let snapshot = fixture.backup();
    let first = fixture.restore_whole(snapshot);
    assert_eq!(untouched(&first), (0, first.targets[0].bytes));
    let before = ctimes(&fixture.target(""));
    let second = fixture.restore_whole(snapshot);
    assert_eq!(untouched(&second), (FILES + 1, 0));
    assert_eq!(second.bytes_read, 0, "its ids say that it is there");
    assert_eq!(ctimes(&fixture.target("")), before);
    fixture.assert_identical();
}

#[test]
fn only_the_steps_that_differ_are_written() {
    let fixture = filled();
    let snapshot = fixture.backup();
    let first = fixture.restore_whole(snapshot);
    let all = first.bytes_read;
    assert!(all >= first.targets[0].bytes, "{all}: what is not in a planned range is fetched blob by blob, and not counted");
    let large = std::fs::OpenOptions::new().write(true).open(fixture.target("large")).unwrap();
    for place in [5 << 20, (5 << 20) + 1, 9 << 20] {
        large.write_all_at(b"!", place).unwrap();
    }
    std::fs::write(fixture.target("d1/f1"), "short").unwrap();
    std::fs::remove_file(fixture.target("d2/f2")).unwrap();
    let report = fixture.restore_whole(snapshot);
    fixture.assert_identical();
    let (unchanged, written) = untouched(&report);
    assert_eq!(unchanged, FILES + 1 - 3);
    let small: u64 = ["d1/f1", "d2/f2"].iter().map(|name| std::fs::metadata(fixture.source(name)).unwrap().len()).sum();
    assert!(written >= small && written <= small + (2 << 14), "{written}");
    assert!(report.bytes_read < all, "the blobs that changed, and not all: {} of {all}", report.bytes_read);
}

/// A file that is longer, shorter, full where there should be holes, and one whose zeros have become a hole.
#[test]
fn every_hole_is_punched_and_every_length_is_right() {
    let fixture = Fixture::new();
    for name in ["longer", "shorter", "filled"] {
        let file = std::fs::File::create(fixture.source(name)).unwrap();
        file.set_len(9 << 20).unwrap();
        for part in 0..3 {
            file.write_all_at(&noise(part, 300_000), part * (3 << 20)).unwrap();
        }
    }
    std::fs::File::create(fixture.source("only a hole")).unwrap().set_len(5 << 20).unwrap();
    fixture.write("zeros", vec![0; 2 << 20]);
    let snapshot = fixture.backup();
    fixture.restore_whole(snapshot);
    let open = |name| std::fs::OpenOptions::new().write(true).open(fixture.target(name)).unwrap();
    open("longer").set_len(20 << 20).unwrap();
    open("shorter").set_len(4 << 20).unwrap();
    open("filled").write_all_at(&noise(9, 9 << 20), 0).unwrap();
    open("only a hole").write_all_at(&noise(9, 5 << 20), 0).unwrap();
    open("zeros").set_len(0).unwrap();
    open("zeros").set_len(2 << 20).unwrap();
    let report = fixture.restore_whole(snapshot);
    fixture.assert_identical();
    let (unchanged, written) = untouched(&report);
    assert_eq!(unchanged, 0);
    assert!(written < (2 << 20) + 4 * 300_000 + 1_000_000, "{written}");
    let blocks = |name| std::fs::metadata(fixture.target(name)).unwrap().blocks();
    assert_eq!(blocks("only a hole"), 0);
}

/// Content decides, not time: unless the request says otherwise.
#[test]
fn a_right_time_is_not_believed_unless_it_is_to_be() {
    let fixture = filled();
    let snapshot = fixture.backup();
    fixture.restore_whole(snapshot);
    for name in ["large", "d3/f3"] {
        let file = std::fs::OpenOptions::new().write(true).open(fixture.target(name)).unwrap();
        let time = file.metadata().unwrap().modified().unwrap();
        file.write_all_at(b"rotten", 100).unwrap();
        file.set_modified(time).unwrap();
    }
    let rotten = |name| std::fs::read(fixture.target(name)).unwrap()[100..106] == *b"rotten";
    let mut request = fixture.request(snapshot);
    request.rules = Rules { trust_times: true, ..Rules::default() };
    let report = fixture.try_run(request, &StopToken::new()).unwrap();
    assert!(report.is_complete() && report.bytes_read == 0 && report.bytes_written == 0, "{report:?}");
    assert!(rotten("large") && rotten("d3/f3"));
    let report = fixture.restore_whole(snapshot);
    // One step of the large file, and all of the small one.
    assert_eq!(untouched(&report), (FILES + 1 - 2, (16 << 10) + 500 + 131 * 3));
    fixture.assert_identical();
}

/// The grant ends it at any point, as a kill would: run again it goes on, and leaves nothing behind.
#[test]
fn a_restore_that_was_cut_off_goes_on() {
    let fixture = filled();
    let snapshot = fixture.backup();
    let all = fixture.restore_whole(snapshot).bytes_written;
    for leaves in [20, 100, 250, 310] {
        std::fs::remove_dir_all(fixture.target("")).unwrap();
        std::fs::create_dir(fixture.target("")).unwrap();
        let asked = Arc::new(AtomicU64::new(0));
        let mut request = fixture.request(snapshot);
        request.may_write = Arc::new(move || asked.fetch_add(1, Ordering::SeqCst) < leaves);
        assert!(matches!(fixture.try_run(request, &StopToken::new()), Err(RestoreError::GrantLapsed)));
        let report = fixture.restore_whole(snapshot);
        fixture.assert_identical();
        assert!(leaves < 250 || report.targets[0].files_unchanged > 50, "{leaves}: {report:?}");
        assert!(report.bytes_written <= all, "{} of {all}", report.bytes_written);
    }
}
