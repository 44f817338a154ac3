//! The namespaces that the demo runs in: its bind mounts are its own, and it needs no root.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

/// The hidden verb by which the demo's agents start their workers.
pub(super) const WORKER_VERB: &str = "demo-worker";
const INSIDE: &str = "HOLDFAST_DEMO_INSIDE";

/// Starts this program again in a mount namespace (and, without root, a user namespace). Returns only if it runs there
/// already, or if that is not possible here.
pub(super) fn enter() -> Option<ExitCode> {
    if std::env::var_os(INSIDE).is_some() {
        return None;
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
        eprintln!(
            "This kernel allows no mount namespace here, so volumes cannot be laid out as a kubelet lays them out. \
             Run the demo as root, or allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, \
             kernel.apparmor_restrict_unprivileged_userns=0)."
        );
        return Some(ExitCode::FAILURE);
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
    Some(ExitCode::FAILURE)
}
