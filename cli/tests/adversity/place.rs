//! A directory with data, a repository, and the command that works there.

use std::path::PathBuf;
use std::process::{Command, Output};

use assert_cmd::cargo::CommandCargoExt;
use tempfile::TempDir;

pub(crate) struct Place {
    directory: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { directory: TempDir::new().unwrap() };
        std::fs::create_dir(place.path("data")).unwrap();
        place
    }

    /// With a repository, and two snapshots of a few files.
    pub(crate) fn filled() -> Self {
        let place = Self::new();
        std::fs::create_dir(place.path("data/directory")).unwrap();
        std::fs::write(place.path("data/file"), "content\n").unwrap();
        std::fs::write(place.path("data/directory/large"), vec![7; 300_000]).unwrap();
        place.ok(&["repo", "init"]);
        place.ok(&["backup", "data"]);
        place.ok(&["backup", "data"]);
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `@NAME` stands for the whole path of what has that name here.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let arguments = arguments.iter().map(|word| word.strip_prefix('@').map_or_else(|| (*word).into(), |name| self.path(name).into_os_string()));
        #[allow(deprecated)]
        let mut command = Command::cargo_bin("holdfast").unwrap();
        command
            .args(arguments)
            .env_clear()
            .env("HOLDFAST_REPO", format!("file://{}", self.path("repository").display()))
            .env("HOLDFAST_PASSWORD", "correct horse\n")
            .env("HOLDFAST_NEW_PASSWORD", "battery staple\n")
            .env("HOLDFAST_CACHE_DIR", self.path("cache"))
            .current_dir(self.directory.path());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The one line of a verb that failed with exit code 1.
pub(crate) fn failure(call: &[&str], output: &Output) -> String {
    let line = said(output);
    assert_eq!(output.status.code(), Some(1), "{call:?}: {line}");
    assert_eq!(line.lines().count(), 1, "{call:?}: {line}");
    assert!(line.starts_with("error: "), "{call:?}: {line}");
    line
}
