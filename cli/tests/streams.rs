//! Streams and block devices: one file each, and a producer that fails leaves no snapshot.
// Helpers of tests may end them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};

use tempfile::TempDir;

#[path = "place/work.rs"]
mod place;
use place::{Place, noise};

impl Place {
    fn ready() -> Self {
        let place = Self::new();
        place.ok(&["repo", "init"]);
        place
    }

    fn restored(&self, name: &str) -> Vec<u8> {
        let target = TempDir::new_in(self.path("")).unwrap();
        self.ok(&["restore", "latest", target.path().to_str().unwrap()]);
        std::fs::read(target.path().join(name)).unwrap()
    }
}

#[test]
fn standard_input_becomes_a_file() {
    let place = Place::ready();
    let data = [noise(1, 3_000_001), vec![0; 1 << 20], noise(2, 5)].concat();
    let mut command = place.command(&["backup", "--stdin", "--stdin-name", "dump.sql"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    // In small pieces, as a producer gives them.
    let mut input = child.stdin.take().unwrap();
    data.chunks(5_000).for_each(|piece| input.write_all(piece).unwrap());
    drop(input);
    assert!(child.wait().unwrap().success());
    assert!(place.restored("dump.sql") == data);
}

#[test]
fn a_command_that_fails_leaves_no_snapshot() {
    let place = Place::ready();
    let output = place.run(&["backup", "--stdin-command", "echo half; exit 3"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("exit status: 3"), "{said}");
    assert!(!place.ok(&["--json", "snapshots"]).contains("statistics"), "a snapshot was made");
    place.ok(&["backup", "--stdin-command", "echo whole", "--stdin-name", "text"]);
    assert_eq!(place.restored("text"), b"whole\n");
}

#[test]
fn a_mistake_is_named() {
    let place = Place::ready();
    for (arguments, wanted) in [
        (&["backup", "--stdin", "--stdin-name", "a/b"][..], "one name"),
        (&["backup", "--stdin", "."], "cannot be used with"),
        (&["backup", "/dev/null"], "block device"),
    ] {
        let output = place.command(arguments).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(wanted), "{arguments:?}: {said}");
    }
}

/// A loop device, which goes with the test.
struct Loop(String);

impl Loop {
    fn of(file: &std::path::Path) -> Option<Self> {
        let output = Command::new("losetup").args(["--find", "--show"]).arg(file).output().ok()?;
        output.status.success().then(|| Self(String::from_utf8(output.stdout).unwrap().trim().to_owned()))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

#[test]
fn a_block_device_comes_back_and_costs_what_changed() {
    let place = Place::ready();
    let image = std::fs::File::create(place.path("image")).unwrap();
    image.set_len(80 << 20).unwrap();
    image.write_all_at(&noise(3, 9 << 20), 1 << 20).unwrap();
    let Some(device) = Loop::of(&place.path("image")) else {
        eprintln!("SKIPPED: a loop device needs root");
        return;
    };
    place.ok(&["backup", &device.0]);
    let name = device.0.trim_start_matches("/dev/").to_owned();
    assert!(place.restored(&name) == std::fs::read(place.path("image")).unwrap());

    let node = std::fs::OpenOptions::new().write(true).open(&device.0).unwrap();
    node.write_all_at(&noise(4, 4096), (5 << 20) + 8192).unwrap();
    node.sync_all().unwrap();
    let report: serde_json::Value = serde_json::from_str(&place.ok(&["--json", "backup", &device.0])).unwrap();
    assert!(report["bytes_added"].as_u64().unwrap() < 64 << 10, "{report}");
    assert!(place.restored(&name) == std::fs::read(place.path("image")).unwrap());
}
