//! Large files, which are written past the page cache: pieces that begin and end anywhere, written zeros, holes, and what stood there before.

use std::fs::File;
use std::os::unix::fs::FileExt;

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
