//! The real binary on a real directory: what forget and prune free, and what they leave.
// Helpers of tests may end them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use serde_json::Value;

#[path = "place/work.rs"]
mod place;
use place::{Place, noise};

impl Place {
    /// A repository, and 24 MiB that do not compress in many small and some large files.
    fn filled() -> Self {
        let place = Self::new().with_cache();
        for number in 0..200 {
            place.write(&format!("data/small/{number:03}"), number, 20_000);
        }
        for number in 0..5 {
            place.write(&format!("data/large/{number}"), 1000 + number, 4 << 20);
        }
        place.ok(&["repo", "init"]);
        place
    }

    fn write(&self, name: &str, seed: u64, bytes: usize) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, noise(seed, bytes)).unwrap();
    }

    fn stored_bytes(&self) -> u64 {
        bytes_below(&self.path("repository"))
    }

    /// The newest snapshot comes back as the data is, and every stored byte is good.
    fn is_whole(&self) {
        self.ok(&["check", "--trailers", "--read-data"]);
        let _ = std::fs::remove_dir_all(self.path("restored"));
        self.ok(&["restore", "latest", "restored"]);
        self.ok(&["compare", "data", "restored"]);
    }
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { bytes_below(&path) } else { path.metadata().unwrap().len() }).sum()
}

#[test]
fn what_only_forgotten_snapshots_needed_is_freed_and_the_rest_is_whole() {
    let place = Place::filled();
    place.ok(&["backup", "data"]);
    // Half of the small files change, four of five large ones go.
    for number in (0..200).step_by(2) {
        place.write(&format!("data/small/{number:03}"), 5000 + number, 20_000);
    }
    for number in 0..4 {
        std::fs::remove_file(place.path(&format!("data/large/{number}"))).unwrap();
    }
    place.ok(&["backup", "data"]);
    let both = place.stored_bytes();
    assert!(place.ok(&["forget", "--keep-last", "1"]).contains("holdfast prune frees"));

    let dry = place.json(&["--json", "prune", "--now", "--dry-run"]);
    assert_eq!(place.json(&["--json", "prune", "--now", "--dry-run"]), dry, "a dry run changes nothing");
    let report = place.json(&["--json", "prune", "--now"]);
    assert!(report["packs_deleted"].as_u64().unwrap() >= 1, "{report}");
    assert_eq!(report["packs_waiting"], 0);
    let left = place.stored_bytes();
    // 4 MiB of the large file, 4 MB of small ones; a bundle that is partly used stays whole.
    assert!(left < both / 2 && left < 13 << 20, "{left} of {both} bytes: {report}");
    place.is_whole();

    // With what is on this machine of the old packs, the next backup is right too.
    place.write("data/small/new", 9, 20_000);
    let next = place.json(&["--json", "backup", "data"]);
    assert!(next["bytes_stored"].as_u64().unwrap() < 3 << 20, "a bundle or two, of eight: {next}");
    place.is_whole();
    let again = place.json(&["--json", "prune", "--now"]);
    assert_eq!((&again["packs_rewritten"], &again["packs_deleted"]), (&Value::from(0), &Value::from(0)), "{again}");
}

#[test]
fn without_now_the_second_prune_deletes_and_forget_can_do_both() {
    let place = Place::filled();
    place.ok(&["backup", "data"]);
    std::fs::remove_dir_all(place.path("data/large")).unwrap();
    place.ok(&["backup", "data", "--force"]);
    let both = place.stored_bytes();
    let said = place.ok(&["forget", "--keep-last", "1", "--prune", "--now"]);
    assert!(said.contains("1 snapshot forgotten") && said.contains("deleted"), "{said}");
    assert!(place.stored_bytes() < both / 2);
    place.is_whole();
}

#[test]
fn a_mistake_is_one_line() {
    let place = Place::filled();
    for arguments in [&["prune", "--repack-budget", "much"][..], &["prune", "--soon"], &["forget", "--keep-last", "1", "--now"]] {
        place.fails(arguments);
    }
}
