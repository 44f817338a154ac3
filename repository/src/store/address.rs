//! From `file:///…` and `s3://bucket/prefix` to a store.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, Checksum, S3ConditionalPut};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore};
use url::Url;

use super::{ObjectStoreAdapter, PatientConnector, Store, patience};
use crate::secret::SecretBytes;

/// One request, a whole pack up a slow line included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Where every repository lives below its address: the format's own folder.
const FOLDER: [&str; 2] = ["holdfast", "v1"];

/// Why an address is none.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// Not one of the forms we know.
    #[error("{address:?} is not a repository address; it looks like file:///path/to/repository or s3://bucket/prefix ({reason})")]
    Malformed {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The local directory is not there and cannot be made.
    #[error("{}: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// `object_store` refuses the settings.
    #[error("{location}: {source}")]
    Settings {
        /// URL or path.
        location: String,
        /// Its words.
        source: object_store::Error,
    },
}

/// An S3 bucket and how to get there.
#[derive(Debug, Clone)]
pub struct S3Config {
    /// The bucket.
    pub bucket: String,
    /// Prefix and directory, without `holdfast/v1`.
    pub prefix: String,
    /// Another endpoint than Amazon's.
    pub endpoint: Option<String>,
    /// Region; `us-east-1` if nothing is said.
    pub region: Option<String>,
    /// Keys; without them, those of the `AWS_*` environment, of a web identity or of the instance.
    pub credentials: Option<S3Credentials>,
    /// PEM certificates of a private authority that the endpoint's own may come from.
    pub ca_pem: Option<Vec<u8>>,
    /// Accept any certificate (KubeStash's `insecureTLS`).
    pub insecure_tls: bool,
}

/// Static keys.
#[derive(Debug, Clone)]
pub struct S3Credentials {
    /// Access key id.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: SecretBytes,
    /// Session token of temporary credentials.
    pub session_token: Option<SecretBytes>,
}

/// A store from its URL: `file:///path`, a bare absolute or relative path, or `s3://bucket/prefix` with the `AWS_*` variables.
pub fn open_url(address: &str) -> Result<Arc<dyn Store>, AddressError> {
    let store = open_in(address, &FOLDER);
    // Only in a build for tests: the process may be told to kill itself at one of its writes.
    #[cfg(feature = "testing")]
    let store = store.map(crate::testing::dying);
    store
}

/// The same for what another tool keeps there: names begin at the address itself.
pub fn open_foreign_url(address: &str) -> Result<Arc<dyn Store>, AddressError> {
    open_in(address, &[])
}

fn open_in(address: &str, folder: &[&'static str]) -> Result<Arc<dyn Store>, AddressError> {
    let malformed = |reason: &str| AddressError::Malformed { address: address.to_owned(), reason: reason.to_owned() };
    if address.is_empty() {
        return Err(malformed("it is empty"));
    }
    if !address.contains("://") {
        return local_in(FilePath::new(address), folder);
    }
    let url = Url::parse(address).map_err(|error| malformed(&error.to_string()))?;
    match url.scheme() {
        "file" => local_in(&url.to_file_path().map_err(|()| malformed("the path must be absolute, without a host"))?, folder),
        "s3" => {
            let bucket = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| malformed("the bucket is missing"))?;
            let config = S3Config {
                bucket: bucket.to_owned(),
                prefix: url.path().trim_matches('/').to_owned(),
                endpoint: None,
                region: None,
                credentials: None,
                ca_pem: None,
                insecure_tls: false,
            };
            s3_in(&config, folder)
        }
        other => Err(malformed(&format!("{other}:// is not supported"))),
    }
}

/// A repository in a local directory. Every object is synced before it has its name, its folder after.
pub fn local(path: &FilePath) -> Result<Arc<dyn Store>, AddressError> {
    local_in(path, &FOLDER)
}

