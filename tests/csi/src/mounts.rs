//! Mounting, by the programs that any node has.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

const COMMAND_MS_MAX: u64 = 30_000;

/// Runs a program to its end: options, then paths. What it prints is the error.
pub(crate) async fn command<'a>(
    program: &str,
    options: impl IntoIterator<Item = OsString>,
    paths: impl IntoIterator<Item = &'a Path>,
) -> io::Result<Vec<u8>> {
    let mut command = Command::new(program);
    command.args(options).args(paths).stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_millis(COMMAND_MS_MAX), command.output())
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("{program} does not end")))??;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(io::Error::other(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// Whether a loop device stands on a file.
pub(crate) async fn is_attached(file: &Path) -> io::Result<bool> {
    Ok(!command("losetup", ["-j".into()], [file]).await?.is_empty())
}

/// Whether something is mounted right there.
pub(crate) fn is_mount_point(path: &Path) -> io::Result<bool> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let path = path.to_string_lossy();
    Ok(mounts.lines().any(|line| line.split(' ').nth(4) == Some(path.as_ref())))
}

/// Mounts a file's file system at a directory.
pub(crate) async fn mount_file(file: &Path, at: &Path) -> io::Result<()> {
    std::fs::create_dir_all(at)?;
    if is_mount_point(at)? {
        return Ok(());
    }
    command("mount", ["-o".into(), "loop".into()], [file, at]).await.map(drop)
}

/// Shows a directory at another place, for reading only if that is asked for.
pub(crate) async fn bind(from: &Path, to: &Path, read_only: bool) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    if is_mount_point(to)? {
        return Ok(());
    }
    command("mount", ["--bind".into()], [from, to]).await?;
    if read_only {
        command("mount", ["-o".into(), "remount,bind,ro".into()], [to]).await?;
    }
    Ok(())
}

/// Unmounts what is there, and removes the empty directory.
pub(crate) async fn unmount(path: &Path) -> io::Result<()> {
    while is_mount_point(path)? {
        command("umount", [], [path]).await?;
    }
    match std::fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
