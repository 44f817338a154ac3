//! Parts of a catalog that cannot be read: everything else comes back, and what does not is named.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use holdfast_mover::catalog::{BlobSink, Entry, EntryKind, Extent, ExtentListRef, RelPath, testing};
use holdfast_mover::pattern::PatternSet;
use holdfast_mover::restore::{Action, PreviewRequest, RestoreError, RestoreReport, Rules};
use holdfast_mover::stop::StopToken;
use holdfast_repository::testing::{Fate, Operation, ScriptedStore};
use holdfast_repository::{Activity, BlobId, BlobKind, Purpose, SnapshotId};

use crate::fixture::{Fixture, noise};
use crate::forged::{commit, commit_losing, entry, root};

const DATA: &[u8] = b"what every file holds";
const DIRECTORIES: usize = 12;
const FILES_EACH: usize = 200;
/// Where segments end is chance, but none is longer than 128 KiB: names so long that there are several, whatever chance has it.
const NAME_BYTES: usize = 240;

fn path(text: &str) -> RelPath {
    RelPath::parse(text.as_bytes()).unwrap()
}

/// The name of a file, or its path.
fn named(short: &str) -> String {
    format!("{short}{}", "-".repeat(NAME_BYTES - short.len()))
}

fn file(name: &str, blob: BlobId) -> Entry {
    let extent = Extent::Blob { blob, offset: 0, length: DATA.len() as u32 };
    Entry { size: DATA.len() as u64, extents: vec![extent], ..entry(name.as_bytes(), EntryKind::File) }
}

/// Several segments.
fn tree(blob: BlobId) -> Vec<Entry> {
    let mut entries = vec![root()];
    for directory in 0..DIRECTORIES {
        let name = format!("d{directory:02}");
        entries.push(Entry { mode: 0o750, ..entry(name.as_bytes(), EntryKind::Directory) });
        entries.extend((0..FILES_EACH).map(|number| file(&named(&format!("{name}/f{number:03}")), blob)));
    }
    entries
}

/// A snapshot without the `lost`-th of its segments, how many it would have, and how many entries were in that. No two have a segment in
/// common: it would be there.
fn without(fixture: &Fixture, lost: usize, entries: impl FnOnce(BlobId) -> Vec<Entry>) -> (SnapshotId, usize, u64) {
    let (mut segments, mut entries_lost) = (0, 0);
    let mut loses = |kind, raw: &[u8]| {
        let is_segment = kind == BlobKind::Catalog && raw[0] == 0;
        segments += usize::from(is_segment);
        let is_lost = is_segment && segments == lost + 1;
        if is_lost {
            // The count behind level and version, a varint.
            entries_lost = raw[2..].iter().zip(0..).take_while(|(_, at)| *at == 0 || raw[1 + at] >= 0x80).map(|(byte, at)| u64::from(byte & 0x7f) << (7 * at)).sum();
        }
        is_lost
    };
    static COUNT: AtomicU64 = AtomicU64::new(2);
    let inode = COUNT.fetch_add(1, Ordering::Relaxed);
    let own = |entries: Vec<Entry>| entries.into_iter().map(|entry| Entry { inode, ..entry }).collect();
    let snapshot = commit_losing(fixture, &mut loses, |sink| own(entries(sink.store(BlobKind::Data, DATA).unwrap())));
    (snapshot, segments, entries_lost)
}

fn empty_target(fixture: &Fixture) {
    std::fs::remove_dir_all(fixture.target("")).unwrap();
    std::fs::create_dir(fixture.target("")).unwrap();
}

/// Everything in the target, the root included.
fn restored(fixture: &Fixture) -> BTreeSet<RelPath> {
    let mut found = BTreeSet::from([RelPath::root()]);
    let mut open = vec![RelPath::root()];
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(fixture.target(if at.is_root() { "" } else { std::str::from_utf8(at.as_bytes()).unwrap() })).unwrap() {
            let entry = entry.unwrap();
            let path = at.join(entry.file_name().as_encoded_bytes()).unwrap();
            if entry.file_type().unwrap().is_dir() {
                open.push(path.clone());
            } else {
                assert_eq!(std::fs::read(entry.path()).unwrap(), DATA);
            }
            found.insert(path);
        }
    }
    found
}

fn is_about_attributes(what: &str) -> bool {
    what.contains("attributes are lost")
}

