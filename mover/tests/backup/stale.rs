//! A volume whose server loses files of it, or all of it, while it is read: ESTALE from a real file system.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use holdfast_mover::backup::BackupError;
use holdfast_mover::stop::StopToken;
use rustix::io::Errno;

use crate::fixture::{Fixture, noise, source};
use crate::fuse_disk::{Fails, FuseDisk, GETATTR, OPENDIR, READ};

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let mut files = vec![("large", noise(1, 3 << 20)), ("large too", noise(2, 3 << 20))];
    files.extend(["d/one", "d/two", "e/three", "f/four"].map(|name| (name, name.as_bytes().to_vec())));
    files
}

fn backed_up(fixture: &Fixture, fails: Arc<Fails>) -> Option<Result<holdfast_mover::backup::BackupReport, BackupError>> {
    let place = tempfile::TempDir::new().unwrap();
    let disk = FuseDisk::mount(place.path(), &files(), fails)?;
    let mut request = fixture.request();
    request.sources = vec![source(&disk.mounted_at)];
    Some(fixture.try_run(request, StopToken::new()))
}

#[test]
fn the_file_system_of_this_test_is_one() {
    let fixture = Fixture::new();
    let Some(report) = backed_up(&fixture, Arc::new(|_, _| None)) else { return };
    let report = report.unwrap();
    assert_eq!((report.unreadable_count, report.sources[0].statistics.files), (0, 6), "{:?}", report.unreadable_first);
    let contents = fixture.snapshot(report.snapshot);
    for (path, content) in files() {
        assert!(fixture.content(&contents, contents.entry(path.as_bytes())) == content, "{path}");
    }
}

#[test]
fn what_is_stale_is_named_and_the_rest_is_backed_up() {
    let fixture = Fixture::new();
    let fails = |operation, path: &str| {
        let is_stale = match path {
            "large" => operation == READ,
            "d/two" => operation == GETATTR,
            "f" => operation == OPENDIR,
            _ => false,
        };
        is_stale.then_some(Errno::STALE)
    };
    let Some(report) = backed_up(&fixture, Arc::new(fails)) else { return };
    let report = report.unwrap();
    let mut named: Vec<String> = report.unreadable_first.iter().map(ToString::to_string).collect();
    named.sort();
    assert_eq!(report.unreadable_count, 3, "{named:?}");
    for (line, path) in named.iter().zip(["d/two", "f", "large"]) {
        assert!(line.contains(&format!("/{path}: ")) && line.contains("Stale file handle"), "{line}");
    }
    let contents = fixture.snapshot(report.snapshot);
    assert_eq!(contents.paths(), [".", "d", "d/one", "e", "e/three", "f", "large too"]);
    assert!(contents.entry(b"f").flags.listing_incomplete);
}

/// The server forgets the export, at any moment: that is no snapshot of a volume that has become small.
#[test]
fn a_volume_whose_root_goes_away_is_no_snapshot() {
    let fixture = Fixture::new();
    for errno in [Errno::STALE, Errno::NOTCONN, Errno::IO] {
        for answers in [3, 6, 10, 15, 20] {
            let asked = AtomicU64::new(0);
            let fails = move |_, _: &str| (asked.fetch_add(1, Ordering::Relaxed) >= answers).then_some(errno);
            let Some(outcome) = backed_up(&fixture, Arc::new(fails)) else { return };
            let error = outcome.unwrap_err();
            let is_said = match &error {
                BackupError::VolumeUnreadable { reason, .. } => reason.contains(&errno.to_string()) || reason.contains("nothing below it"),
                BackupError::VolumeChanged { .. } => true,
                _ => false,
            };
            assert!(is_said, "{errno} after {answers} answers: {error}");
        }
    }
}
