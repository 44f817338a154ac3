//! The namespaces that the demo runs in: its bind mounts are its own, and it needs no root.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

/// The hidden verb by which the demo's agents start their workers.
pub(super) const WORKER_VERB: &str = "demo-worker";
const INSIDE: &str = "HOLDFAST_DEMO_INSIDE";

/// Where the demo runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Namespace {
    /// In a mount namespace of its own.
    Own,
    /// Where it was started: it mounts nothing, and a volume is a plain directory.
    None,
}

/// Starts this program again in a mount namespace (and, without root, a user namespace). Returns if it runs there already, or
/// if that is not possible here; `Err` is the exit code of a start that failed half-way.
pub(super) fn enter() -> Result<Namespace, ExitCode> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(Namespace::Own);
    }
    let root = rustix::process::geteuid().is_root();
    let mut options: Vec<&str> = vec!["--mount", "--propagation=private"];
    if !root {
        options.extend(["--user", "--map-root-user"]);
    }
    let allowed = Command::new("unshare")
        .args(&options)
        .arg("true")
        .output()
        .is_ok_and(|tried| tried.status.success());
    if !allowed {
        println!(
            "This kernel allows no mount namespace here: volumes are plain directories, and workers run without a sandbox. \
             (With root, or with unprivileged user namespaces allowed, both are as on a node.)"
        );
        return Ok(Namespace::None);
    }
    let program =
        std::env::current_exe().map_or_else(|_| OsString::from("holdfast"), OsString::from);
    let error = Command::new("unshare")
        .args(&options)
        .arg("--")
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    eprintln!("unshare cannot be started: {error}");
    Err(ExitCode::FAILURE)
}
