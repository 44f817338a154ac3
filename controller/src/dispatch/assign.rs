//! Makes an assignment of a task: the attempt is persisted, and the secrets are read, and kept for seconds at most.

use std::path::{Component, Path};
use std::sync::Arc;

use holdfast_api::backup_storage::{Backend, LocalBackend, Provider, S3Backend};
use holdfast_api::Repository;
use holdfast_proto::v1;

use super::attempts;
use super::secrets::{SecretData, Secrets, without_newline};
use super::table::Start;
use super::task::{NotStarted, Work};
use crate::{api, backup_storage};
use crate::caches::Caches;
use crate::first_use;
use crate::object::{Key, Named};
use crate::target::consent;

const PASSWORD_KEY: &str = "RESTIC_PASSWORD";
const ACCESS_KEY: &str = "AWS_ACCESS_KEY_ID";
const SECRET_KEY: &str = "AWS_SECRET_ACCESS_KEY";
const SESSION_TOKEN_KEY: &str = "AWS_SESSION_TOKEN";
const CA_KEY: &str = "CA_CERT_DATA";

/// Completes tasks.
pub struct Preparer {
    pub(super) client: kube::Client,
    caches: Arc<Caches>,
    stall_timeout_ms: u64,
    /// What was read a moment ago.
    pub(super) secrets: Secrets,
}

impl Preparer {
    /// A preparer. A task without a byte of progress for `stall_timeout_ms` is to be given up by its agent.
    pub fn new(client: kube::Client, caches: Arc<Caches>, stall_timeout_ms: u64) -> Self {
        Self { secrets: Secrets::new(client.clone()), client, caches, stall_timeout_ms }
    }

    /// The assignment of a task that has been given to an agent.
    pub async fn prepare(&self, start: &Start, epoch: u64) -> Result<v1::Assign, NotStarted> {
        let spec = self.spec(&start.request.work, start.request.again_after.is_some()).await?;
        if start.request.class.is_persisted() {
            let Key { namespace, name, .. } = &start.owner.key;
            let known = self.caches.restores.get(namespace, name).map(|restore| restore.metadata.clone());
            attempts::persist(&self.client, start, known).await?;
        }
        Ok(v1::Assign {
            task: Some(start.reference()),
            epoch,
            stall_timeout_ms: self.stall_timeout_ms,
            memory_bytes: 0,
            bandwidth_bytes_per_second: 0,
            spec: Some(spec),
        })
    }

    /// `afresh` where the Secrets that were read before may be what has failed.
    async fn spec(&self, work: &Work, afresh: bool) -> Result<v1::assign::Spec, NotStarted> {
        use v1::assign::Spec;
        Ok(match work {
            Work::Probe { storage } => {
                Spec::ProbeStorage(v1::ProbeStorage { backend: Some(self.backend(storage, afresh).await?) })
            }
            Work::Initialise { repository, only_existing } => Spec::InitRepository(v1::InitRepository {
                repository: Some(self.access_where_it_says(repository, None, afresh).await?),
                only_existing: *only_existing,
            }),
            Work::ReadRepositories { storage, after } => Spec::ReadRepositories(v1::ReadRepositories {
                backend: Some(self.backend(storage, afresh).await?),
                after: after.clone(),
            }),
            Work::ReadSnapshots { repository, after } => Spec::ReadSnapshots(v1::ReadSnapshots {
                repository: Some(self.access(repository, None, afresh).await?),
                after: after.clone(),
            }),
            Work::Views { storage, put, remove } => Spec::WriteViews(v1::WriteViews {
                backend: Some(self.backend(storage, afresh).await?),
                put: put.clone(),
                remove: remove.clone(),
            }),
            Work::Forget { repository, ids, remove_views } => Spec::Forget(v1::ForgetTask {
                repository: Some(self.access(repository, None, afresh).await?),
                snapshot_ids: ids.clone(),
                remove_views: remove_views.clone(),
            }),
            Work::Prune { repository, wait_ms } => Spec::Prune(v1::PruneTask {
                repository: Some(self.access(repository, None, afresh).await?),
                wait_ms: *wait_ms,
            }),
            Work::Check { repository, parts, after } => Spec::Check(v1::CheckTask {
                repository: Some(self.access(repository, None, afresh).await?),
                read_data_percent: 0,
                parts: *parts,
                after: after.clone(),
            }),
            Work::Wipe { storage, directory, put } => {
                if !is_plain(directory) {
                    return Err(NotStarted::Storage(format!("spec.path {directory:?} must not contain `..`")));
                }
                Spec::Wipe(v1::WipeTask {
                    backend: Some(self.backend(storage, afresh).await?),
                    directory: directory.clone(),
                    put: put.clone(),
                })
            }
            Work::Backup { repository, task } => Spec::Backup(v1::BackupTask {
                repository: Some(self.access(repository, None, afresh).await?),
                ..(**task).clone()
            }),
            Work::Restore { repository, encryption_secret, task } => Spec::Restore(v1::RestoreTask {
                repository: Some(self.access(repository, encryption_secret.as_ref(), afresh).await?),
                ..(**task).clone()
            }),
            Work::StoreManifests { repository, task, .. } => Spec::StoreManifests(v1::StoreManifests {
                repository: Some(self.access(repository, None, afresh).await?),
                ..(**task).clone()
            }),
            Work::ReturnManifests { repository, encryption_secret, task, .. } => Spec::ReturnManifests(v1::ReturnManifests {
                repository: Some(self.access(repository, encryption_secret.as_ref(), afresh).await?),
                ..(**task).clone()
            }),
        })
    }

