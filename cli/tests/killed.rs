//! SIGKILL at every durable step of a real process, and at any time: nothing is lost, nothing has to be cleaned.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use assert_cmd::cargo::CommandCargoExt;
use tempfile::TempDir;

const STEPS_MAX: u64 = 40;
const KILLED: Option<i32> = Some(9);

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(TempDir::new().unwrap());
        std::fs::create_dir(place.path("data")).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, repository: &str, arguments: &[&str]) -> Command {
        #[allow(deprecated)]
        let mut command = Command::cargo_bin("holdfast").unwrap();
        let url = format!("file://{}", self.path(repository).display());
        command.args(arguments).env_clear().env("HOLDFAST_REPO", url).env("HOLDFAST_PASSWORD", "correct horse").current_dir(self.0.path());
        command
    }

    fn ok(&self, repository: &str, arguments: &[&str]) {
        succeeded(arguments, &self.command(repository, arguments).output().unwrap());
    }

    /// True if it was killed; it must have succeeded otherwise.
    fn dies(&self, repository: &str, arguments: &[&str], moment: &str) -> bool {
        let output = self.command(repository, arguments).env("HOLDFAST_TEST_DIE", moment).output().unwrap();
        if output.status.signal() == KILLED {
            return true;
        }
        succeeded(arguments, &output);
        false
    }

    fn objects(&self, repository: &str, folder: &str) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        walk(&self.path(repository).join("holdfast/v1").join(folder), &mut found);
        found
    }

    /// A copy of the repository `from`, so that each step begins with the same one.
    fn copy(&self, from: &str, to: &str) {
        assert!(Command::new("cp").arg("-a").arg(self.path(from)).arg(self.path(to)).status().unwrap().success());
    }

    fn is_whole(&self, repository: &str) {
        self.ok(repository, &["check", "--read-data"]);
        let target = format!("{repository}.restored");
        self.ok(repository, &["restore", "latest", &target]);
        self.ok(repository, &["compare", "data", &target]);
    }
}

fn walk(folder: &Path, found: &mut BTreeSet<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => walk(&entry.path(), found),
            // A name of a write that was not finished is nobody's object.
            false if entry.file_name().to_string_lossy().contains('#') => {}
            false => assert!(found.insert(entry.path())),
        }
    }
}

fn succeeded(arguments: &[&str], output: &Output) {
    assert!(output.status.success(), "{arguments:?}: {:?} {}", output.status, String::from_utf8_lossy(&output.stderr));
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut word = seed | 1;
    let mut data = Vec::with_capacity(bytes);
    while data.len() < bytes {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        data.extend_from_slice(&word.to_le_bytes());
    }
    data.truncate(bytes);
    data
}

#[test]
fn a_backup_killed_at_each_write_is_made_up_for_by_the_next() {
    let place = Place::new();
    std::fs::write(place.path("data/large"), noise(1, 3 << 20)).unwrap();
    std::fs::write(place.path("data/small"), "small").unwrap();
    place.ok("empty", &["repo", "init"]);
    place.ok("once", &["repo", "init"]);
    place.ok("once", &["backup", "data"]);
    std::fs::write(place.path("data/changed"), noise(2, 1 << 20)).unwrap();

    for origin in ["empty", "once"] {
        let mut steps = 0;
        for step in 1..=STEPS_MAX {
            let mut any = false;
            for moment in ["before", "after"] {
                let repository = format!("{origin}.{moment}.{step}");
                place.copy(origin, &repository);
                let die = format!("{moment}:{step}");
                if !place.dies(&repository, &["backup", "data"], &die) {
                    continue;
                }
                any = true;
                let data = place.objects(&repository, "packs/data");
                let indexed = place.objects(&repository, "index").len() > place.objects(origin, "index").len();
                // Again at the same step of the next try, then let be.
                place.dies(&repository, &["backup", "data"], &die);
                let again = place.objects(&repository, "packs/data");
                place.ok(&repository, &["backup", "data"]);
                if indexed {
                    assert_eq!(place.objects(&repository, "packs/data"), data, "{die}: what a checkpoint lists is not sent again");
                } else {
                    assert!(place.objects(&repository, "packs/data").is_superset(&again), "{die}: nothing is taken away");
                }
                place.is_whole(&repository);
                std::fs::remove_dir_all(place.path(&repository)).unwrap();
            }
            if !any {
                break;
            }
            steps = step;
        }
        assert!((4..STEPS_MAX).contains(&steps), "{origin}: a backup has {steps} durable steps");
        println!("{origin}: killed before and after each of {steps} writes");
    }
}

#[test]
fn an_init_killed_at_each_write_can_be_repeated() {
    let place = Place::new();
    let mut steps = 0;
    for step in 1..=STEPS_MAX {
        for moment in ["before", "after"] {
            let repository = format!("{moment}.{step}");
            if place.dies(&repository, &["repo", "init"], &format!("{moment}:{step}")) {
                steps = step;
            }
            place.ok(&repository, &["repo", "init"]);
            place.ok(&repository, &["backup", "data"]);
            place.ok(&repository, &["check"]);
        }
        if steps < step {
            break;
        }
    }
    assert!((2..STEPS_MAX).contains(&steps), "{steps}");
}

#[test]
fn a_backup_killed_at_any_time_is_made_up_for_by_the_next() {
    let place = Place::new();
    for file in 0..6 {
        std::fs::write(place.path(&format!("data/{file}")), noise(file + 10, 12 << 20)).unwrap();
    }
    place.ok("repository", &["repo", "init"]);
    let mut killed = 0;
    for try_number in 0..6_u64 {
        let mut child = place.command("repository", &["backup", "data"]).spawn().unwrap();
        // Spread over the run's length, whatever it is on this machine, by a fixed sequence.
        std::thread::sleep(Duration::from_millis(15 + try_number * 7919 % 240));
        child.kill().unwrap();
        killed += u32::from(child.wait().unwrap().signal() == KILLED);
        place.ok("repository", &["check"]);
    }
    assert!(killed > 0, "every run was over before it was killed");
    place.ok("repository", &["backup", "data"]);
    place.is_whole("repository");
}