fn local_in(path: &FilePath, folder: &[&'static str]) -> Result<Arc<dyn Store>, AddressError> {
    let directory = |source| AddressError::Directory { path: path.to_owned(), source };
    let absolute = std::path::absolute(path).map_err(directory)?;
    let settings = |source| AddressError::Settings { location: absolute.display().to_string(), source };
    // Rooted at "/": the directory itself is only made by a first write, so that a mistyped path is not a new folder.
    let root = LocalFileSystem::new().with_fsync(true);
    let inside = Path::from_absolute_path(&absolute).map_err(|source| settings(source.into()))?;
    let adapter = ObjectStoreAdapter::new(Arc::new(root), below(&inside, folder), absolute.display().to_string());
    Ok(Arc::new(adapter.with_folder(folder.iter().fold(absolute, |folder, part| folder.join(part)))))
}

/// A repository in a bucket.
pub fn s3(config: &S3Config) -> Result<Arc<dyn Store>, AddressError> {
    s3_in(config, &FOLDER)
}

fn s3_in(config: &S3Config, folder: &[&'static str]) -> Result<Arc<dyn Store>, AddressError> {
    let location = format!("s3://{}/{}", config.bucket, config.prefix);
    let settings = |source| AddressError::Settings { location: location.clone(), source };
    let mut client = ClientOptions::new().with_timeout(REQUEST_TIMEOUT).with_connect_timeout(CONNECT_TIMEOUT).with_allow_http(true);
    if config.insecure_tls {
        client = client.with_allow_invalid_certificates(true);
    }
    if let Some(pem) = &config.ca_pem {
        for certificate in object_store::Certificate::from_pem_bundle(pem).map_err(settings)? {
            client = client.with_root_certificate(certificate);
        }
    }
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(&config.bucket)
        .with_client_options(client)
        .with_retry(patience::retries())
        .with_http_connector(PatientConnector::default())
        .with_conditional_put(S3ConditionalPut::ETagMatch);
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    if let Some(region) = &config.region {
        builder = builder.with_region(region);
    }
    if let Some(credentials) = &config.credentials {
        builder = builder
            .with_access_key_id(&credentials.access_key_id)
            .with_secret_access_key(String::from_utf8_lossy(credentials.secret_access_key.expose()));
        if let Some(token) = &credentials.session_token {
            builder = builder.with_token(String::from_utf8_lossy(token.expose()));
        }
    }
    let bucket = builder.clone().build().map_err(settings)?;
    let inside = Path::parse(&config.prefix)
        .map_err(|error| AddressError::Malformed { address: location.clone(), reason: error.to_string() })?;
    let checksummed = move || builder.clone().with_checksum_algorithm(Checksum::SHA256).build().map(|bucket| Arc::new(bucket) as Arc<dyn ObjectStore>);
    Ok(Arc::new(ObjectStoreAdapter::new(Arc::new(bucket), below(&inside, folder), location).with_checksummed(Box::new(checksummed))))
}

fn below(inside: &Path, folder: &[&'static str]) -> Path {
    inside.parts().chain(folder.iter().map(|&part| part.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_address_says_the_right_form() {
        for wrong in ["", "http://x/y", "s3://", "file://host/x", "s3:///prefix"] {
            let message = open_url(wrong).map(|_| ()).expect_err(wrong).to_string();
            assert!(message.contains("s3://bucket/prefix"), "{message}");
        }
    }

    #[test]
    fn addresses_name_their_place() {
        assert_eq!(open_url("file:///tmp/a%20b").expect("file").location(), "/tmp/a b");
        assert_eq!(open_url("/tmp/x/").expect("path").location(), "/tmp/x/");
        assert_eq!(open_foreign_url("s3://bucket/some/prefix").expect("s3").location(), "s3://bucket/some/prefix");
        assert_eq!(open_url("s3://bucket/some/prefix").expect("s3").location(), "s3://bucket/some/prefix");
    }
}
