//! A directory to work in, and the real command that kills itself in it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use assert_cmd::cargo::CommandCargoExt;
use tempfile::TempDir;

pub(crate) use crate::work::noise;

pub(crate) const STEPS_MAX: u64 = 40;
pub(crate) const KILLED: Option<i32> = Some(9);

pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self(TempDir::new().unwrap());
        std::fs::create_dir(place.path("data")).unwrap();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn command(&self, repository: &str, arguments: &[&str]) -> Command {
        #[allow(deprecated)]
        let mut command = Command::cargo_bin("holdfast").unwrap();
        let url = format!("file://{}", self.path(repository).display());
        command.args(arguments).env_clear().env("HOLDFAST_REPO", url).env("HOLDFAST_PASSWORD", "correct horse").current_dir(self.0.path());
        command
    }

    pub(crate) fn ok(&self, repository: &str, arguments: &[&str]) {
        succeeded(arguments, &self.command(repository, arguments).output().unwrap());
    }

    /// True if it was killed; it must have succeeded otherwise.
    pub(crate) fn dies(&self, repository: &str, arguments: &[&str], moment: &str) -> bool {
        let output = self.command(repository, arguments).env("HOLDFAST_TEST_DIE", moment).output().unwrap();
        if output.status.signal() == KILLED {
            return true;
        }
        succeeded(arguments, &output);
        false
    }

    pub(crate) fn objects(&self, repository: &str, folder: &str) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        walk(&self.path(repository).join("holdfast/v1").join(folder), &mut found);
        found
    }

    /// The data packs and their bytes.
    pub(crate) fn data_packs(&self, repository: &str) -> BTreeMap<PathBuf, u64> {
        self.objects(repository, "packs/data").into_iter().map(|path| (path.clone(), std::fs::metadata(&path).unwrap().len())).collect()
    }

    /// A copy of the repository `from`, so that each step begins with the same one.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        assert!(Command::new("cp").arg("-a").arg(self.path(from)).arg(self.path(to)).status().unwrap().success());
    }

    pub(crate) fn is_whole(&self, repository: &str) {
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

pub(crate) fn succeeded(arguments: &[&str], output: &Output) {
    assert!(output.status.success(), "{arguments:?}: {:?} {}", output.status, String::from_utf8_lossy(&output.stderr));
}
