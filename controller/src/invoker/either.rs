//! An invoker of either kind, as everything sees it that is not about one kind alone.

use std::sync::Arc;

use holdfast_api::backup_batch::BackupBatchStatus;
use holdfast_api::backup_configuration::{
    BackendReference, BackupConfigurationStatus, InvokerPhase, RepositoryReference, RepositoryStatus,
};
use holdfast_api::invoker::SessionView;
use holdfast_api::reference::{ResourceFoundStatus, TypedLocalObjectReference, TypedObjectReference};
use holdfast_api::{BackupBatch, BackupConfiguration, BackupSession, RestoreSession, phase};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::PAUSED_BY;
use crate::action::Action;
use crate::cache::By;
use crate::caches::Caches;
use crate::object::{Key, Kind, Named};

/// A BackupConfiguration or a BackupBatch.
#[derive(Clone, Debug, PartialEq)]
pub enum Invoker {
    /// Of one target.
    Configuration(Arc<BackupConfiguration>),
    /// Of several.
    Batch(Arc<BackupBatch>),
}

impl From<BackupConfiguration> for Invoker {
    fn from(configuration: BackupConfiguration) -> Self {
        Self::Configuration(Arc::new(configuration))
    }
}

impl From<BackupBatch> for Invoker {
    fn from(batch: BackupBatch) -> Self {
        Self::Batch(Arc::new(batch))
    }
}

impl Invoker {
    /// The invoker of this name, if it is one and exists.
    pub fn find(caches: &Caches, key: &Key) -> Option<Self> {
        match key.kind {
            Kind::BackupConfiguration => {
                caches.configurations.get(&key.namespace, &key.name).map(Self::Configuration)
            }
            Kind::BackupBatch => caches.batches.get(&key.namespace, &key.name).map(Self::Batch),
            _ => None,
        }
    }

    /// Those that `keep` wants, of both kinds.
    pub fn select(caches: &Caches, keep: impl Fn(&Self) -> bool) -> Vec<Self> {
        let configurations = caches.configurations.select(|_| true).into_iter().map(Self::Configuration);
        let batches = caches.batches.select(|_| true).into_iter().map(Self::Batch);
        configurations.chain(batches).filter(|invoker| keep(invoker)).collect()
    }

