//! The cage of a worker process. Entered by its only thread, before it reads a byte of the volume.
//!
//! Inside: a mount namespace whose root is an empty read-only tmpfs (with `/proc/self/fd`, one's own descriptors, the
//! cache of the task's repository, and a local repository's directory if the task has one); the volumes only as handles of detached clones; the capabilities
//! of the task; no_new_privs; a seccomp filter. Any step that fails ends the worker: it fails closed.

pub(crate) mod capability;
pub(crate) mod hardening;
mod root;
mod seccomp;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use holdfast_proto::v1::VolumeAccess;
use rustix::io::Errno;

use crate::volume::clone::Writable;
use crate::volume::{self, Identity, RootKind, VolumeError};
use capability::Need;

/// Where a local repository's directory is found inside.
pub(crate) const REPOSITORY: &str = "/repository";
/// Where the cache of the task's repository is found inside.
pub(crate) const CACHE: &str = "/cache";

/// What a task's worker is left with.
#[derive(Debug)]
pub(crate) struct Cage<'a> {
    pub(crate) kubelet_dir: &'a Path,
    pub(crate) volumes: Vec<(&'a VolumeAccess, Identity)>,
    pub(crate) writable: Writable,
    /// The directory of a local repository.
    pub(crate) repository: Option<PathBuf>,
    /// The folder of the repository's cache.
    pub(crate) cache: Option<PathBuf>,
    pub(crate) need: Need,
    /// User and group for a server that looks at ids (NFS with root_squash).
    pub(crate) ids: Option<(u32, u32)>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error("the sandbox cannot be set up: {0}: {1}; see docs/threat-model.md for what the agent's container needs")]
    System(&'static str, #[source] Errno),
    #[error("the sandbox cannot be set up: {0}")]
    Filter(String),
}

/// Enters the cage and hands out the roots of the volumes, in order.
pub(crate) fn enter(cage: &Cage<'_>) -> Result<Vec<OwnedFd>, SandboxError> {
    root::unshare()?;
    let mut clones = Vec::with_capacity(cage.volumes.len());
    for (access, expected) in &cage.volumes {
        let name = volume::describe(access);
        let found = volume::find(cage.kubelet_dir, access, RootKind::Mount)?;
        if !found.identity.same_volume(expected) {
            return Err(VolumeError::NotFound(name, "another volume was mounted in its place".into()).into());
        }
        clones.push(volume::clone::clone(found, cage.writable, Path::new(root::SCRATCH), &name)?);
    }
    root::empty(cage.repository.as_deref(), cage.cache.as_deref())?;
    capability::reduce(cage.need, cage.ids)?;
    seccomp::apply()?;
    Ok(clones)
}

/// Without a cage (`--sandbox=off`): the volumes as they are mounted. They stay busy until the handles are closed.
pub(crate) fn without(kubelet_dir: &Path, volumes: &[(&VolumeAccess, Identity)], kind: RootKind) -> Result<Vec<OwnedFd>, VolumeError> {
    let mut roots = Vec::with_capacity(volumes.len());
    for (access, expected) in volumes {
        let found = volume::find(kubelet_dir, access, kind)?;
        if found.identity != *expected {
            return Err(VolumeError::NotFound(volume::describe(access), "another volume was mounted in its place".into()));
        }
        roots.push(found.root);
    }
    Ok(roots)
}

#[cfg(test)]
mod tests;
