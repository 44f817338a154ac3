//! What is missing or changed says so, by name, and costs no more than it must.

use std::path::PathBuf;

use holdfast_mover::restore::{RestoreError, RestoreReport};
use holdfast_repository::ReadError;
use holdfast_restic::OpenError;

use crate::fixture::{Fixture, PASSWORD, PATH};

/// Changes a byte here and there: what is in only one place may be a run of zeros that nobody reads.
fn spoil(path: &PathBuf) {
    let mut bytes = std::fs::read(path).unwrap();
    let step = bytes.len() / 8;
    bytes.iter_mut().skip(step / 2).step_by(step).for_each(|byte| *byte ^= 1);
    std::fs::write(path, bytes).unwrap();
}

/// The packs, the largest first.
fn packs(fixture: &Fixture) -> Vec<PathBuf> {
    let mut packs = fixture.objects("data");
    packs.sort_by_key(|path| std::cmp::Reverse(std::fs::metadata(path).unwrap().len()));
    packs
}

fn incomplete(report: &RestoreReport, what: &str) {
    assert!(!report.is_complete() && !report.issues.is_empty());
    assert!(report.issues.iter().any(|issue| issue.what.contains(what)), "{what}: {:#?}", report.issues);
    assert!(report.targets[0].files > 0, "the rest comes back");
}

#[test]
fn a_lost_or_rotten_pack_costs_the_files_that_need_it() {
    let snapshot = Fixture::new("v1").snapshot(1);
    let lost = Fixture::new("v1");
    std::fs::remove_file(&packs(&lost)[0]).unwrap();
    incomplete(&lost.restore(&snapshot, lost.request(PATH)).unwrap(), "it is missing");
    let rotten = Fixture::new("v1");
    spoil(&packs(&rotten)[0]);
    incomplete(&rotten.restore(&snapshot, rotten.request(PATH)).unwrap(), "not what was sealed");
    let cut = Fixture::new("v1");
    let path = &packs(&cut)[0];
    std::fs::File::options().write(true).open(path).unwrap().set_len(100_000).unwrap();
    incomplete(&cut.restore(&snapshot, cut.request(PATH)).unwrap(), "by the index");
}

#[test]
fn trees_that_cannot_be_read_end_a_restore_as_damage() {
    let fixture = Fixture::new("v2");
    let snapshot = fixture.snapshot(1);
    for pack in fixture.objects("data") {
        std::fs::write(pack, "cut").unwrap();
    }
    let error = fixture.restore(&snapshot, fixture.request(PATH)).unwrap_err();
    assert!(matches!(&error, RestoreError::Repository(ReadError::Damaged { .. })), "{error}");
}

#[test]
fn a_lost_index_says_so_and_a_rotten_part_of_it_counts_as_missing() {
    let fixture = Fixture::new("v2");
    let snapshot = fixture.snapshot(1);
    let parts = fixture.objects("index");
    assert!(parts.len() > 1);
    for part in &parts[1..] {
        spoil(part);
    }
    // Either the trees or the content of something are listed in what is left, or nothing can be found at all.
    match fixture.restore(&snapshot, fixture.request(PATH)) {
        Ok(report) => assert!(report.is_complete() || report.unreadable_runs.len() == parts.len() - 1),
        Err(error) => assert!(error.to_string().contains("no index that can be read lists it"), "{error}"),
    }
    spoil(&parts[0]);
    let error = fixture.restore(&snapshot, fixture.request(PATH)).unwrap_err();
    assert!(error.to_string().contains("restic repair index"), "{error}");
    std::fs::remove_dir_all(fixture.path("repository/index")).unwrap();
    let error = fixture.restore(&snapshot, fixture.request(PATH)).unwrap_err();
    assert!(error.to_string().contains("index is damaged: there is none"), "{error}");
}

#[test]
fn a_rotten_snapshot_is_named_and_the_others_are_listed() {
    let fixture = Fixture::new("v1");
    spoil(&fixture.objects("snapshots")[0]);
    let all = fixture.runtime.block_on(fixture.open().snapshots()).unwrap();
    assert_eq!((all.readable.len(), all.unreadable.len()), (1, 1));
    assert!(all.unreadable[0].1.to_string().contains("not that of its name"));
}

#[test]
fn what_is_no_repository_and_what_is_a_damaged_one_are_told_apart() {
    let fixture = Fixture::new("v2");
    let key = fixture.objects("keys").remove(0);
    let good = std::fs::read(&key).unwrap();
    spoil(&key);
    assert!(matches!(fixture.try_open(PASSWORD), Err(OpenError::Read(ReadError::Damaged { .. }))));
    std::fs::remove_file(&key).unwrap();
    assert!(matches!(fixture.try_open(PASSWORD), Err(OpenError::Read(ReadError::Damaged { .. }))));
    std::fs::write(&key, good).unwrap();
    spoil(&fixture.path("repository/config"));
    assert!(matches!(fixture.try_open(PASSWORD), Err(OpenError::Read(ReadError::Damaged { .. }))));
    std::fs::remove_file(fixture.path("repository/config")).unwrap();
    assert!(matches!(fixture.try_open(PASSWORD), Err(OpenError::NotARepository { .. })));
}
