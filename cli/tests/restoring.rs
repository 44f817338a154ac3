//! The real binary restoring: killed and run again, looked at before, in part, to standard output.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

#[path = "place/work.rs"]
mod place;
use place::{Place, noise};

impl Place {
    fn filled() -> Self {
        let place = Self::new();
        place.ok(&["repo", "init"]);
        place
    }
}

/// Whatever was done by then, the next run makes it whole, and leaves no name that is not the snapshot's.
#[test]
fn killed_at_any_time_it_goes_on() {
    let place = Place::filled();
    for number in 0..600_u64 {
        std::fs::create_dir_all(place.path(&format!("data/d{}", number % 10))).unwrap();
        std::fs::write(place.path(&format!("data/d{}/f{number}", number % 10)), noise(number, 9000)).unwrap();
    }
    std::fs::write(place.path("data/large"), noise(7, 24 << 20)).unwrap();
    place.ok(&["backup", "data"]);
    let mut killed = 0;
    for step in 0..12_u64 {
        let target = format!("target {step}");
        let mut child = place.command(&["restore", "latest", &target]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Counted from the first sign of work, since starting takes its time.
        while !place.path(&target).join("d0").exists() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(step * 7));
        let _ = child.kill();
        if child.wait().unwrap().signal() == Some(9) {
            killed += 1;
        }
        place.ok(&["restore", "latest", &target]);
        place.ok(&["compare", "data", &target]);
        std::fs::remove_dir_all(place.path(&target)).unwrap();
    }
    assert!(killed > 0, "it was too fast to be killed");
}

#[test]
fn a_dry_run_says_what_would_be_and_does_nothing() {
    let place = Place::filled();
    for name in ["same", "other size", "other time", "missing", "was a directory"] {
        std::fs::write(place.path("data").join(name), name).unwrap();
    }
    std::fs::create_dir(place.path("data/d")).unwrap();
    std::fs::write(place.path("data/d/inside"), "x").unwrap();
    place.ok(&["backup", "data"]);
    let said = place.ok(&["restore", "--dry-run", "latest", "target"]);
    assert!(!place.path("target").exists(), "nothing is made");
    assert!(said.contains("create   d/inside") && said.contains("would create 8,"), "{said}");

    place.ok(&["restore", "latest", "target"]);
    let said = place.ok(&["restore", "--dry-run", "latest", "target"]);
    assert!(said.lines().count() == 1 && said.contains("leave 8"), "{said}");
    std::fs::write(place.path("target/other size"), "a longer content").unwrap();
    std::fs::write(place.path("target/other time"), "OTHER TIME").unwrap();
    std::fs::remove_file(place.path("target/missing")).unwrap();
    std::fs::remove_file(place.path("target/was a directory")).unwrap();
    std::fs::create_dir(place.path("target/was a directory")).unwrap();
    let said = place.ok(&["restore", "--dry-run", "latest", "target", "--exclude", "d"]);
    for line in ["change   other size (size, time)", "change   other time (time)", "create   missing", "replace  was a directory", "change   . (time)"] {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
    assert!(said.contains("create 1, replace 1 and change 3 entries") && said.contains("leave 1"), "{said}");
    let json = place.ok(&["--json", "restore", "--dry-run", "latest", "target"]);
    let last: Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
    assert_eq!((&last["create"], &last["leave"]), (&1.into(), &3.into()), "{json}");
    assert!(place.path("target/was a directory").is_dir(), "nothing is changed");
}

#[test]
fn a_file_goes_to_standard_output() {
    let place = Place::filled();
    let large = noise(3, 9 << 20);
    std::fs::write(place.path("data/large"), &large).unwrap();
    std::fs::create_dir(place.path("data/d")).unwrap();
    std::fs::write(place.path("data/d/small"), "small").unwrap();
    std::fs::write(place.path("data/empty"), "").unwrap();
    std::fs::hard_link(place.path("data/d/small"), place.path("data/linked")).unwrap();
    let sparse = std::fs::File::create(place.path("data/sparse")).unwrap();
    sparse.set_len(30 << 20).unwrap();
    sparse.write_all_at(b"in the middle", 11 << 20).unwrap();
    place.ok(&["backup", "data"]);
    let path = |name: &str| place.path("data").join(name).display().to_string();
    for name in ["large", "d/small", "empty", "linked", "sparse"] {
        let dumped = place.bytes(&["dump", "latest", &path(name)]);
        assert!(dumped == std::fs::read(place.path("data").join(name)).unwrap(), "{name}: {} bytes", dumped.len());
    }
    let error = place.fails(&["dump", "latest", &path("d")]);
    assert!(error.contains("is a directory") && error.contains("--include"), "{error}");
    assert!(place.fails(&["dump", "latest", "/nowhere"]).contains("no /nowhere"));

    let mut stream = place.command(&["backup", "--stdin", "--stdin-name", "dump.sql"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    std::io::Write::write_all(&mut stream.stdin.take().unwrap(), &large).unwrap();
    assert!(stream.wait().unwrap().success());
    assert!(place.bytes(&["dump", "latest", "dump.sql"]) == large);

    // Who reads goes away: said, and no success.
    let mut cut = place.command(&["dump", "latest", "dump.sql"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(cut.stdout.take());
    let output = cut.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_damaged_blob_is_no_success() {
    let place = Place::filled();
    std::fs::write(place.path("data/large"), noise(3, 3 << 20)).unwrap();
    place.ok(&["backup", "data"]);
    let mut open = vec![place.path("repository/holdfast/v1/packs/data")];
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(at).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
                continue;
            }
            let mut bytes = std::fs::read(entry.path()).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(entry.path(), bytes).unwrap();
        }
    }
    let error = place.fails(&["dump", "latest", &place.path("data/large").display().to_string()]);
    assert!(error.contains("not the whole file"), "{error}");
    let output = place.run(&["restore", "latest", "target"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!place.path("target/large").exists());
}

#[test]
fn wrong_mappings_are_one_line() {
    let place = Place::filled();
    std::fs::write(place.path("data/file"), "x").unwrap();
    place.ok(&["backup", "data"]);
    for wrong in [["--owner-map", "0"], ["--group-map", "a:b"], ["--owner-map", "1:4294967295"]] {
        let error = place.fails(&["restore", "latest", "target", wrong[0], wrong[1]]);
        assert!(error.contains("no mapping of ids"), "{error}");
    }
    assert!(!place.path("target").exists());
    place.fails(&["restore", "latest", "target", "--include-xattr", "[a"]);
}
