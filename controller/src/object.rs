//! What the controller looks after, and how one such object is named.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;

/// An object as the owner of what is made for it. It holds up nobody's deletion.
pub fn as_owner<K: Resource<DynamicType = ()>>(object: &K) -> OwnerReference {
    let metadata = object.meta();
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    }
}

/// The kinds that are reconciled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Where data may go.
    BackupStorage,
    /// One repository in a storage.
    Repository,
    /// What is backed up, and when.
    BackupConfiguration,
    /// The same of several applications together.
    BackupBatch,
    /// One run of one of them.
    BackupSession,
    /// What a run has put into one repository.
    Snapshot,
    /// One restore.
    RestoreSession,
    /// Configurations for annotated applications.
    BackupBlueprint,
    /// One try of one Snapshot.
    BackupVerificationSession,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::BackupStorage,
        Self::Repository,
        Self::BackupConfiguration,
        Self::BackupBatch,
        Self::BackupSession,
        Self::Snapshot,
        Self::RestoreSession,
        Self::BackupBlueprint,
        Self::BackupVerificationSession,
    ];

    /// The kind as Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BackupStorage => "BackupStorage",
            Self::Repository => "Repository",
            Self::BackupConfiguration => "BackupConfiguration",
            Self::BackupBatch => "BackupBatch",
            Self::BackupSession => "BackupSession",
            Self::Snapshot => "Snapshot",
            Self::RestoreSession => "RestoreSession",
            Self::BackupBlueprint => "BackupBlueprint",
            Self::BackupVerificationSession => "BackupVerificationSession",
        }
    }

    /// The kind that is written so.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// An object by its name: the unit of reconciliation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// A key.
    pub fn new(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object of this kind.
    pub fn of(kind: Kind, metadata: &ObjectMeta) -> Self {
        Self::new(kind, metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}

/// A namespaced name of an object whose kind the field implies.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Named {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Named {
    /// A name.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
