//! Names of one file that are looked at at different moments.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use holdfast_mover::backup::{BackupReport, run};
use holdfast_mover::progress::Progress;
use holdfast_mover::stop::StopToken;

use crate::fixture::{Fixture, noise};

const FILE_BYTES: usize = 300_000;
/// More than the walk hands over at once: the file is read while the walk stands before its next name.
const NAMES_BETWEEN: usize = 300;
/// Lower numbers that are tried first.
const FREE_INODES_MAX: usize = 10_000;
const PATIENCE: Duration = Duration::from_secs(30);

/// Backs up `a-log`, which is `z-log` and `z-log-too` as well: before these two are looked at `meanwhile` comes, when the first was read.
fn backup(fixture: &Fixture, meanwhile: impl Fn() + Send + Sync + 'static) -> BackupReport {
    fixture.write("a-log", &noise(1, FILE_BYTES));
    for number in 0..NAMES_BETWEEN {
        std::fs::create_dir(fixture.path(&format!("between-{number:03}"))).unwrap();
    }
    std::fs::create_dir(fixture.path("then")).unwrap();
    for name in ["z-log", "z-log-too"] {
        std::fs::hard_link(fixture.path("a-log"), fixture.path(name)).unwrap();
    }
    fixture.settle();
    let progress = Arc::new(Progress::default());
    let read = Arc::clone(&progress);
    let mut request = fixture.request();
    request.is_excluded = Some(Arc::new(move |_, path, _| {
        if path.as_bytes() == b"then" {
            let begun = Instant::now();
            while read.bytes_read.load(Ordering::Relaxed) < FILE_BYTES as u64 {
                assert!(begun.elapsed() < PATIENCE, "the first name is not read");
                std::thread::sleep(Duration::from_millis(1));
            }
            // It looks at the file once more when it has read it.
            std::thread::sleep(Duration::from_millis(100));
            meanwhile();
        }
        false
    }));
    let report = fixture.block_on(run(&fixture.repository, request, progress, StopToken::new())).unwrap();
    assert_eq!(report.unreadable_count, 0, "{:?}", report.unreadable_first);
    report
}

fn append(path: &Path) {
    std::fs::File::options().append(true).open(path).unwrap().write_all(b"more").unwrap();
}

/// A log with several names: a link whose size is another than its first name's could not be restored.
#[test]
fn a_name_of_a_file_that_was_written_meanwhile_is_a_file_of_its_own() {
    let fixture = Fixture::new();
    let log = fixture.path("a-log");
    let report = backup(&fixture, move || append(&log));
    let contents = fixture.snapshot(report.snapshot);
    let (first, second) = (contents.entry(b"a-log"), contents.entry(b"z-log"));
    assert!(fixture.content(&contents, first) == noise(1, FILE_BYTES) && second.link_to.is_none());
    assert!(fixture.content(&contents, second) == [noise(1, FILE_BYTES), b"more".to_vec()].concat());
    assert_eq!(contents.entry(b"z-log-too").link_to.as_ref(), Some(&second.path), "nobody wrote between these");
    assert!(report.changed_while_read_count == 1 && report.changed_first[0].contains("z-log"), "{:?}", report.changed_first);
    // Nobody writes: they are one again.
    fixture.settle();
    let again = fixture.backup();
    let contents = fixture.snapshot(again.snapshot);
    let first = &contents.entry(b"a-log").path;
    assert!([&b"z-log"[..], b"z-log-too"].iter().all(|name| contents.entry(name).link_to.as_ref() == Some(first)));
    fixture.assert_same_files(again.snapshot);
}

/// Inode numbers are used again: another file with two names is not the one that had the number before.
#[test]
fn the_next_file_of_the_same_inode_is_not_the_last_one() {
    let fixture = Fixture::new();
    let directory = fixture.source.path().to_owned();
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    let is_met = Arc::new(AtomicBool::new(false));
    let met = Arc::clone(&is_met);
    let report = backup(&fixture, move || {
        let [first, next, too] = ["a-log", "z-log", "z-log-too"].map(|name| directory.join(name));
        let before = inode(&first);
        [&first, &next, &too].into_iter().for_each(|name| std::fs::remove_file(name).unwrap());
        // Many file systems give out the lowest number that is free.
        let spare = |number: usize| directory.join(format!("spare-{number}"));
        let is_it = |number: &usize| {
            std::fs::write(spare(*number), "").unwrap();
            inode(&spare(*number)) == before
        };
        let Some(number) = (0..FREE_INODES_MAX).find(is_it) else { return eprintln!("skipped: this file system does not use the number again") };
        std::fs::write(spare(number), noise(2, FILE_BYTES)).unwrap();
        std::fs::rename(spare(number), &next).unwrap();
        std::fs::hard_link(&next, &too).unwrap();
        met.store(true, Ordering::Relaxed);
    });
    if !is_met.load(Ordering::Relaxed) {
        return;
    }
    let contents = fixture.snapshot(report.snapshot);
    assert!(fixture.content(&contents, contents.entry(b"a-log")) == noise(1, FILE_BYTES));
    let next = contents.entry(b"z-log");
    assert!(next.link_to.is_none() && fixture.content(&contents, next) == noise(2, FILE_BYTES));
    assert_eq!(contents.entry(b"z-log-too").link_to.as_ref(), Some(&next.path));
}
