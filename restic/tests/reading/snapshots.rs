//! Listing.

use crate::fixture::{Fixture, PASSWORD, VERSIONS};
use holdfast_restic::OpenError;

#[test]
fn snapshots_are_listed_with_what_they_are_of() {
    for version in VERSIONS {
        let fixture = Fixture::new(version);
        let repository = fixture.open();
        let all = fixture.runtime.block_on(repository.snapshots()).unwrap();
        assert!(all.unreadable.is_empty());
        let told: Vec<_> = all.readable.iter().take(2).map(|snapshot| (snapshot.hostname.as_str(), snapshot.paths.as_slice(), snapshot.tags.as_slice())).collect();
        let paths = ["/kubestash-data".to_owned()];
        assert_eq!(told, [("app-0", &paths[..], &[][..]), ("app-0", &paths[..], &["second".to_owned()][..])], "{version}");
        let [first, second] = &all.readable[..2] else { panic!() };
        assert_eq!(second.time_ms - first.time_ms, 24 * 3600 * 1000);
        let by = |id: &str| fixture.runtime.block_on(repository.snapshot(id)).map(|snapshot| snapshot.id);
        assert_eq!(by(&first.id.to_string()).unwrap(), first.id);
        assert_eq!(by(&first.id.short()).unwrap(), first.id);
        assert!(by("00000000").unwrap_err().is_not_found());
        assert!(by(&first.id.to_string()[..4]).unwrap_err().is_not_found(), "too few digits");
        assert!(by("../../../config").unwrap_err().is_not_found());
        assert!(by(&"0".repeat(64)).unwrap_err().is_not_found());
    }
}

#[test]
fn a_newline_behind_the_password_does_not_count_and_another_password_opens_nothing() {
    let fixture = Fixture::new("v2");
    assert!(fixture.try_open(&format!("{PASSWORD}\n")).is_ok());
    for wrong in ["", "kubestash", "kubestash-password "] {
        assert!(matches!(fixture.try_open(wrong), Err(OpenError::WrongPassword { keys: 1, .. })), "{wrong:?}");
    }
}

#[test]
fn nothing_is_written_into_a_repository_that_is_read() {
    let fixture = Fixture::new("v2");
    let look = || fixture.objects("").into_iter().map(|path| (std::fs::metadata(&path).unwrap().modified().unwrap(), path)).collect::<Vec<_>>();
    let before = look();
    let snapshot = fixture.snapshot(1);
    fixture.restore(&snapshot, fixture.request("/kubestash-data")).unwrap();
    assert_eq!(look(), before);
    assert!(!fixture.path("repository/locks").exists());
}
