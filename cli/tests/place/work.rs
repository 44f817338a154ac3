//! A directory to work in, and the real command in it: what the tests of the command have in common.
#![allow(dead_code)] // Each of them uses some of it.

use std::path::PathBuf;
use std::process::{Command, Output};

use assert_cmd::cargo::CommandCargoExt;
#[allow(unused_imports)] // As above.
pub(crate) use holdfast_mover::fidelity::torture::noise;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) struct Place {
    directory: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Place {
    /// With an empty `data`, and no repository yet.
    pub(crate) fn new() -> Self {
        let place = Self { directory: TempDir::new().unwrap(), variables: Vec::new() };
        std::fs::create_dir(place.path("data")).unwrap();
        place
    }

    /// What the command keeps on the machine is in `cache`; else it keeps nothing.
    pub(crate) fn with_cache(self) -> Self {
        let cache = self.text("cache");
        self.with("HOLDFAST_CACHE_DIR", &cache)
    }

    /// Each command has this variable.
    pub(crate) fn with(mut self, variable: &'static str, value: &str) -> Self {
        self.variables.push((variable, value.to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// `@NAME` stands for the whole path of what has that name here.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let arguments = arguments.iter().map(|word| word.strip_prefix('@').map_or_else(|| (*word).into(), |name| self.path(name).into_os_string()));
        #[allow(deprecated)]
        let mut command = Command::cargo_bin("holdfast").unwrap();
        command
            .args(arguments)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOLDFAST_REPO", format!("file://{}", self.text("repository")))
            .env("HOLDFAST_PASSWORD", "correct horse\n")
            .envs(self.variables.iter().map(|(variable, value)| (variable, value)))
            .current_dir(self.directory.path());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn bytes(&self, arguments: &[&str]) -> Vec<u8> {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        output.stdout
    }

    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        String::from_utf8(self.bytes(arguments)).unwrap()
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(arguments)).unwrap()
    }

    pub(crate) fn fails(&self, arguments: &[&str]) -> String {
        failure(arguments, &self.run(arguments))
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
