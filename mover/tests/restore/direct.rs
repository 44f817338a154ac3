//! Large files, which are written past the page cache: pieces that begin and end anywhere, written zeros, holes, and what stood there before.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use holdfast_mover::stop::StopToken;

use crate::cached::{cached_pages, made_cold};
use crate::fixture::{Fixture, noise};

const MIB: u64 = 1 << 20;

/// Data that is cut anywhere, a hole, zeros that somebody wrote, and an end within a block.
fn large(fixture: &Fixture) {
    fixture.write("large", noise(1, (24 << 20) + 4321));
    let file = File::options().write(true).open(fixture.source("large")).unwrap();
    file.write_all_at(&vec![0; 3 << 20], 5 * MIB + 777).unwrap();
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE, 11 * MIB, 2 * MIB).unwrap();
    // Changed later in small pieces, so that a snapshot has crumbs beside long pieces.
    fixture.backup();
    for number in 0..20 {
        file.write_all_at(&noise(100 + number, 9000), 14 * MIB + number * 300_007).unwrap();
    }
}

#[test]
fn a_large_file_comes_back_and_little_of_it_is_cached() {
    let fixture = Fixture::new();
    large(&fixture);
    let snapshot = fixture.backup();
    let report = fixture.restore_whole(snapshot);
    fixture.assert_identical();
    assert!(report.bytes_written >= 19 * MIB, "{} bytes: what went past the cache counts too", report.bytes_written);
    // The comparison has read it: once more, and this time nobody does.
    std::fs::remove_file(fixture.target("large")).unwrap();
    fixture.restore_whole(snapshot);
    let file = File::open(fixture.target("large")).unwrap();
    let Some(cached) = cached_pages(&file) else { return eprintln!("skipped: this kernel does not tell what is cached") };
    if !made_cold(&file) {
        return eprintln!("skipped: this file system keeps its cache");
    }
    let pages = file.metadata().unwrap().len() / 4096;
    assert!(cached < pages / 4, "{cached} of {pages} pages are cached: the crumbs, and the ends of each piece");
    fixture.assert_identical();
}

#[test]
fn a_large_file_has_blocks_for_all_its_data_before_its_first_byte() {
    let fixture = Fixture::new();
    large(&fixture);
    let snapshot = fixture.backup();
    let (place, first) = (fixture.target("large"), Arc::new(AtomicU64::new(0)));
    let mut asked = fixture.request(snapshot);
    let seen = Arc::clone(&first);
    asked.request.may_write = Arc::new(move || {
        let bytes = std::fs::metadata(&place).map_or(0, |data| data.blocks() * 512);
        if bytes > 0 {
            // Whoever sees it first.
            let _ = seen.compare_exchange(0, bytes, Ordering::SeqCst, Ordering::SeqCst);
        }
        true
    });
    assert!(fixture.try_run(asked, &StopToken::new()).unwrap().is_complete());
    let (bytes, last) = (first.load(Ordering::SeqCst), File::open(fixture.target("large")).unwrap().metadata().unwrap().blocks() * 512);
    // A run of data before the hole, and one behind it: at most a whole one is still to come.
    assert!(bytes >= 11 * MIB && bytes <= last && last < 23 * MIB, "{bytes} at first, {last} in the end");
    fixture.assert_identical();
}

#[test]
fn over_what_stands_there_only_what_differs_is_written() {
    let fixture = Fixture::new();
    large(&fixture);
    let snapshot = fixture.backup();
    fixture.restore_whole(snapshot);
    let file = File::options().write(true).open(fixture.target("large")).unwrap();
    file.write_all_at(b"different", 9 * MIB + 5).unwrap();
    let report = fixture.restore_whole(snapshot);
    assert!(report.bytes_written > 0 && report.bytes_written < MIB, "{}", report.bytes_written);
    fixture.assert_identical();
}
