//! What a backup leaves in the page cache.

use std::fs::File;

use crate::cached::{cached_pages, made_cold};
use crate::fixture::Fixture;

fn noise(length: usize) -> Vec<u8> {
    let mut state = length as u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(next).collect()
}

#[test]
fn what_nobody_had_cached_is_not_cached_afterwards_and_what_somebody_had_stays() {
    let fixture = Fixture::new();
    // Small ones go into bundles, of the large ones one is of pages, which costs a look at its beginning.
    let pages: Vec<u8> = noise(9 << 20).chunks(8192).flat_map(|page| [b"PAGEPAGE", &page[8..]].concat()).collect();
    for (name, content) in [("small", noise(5000)), ("pages", pages), ("large", noise((70 << 20) + 123))] {
        fixture.write(&format!("cold-{name}"), &content);
        fixture.write(&format!("warm-{name}"), &content[1..]);
    }
    let open = |name: &str| File::open(fixture.path(name)).unwrap();
    let length = |file: &File| file.metadata().unwrap().len();
    let (cold, warm) = (["cold-small", "cold-pages", "cold-large"].map(open), ["warm-small", "warm-pages", "warm-large"].map(open));
    if !cold.iter().all(made_cold) {
        eprintln!("skipped: this file system keeps its cache");
        return;
    }
    warm.iter().for_each(|file| file.sync_all().unwrap());
    for file in &warm {
        std::io::copy(&mut &*file, &mut std::io::sink()).unwrap();
    }
    fixture.settle();
    let report = fixture.backup();
    assert_eq!(report.sources[0].statistics.files_read, 6);
    for file in &warm {
        // The kernel may take a page of its own accord at any time; we would take whole windows.
        let (cached, whole) = (cached_pages(file).unwrap(), length(file).div_ceil(4096));
        assert!(cached >= whole - whole / 100, "{cached} of {whole} pages of a file that others use");
    }
    for file in &cold {
        assert_eq!(cached_pages(file), Some(0), "of {} bytes that only the backup read", length(file));
    }
}

#[test]
fn a_delta_drops_what_it_read_too() {
    let fixture = Fixture::new();
    let mut content = noise(80 << 20);
    fixture.write("file", &content);
    fixture.settle();
    fixture.backup();
    content[40 << 20..][..100].fill(7);
    fixture.write("file", &content);
    let file = File::open(fixture.path("file")).unwrap();
    if !made_cold(&file) {
        eprintln!("skipped: this file system keeps its cache");
        return;
    }
    fixture.settle();
    let report = fixture.backup();
    assert!(report.sources[0].statistics.bytes_added < 1 << 20, "only the change was stored");
    assert_eq!(report.sources[0].statistics.bytes_read, 80 << 20, "all of it was read");
    assert_eq!(cached_pages(&file), Some(0));
}
