//! A local directory: `object_store`'s, but for large objects, which are written past the page cache where that can be done.

use std::ops::Range;
use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use super::direct::{self, Written};
use super::failure::typed;
use super::{ObjectEntry, ObjectStoreAdapter, Store, StoreError};

#[derive(Debug)]
pub(super) struct LocalDirectory {
    inner: ObjectStoreAdapter,
    /// Where the objects' names begin.
    folder: PathBuf,
}

impl LocalDirectory {
    pub(super) fn new(inner: ObjectStoreAdapter, folder: PathBuf) -> Self {
        Self { inner, folder }
    }

    async fn create_large(&self, name: &str, parts: Vec<Bytes>) -> Result<Written, StoreError> {
        let path = self.folder.join(name);
        let written = tokio::task::spawn_blocking(move || direct::create(&path, &parts)).await;
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| {
            typed(name, object_store::Error::Generic { store: "LocalFileSystem", source })
        };
        match written {
            Ok(Ok(written)) => Ok(written),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(StoreError::AlreadyExists { object: name.to_owned() })
            }
            Ok(Err(error)) => Err(failed(Box::new(error))),
            Err(error) => Err(failed(Box::new(error))),
        }
    }
}

#[async_trait]
impl Store for LocalDirectory {
    async fn create(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        let bytes: usize = parts.iter().map(Bytes::len).sum();
        if bytes >= direct::BYTES_MIN && self.create_large(name, parts.clone()).await? == Written::Done {
            return Ok(());
        }
        self.inner.create(name, parts).await
    }

    async fn get(&self, name: &str) -> Result<Bytes, StoreError> {
        self.inner.get(name).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.inner.get_range(name, range).await
    }

    async fn head(&self, name: &str) -> Result<u64, StoreError> {
        self.inner.head(name).await
    }

    fn list(&self, prefix: &str, start_after: Option<&str>) -> BoxStream<'_, Result<ObjectEntry, StoreError>> {
        self.inner.list(prefix, start_after)
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.inner.delete(name).await
    }

    fn conditional(&self) -> bool {
        self.inner.conditional()
    }

    fn set_unconditional(&self) {
        self.inner.set_unconditional();
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}
