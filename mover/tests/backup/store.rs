//! A store that can be made to hang.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use holdfast_repository::store::{ObjectEntry, Store};
use holdfast_repository::StoreError;

#[derive(Debug)]
pub(crate) struct Hanging {
    pub(crate) inner: Arc<dyn Store>,
    pub(crate) hangs: Arc<AtomicBool>,
}

#[async_trait]
impl Store for Hanging {
    async fn create(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        while self.hangs.load(Ordering::Acquire) {
            tokio::time::sleep(Duration::from_millis(20)).await;
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

    fn location(&self) -> String {
        self.inner.location()
    }
}
