//! Manifests: objects of the cluster as a file of a repository, and back.
//!
//! Everything is read and written as the ServiceAccount that a session names, in the session's own namespace, and with nothing
//! else: what somebody may make us read is what that account may read, and what lies in a bucket, which is an enemy's text, makes
//! nothing that the account could not make. Memory is bounded: of a backup a few pieces are held, of a restore one file of at
//! most [`RESTORED_BYTES_MAX`].

use std::collections::BTreeMap;

use holdfast_proto::v1;

pub mod courier;
pub mod identity;
mod outflow;
mod read;
mod resources;
mod restore;
pub mod selection;
mod strip;
mod workload;

pub use identity::Identity;
use selection::Selection;

/// The file's path in the repository.
pub const FILE: &str = "/manifests.yaml";
/// What of a stored file is held here while it is restored: one at a time.
pub const RESTORED_BYTES_MAX: usize = 64 << 20;
/// Objects of one restore.
const OBJECTS_MAX: usize = 200_000;
/// The group of roles and their bindings.
const RBAC: &str = "rbac.authorization.k8s.io";
/// Names in a message.
const NAMED_MAX: usize = 10;

/// What is read, and as whom.
#[derive(Clone, Debug, PartialEq)]
pub struct BackupOrder {
    /// As whom.
    pub identity: Identity,
    /// Of what.
    pub scope: Scope,
}

/// What manifests are of.
#[derive(Clone, Debug, PartialEq)]
pub enum Scope {
    /// One application, and what it needs.
    Workload {
        /// Its API group.
        group: String,
        /// Its kind.
        kind: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Whether roles and their bindings are needed, too.
        rbac: bool,
    },
    /// Whatever of the cluster this takes.
    Cluster(Box<Selection>),
}

/// Which objects of a stored file are made, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    /// Which objects.
    pub selection: Selection,
    /// Whether roles and their bindings are among them.
    pub rbac: bool,
    /// Whether objects that exist become as they were.
    pub overrides: bool,
    /// Whether volumes are among them.
    pub volumes: bool,
    /// Other names of storage classes.
    pub storage_classes: BTreeMap<String, String>,
}

/// What is made of a stored file, and as whom.
#[derive(Clone, Debug, PartialEq)]
pub struct RestoreOrder {
    /// As whom.
    pub identity: Identity,
    /// Which objects, and how.
    pub choice: Choice,
    /// Namespace of all objects, instead of their own.
    pub namespace: Option<String>,
    /// Only what would be done is said.
    pub dry_run: bool,
}

/// Why manifests cannot be read or made, and whether another attempt may help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// Names the object and what to do.
    pub message: String,
    /// Whether another attempt may help.
    pub retry_may_help: bool,
}

impl Refused {
    fn for_good(message: impl Into<String>) -> Self {
        Self { message: message.into(), retry_may_help: false }
    }

    fn for_now(message: impl Into<String>) -> Self {
        Self { message: message.into(), retry_may_help: true }
    }
}

/// Whether the account may not do this, or there is no such thing: nothing that another attempt changes.
fn is_final(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if (400..500).contains(&status.code) && !matches!(status.code, 408 | 409 | 410 | 429))
}

/// Whether something can be called so: whoever names an object must not thereby name another path of the API server.
pub fn is_name(text: &str) -> bool {
    let is_plain = |character: char| character.is_ascii_graphic() && !matches!(character, '/' | '%' | '?' | '#' | '\\');
    !text.is_empty() && text.len() <= 253 && !matches!(text, "." | "..") && text.chars().all(is_plain)
}

/// A task that stores a file, but for its repository.
pub fn store_task(host: String, session: String, snapshot: String) -> v1::StoreManifests {
    let labels = [("snapshot".to_owned(), snapshot), ("component".to_owned(), holdfast_api::names::component::MANIFEST.to_owned())];
    v1::StoreManifests { repository: None, host, session, labels: labels.into(), path: FILE.into() }
}
