//! Repositories forged by whoever knows the password: nothing outside the target is touched, and nothing costs more than its limit.

use holdfast_mover::restore::{RestoreError, RestoreReport};
use holdfast_repository::BlobId;
use holdfast_restic::testing::Forger;
use holdfast_restic::{OpenError, Part, Snapshot, SnapshotSource};

use crate::fixture::Fixture;

fn node(name: &str, rest: &str) -> String {
    format!(r#"{{"name":"{name}","mtime":"2020-01-02T03:04:05Z","mode":493,{rest}}}"#)
}

fn directory(name: &str, tree: BlobId) -> String {
    node(name, &format!(r#""type":"dir","subtree":"{tree}""#))
}

fn file(name: &str, blob: BlobId, size: u64) -> String {
    node(name, &format!(r#""type":"file","size":{size},"content":["{blob}"]"#))
}

/// The fixture with a forged snapshot.
fn forge(make: impl FnOnce(&mut Forger<'_>) -> BlobId) -> (Fixture, Snapshot) {
    let fixture = Fixture::new("v2");
    let repository = fixture.open();
    let mut forger = Forger::new(&repository, &fixture.path("repository"));
    let tree = make(&mut forger);
    let id = forger.snapshot(tree);
    let snapshot = fixture.runtime.block_on(repository.snapshot(&id)).unwrap();
    (fixture, snapshot)
}

fn restore(fixture: &Fixture, snapshot: &Snapshot) -> Result<RestoreReport, RestoreError> {
    std::fs::write(fixture.path("canary"), "untouched").unwrap();
    let outcome = fixture.restore(snapshot, fixture.request("/"));
    assert_eq!(std::fs::read(fixture.path("canary")).unwrap(), b"untouched");
    let mut beside: Vec<_> = std::fs::read_dir(fixture.place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    beside.sort();
    assert_eq!(beside, ["canary", "repository", "target"], "something was made outside the target");
    outcome
}

fn names(fixture: &Fixture) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(fixture.path("target")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn names_that_lead_outside_are_refused() {
    for name in ["..", ".", "", "../canary", "/etc/cron.d", "a/b", r"a\\x2fb", r"a\\x00b", r"\\056."] {
        let (fixture, snapshot) = forge(|forger| {
            let data = forger.add("data", b"hostile", 7);
            forger.tree(&[file(name, data, 7)])
        });
        let refused = restore(&fixture, &snapshot);
        assert!(matches!(refused, Err(RestoreError::BadCatalog { .. })), "{name}: {refused:?}");
        assert!(names(&fixture).is_empty(), "{name}");
    }
}

#[test]
fn a_symlink_is_never_followed() {
    let (fixture, snapshot) = forge(|forger| {
        let data = forger.add("data", b"hostile", 7);
        let inside = forger.tree(&[file("canary", data, 7)]);
        let link = node("to", r#""type":"symlink","linktarget":"..""#);
        forger.tree(&[link, directory("to", inside)])
    });
    // One name, twice: first the link, then what is to be written through it.
    assert!(matches!(restore(&fixture, &snapshot), Err(RestoreError::BadCatalog { .. })));
    let (fixture, snapshot) = forge(|forger| {
        let data = forger.add("data", b"hostile", 7);
        let inside = forger.tree(&[file("canary", data, 7)]);
        forger.tree(&[directory("to", inside)])
    });
    // What stands there already is as little followed.
    std::os::unix::fs::symlink("..", fixture.path("target/to")).unwrap();
    restore(&fixture, &snapshot).unwrap();
    assert_eq!(std::fs::read(fixture.path("target/to/canary")).unwrap(), b"hostile");
    assert!(!fixture.path("target/to").is_symlink());
}

#[test]
fn lengths_that_are_not_so_cost_the_file_and_nothing_else() {
    let (fixture, snapshot) = forge(|forger| {
        let data = forger.add("data", b"content", 7);
        let bomb = forger.add("data", &vec![0; 9 << 20], 100);
        let short = forger.add("data", b"short", 4096);
        forger.add_as(BlobId([8; 32]), "data", b"another", 7);
        let huge = forger.add("data", b"huge", 4_294_967_295);
        forger.tree(&[
            file("a-vast", data, 1 << 60),
            file("b-bomb", bomb, 100),
            file("c-short", short, 4096),
            file("d-huge", huge, 4_294_967_295),
            file("e-lost", BlobId([9; 32]), 7),
            file("f-good", data, 7),
            file("g-another's", BlobId([8; 32]), 7),
        ])
    });
    let report = restore(&fixture, &snapshot).unwrap();
    assert_eq!((report.failed, report.targets[0].files), (6, 1), "{:#?}", report.issues);
    assert_eq!(names(&fixture), ["f-good"]);
}

#[test]
fn names_of_one_file_are_one_only_if_they_have_one_content() {
    let linked = |name: &str, blob: BlobId, size: u64| node(name, &format!(r#""type":"file","inode":5,"device_id":1,"links":3,"size":{size},"content":["{blob}"]"#));
    let (fixture, snapshot) = forge(|forger| {
        let (content, longer) = (forger.add("data", b"content", 7), forger.add("data", b"longer content", 14));
        forger.tree(&[linked("a", content, 7), linked("b", content, 7), linked("c", longer, 14)])
    });
    let report = restore(&fixture, &snapshot).unwrap();
    assert!(report.is_complete(), "{:#?}", report.issues);
    assert_eq!((report.targets[0].files, report.targets[0].links), (2, 1));
    assert_eq!(std::fs::read(fixture.path("target/c")).unwrap(), b"longer content");
}

#[test]
fn lists_and_indexes_above_the_memory_are_refused_by_their_size() {
    let long = 70 << 20;
    let (fixture, snapshot) = forge(|forger| {
        let vast = node("a", &format!(r#""type":"fifo","user":"{}""#, "x".repeat(long)));
        let vast = forger.tree(&[vast]);
        forger.tree(&[directory("b", vast), node("c", r#""type":"fifo""#)])
    });
    let mut request = fixture.request("/");
    request.limits.memory_bytes = 4 << 20;
    let report = fixture.restore(&snapshot, request).unwrap();
    assert!(report.issues[0].what.contains("more than there is memory for"), "{:#?}", report.issues);
    assert_eq!((report.failed, names(&fixture)), (1, vec!["b".to_owned(), "c".to_owned()]));
    let part = Part { path: "/".into(), snapshot };
    let opened = fixture.runtime.block_on(SnapshotSource::open(&fixture.open(), vec![part], 1000));
    assert!(matches!(opened, Err(OpenError::TooLarge { .. })));
}

#[test]
fn directories_without_end_stay_within_the_memory() {
    let (fixture, snapshot) = forge(|forger| {
        let mut tree = forger.tree(&[]);
        for _ in 0..3000 {
            tree = forger.tree(&[directory("d", tree)]);
        }
        tree
    });
    let report = restore(&fixture, &snapshot).unwrap();
    assert_eq!(report.targets[0].directories + report.failed, 3000, "{:#?}", report.issues);
}
