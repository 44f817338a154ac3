//! What `holdfast backup` reads: directories, block devices, or a stream.

use std::io::IsTerminal;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use holdfast_mover::backup::{ChangeRule, LookAgain, Source};
use holdfast_mover::scan::root_identity;
use rustix::fs::{FileType, Mode, OFlags};

use crate::outcome::Failure;

/// A stream instead of directories. Its snapshot has one file.
#[derive(Debug, clap::Args)]
pub(crate) struct StreamArguments {
    /// Back up standard input as one file. Whether its producer failed cannot be seen here: where that matters, use
    /// --stdin-command.
    #[arg(long, conflicts_with = "paths")]
    stdin: bool,
    /// Back up what this shell command writes. If it does not exit with 0 there is no snapshot.
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["paths", "stdin"])]
    stdin_command: Option<String>,
    /// The file's name in the snapshot.
    #[arg(long, value_name = "NAME", default_value = "stdin")]
    stdin_name: String,
}

/// The stream that was asked for, if one was.
pub(crate) fn stream(arguments: &StreamArguments) -> Result<Option<Source>, Failure> {
    let name = &arguments.stdin_name;
    if name.is_empty() || name.contains(['/', '\0']) || matches!(name.as_str(), "." | "..") {
        return Err(Failure::new(format!("--stdin-name is one name, such as dump.sql, and not {name:?}")));
    }
    if let Some(command) = &arguments.stdin_command {
        return of_command(name, command).map(Some);
    }
    if !arguments.stdin {
        return Ok(None);
    }
    if std::io::stdin().is_terminal() {
        return Err(Failure::new("standard input is a terminal; pipe the data in, or use --stdin-command".to_owned()));
    }
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().map_err(|error| Failure::new(format!("standard input: {error}")))?;
    Ok(Some(named(stdin, format!("/{name}").into_bytes(), None)))
}

fn of_command(name: &str, command: &str) -> Result<Source, Failure> {
    let spawned = Command::new("/bin/sh").arg("-c").arg(command).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| Failure::new(format!("could not start {command:?}: {error}")))?;
    let output: OwnedFd = child.stdout.take().ok_or_else(|| Failure::new("the command has no output".to_owned()))?.into();
    Ok(named(output, format!("/{name}").into_bytes(), Some(exit_of(child, command.to_owned()))))
}

/// Asked when the output has ended and before anything is committed.
fn exit_of(child: Child, command: String) -> Box<LookAgain> {
    let child = Mutex::new(child);
    Box::new(move || {
        let status = child.lock().unwrap_or_else(PoisonError::into_inner).wait()?;
        if !status.success() {
            return Err(std::io::Error::other(format!("the command {command:?} failed: {status}")));
        }
        Ok(root_identity(std::fs::File::open("/")?)?)
    })
}

/// A directory or a block device.
pub(crate) fn path(path: &Path) -> Result<Source, Failure> {
    let failed = |reason: &dyn std::fmt::Display| Failure::new(format!("could not open {}: {reason}; give an existing directory or block device", path.display()));
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let root = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed(&errno))?;
    let stat = rustix::fs::fstat(&root).map_err(|errno| failed(&errno))?;
    if !matches!(FileType::from_raw_mode(stat.st_mode), FileType::Directory | FileType::BlockDevice) {
        return Err(failed(&"it is neither"));
    }
    let absolute = std::path::absolute(path).map_err(|error| failed(&error))?;
    // Without `.` and a trailing slash, so that the same directory always has the same name.
    let clean: PathBuf = absolute.components().collect();
    Ok(named(root, clean.as_os_str().as_bytes().to_vec(), None))
}

fn named(root: OwnedFd, path: Vec<u8>, look_again: Option<Box<LookAgain>>) -> Source {
    let (pvc_uid, path_in_volume) = (String::new(), Vec::new());
    Source { root, path, pvc_uid, path_in_volume, change_rule: ChangeRule::Full, look_again: look_again.map(Into::into) }
}
