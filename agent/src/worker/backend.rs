//! The task's object store, opened before the sandbox: certificates are read from files now or never.

use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use holdfast_proto::v1::{Backend, LocalDirectory, S3, TaskFailure, backend};
use holdfast_repository::store::ObjectStoreAdapter;
use holdfast_repository::{Repository, Store};
use object_store::aws::{AmazonS3Builder, AwsCredential, S3ConditionalPut};
use object_store::client::CredentialProvider;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use rustix::fs::{Mode, OFlags};

use super::connections::Limited;
use super::link::Link;
use super::message::Order;
use super::resolver::AgentResolver;
use super::{failure, local};
use crate::cache::Folder;
use crate::sandbox::REPOSITORY;

/// One request, a whole pack up a slow line included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const RETRIES_MAX: usize = 6;
/// Below the five minutes for which a request's signature holds.
const RETRY_TIMEOUT: Duration = Duration::from_secs(180);
/// The format's own folder below a repository's directory.
const FORMAT_FOLDER: &str = "holdfast/v1";

/// A storage's prefix, open.
#[derive(Debug, Clone)]
pub(super) struct Opened {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) prefix: Path,
    location: String,
    local: Option<PathBuf>,
    cache: Option<Folder>,
}

impl Opened {
    pub(super) fn open(backend: Option<&Backend>, order: &Order, link: &Arc<Link>) -> Result<Self, TaskFailure> {
        let opened = match backend.and_then(|backend| backend.kind.as_ref()) {
            Some(backend::Kind::S3(s3)) => open_s3(s3, link).map_err(failure::invalid)?,
            Some(backend::Kind::Local(directory)) => open_local(directory, order).map_err(failure::invalid)?,
            None => return Err(failure::invalid("the task names no backend that this agent knows".into())),
        };
        Ok(Self { cache: order.cache(), ..opened })
    }

