//! A large file that changed costs what changed, and comes back whole whatever was done to it.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

use holdfast_mover::backup::BackupReport;
use holdfast_mover::catalog::{Entry, Extent, ExtentStream};
use holdfast_repository::BlobId;
use proptest::prelude::*;

use crate::fixture::{Contents, Fixture, noise};

const PAGE_BYTES: usize = 8192;

fn added(report: &BackupReport) -> u64 {
    report.sources[0].statistics.bytes_added
}

/// A file of pages with headers, as databases have.
fn pages(count: usize) -> Vec<u8> {
    let mut bytes = noise(1, count * PAGE_BYTES);
    bytes.chunks_exact_mut(PAGE_BYTES).for_each(|page| page[..8].copy_from_slice(b"PAGE\x20\x04\x01\x02"));
    bytes
}

fn rewrite_pages(file: &File, seed: u64, numbers: impl Iterator<Item = usize>) {
    for number in numbers {
        file.write_all_at(&noise(seed + number as u64, PAGE_BYTES - 8), (number * PAGE_BYTES + 8) as u64).unwrap();
    }
}

#[test]
fn a_page_costs_its_block() {
    let fixture = Fixture::new();
    fixture.write("table", &pages(4096));
    fixture.backup();
    let file = OpenOptions::new().write(true).open(fixture.path("table")).unwrap();
    rewrite_pages(&file, 7, (0..4096).step_by(97));
    let report = fixture.backup();
    fixture.assert_same_files(report.snapshot);
    let (pages, added) = (4096_u64.div_ceil(97), added(&report));
    assert!(added <= pages * (16 << 10) + (64 << 10), "{added} bytes for {pages} pages");
}

#[test]
fn an_insertion_costs_what_was_inserted() {
    let fixture = Fixture::new();
    let before = noise(2, 16 << 20);
    fixture.write("file", &before);
    fixture.backup();
    let after = [&before[..5_000_000], b"some bytes more", &before[5_000_000..]].concat();
    fixture.write("file", &after);
    let report = fixture.backup();
    fixture.assert_same_files(report.snapshot);
    assert!(added(&report) < 128 << 10, "{} bytes were added", added(&report));
    // Several, so that nothing between them is where one move of the whole would have put it: found by content.
    let cut = [&after[..4_000_000], b"one", &after[4_000_000..10_000_000], b"and another one", &after[10_000_100..]].concat();
    fixture.write("file", &cut);
    let report = fixture.backup();
    fixture.assert_same_files(report.snapshot);
    assert!(added(&report) < 7 << 20, "{} bytes were added", added(&report));
}

#[test]
fn the_same_bytes_written_again_cost_nothing_but_the_catalog() {
    let fixture = Fixture::new();
    let content = noise(3, (3 << 20) + 777);
    fixture.write("file", &content);
    fixture.backup();
    fixture.write("file", &content);
    let report = fixture.backup();
    fixture.assert_same_files(report.snapshot);
    assert!(added(&report) < 4096, "{} bytes were added", added(&report));
    assert_eq!(report.sources[0].statistics.files_read, 1);
}

/// Extents begin and end where sections do, on both sides of the border.
#[test]
fn changes_at_the_border_of_sections() {
    const BORDER: u64 = 64 << 20;
    let fixture = Fixture::new();
    let file = File::create(fixture.path("file")).unwrap();
    file.set_len(2 * BORDER + 12_345).unwrap();
    file.write_all_at(&noise(4, 3 << 20), BORDER - (1 << 20)).unwrap();
    file.write_all_at(&noise(5, 12_345), 2 * BORDER).unwrap();
    fixture.backup();
    file.write_all_at(&noise(6, 20_000), BORDER - 10_000).unwrap();
    file.write_all_at(&noise(7, 1), 2 * BORDER - 1).unwrap();
    let report = fixture.backup();
    fixture.assert_same_files(report.snapshot);
    assert!(added(&report) < 128 << 10, "{} bytes were added", added(&report));
    file.set_len(BORDER + 1).unwrap();
    fixture.assert_same_files(fixture.backup().snapshot);
}

#[test]
fn a_file_that_grows_does_not_fall_into_crumbs() {
    let fixture = Fixture::new();
    let mut content = noise(8, 200_000);
    fixture.write("log", &content);
    fixture.backup();
    let mut last = None;
    for line in 0..30 {
        content.extend_from_slice(&noise(100 + line, 3_000));
        fixture.write("log", &content);
        last = Some(fixture.backup());
    }
    let snapshot = last.unwrap().snapshot;
    fixture.assert_same_files(snapshot);
    let contents = fixture.snapshot(snapshot);
    assert!(extents(&fixture, &contents, contents.entry(b"log")).len() <= 4);
}

