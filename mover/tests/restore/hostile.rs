//! Snapshots that no honest backup wrote, though they are authentic: whoever may add backups may write these.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use holdfast_mover::catalog::{Entry, EntryKind, Extent, RelPath};
use holdfast_mover::restore::{RestoreError, Severity};
use holdfast_mover::stop::StopToken;

use crate::fixture::{Fixture, is_root};
use crate::forged::{commit, entry, root};

/// What a reader does not even parse is lost like what is rotten; the rest is refused.
fn refused(fixture: &Fixture, entries: Vec<Entry>) -> String {
    let snapshot = commit(fixture, b"data", |_| entries);
    match fixture.try_run(fixture.request(snapshot), &StopToken::new()) {
        Ok(report) => {
            assert!(report.lost_parts == 1 && report.failed == 1, "{report:?}");
            report.issues[0].to_string()
        }
        Err(error @ RestoreError::BadCatalog { .. }) => error.to_string(),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_file_below_a_symlink_is_refused() {
    let fixture = Fixture::new();
    let outside = fixture.directory().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let symlink = EntryKind::Symlink { target: outside.as_os_str().as_encoded_bytes().to_vec() };
    let error = refused(&fixture, vec![root(), entry(b"link", symlink.clone()), entry(b"link/file", EntryKind::File)]);
    assert!(error.contains("link/file"), "{error}");
    refused(&fixture, vec![root(), entry(b"file", EntryKind::File), entry(b"file/below", EntryKind::Directory)]);
    refused(&fixture, vec![root(), entry(b"nothing/below", EntryKind::File)]);
    refused(&fixture, vec![entry(b"", symlink)]);
    refused(&fixture, vec![entry(b"no root", EntryKind::File)]);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn links_reach_nothing_that_the_snapshot_did_not_bring() {
    let fixture = Fixture::new();
    std::fs::write(fixture.target("old"), "not of the snapshot").unwrap();
    let link = |path: &[u8], first: &[u8]| Entry { link_to: Some(RelPath::parse(first).unwrap()), ..entry(path, EntryKind::File) };
    refused(&fixture, vec![root(), link(b"a", b"b"), entry(b"b", EntryKind::File)]);
    // A name that the snapshot does not have at all, but the target does.
    let snapshot = commit(&fixture, b"", |_| vec![root(), link(b"zz", b"old")]);
    let report = fixture.try_run(fixture.request(snapshot), &StopToken::new());
    assert!(report.as_ref().is_err() || !report.as_ref().unwrap().is_complete(), "{report:?}");
    assert_eq!(std::fs::metadata(fixture.target("old")).unwrap().nlink(), 1);
}

#[test]
fn absurd_sizes_and_offsets_are_refused_or_named() {
    let fixture = Fixture::new();
    let with = |blob, size, extents: Vec<Extent>| vec![root(), Entry { size, extents, ..entry(b"file", EntryKind::File) }, blob];
    let after = || entry(b"zz after", EntryKind::Directory);
    refused(&fixture, with(after(), 1, vec![Extent::Hole { length: u64::MAX }, Extent::Zero { length: 2 }, Extent::Hole { length: 1 }]));
    let snapshot = commit(&fixture, b"data", |_| with(after(), u64::MAX, vec![Extent::Hole { length: u64::MAX }]));
    let report = fixture.restore(snapshot);
    assert_eq!(report.failed, 1, "{:#?}", report.issues);
    let beyond = |blob| vec![Extent::Blob { blob, offset: 2, length: 3 }];
    let snapshot = commit(&fixture, b"data", |blob| with(after(), 3, beyond(blob)));
    let report = fixture.restore(snapshot);
    assert!(report.failed == 1 && report.issues[0].what.contains("more of a blob"), "{:#?}", report.issues);
    assert!(!fixture.target("file").exists(), "what is not whole does not stay");
    assert!(fixture.target("zz after").is_dir(), "the others come back");
}

#[test]
fn names_that_no_file_system_holds_are_named() {
    let fixture = Fixture::new();
    let long = vec![b'x'; 300];
    let below: Vec<u8> = [long.as_slice(), b"/below"].concat();
    let entries = vec![root(), entry(b"good", EntryKind::File), entry(&long, EntryKind::Directory), entry(&below, EntryKind::File)];
    let snapshot = commit(&fixture, b"", |_| entries);
    let report = fixture.restore(snapshot);
    assert_eq!(report.failed, 2, "{:#?}", report.issues);
    assert!(fixture.target("good").is_file());
}

#[test]
fn devices_and_privileges_only_where_they_are_allowed() {
    let fixture = Fixture::new();
    let null = EntryKind::CharDevice { rdev: rustix::fs::makedev(1, 3) };
    let mut set_id = entry(b"set-id", EntryKind::File);
    set_id.mode = 0o6755;
    let mut capable = entry(b"zz capable", EntryKind::File);
    capable.xattrs = vec![(b"security.capability".to_vec(), vec![1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])];
    let snapshot = commit(&fixture, b"", |_| vec![root(), entry(b"null", null), set_id, capable]);
    let mut request = fixture.request(snapshot);
    request.device_nodes = false;
    let report = fixture.try_run(request, &StopToken::new()).unwrap();
    assert!(report.is_complete() && report.warnings == 3, "{:#?}", report.issues);
    assert!(report.issues.iter().all(|issue| issue.severity == Severity::Withheld));
    assert!(!fixture.target("null").exists());
    assert_eq!(std::fs::metadata(fixture.target("set-id")).unwrap().mode() & 0o7777, 0o755);
    if is_root() {
        assert!(fixture.restore(snapshot).is_complete());
        assert_eq!(std::fs::metadata(fixture.target("set-id")).unwrap().mode() & 0o7777, 0o6755);
    }
}

/// Somebody with the volume mounted swaps a directory for a symlink, all the time.
#[test]
fn a_target_that_changes_meanwhile_leads_nowhere() {
    let fixture = Fixture::new();
    // Each directory is reached by way of `d` again.
    for number in 0..500 {
        fixture.write(&format!("d/s{number}/f"), "restored");
    }
    let snapshot = fixture.backup();
    let outside = fixture.directory().join("outside");
    for number in 0..500 {
        std::fs::create_dir_all(outside.join(format!("s{number}"))).unwrap();
    }
    let ends = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (until, at, away, to) = (Arc::clone(&ends), fixture.target("d"), fixture.target("away"), outside.clone());
    let enemy = std::thread::spawn(move || {
        let mut swaps = 0_u32;
        while !until.load(std::sync::atomic::Ordering::Relaxed) {
            if std::fs::rename(&at, &away).is_ok() {
                let _ = std::os::unix::fs::symlink(&to, &at);
                swaps += 1;
                std::thread::sleep(std::time::Duration::from_micros(300));
                let _ = std::fs::remove_file(&at);
                let _ = std::fs::rename(&away, &at);
            }
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
        swaps
    });
    for _ in 0..5 {
        // It may fail, and must say so; it must not write elsewhere.
        let _ = fixture.try_run(fixture.request(snapshot), &StopToken::new());
    }
    ends.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(enemy.join().unwrap() > 10);
    let led_away = |directory: std::fs::DirEntry| std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(std::fs::read_dir(&outside).unwrap().map(|directory| led_away(directory.unwrap())).sum::<usize>(), 0);
}