#[test]
fn a_lost_segment_costs_what_is_in_it_and_no_more() {
    let fixture = Fixture::new();
    let all: BTreeSet<RelPath> = tree(BlobId([0; 32])).into_iter().map(|entry| entry.path).collect();
    let (_, segments, _) = without(&fixture, usize::MAX - 1, tree);
    assert!(segments >= 5, "{segments} segments");
    for lost in 0..segments {
        empty_target(&fixture);
        let (snapshot, _, entries_lost) = without(&fixture, lost, tree);
        let report = fixture.restore(snapshot);
        let part = report.issues.iter().find(|issue| issue.what.contains("names and all")).unwrap();
        let made_anyway = report.issues.iter().filter(|issue| is_about_attributes(&issue.what)).count() as u64;
        assert_eq!((report.lost_parts, report.failed), (1, 1 + made_anyway), "{:#?}", report.issues);
        let missing: Vec<RelPath> = all.difference(&restored(&fixture)).cloned().collect();
        // The root, where it is lost, is there all the same.
        let made_anyway = made_anyway + u64::from(part.path.is_root());
        assert_eq!(missing.len() as u64, entries_lost - made_anyway, "segment {lost}: {:#?}", report.issues);
        assert!(missing.iter().all(|missing| *missing >= part.path), "{part}");
        let until = part.what.split_once("until before ").map(|(_, rest)| rest.split_once(' ').unwrap().0.to_owned());
        assert_eq!(until.is_none(), lost + 1 == segments, "{part}");
        assert!(until.is_none_or(|until| missing.iter().all(|missing| *missing < path(&until))), "{part}");
        for directory in (0..DIRECTORIES).map(|number| format!("d{number:02}")) {
            let is_lost = report.issues.iter().any(|issue| issue.path == path(&directory));
            let mode = std::fs::metadata(fixture.target(&directory)).map(|found| found.mode() & 0o777);
            assert!(mode.is_err() || mode.unwrap() == if is_lost { 0o700 } else { 0o750 }, "{directory}");
        }
    }
}

#[test]
fn a_catalog_that_is_lost_whole_is_one_failure() {
    let fixture = Fixture::new();
    fixture.write("f", DATA);
    let snapshot = fixture.backup();
    std::fs::remove_dir_all(fixture.directory().join("repository/holdfast/v1/packs/meta")).unwrap();
    let report = fixture.restore(snapshot);
    assert_eq!((report.failed, report.lost_parts), (1, 1), "{report:?}");
    assert!(report.issues[0].to_string().starts_with(".: everything from here on is lost"), "{}", report.issues[0]);
    assert_eq!(restored(&fixture).len(), 1);
}

/// What stands in the target under a lost first name is not what the snapshot had there, even if it looks so.
#[test]
fn nothing_is_linked_to_what_is_lost() {
    let fixture = Fixture::new();
    let with_link = |blob| {
        let mut entries = tree(blob);
        let mut link = file("zz", blob);
        (link.link_to, link.extents) = (Some(path(&named("d00/f000"))), Vec::new());
        entries.push(link);
        entries
    };
    let whole = commit(&fixture, DATA, with_link);
    fixture.restore_whole(whole);
    let (snapshot, _, _) = without(&fixture, 0, with_link);
    std::fs::remove_file(fixture.target("zz")).unwrap();
    let report = fixture.restore(snapshot);
    let named = report.issues.iter().any(|issue| issue.to_string() == format!("zz: its first name, {}, is lost", named("d00/f000")));
    assert!(named, "{:#?}", report.issues);
    assert!(!fixture.target("zz").exists());

    // The same if the first name is left out.
    let mut request = fixture.request(snapshot);
    request.include = PatternSet::parse(&["/data/zz"]).unwrap();
    let report = fixture.try_run(request, &StopToken::new()).unwrap();
    assert!(report.issues.iter().any(|issue| issue.path == path("zz")) && !fixture.target("zz").exists(), "{:#?}", report.issues);
}

fn restore_part(fixture: &Fixture, snapshot: SnapshotId, exclude: &str) -> RestoreReport {
    empty_target(fixture);
    let mut request = fixture.request(snapshot);
    request.exclude = PatternSet::parse(&[exclude]).unwrap();
    fixture.try_run(request, &StopToken::new()).unwrap()
}

/// One large directory; a segment from its middle is lost.
#[test]
fn what_is_lost_of_what_is_not_wanted_is_no_failure() {
    let fixture = Fixture::new();
    let entries = |blob| {
        let mut entries = vec![root(), file("a", blob), entry(b"big", EntryKind::Directory)];
        entries.extend((0..4000).map(|number| file(&named(&format!("big/f{number:04}")), blob)));
        entries.push(file("z", blob));
        entries
    };
    let (snapshot, segments, _) = without(&fixture, 2, entries);
    assert!(segments > 4);
    let report = restore_part(&fixture, snapshot, "/data/big");
    assert!(report.is_complete(), "{:#?}", report.issues);
    assert_eq!(restored(&fixture), BTreeSet::from([RelPath::root(), path("a"), path("z")]));
    let report = restore_part(&fixture, snapshot, "/data/z");
    assert_eq!((report.failed, report.lost_parts), (1, 1), "{:#?}", report.issues);
}

