//! Whatever a file holds comes back.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use holdfast_mover::backup::BackupReport;
use holdfast_mover::catalog::{Entry, Extent};
use holdfast_mover::stop::StopToken;

use crate::fixture::{Fixture, noise, source};

#[test]
fn sizes_at_every_border() {
    let fixture = Fixture::new();
    let sizes = [0, 1, 4095, 4096, 131_071, 131_072, 131_073, 262_144, 1 << 20, (4 << 20) + 1, (64 << 20) + 4097];
    for (number, size) in sizes.into_iter().enumerate() {
        fixture.write(&format!("size-{size}"), &noise(number as u64, size));
    }
    let report = fixture.backup();
    assert_eq!(report.sources[0].statistics.files, sizes.len() as u64);
    assert_eq!(report.sources[0].statistics.bytes, sizes.iter().map(|size| *size as u64).sum::<u64>());
    assert_eq!((report.unreadable_count, report.changed_while_read_count), (0, 0));
    fixture.assert_same_files(report.snapshot);
}

#[test]
fn small_files_share_bundles_and_equal_ones_a_place() {
    let fixture = Fixture::new();
    for number in 0..400 {
        fixture.write(&format!("d{}/f{number}", number % 7), &noise(number, 3000));
        fixture.write(&format!("copies/c{number}"), &noise(7, 5000));
    }
    let report = fixture.backup();
    fixture.assert_same_files(report.snapshot);
    let contents = fixture.snapshot(report.snapshot);
    let mut blobs: Vec<_> = contents.entries.iter().flat_map(|entry| &entry.extents).map(|extent| format!("{extent:?}")).collect();
    blobs.sort();
    blobs.dedup();
    assert!(blobs.len() <= 400 + 8, "{} places for 400 contents and 400 copies of one", blobs.len());
    let added = report.sources[0].statistics.bytes_added;
    assert!(added < 400 * 3000 + 400_000, "{added} bytes were added");
}

#[test]
fn holes_stay_holes_and_zeros_zeros() {
    let fixture = Fixture::new();
    let sparse = File::create(fixture.path("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    sparse.write_all_at(&noise(1, 300_000), 5 << 30).unwrap();
    sparse.write_all_at(&noise(2, 4096), (1 << 40) - 4096).unwrap();
    fixture.write("zeros", &vec![0; 3 << 20]);
    let small = File::create(fixture.path("small-sparse")).unwrap();
    small.set_len(100_000).unwrap();
    small.write_all_at(b"in the middle", 50_000).unwrap();
    File::create(fixture.path("only-a-hole")).unwrap().set_len(70_000).unwrap();

    let report = fixture.backup();
    assert!(report.sources[0].statistics.bytes_read < 8 << 20, "holes were read: {:?}", report.sources[0].statistics);
    let contents = fixture.snapshot(report.snapshot);
    let sparse = contents.entry(b"sparse");
    assert_eq!(sparse.size, 1 << 40);
    assert_eq!(sparse.extents.first(), Some(&Extent::Hole { length: 5 << 30 }));
    assert!(sparse.extents.len() < 12, "{:?}", sparse.extents);
    assert_eq!(contents.entry(b"zeros").extents, [Extent::Zero { length: 3 << 20 }]);
    assert_eq!(contents.entry(b"only-a-hole").extents, [Extent::Hole { length: 70_000 }]);
    let small = contents.entry(b"small-sparse");
    assert_eq!(small.extents.first(), Some(&Extent::Hole { length: 49_152 }));
    assert!(fixture.content(&contents, small) == std::fs::read(fixture.path("small-sparse")).unwrap());
}

/// Of a file in sysfs the kernel says that it has a page, always, and gives what it holds.
#[test]
fn a_file_that_ends_before_its_size_has_changed() {
    let place = Path::new("/sys/kernel");
    let Ok(file) = std::fs::read(place.join("fscaps")) else { return eprintln!("skipped: needs sysfs") };
    let fixture = Fixture::new();
    let mut request = fixture.request();
    request.sources = vec![source(place)];
    request.is_excluded = Some(Arc::new(|_, path, _| path.as_bytes() != b"fscaps"));
    let report = fixture.try_run(request, StopToken::new()).unwrap();
    let contents = fixture.snapshot(report.snapshot);
    let entry = contents.entry(b"fscaps");
    assert!(fixture.content(&contents, entry) == file && entry.flags.read_next_time);
    assert_eq!((report.changed_while_read_count, report.unreadable_count), (1, 0));
    assert!(report.changed_first[0].contains("it ended after 2 of 4096 bytes"), "{:?}", report.changed_first);
}

/// Every recorded byte is one that was there, the backup ends, and the next one reads the files again.
#[test]
fn files_that_change_while_they_are_read() {
    let fixture = Fixture::new();
    for number in 0..30 {
        fixture.write(&format!("f{number:02}"), &noise(number, 2_000_000));
    }
    fixture.write("stays", &noise(99, 500_000));
    fixture.settle();
    let done = Arc::new(AtomicBool::new(false));
    let mutator = {
        let (done, directory, whole) = (Arc::clone(&done), fixture.source.path().to_path_buf(), noise(77, 2_000_000));
        std::thread::spawn(move || {
            for round in 0u64.. {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                // No multiple of the ways to change one: each file meets all of them, and is there again after its end.
                let path = directory.join(format!("f{:02}", round % 29));
                match round % 4 {
                    0 => drop(std::fs::remove_file(&path).and_then(|()| std::fs::write(&path, &whole))),
                    1 => drop(OpenOptions::new().write(true).open(&path).map(|file| file.set_len(1000 + round % 3 * 700_000))),
                    2 => drop(OpenOptions::new().write(true).open(&path).map(|file| file.write_all_at(&noise(round, 9000), 5000))),
                    _ => drop(OpenOptions::new().append(true).open(&path).map(|file| file.write_all_at(b"grown", 3_000_000))),
                }
                std::thread::sleep(Duration::from_micros(300));
            }
        })
    };
    // Which of the two threads runs is the scheduler's: the first backup that meets a change is looked at.
    let met = |report: &BackupReport| report.changed_while_read_count > 0;
    let report = std::iter::repeat_with(|| fixture.backup()).take(50).find(met);
    done.store(true, Ordering::Relaxed);
    mutator.join().unwrap();
    let report = report.expect("nothing changed: the test is too slow to show anything");
    assert_eq!(report.changed_first.len().min(1), 1);

    let contents = fixture.snapshot(report.snapshot);
    for entry in contents.entries.iter().filter(|entry| entry.kind.is_file()) {
        assert_eq!(fixture.content(&contents, entry).len() as u64, entry.size);
    }
    assert!(fixture.content(&contents, contents.entry(b"stays")) == std::fs::read(fixture.path("stays")).unwrap());
    let is_left = |entry: &&Entry| fixture.path(std::str::from_utf8(entry.path.as_bytes()).unwrap()).exists();
    let flagged = contents.entries.iter().filter(|entry| entry.kind.is_file() && entry.flags.read_next_time).filter(is_left).count();

    fixture.settle();
    let second = fixture.backup();
    fixture.assert_same_files(second.snapshot);
    assert!(second.sources[0].statistics.files_read >= flagged as u64, "{:?}", second.sources[0].statistics);
}
