//! Each class of object missing, cut, one bit flipped, or swapped with another of its class: what each verb says and does then.
//!
//! The texts stand in `damaged/`, ids and sizes left out. `HOLDFAST_WRITE_GOLDEN=1` writes them anew: read them as somebody would who was
//! woken up by them. Whatever is said, a restore never gives back a wrong byte as good, and a backup goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // The whole file is a test.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

#[path = "damaged/normal.rs"]
mod normal;
use normal::{Names, normal};

/// What a repository made here holds: made again if chance cut its refs otherwise.
const BLOBS: &str = "12 blobs";
const TRIES_MAX: usize = 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Damage {
    Missing,
    Cut,
    Flipped,
    /// With the object that has this label.
    Swapped(&'static str),
}

struct Repository {
    place: TempDir,
    names: Names,
}

fn write(path: &Path, content: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

/// Bytes that do not compress.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut word = seed | 1;
    let mut noise = Vec::with_capacity(bytes + 8);
    while noise.len() < bytes {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        noise.extend_from_slice(&word.to_le_bytes());
    }
    noise.truncate(bytes);
    noise
}

fn command(place: &Path, repository: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command
        .args(arguments)
        .arg("--no-cache")
        .env_clear()
        .env("HOLDFAST_REPO", format!("file://{}", repository.display()))
        .env("HOLDFAST_PASSWORD", "correct horse")
        .env("HOLDFAST_NEW_PASSWORD", "battery staple")
        .current_dir(place);
    command.output().unwrap()
}

fn files(root: &Path, at: &Path, into: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(root, &path, into);
        } else {
            into.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}

fn objects(repository: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let root = repository.join("holdfast/v1");
    files(&root, &root, &mut names);
    names
}

fn copy(from: &Path, to: &Path) {
    let mut names = BTreeSet::new();
    files(from, from, &mut names);
    for name in names {
        let to = to.join(&name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from.join(&name), to).unwrap();
    }
}

impl Repository {
    /// Two passwords and two backups: the second adds to the first.
    fn make() -> Self {
        for _ in 0..TRIES_MAX {
            let place = TempDir::new().unwrap();
            let repository = Self { names: Names::new(place.path()), place }.fill();
            let checked = String::from_utf8(repository.run("repository", &["check"]).stdout).unwrap();
            if checked.contains(BLOBS) {
                return repository;
            }
            println!("made again: {checked}");
        }
        panic!("never {BLOBS}");
    }

    /// By one worker, so that blobs stand in their packs in one order.
    fn fill(mut self) -> Self {
        const BACKUP: [&str; 4] = ["backup", "data", "--cpus", "1"];
        let data = self.path("data");
        write(&data.join("letters/a"), b"Dear A");
        write(&data.join("letters/b"), b"Dear B");
        write(&data.join("picture"), &noise(1, 200_000));
        self.ok(&["repo", "init"]);
        self.learn("");
        self.ok(&["key", "add"]);
        self.learn("other ");
        self.ok(&BACKUP);
        self.learn("first ");
        write(&data.join("letters/c"), b"Dear C");
        write(&data.join("film"), &noise(2, 220_000));
        self.ok(&BACKUP);
        self.learn("second ");
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    fn run(&self, repository: &str, arguments: &[&str]) -> Output {
        command(self.place.path(), &self.path(repository), arguments)
    }

    fn ok(&self, arguments: &[&str]) {
        let output = self.run("repository", arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// What is new since the last time is called by its class.
    fn learn(&mut self, which: &str) {
        let objects = objects(&self.path("repository"));
        self.names.learn(which, &objects);
    }

    /// Damages a copy.
    fn damaged(&self, name: &str, label: &str, damage: Damage) {
        let _ = std::fs::remove_dir_all(self.path(name));
        copy(&self.path("repository"), &self.path(name));
        let at = |label: &str| self.path(name).join("holdfast/v1").join(self.names.object(label));
        let object = std::fs::read(at(label)).unwrap();
        match damage {
            Damage::Missing => std::fs::remove_file(at(label)).unwrap(),
            Damage::Cut => std::fs::write(at(label), &object[..object.len() / 2]).unwrap(),
            Damage::Flipped => {
                let mut flipped = object;
                let middle = flipped.len() / 2;
                flipped[middle] ^= 1;
                std::fs::write(at(label), flipped).unwrap();
            }
            Damage::Swapped(other) => {
                std::fs::copy(at(other), at(label)).unwrap();
                std::fs::write(at(other), object).unwrap();
            }
        }
    }

    /// Everything said by a verb on a damaged copy, with its exit code.
    fn say(&self, text: &mut String, repository: &str, arguments: &[&str]) -> Output {
        let output = self.run(repository, arguments);
        let code = output.status.code().map_or("a signal".to_owned(), |code| code.to_string());
        writeln!(text, "$ holdfast {}: exit {code}", arguments.join(" ")).unwrap();
        for stream in [&output.stderr, &output.stdout] {
            for line in normal(&self.names, &String::from_utf8_lossy(stream)) {
                writeln!(text, "  {line}").unwrap();
            }
        }
        output
    }

    fn case(&self, label: &str, damage: Damage, text: &mut String) {
        let how = match damage {
            Damage::Missing => "is missing".to_owned(),
            Damage::Cut => "is cut to half".to_owned(),
            Damage::Flipped => "has one bit flipped".to_owned(),
            Damage::Swapped(other) => format!("is swapped with the {other}"),
        };
        writeln!(text, "# The {label} {how}\n").unwrap();
        self.damaged("looked-at", label, damage);
        self.say(text, "looked-at", &["check"]);
        self.say(text, "looked-at", &["check", "--read-data"]);
        self.damaged("restored", label, damage);
        self.restore(text);
        self.damaged("written", label, damage);
        let backup = self.say(text, "written", &["backup", "data"]);
        if backup.status.success() {
            self.say(text, "written", &["check", "--read-data"]);
        }
        self.damaged("repaired", label, damage);
        let before = objects(&self.path("repaired"));
        self.say(text, "repaired", &["repair"]);
        let left = self.say(text, "repaired", &["check", "--read-data"]);
        if backup.status.success() && !left.status.success() {
            // What is marked bad is stored again.
            self.say(text, "repaired", &["backup", "data"]);
            self.say(text, "repaired", &["check", "--read-data"]);
        }
        assert!(objects(&self.path("repaired")).is_superset(&before), "{label} {how}: repair deletes nothing");
        self.prune(label, damage, &["prune", "--now"], text);
        self.prune(label, damage, &["forget", "--keep-last", "1", "--prune", "--now"], text);
        text.push('\n');
    }

    /// Whatever a prune did, what was damaged can be brought back from a copy, and all is well then.
    fn prune(&self, label: &str, damage: Damage, arguments: &[&str], text: &mut String) {
        self.damaged("pruned", label, damage);
        let (pruned, original) = (self.path("pruned").join("holdfast/v1"), self.path("repository").join("holdfast/v1"));
        let objects_before = objects(&self.path("pruned"));
        let packs = |objects: &BTreeSet<String>| objects.iter().filter(|name| name.starts_with("packs/")).cloned().collect::<BTreeSet<_>>();
        let content = |label: &str| std::fs::read(pruned.join(self.names.object(label))).ok();
        let damaged = content(label);
        let said = self.say(text, "pruned", arguments);
        let objects_after = objects(&self.path("pruned"));
        if !said.status.success() {
            assert!(packs(&objects_after).is_superset(&packs(&objects_before)), "{label}: a prune that fails deletes no pack");
        }
        if content(label) != damaged {
            return;
        }
        let others = if let Damage::Swapped(other) = damage { vec![label, other] } else { vec![label] };
        for label in others {
            let name = self.names.object(label);
            std::fs::create_dir_all(pruned.join(name).parent().unwrap()).unwrap();
            std::fs::copy(original.join(name), pruned.join(name)).unwrap();
        }
        let healed = self.run("pruned", &["check", "--read-data"]);
        assert!(healed.status.success(), "{label}: brought back after {arguments:?}, and not well: {}", String::from_utf8_lossy(&healed.stdout));
    }

    /// No wrong byte is given back as good: what differs is named.
    fn restore(&self, text: &mut String) {
        let target = self.path("target");
        let _ = std::fs::remove_dir_all(&target);
        let output = self.say(text, "restored", &["restore", "latest", "target"]);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
        let mut restored = BTreeSet::new();
        if target.exists() {
            files(&target, &target, &mut restored);
        }
        for name in &restored {
            let same = std::fs::read(target.join(name)).unwrap() == std::fs::read(self.path("data").join(name)).unwrap();
            assert!(same || (!output.status.success() && said.contains(name.as_str())), "{name} is wrong and is not named: {said}");
        }
        if output.status.success() {
            assert!(restored.contains("picture") && restored.contains("letters/a"), "a success without its files: {said}");
        }
    }

    fn class(&self, name: &str, cases: &[(&str, &[Damage])]) {
        let mut text = String::new();
        for (label, damages) in cases {
            for damage in *damages {
                self.case(label, *damage, &mut text);
            }
        }
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/damaged").join(name).with_extension("txt");
        if std::env::var_os("HOLDFAST_WRITE_GOLDEN").is_some() {
            std::fs::write(&golden, &text).unwrap();
        }
        let wanted = std::fs::read_to_string(&golden).unwrap_or_default();
        let differs = wanted.lines().zip(text.lines()).position(|(wanted, said)| wanted != said);
        let line = differs.unwrap_or_else(|| wanted.lines().count().min(text.lines().count()));
        let near = |text: &str| text.lines().skip(line.saturating_sub(6)).take(10).collect::<Vec<_>>().join("\n");
        assert!(wanted == text, "{} differs in line {}; it should be:\n{}\nand is:\n{}", golden.display(), line + 1, near(&wanted), near(&text));
    }
}

use Damage::{Cut, Flipped, Missing, Swapped};

#[test]
fn config_and_keys() {
    let repository = Repository::make();
    repository.class("config", &[("config", &[Missing, Cut, Flipped])]);
    repository.class("key", &[("key", &[Missing, Cut, Flipped, Swapped("other key")]), ("other key", &[Missing, Cut, Flipped])]);
}

#[test]
fn states_and_leases() {
    let repository = Repository::make();
    repository.class("state", &[("second state", &[Missing, Cut, Flipped, Swapped("first state")]), ("first state", &[Missing, Flipped])]);
    repository.class("lease", &[("second lease", &[Missing, Cut, Flipped, Swapped("first lease")])]);
}

#[test]
fn index_runs_and_snapshots() {
    let repository = Repository::make();
    repository.class("index", &[("first index run", &[Missing, Cut, Flipped, Swapped("second index run")])]);
    repository.class("snapshot", &[("second snapshot", &[Missing, Cut, Flipped, Swapped("first snapshot")])]);
}

#[test]
fn packs() {
    let repository = Repository::make();
    repository.class("data-pack", &[("first data pack", &[Missing, Cut, Flipped, Swapped("second data pack")])]);
    repository.class("meta-pack", &[("second meta pack", &[Missing, Cut, Flipped, Swapped("first meta pack")])]);
}