    /// A storage with its credentials.
    pub async fn backend(&self, name: &Named, afresh: bool) -> Result<v1::Backend, NotStarted> {
        let storage = self
            .caches
            .storages
            .get(&name.namespace, &name.name)
            .ok_or_else(|| NotStarted::Storage(format!("BackupStorage {name} does not exist")))?;
        if let Some(why) = first_use::moved(&storage) {
            return Err(NotStarted::Storage(format!("BackupStorage {name}: {why}")));
        }
        let backend = storage.spec.storage.as_ref();
        let kind = match provider(name, backend)? {
            Reachable::S3(s3) => v1::backend::Kind::S3(self.s3(name, s3, afresh).await?),
            Reachable::Local(path) => v1::backend::Kind::Local(v1::LocalDirectory { path }),
        };
        Ok(v1::Backend { kind: Some(kind) })
    }

    async fn s3(&self, storage: &Named, s3: &S3Backend, afresh: bool) -> Result<v1::S3, NotStarted> {
        let secret_name = s3.secret_name.as_deref().filter(|name| !name.is_empty()).ok_or_else(|| {
            NotStarted::Storage(format!(
                "BackupStorage {storage} names no Secret in spec.storage.s3.secretName; S3 without keys is not supported yet"
            ))
        })?;
        let secret = self.secrets.read(&Named::new(&storage.namespace, secret_name), afresh).await?;
        Ok(v1::S3 {
            endpoint: s3.endpoint.clone().unwrap_or_default().trim_end_matches('/').to_owned(),
            bucket: s3.bucket.clone().unwrap_or_default().trim_matches('/').to_owned(),
            region: s3.region.clone().unwrap_or_default(),
            prefix: s3.prefix.clone().unwrap_or_default().trim_matches('/').to_owned(),
            access_key_id: secret.text(ACCESS_KEY)?,
            secret_access_key: secret.text(SECRET_KEY)?,
            session_token: secret.optional_text(SESSION_TOKEN_KEY)?,
            ca_pem: secret.optional(CA_KEY),
            insecure_tls: s3.insecure_tls.unwrap_or(false),
            max_connections: s3.max_connections.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
        })
    }

    /// The storage's usage policy is asked each time: what was open before it was withdrawn is closed.
    async fn may_use(&self, repository: &Named, name: &Named) -> Result<(), NotStarted> {
        let Some(storage) = self.caches.storages.get(&name.namespace, &name.name) else { return Ok(()) };
        let allowed = backup_storage::allows(&self.client, &self.caches, &storage, &repository.namespace).await;
        if allowed.map_err(|error| NotStarted::Api(api::said(&error)))? {
            return Ok(());
        }
        let from = &repository.namespace;
        Err(NotStarted::Storage(format!("BackupStorage {name} does not allow its use from namespace {from}: see its spec.usagePolicy")))
    }