    /// Those of both kinds that use a Repository.
    pub fn using(caches: &Caches, repository: &Named) -> Vec<Self> {
        let configurations = caches.configurations.of(By::Repository, repository.clone()).into_iter().map(Self::Configuration);
        configurations.chain(caches.batches.of(By::Repository, repository.clone()).into_iter().map(Self::Batch)).collect()
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Configuration(_) => Kind::BackupConfiguration,
            Self::Batch(_) => Kind::BackupBatch,
        }
    }

    /// Its metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Configuration(configuration) => &configuration.metadata,
            Self::Batch(batch) => &batch.metadata,
        }
    }

    /// Its key.
    pub fn key(&self) -> Key {
        Key::of(self.kind(), self.metadata())
    }

    /// The configuration, if it is one.
    pub fn configuration(&self) -> Option<&BackupConfiguration> {
        match self {
            Self::Configuration(configuration) => Some(configuration),
            Self::Batch(_) => None,
        }
    }

    /// Whether no session is to run.
    pub fn is_paused(&self) -> bool {
        let paused = match self {
            Self::Configuration(configuration) => configuration.spec.paused,
            Self::Batch(batch) => batch.spec.paused,
        };
        paused == Some(true)
    }

    /// Whether backups can run, as its status says.
    pub fn phase(&self) -> Option<InvokerPhase> {
        match self {
            Self::Configuration(configuration) => configuration.status.as_ref().and_then(|status| status.phase),
            Self::Batch(batch) => batch.status.as_ref().and_then(|status| status.phase),
        }
    }

    /// Its repositories, as its status says.
    pub fn shown_repositories(&self) -> &[RepositoryStatus] {
        match self {
            Self::Configuration(configuration) => configuration.status.as_ref().map(|status| status.repositories.as_slice()),
            Self::Batch(batch) => batch.status.as_ref().map(|status| status.repositories.as_slice()),
        }
        .unwrap_or_default()
    }

    /// Where its data may go.
    pub fn backends(&self) -> &[BackendReference] {
        match self {
            Self::Configuration(configuration) => &configuration.spec.backends,
            Self::Batch(batch) => &batch.spec.backends,
        }
    }

    /// The backend that a repository goes to.
    pub fn backend_of(&self, repository: &RepositoryReference) -> Option<&BackendReference> {
        match self {
            Self::Configuration(configuration) => configuration.spec.backend_of(repository),
            Self::Batch(batch) => batch.spec.backend_of(repository),
        }
    }

    /// Its applications, each with the field that names it.
    pub fn targets(&self) -> Vec<(String, Option<&TypedObjectReference>)> {
        match self {
            Self::Configuration(configuration) => vec![("spec.target".to_owned(), configuration.spec.target.as_ref())],
            Self::Batch(batch) => {
                let targets = batch.spec.targets.iter().enumerate();
                targets.map(|(index, target)| (format!("spec.targets[{index}].appRef"), target.app_ref.as_ref())).collect()
            }
        }
    }

    /// Its sessions.
    pub fn sessions(&self) -> Vec<SessionView<'_>> {
        match self {
            Self::Configuration(configuration) => configuration.spec.session_views().collect(),
            Self::Batch(batch) => batch.spec.session_views().collect(),
        }
    }

    /// One of its sessions.
    pub fn session(&self, name: Option<&str>) -> Option<SessionView<'_>> {
        let name = name?;
        match self {
            Self::Configuration(configuration) => configuration.spec.session_views().find(|session| session.name == Some(name)),
            Self::Batch(batch) => batch.spec.session_views().find(|session| session.name == Some(name)),
        }
    }

    /// As sessions and what it creates name it.
    pub fn reference(&self) -> TypedLocalObjectReference {
        TypedLocalObjectReference {
            api_group: Some("core.kubestash.com".into()),
            kind: self.kind().as_str().into(),
            name: self.metadata().name.clone().unwrap_or_default(),
        }
    }

    /// Whether a session is one of its.
    pub fn is_of(&self, session: &BackupSession) -> bool {
        key_in(session).is_some_and(|key| key == self.key())
    }

    /// What it carries while this restore has paused it.
    pub fn mark_of(&self, restore: &RestoreSession) -> String {
        let theirs = &restore.metadata;
        let parts = [theirs.namespace.as_ref().filter(|_| theirs.namespace != self.metadata().namespace), theirs.name.as_ref(), theirs.uid.as_ref()];
        parts.into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join("/")
    }

    /// The restore that has paused it, and its UID.
    pub fn paused_by(&self) -> Option<(Named, String)> {
        let mark = self.metadata().annotations.as_ref()?.get(PAUSED_BY)?;
        let own = self.metadata().namespace.as_deref().unwrap_or_default();
        match mark.split('/').collect::<Vec<_>>().as_slice() {
            [name, uid] => Some((Named::new(own, *name), (*uid).to_owned())),
            [namespace, name, uid] => Some((Named::new(*namespace, *name), (*uid).to_owned())),
            _ => None,
        }
    }

    /// It as the owner of what it creates.
    pub fn owner_reference(&self) -> OwnerReference {
        let metadata = self.metadata();
        OwnerReference {
            api_version: match self {
                Self::Configuration(_) => BackupConfiguration::API_VERSION.into(),
                Self::Batch(_) => BackupBatch::API_VERSION.into(),
            },
            kind: self.kind().as_str().into(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            controller: Some(true),
            block_owner_deletion: Some(false),
        }
    }

    /// Its status, in the form that both have in common.
    pub fn status(&self) -> BackupBatchStatus {
        match self {
            Self::Configuration(configuration) => {
                configuration.status.clone().unwrap_or_default().into_common(configuration.spec.target.as_ref())
            }
            Self::Batch(batch) => batch.status.clone().unwrap_or_default(),
        }
    }

    /// What a status amounts to, by this (effective) spec.
    pub fn verdict(&self, status: &BackupBatchStatus) -> InvokerPhase {
        match self {
            Self::Configuration(configuration) => {
                phase::backup_configuration(&configuration.spec, &BackupConfigurationStatus::from_common(status.clone()))
            }
            Self::Batch(batch) => phase::backup_batch(&batch.spec, status),
        }
    }

    /// The write that makes this its status, if it says anything new.
    pub fn write(&self, status: BackupBatchStatus) -> Option<Action> {
        match self {
            Self::Configuration(configuration) => {
                Action::status(configuration.status.as_ref(), &BackupConfigurationStatus::from_common(status))
            }
            Self::Batch(batch) => Action::status(batch.status.as_ref(), &status),
        }
    }
}

/// Whether a target exists, as a status says it.
pub fn found(reference: Option<&TypedObjectReference>, namespace: &str, exists: bool) -> ResourceFoundStatus {
    let reference = reference.cloned().unwrap_or_else(TypedObjectReference::not_applicable);
    ResourceFoundStatus { found: Some(exists), ..ResourceFoundStatus::of(&reference.absolute(namespace)) }
}

/// The group of an invoker's sessions.
pub fn group_of(invoker: &Key) -> Named {
    Named::new(&invoker.namespace, format!("{}/{}", invoker.kind.as_str(), invoker.name))
}

/// The invoker that a session names.
pub fn key_in(session: &BackupSession) -> Option<Key> {
    key_of(session.spec.invoker.as_ref()?, session.metadata.namespace.as_deref().unwrap_or_default())
}

/// The invoker that is named in a namespace, if it is of a kind that takes backups.
pub fn key_of(invoker: &TypedLocalObjectReference, namespace: &str) -> Option<Key> {
    let kind = [Kind::BackupConfiguration, Kind::BackupBatch].into_iter().find(|kind| kind.as_str() == invoker.kind)?;
    Some(Key::new(kind, namespace, &invoker.name))
}