#[test]
fn a_long_chain_stays_in_few_blobs() {
    let fixture = Fixture::new();
    const PAGES: usize = 1024;
    fixture.write("table", &pages(PAGES));
    let mut report = fixture.backup();
    let file = OpenOptions::new().write(true).open(fixture.path("table")).unwrap();
    let mut most_added = 0;
    for round in 0..30_u64 {
        let numbers = (0..51).map(|number| (noise(round * 1000 + number, 4)[..].iter().fold(0, |all, byte| all * 256 + usize::from(*byte))) % PAGES);
        rewrite_pages(&file, round * 5000, numbers);
        report = fixture.backup();
        most_added = most_added.max(added(&report));
    }
    fixture.assert_same_files(report.snapshot);
    let contents = fixture.snapshot(report.snapshot);
    let mut blobs: HashMap<BlobId, u64> = HashMap::new();
    for extent in extents(&fixture, &contents, contents.entry(b"table")) {
        if let Extent::Blob { blob, offset, length } = extent {
            let end = blobs.entry(blob).or_default();
            *end = (*end).max(u64::from(offset) + u64::from(length));
        }
    }
    let held: u64 = blobs.values().sum();
    let size = (PAGES * PAGE_BYTES) as u64;
    assert!(held < 2 * size, "{held} bytes of blobs for a file of {size}, in {} blobs", blobs.len());
    assert!(most_added < size, "{most_added} bytes were added at once");
}

fn extents(fixture: &Fixture, contents: &Contents, entry: &Entry) -> Vec<Extent> {
    fixture.block_on(async {
        let mut stream = ExtentStream::new(contents.reader(), entry);
        let mut extents = Vec::new();
        while let Some(extent) = stream.next().await.unwrap() {
            extents.push(extent);
        }
        extents
    })
}

#[derive(Clone, Debug)]
enum Edit {
    Write { at: usize, length: usize, seed: u64 },
    Zeros { at: usize, length: usize },
    Insert { at: usize, length: usize, seed: u64 },
    Remove { at: usize, length: usize },
    Append { length: usize, seed: u64 },
    Move { from: usize, to: usize, length: usize },
    Hole { at: usize, length: usize },
}

fn edit() -> impl Strategy<Value = Edit> {
    let (at, length, seed) = (0..3_000_000_usize, 1..400_000_usize, 1..u64::MAX);
    prop_oneof![
        (at.clone(), 1..40_000_usize, seed.clone()).prop_map(|(at, length, seed)| Edit::Write { at, length, seed }),
        (at.clone(), length.clone(), seed.clone()).prop_map(|(at, length, seed)| Edit::Write { at, length, seed }),
        (at.clone(), length.clone()).prop_map(|(at, length)| Edit::Zeros { at, length }),
        (at.clone(), 1..200_usize, seed.clone()).prop_map(|(at, length, seed)| Edit::Insert { at, length, seed }),
        (at.clone(), length.clone()).prop_map(|(at, length)| Edit::Remove { at, length }),
        (length.clone(), seed).prop_map(|(length, seed)| Edit::Append { length, seed }),
        (at.clone(), at.clone(), length.clone()).prop_map(|(from, to, length)| Edit::Move { from, to, length }),
        (at, length).prop_map(|(at, length)| Edit::Hole { at, length }),
    ]
}

/// Runs of bytes to be written; what is left out becomes a hole.
fn apply(content: &mut Vec<u8>, holes: &mut Vec<(usize, usize)>, edit: &Edit) {
    let size = content.len();
    let clip = |at: usize, length: usize| at.min(size)..(at.min(size) + length).min(size);
    match *edit {
        Edit::Write { at, length, seed } => {
            let range = clip(at, length);
            content[range.clone()].copy_from_slice(&noise(seed, range.len()));
        }
        Edit::Zeros { at, length } => content[clip(at, length)].fill(0),
        Edit::Insert { at, length, seed } => drop(content.splice(at.min(size)..at.min(size), noise(seed, length))),
        Edit::Remove { at, length } => drop(content.drain(clip(at, length))),
        Edit::Append { length, seed } => content.extend(noise(seed, length)),
        Edit::Move { from, to, length } => {
            let moved = content[clip(from, length)].to_vec();
            let to = to.min(size - moved.len());
            content[to..to + moved.len()].copy_from_slice(&moved);
        }
        Edit::Hole { at, length } => {
            let range = clip(at, length);
            content[range.clone()].fill(0);
            holes.push((range.start, range.end));
        }
    }
}

fn write_with_holes(fixture: &Fixture, content: &[u8], holes: &[(usize, usize)]) {
    let file = File::create(fixture.path("file")).unwrap();
    file.set_len(content.len() as u64).unwrap();
    for (number, page) in content.chunks(4096).enumerate() {
        let at = number * 4096;
        let is_hole = holes.iter().any(|(from, to)| *from <= at && at + 4096 <= *to) && page.iter().all(|byte| *byte == 0);
        if !is_hole {
            file.write_all_at(page, at as u64).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_chain_of_edits_comes_back(size in 200_000..3_000_000_usize, is_of_pages: bool, chain in proptest::collection::vec(proptest::collection::vec(edit(), 1..4), 1..5)) {
        let fixture = Fixture::new();
        let mut content = if is_of_pages { pages(512) } else { noise(9, size) };
        let mut holes = Vec::new();
        write_with_holes(&fixture, &content, &holes);
        fixture.assert_same_files(fixture.backup().snapshot);
        let mut snapshots = Vec::new();
        for edits in &chain {
            for edit in edits {
                apply(&mut content, &mut holes, edit);
            }
            write_with_holes(&fixture, &content, &holes);
            let report = fixture.backup();
            prop_assert_eq!(report.parent_ignored, None);
            fixture.assert_same_files(report.snapshot);
            snapshots.push((report.snapshot, content.clone()));
        }
        // Later backups took nothing from earlier ones.
        for (snapshot, content) in snapshots {
            let contents = fixture.snapshot(snapshot);
            prop_assert!(fixture.content(&contents, contents.entry(b"file")) == content);
        }
    }
}