    async fn access(&self, name: &Named, other_secret: Option<&Named>, afresh: bool) -> Result<v1::RepositoryAccess, NotStarted> {
        if let Some(why) = first_use::elsewhere(&*self.repository(name)?) {
            return Err(NotStarted::Storage(format!("Repository {name}: {why}")));
        }
        self.access_where_it_says(name, other_secret, afresh).await
    }

    fn repository(&self, name: &Named) -> Result<Arc<Repository>, NotStarted> {
        let found = self.caches.repositories.get(&name.namespace, &name.name);
        found.ok_or_else(|| NotStarted::Storage(format!("Repository {name} does not exist")))
    }

    /// The Secret of a Repository. One of another namespace says itself who may have it used; until it does, nothing is told of it.
    async fn own_secret(&self, repository: &Repository, name: &Named, afresh: bool) -> Result<Arc<SecretData>, NotStarted> {
        let reference = repository.spec.encryption_secret.as_ref();
        let reference = reference.ok_or_else(|| NotStarted::Secret(format!("Repository {name} names no Secret in spec.encryptionSecret")))?;
        let secret = Named::new(reference.namespace_or(&name.namespace), &reference.name);
        let read = self.secrets.read(&secret, afresh).await;
        if secret.namespace == name.namespace {
            return read;
        }
        match read {
            Ok(data) if data.grants(&name.namespace) => Ok(data),
            Ok(_) | Err(NotStarted::Secret(_)) => Err(NotStarted::Secret(format!(
                "Secret {secret} does not grant its use to {}, where Repository {name} is: kubectl -n {} annotate secret {} {}={}",
                name.namespace, secret.namespace, secret.name, consent::GRANTED_TO, name.namespace
            ))),
            Err(error) => Err(error),
        }
    }

    /// Also where it was not opened before.
    async fn access_where_it_says(&self, name: &Named, other_secret: Option<&Named>, afresh: bool) -> Result<v1::RepositoryAccess, NotStarted> {
        let repository = self.repository(name)?;
        let storage = storage_of(&repository, name)?;
        self.may_use(name, &storage).await?;
        let directory = repository.spec.path.clone().unwrap_or_default().trim_matches('/').to_owned();
        // Whoever may write a Repository object must not thereby reach what lies outside the storage's prefix.
        if !is_plain(&directory) {
            return Err(NotStarted::Storage(format!(
                "Repository {name}: spec.path {directory:?} must not contain `..`"
            )));
        }
        let secret = match other_secret {
            Some(secret) => self.secrets.read(secret, afresh).await?,
            None => self.own_secret(&repository, name, afresh).await?,
        };
        Ok(v1::RepositoryAccess {
            backend: Some(self.backend(&storage, afresh).await?),
            directory,
            password: without_newline(secret.required(PASSWORD_KEY)?),
        })
    }
}

/// The storage of a Repository.
pub fn storage_of(repository: &Repository, name: &Named) -> Result<Named, NotStarted> {
    let reference = repository
        .spec
        .storage_ref
        .as_ref()
        .ok_or_else(|| NotStarted::Storage(format!("Repository {name} names no storage in spec.storageRef")))?;
    Ok(Named::new(reference.namespace_or(&name.namespace), &reference.name))
}

/// A backend that agents can reach.
#[derive(Debug)]
pub enum Reachable<'a> {
    /// An S3 bucket.
    S3(&'a S3Backend),
    /// A directory of the node, which the agent itself must allow.
    Local(String),
}