    /// Lets a repository keep here what never changes, and put here what does not fit into memory.
    pub(super) fn use_cache(&self, repository: &Repository) {
        let Some(cache) = &self.cache else { return };
        let used = rustix::fs::open(&cache.path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(io::Error::from)
            .and_then(|folder| repository.use_cache(&folder, cache.bytes_max));
        if let Err(error) = used {
            tracing::warn!(%error, "the task goes on without a cache");
        }
    }

    /// One of the tests'.
    #[cfg(test)]
    pub(super) fn in_memory(store: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self { store, prefix: Path::from(prefix), location: "memory".into(), local: None, cache: None }
    }

    /// The directory that the sandbox must let in.
    pub(super) fn local_directory(&self) -> Option<&FilePath> {
        self.local.as_deref()
    }

    /// For messages: where the storage's prefix is.
    pub(super) fn location(&self) -> &str {
        &self.location
    }

    /// The repository in `directory` below the prefix.
    pub(super) fn repository(&self, directory: &str) -> Result<Arc<dyn Store>, TaskFailure> {
        let prefix = self.engine_folder(directory)?;
        let location = format!("{}/{directory}", self.location);
        Ok(Arc::new(ObjectStoreAdapter::new(Arc::clone(&self.store), prefix, location)))
    }

    /// What another tool keeps in `directory` below the prefix.
    #[cfg(feature = "restic")]
    pub(super) fn foreign(&self, directory: &str) -> Result<Arc<dyn Store>, TaskFailure> {
        let location = format!("{}/{directory}", self.location);
        Ok(Arc::new(ObjectStoreAdapter::new(Arc::clone(&self.store), self.below(directory)?, location)))
    }

    /// The folder of the format's own objects in `directory`.
    pub(super) fn engine_folder(&self, directory: &str) -> Result<Path, TaskFailure> {
        let inside = self.below(directory)?;
        Ok(inside.parts().chain(Path::from(FORMAT_FOLDER).parts()).collect())
    }

    /// A path below the prefix; refuses what is not one.
    pub(super) fn below(&self, path: &str) -> Result<Path, TaskFailure> {
        let path = Path::parse(path).map_err(|error| failure::invalid(error.to_string()))?;
        if path.parts().any(|part| matches!(part.as_ref(), "." | "..")) {
            return Err(failure::invalid(format!("{path} is no path below a storage's prefix")));
        }
        Ok(self.prefix.parts().chain(path.parts()).collect())
    }
}

fn open_local(directory: &LocalDirectory, order: &Order) -> Result<Opened, String> {
    let path = local::prepare(&directory.path, &order.allow_local)?;
    let seen = if order.sandbox { PathBuf::from(REPOSITORY) } else { path.clone() };
    // No root of its own: `new_with_prefix` would look at the path now, and it is another one in the sandbox.
    let store = LocalFileSystem::new().with_fsync(true);
    let prefix = Path::from(seen.to_str().ok_or("the local directory's path is not UTF-8")?);
    Ok(Opened { store: Arc::new(store), prefix, location: path.display().to_string(), local: Some(path), cache: None })
}

fn open_s3(s3: &S3, link: &Arc<Link>) -> Result<Opened, String> {
    if s3.bucket.is_empty() {
        return Err("the S3 backend names no bucket".into());
    }
    let location = format!("s3://{}/{}", s3.bucket, s3.prefix);
    let prefix = Path::parse(&s3.prefix).map_err(|error| format!("{location}: {error}"))?;
    let store = s3_builder(s3, link)?.build().map_err(|error| format!("{location}: {error}"))?;
    Ok(Opened { store: Arc::new(store), prefix, location, local: None, cache: None })
}

fn s3_builder(s3: &S3, link: &Arc<Link>) -> Result<AmazonS3Builder, String> {
    let credentials = Arc::new(Renewed::of(s3));
    link.on_credentials({
        let credentials = Arc::clone(&credentials);
        Arc::new(move |mut backend| {
            if let Some(backend::Kind::S3(s3)) = &backend.kind {
                credentials.renew(s3);
            }
            backend.wipe();
        })
    });
    let retry = RetryConfig { max_retries: RETRIES_MAX, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
    // Not `from_env`: nothing of the agent's environment is a task's.
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&s3.bucket)
        .with_region(if s3.region.is_empty() { "us-east-1" } else { &s3.region })
        .with_client_options(client(s3, link)?)
        .with_retry(retry)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_credentials(credentials);
    if !s3.endpoint.is_empty() {
        builder = builder.with_endpoint(&s3.endpoint);
    }
    if let Some(connections) = connections(s3) {
        builder = builder.with_http_connector(Limited::to(connections));
    }
    Ok(builder)
}

fn client(s3: &S3, link: &Arc<Link>) -> Result<ClientOptions, String> {
    let plain = s3.endpoint.starts_with("http://");
    let mut client = ClientOptions::new()
        .with_timeout(REQUEST_TIMEOUT)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_allow_http(plain)
        // Without TLS there is nothing to verify, and an image without certificates must not fail for it.
        .with_no_system_certificates(plain)
        .with_dns_resolver(Arc::new(AgentResolver::new(link)));
    if s3.insecure_tls {
        client = client.with_allow_invalid_certificates(true);
    }
    if let Some(connections) = connections(s3) {
        client = client.with_pool_max_idle_per_host(connections);
    }
    if !s3.ca_pem.is_empty() {
        let certificates = object_store::Certificate::from_pem_bundle(&s3.ca_pem)
            .map_err(|error| format!("the backend's CA bundle cannot be read: {error}"))?;
        for certificate in certificates {
            client = client.with_root_certificate(certificate);
        }
    }
    Ok(client)
}

/// How many connections the server takes, if it is said.
fn connections(s3: &S3) -> Option<usize> {
    usize::try_from(s3.max_connections).ok().filter(|connections| *connections > 0)
}

/// Keys that the controller may renew while the task runs.
#[derive(Debug)]
struct Renewed(Mutex<Arc<AwsCredential>>);

impl Renewed {
    fn of(s3: &S3) -> Self {
        Self(Mutex::new(Arc::new(credential(s3))))
    }

    fn renew(&self, s3: &S3) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(credential(s3));
    }
}

fn credential(s3: &S3) -> AwsCredential {
    AwsCredential {
        key_id: s3.access_key_id.clone(),
        secret_key: s3.secret_access_key.clone(),
        token: (!s3.session_token.is_empty()).then(|| s3.session_token.clone()),
    }
}

#[async_trait]
impl CredentialProvider for Renewed {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        Ok(Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[cfg(test)]
mod tests;