/// A directory that is excluded stays so when its own entry is lost.
#[test]
fn a_lost_directory_is_excluded_by_its_name() {
    let fixture = Fixture::new();
    // Of the tree: the segment that begins the second directory.
    let begins = |lost| {
        let (snapshot, _, entries_lost) = without(&fixture, lost, tree);
        empty_target(&fixture);
        let report = fixture.restore(snapshot);
        let directory = report.issues.iter().find(|issue| is_about_attributes(&issue.what)).map(|issue| issue.path.to_string());
        directory.map(|directory| (snapshot, entries_lost as usize, directory))
    };
    let (snapshot, entries_lost, directory) = (0..5).find_map(begins).unwrap();
    restore_part(&fixture, snapshot, &format!("/data/{directory}"));
    assert!(!fixture.target(&directory).exists(), "{directory:?}");
    // Where segments end is chance: the lost one may be most of the tree.
    let all = tree(BlobId([0; 32])).len();
    assert!(restored(&fixture).len() + entries_lost + FILES_EACH + 1 >= all, "what is neither lost nor excluded is not there");
}

/// Hundreds of extents whose list is lost: the file is, and nothing else.
#[test]
fn a_lost_list_of_extents_costs_its_file() {
    let fixture = Fixture::new();
    let snapshot = commit_losing(&fixture, &mut |kind, _| kind == BlobKind::ExtentList, |sink| {
        let blob = sink.store(BlobKind::Data, DATA).unwrap();
        let extents = vec![Extent::Blob { blob, offset: 0, length: 10 }; 100];
        let list = ExtentListRef { blob: sink.store(BlobKind::ExtentList, &testing::extents(&extents)).unwrap(), depth: 1, length: 1000 };
        let giant = Entry { size: 1000, extent_lists: vec![list], ..entry(b"giant", EntryKind::File) };
        vec![root(), file("before", blob), giant, file("later", blob)]
    });
    let report = fixture.restore(snapshot);
    assert!(report.failed == 1 && report.issues[0].path == path("giant"), "{:#?}", report.issues);
    assert_eq!(restored(&fixture), BTreeSet::from([RelPath::root(), path("before"), path("later")]));
}

/// A store that does not answer has lost nothing: the restore ends, and can be run again.
#[test]
fn a_store_that_does_not_answer_is_no_loss() {
    let hides = Arc::new(AtomicBool::new(false));
    let hidden = Arc::clone(&hides);
    let fixture = Fixture::with_store(|inner| {
        Arc::new(ScriptedStore::new(inner, move |operation, name| {
            let is_meta = name.starts_with("packs/meta") && matches!(operation, Operation::Get | Operation::Head);
            if is_meta && hidden.load(Ordering::Relaxed) { Fate::Lost } else { Fate::Through }
        }))
    });
    fixture.write("f", noise(1, 1000));
    let snapshot = fixture.backup();
    hides.store(true, Ordering::Relaxed);
    let error = fixture.try_run(fixture.request(snapshot), &StopToken::new()).unwrap_err();
    assert!(matches!(error, RestoreError::Repository(_)), "{error}");
    hides.store(false, Ordering::Relaxed);
    fixture.restore_whole(snapshot);
}

#[test]
fn a_preview_says_what_is_lost() {
    let fixture = Fixture::new();
    let (snapshot, _, entries_lost) = without(&fixture, 1, tree);
    let mut lost = Vec::new();
    let counts = fixture.runtime.block_on(async {
        let reader = fixture.repository.reader(Purpose::new(Activity::Browse, "test")).await.unwrap();
        let record = reader.snapshot(&snapshot).await.unwrap();
        let request = PreviewRequest {
            targets: vec![(b"/data".to_vec(), None)],
            include: PatternSet::default(),
            exclude: PatternSet::default(),
            rules: Rules::default(),
        };
        let mut tell = |_: &[u8], path: &RelPath, action: &Action| {
            if let Action::Lost(what) = action {
                lost.push(format!("{path}: {what}"));
            }
        };
        let counts = holdfast_mover::restore::preview(&reader, &record, request, &mut tell).await.unwrap();
        reader.close().await.unwrap();
        counts
    });
    assert_eq!((counts.lost, counts.create), (1, (1 + DIRECTORIES * (1 + FILES_EACH)) as u64 - entries_lost));
    assert!(lost.len() == 1 && lost[0].contains("names and all"), "{lost:?}");
}