/// What kind of backend a storage is, or why agents cannot reach it.
pub fn provider<'a>(name: &Named, backend: Option<&'a Backend>) -> Result<Reachable<'a>, NotStarted> {
    let missing = |field: &str| NotStarted::Storage(format!("BackupStorage {name} has no {field}"));
    let backend = backend.ok_or_else(|| missing("spec.storage"))?;
    let provider = backend.provider.as_deref().ok_or_else(|| missing("spec.storage.provider"))?;
    match Provider::parse(provider) {
        Some(Provider::S3) => {
            let s3 = backend.s3.as_ref().ok_or_else(|| missing("spec.storage.s3"))?;
            if s3.bucket.as_deref().is_none_or(str::is_empty) {
                return Err(missing("spec.storage.s3.bucket"));
            }
            Ok(Reachable::S3(s3))
        }
        Some(Provider::Local) => {
            local(name, backend.local.as_ref().ok_or_else(|| missing("spec.storage.local"))?).map(Reachable::Local)
        }
        Some(Provider::Gcs | Provider::Azure) => Err(NotStarted::Storage(format!(
            "BackupStorage {name}: provider {provider} is not supported yet; s3 and local are"
        ))),
        None => Err(NotStarted::Storage(format!(
            "BackupStorage {name}: provider {provider:?} is not known; allowed are s3, gcs, azure and local"
        ))),
    }
}

fn local(name: &Named, local: &LocalBackend) -> Result<String, NotStarted> {
    let Some(host_path) = &local.source.host_path else {
        return Err(NotStarted::Storage(format!(
            "BackupStorage {name}: agents cannot reach this local volume: only hostPath below a directory that every agent \
             was started to allow can be used; an object store can be reached from everywhere"
        )));
    };
    let sub_path = local.sub_path.as_deref().unwrap_or_default().trim_matches('/');
    if !is_plain(&host_path.path) || !is_plain(sub_path) || !host_path.path.starts_with('/') {
        return Err(NotStarted::Storage(format!("BackupStorage {name}: the path must be absolute, and without `..`")));
    }
    let base = host_path.path.trim_end_matches('/');
    Ok(if sub_path.is_empty() { base.to_owned() } else { format!("{base}/{sub_path}") })
}

fn is_plain(path: &str) -> bool {
    !Path::new(path).components().any(|part| part == Component::ParentDir)
}

#[cfg(test)]
mod tests {
    use holdfast_api::offshoot::volume::VolumeSource;
    use k8s_openapi::api::core::v1::{HostPathVolumeSource, NFSVolumeSource};

    use super::*;

    fn local_backend(local: LocalBackend) -> Backend {
        Backend { provider: Some("local".into()), local: Some(local), ..Backend::default() }
    }

    fn reached(backend: &Backend) -> Result<String, String> {
        match provider(&Named::new("demo", "store"), Some(backend)) {
            Ok(Reachable::Local(path)) => Ok(path),
            Ok(Reachable::S3(_)) => Ok("s3".into()),
            Err(reason) => Err(reason.to_string()),
        }
    }

    #[test]
    fn only_what_agents_reach_is_a_backend() {
        let host_path = |path: &str, sub_path: &str| {
            let source = VolumeSource {
                host_path: Some(HostPathVolumeSource { path: path.into(), type_: None }),
                ..VolumeSource::default()
            };
            local_backend(LocalBackend { source, sub_path: Some(sub_path.into()), ..LocalBackend::default() })
        };
        assert_eq!(reached(&host_path("/srv/backup/", "/team/")), Ok("/srv/backup/team".into()));
        assert!(reached(&host_path("/srv/backup", "../../etc")).is_err());
        let nfs = VolumeSource { nfs: Some(NFSVolumeSource::default()), ..VolumeSource::default() };
        let error = reached(&local_backend(LocalBackend { source: nfs, ..LocalBackend::default() })).unwrap_err();
        assert!(error.contains("agents cannot reach"), "{error}");
        let gcs = Backend { provider: Some("gcs".into()), ..Backend::default() };
        assert!(reached(&gcs).unwrap_err().contains("not supported yet"));
    }

    #[test]
    fn one_newline_is_not_a_part_of_a_password() {
        assert_eq!(without_newline(b"secret\n".to_vec()), b"secret");
        assert_eq!(without_newline(b"secret\r\n".to_vec()), b"secret");
        assert_eq!(without_newline(b"secret\n\n".to_vec()), b"secret\n");
    }
}
