//! The real binary on repositories of real restic (`restic/tests/fixtures`).
#![cfg(feature = "restic")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};

#[path = "place/work.rs"]
mod place;
use place::{Place, failure};

fn filled(version: &str) -> Place {
    let place = Place::new().with("HOLDFAST_PASSWORD", "kubestash-password");
    holdfast_restic::testing::copy_fixture(version, &place.path("repository"));
    place
}

fn objects(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { objects(&path, found) } else { found.push(path) }
    }
    found.sort();
}

#[test]
fn what_restic_stored_is_listed_restored_and_dumped_and_nothing_is_written_there() {
    let place = filled("v2");
    let (mut before, mut after) = (Vec::new(), Vec::new());
    objects(&place.path("repository"), &mut before);
    let listed = place.json(&["--json", "restic", "snapshots"]);
    let snapshots = listed["snapshots"].as_array().unwrap();
    assert_eq!(snapshots.len(), 4);
    assert_eq!((&snapshots[1]["tags"][0], &snapshots[1]["paths"][0]), (&"second".into(), &"/kubestash-data".into()));
    assert!(place.ok(&["restic", "snapshots"]).contains("/kubestash-data/dir /kubestash-data/empty"));

    let first = snapshots[0]["short_id"].as_str().unwrap();
    let said = place.ok(&["restic", "restore", first, "restored", "--no-privileges"]);
    assert!(said.starts_with("restored "), "{said}");
    assert_eq!(std::fs::read(place.path("restored/hello.txt")).unwrap(), b"hello, restic\n");
    assert!(place.path("restored/dir/deep/f7").exists() && !place.path("restored/dir/deep/new").exists());
    // Again: what is there stays.
    assert!(place.ok(&["restic", "restore", first, "restored", "--no-privileges"]).contains("were there as they should"));
    let third = snapshots[2]["id"].as_str().unwrap();
    place.ok(&["restic", "restore", third, "several"]);
    assert!(place.path("several/kubestash-data/dir/deep/new").exists() && place.path("several/kubestash-data/empty").exists());
    place.ok(&["restic", "restore", first, "part", "--path", "/kubestash-data/dir/deep", "--include", "f1*", "--exclude", "f12"]);
    assert_eq!(std::fs::read_dir(place.path("part")).unwrap().count(), 10);
    assert_eq!(place.ok(&["restic", "dump", "latest", "/dump.sql"]), "a dump\n");
    assert_eq!(place.ok(&["restic", "dump", first, "/kubestash-data/dir/deep/f3"]), "file 3\n");
    objects(&place.path("repository"), &mut after);
    assert_eq!(after, before);
}

#[test]
fn what_is_wrong_is_one_line_that_says_what_to_do() {
    let place = filled("v1");
    let says = |arguments: &[&str], variable: (&str, &str)| failure(arguments, &place.command(arguments).env(variable.0, variable.1).output().unwrap());
    let none = ("NOTHING", "");
    for call in [&["restic", "snapshots"][..], &["restic", "restore", "latest", "target"], &["restic", "dump", "latest", "/x"]] {
        let line = says(call, ("HOLDFAST_PASSWORD", "hunter22"));
        assert!(line.contains("opens none of the 1 keys") && line.contains("RESTIC_PASSWORD") && !line.contains("hunter22"), "{line}");
        let line = says(call, ("HOLDFAST_REPO", &place.text("data")));
        assert!(line.contains("no repository of restic's") && line.contains("repository/v1/"), "{line}");
        assert!(says(call, ("HOLDFAST_REPO", "ftp://x/y")).contains("s3://bucket/prefix"));
    }
    for (call, expected) in [
        (&["restic", "restore", "0123456789abcdef", "target"][..], "restic snapshots"),
        (&["restic", "restore", "latest", "target", "--path", "/data"], "it has /kubestash-data"),
        (&["restic", "restore", "latest", "target", "--path", "/kubestash-data/hello.txt"], "no directory"),
        (&["restic", "restore", "latest", "data/../x/target", "--path", "/../../etc", "--path", "/kubestash-data"], ".."),
        (&["restic", "dump", "latest", "/kubestash-data/dir"], "no file"),
        (&["restic", "dump", "latest", "/nothing"], "it has /kubestash-data"),
        (&["restic"], "usage: holdfast restic"),
    ] {
        let line = says(call, none);
        assert!(line.contains(expected), "{call:?}: {line}");
    }
    // Ours and restic's are told apart.
    assert!(says(&["snapshots"], none).contains("not a Holdfast repository"));
}

#[test]
fn a_restore_that_could_not_bring_back_everything_is_no_success() {
    let place = filled("v1");
    let mut packs = Vec::new();
    objects(&place.path("repository/data"), &mut packs);
    let largest = packs.iter().max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
    std::fs::remove_file(largest).unwrap();
    let first = place.json(&["--json", "restic", "snapshots"])["snapshots"][0]["short_id"].as_str().unwrap().to_owned();
    let output = place.run(&["restic", "restore", &first, "target", "--no-privileges"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("FAILED") && said.contains("restic check"), "{said}");
    assert!(place.path("target/empty").exists());
}
