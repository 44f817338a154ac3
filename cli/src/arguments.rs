//! The command line. A mistake in it is answered by one line with the right form.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand};

#[cfg(feature = "restic")]
use crate::restic;
use crate::{backup, cache, check, compare, dump, forget, key, ls, prune, repair, repo, restore, snapshots, stats, takeover};

/// Backup and restore of volumes: encrypted, deduplicated, straight to object storage.
#[derive(Debug, Parser)]
#[command(name = "holdfast", version, propagate_version = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every verb takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The repository: file:///path or s3://bucket/prefix (endpoint, region and keys from the AWS_* variables).
    #[arg(long, global = true, env = "HOLDFAST_REPO", value_name = "URL")]
    pub(crate) repo: Option<String>,
    /// A file with the password; without it the variable HOLDFAST_PASSWORD is used. One trailing newline does not count.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Memory to use at most, such as 100MiB.
    #[arg(long, global = true, default_value = "100MiB", value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) memory: u64,
    /// Where what never changes is kept on this machine, encrypted as it is stored; ~/.cache/holdfast if not given.
    #[arg(long, global = true, env = "HOLDFAST_CACHE_DIR", value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Keep nothing on this machine; what does not fit into memory goes to unnamed, encrypted files in $TMPDIR or /var/tmp meanwhile.
    #[arg(long, global = true)]
    pub(crate) no_cache: bool,
    /// Results as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a repository, or look at one.
    #[command(subcommand)]
    Repo(repo::Verb),
    /// Back up directories into one snapshot.
    Backup(backup::Arguments),
    /// List the snapshots.
    Snapshots(snapshots::Arguments),
    /// List what is in a snapshot.
    Ls(ls::Arguments),
    /// Restore a snapshot into a directory.
    Restore(restore::Arguments),
    /// Write one file of a snapshot to standard output.
    Dump(dump::Arguments),
    /// Take snapshots out of the list, by name or by what to keep.
    Forget(forget::Arguments),
    /// Free the space of what no snapshot uses.
    Prune(prune::Arguments),
    /// List, add, remove or change passwords.
    #[command(subcommand)]
    Key(key::Verb),
    /// Check that everything is there and is what was written.
    Check(check::Arguments),
    /// Make the records right again from what is stored; nothing is deleted.
    Repair(repair::Arguments),
    /// Count what is stored, and how much of it is used.
    Stats(stats::Arguments),
    /// Look at what is kept on this machine of the repository, or remove it.
    Cache(cache::Arguments),
    /// In a cluster with KubeStash: end its work in good order, so that Holdfast goes on with its objects. Needs no repository.
    Takeover(takeover::Arguments),
    /// Look at and restore what restic stored, such as KubeStash's data: --repo is the restic repository. Nothing is written there.
    #[cfg(feature = "restic")]
    #[command(subcommand)]
    Restic(restic::Verb),
    /// Compare every byte and attribute of two directories; exit code 1 if they differ.
    #[command(hide = true)]
    Compare(compare::Arguments),
}

const FAILED: u8 = 1;

/// The arguments, or the exit code of what was answered instead.
pub(crate) fn parse() -> Result<Arguments, ExitCode> {
    parse_from(std::env::args_os()).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let printed = error.print();
            if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
        }
        _ => {
            eprintln!("{}", one_line(&error));
            ExitCode::from(FAILED)
        }
    })
}

fn parse_from(arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, clap::Error> {
    Arguments::try_parse_from(arguments)
}

fn one_line(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "error: a verb is missing; usage: holdfast [--repo URL] <repo|backup|snapshots|ls|restore|dump|forget|prune|key|check|repair|stats|cache|restic>, see holdfast --help".into();
    }
    let rendered = error.to_string();
    // What comes before the first empty line is what is wrong; the rest is spread over many lines.
    let problem = rendered.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect::<Vec<_>>().join(" ");
    let usage = match error.get(ContextKind::Usage) {
        Some(ContextValue::StyledStr(usage)) => usage.to_string(),
        _ => Arguments::command().render_usage().to_string(),
    };
    let usage = usage.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{problem}; {}", usage.replacen("Usage:", "usage:", 1))
}

/// Memory: too little of it is a mistake.
fn parse_bytes(text: &str) -> Result<u64, String> {
    parse_size(text).and_then(|bytes| if bytes >= 16 << 20 { Ok(bytes) } else { Err("at least 16MiB are needed".into()) })
}

/// Bytes per second.
pub(crate) fn parse_rate(text: &str) -> Result<u64, String> {
    parse_size(text).and_then(|bytes| if bytes >= 4 << 10 { Ok(bytes) } else { Err("at least 4KiB per second are needed".into()) })
}

/// Bytes with a unit: `100MiB`, `100M` and `104857600` are the same.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    const WANTED: &str = "a size looks like 100MiB, 1GiB or 104857600";
    let digits = text.len() - text.trim_start_matches(|character: char| character.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return Err(WANTED.into()),
    };
    let number: u64 = number.parse().map_err(|_| WANTED.to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "that is more than can be counted".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(arguments: &[&str]) -> String {
        one_line(&parse_from(std::iter::once("holdfast").chain(arguments.iter().copied()).map(Into::into)).unwrap_err())
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_mistake_is_one_line_with_the_right_form() {
        for (arguments, wanted) in [
            (&["backup"][..], "usage: holdfast backup"),
            (&["backup", "--frobnicate", "/x"], "usage: holdfast backup"),
            (&["frobnicate"], "usage: holdfast"),
            (&["--memory", "lots", "snapshots"], "100MiB"),
            (&["restore", "latest"], "<TARGET>"),
            (&["check", "--read-data=200%"], "N%"),
            (&["repair", "--force"], "usage: holdfast repair"),
            (&["stats", "latest"], "usage: holdfast stats"),
            (&["cache", "--max-size", "much"], "100MiB"),
            (&["prune", "--repack-budget", "much"], "100MiB"),
            (&["cache", "drop"], "usage: holdfast cache"),
            (&[], "holdfast --help"),
        ] {
            let line = error(arguments);
            assert!(line.starts_with("error: ") && !line.contains('\n') && line.contains(wanted), "{arguments:?}: {line}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_bytes("100MiB"), Ok(100 << 20));
        assert_eq!(parse_bytes("1g"), Ok(1 << 30));
        assert_eq!(parse_bytes("33554432"), Ok(32 << 20));
        assert!(parse_bytes("1k").is_err() && parse_bytes("MiB").is_err() && parse_bytes("99999999999g").is_err());
    }
}
