//! A store that is far away, or hangs: each operation waits first for what a test says.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};

use super::Operation;
use crate::store::{ObjectEntry, Store, StoreError};

type Before = Box<dyn Fn(Operation, &str) -> BoxFuture<'static, ()> + Send + Sync>;

/// Wraps a store; an operation is passed on when the future that `before` makes for it has ended.
pub struct WaitingStore {
    inner: Arc<dyn Store>,
    before: Before,
}

impl std::fmt::Debug for WaitingStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WaitingStore({:?})", self.inner)
    }
}

impl WaitingStore {
    /// Over `inner`. `before` hears of each operation by its kind and its object (or folder).
    pub fn new(inner: Arc<dyn Store>, before: impl Fn(Operation, &str) -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Self {
        Self { inner, before: Box::new(before) }
    }
}

#[async_trait]
impl Store for WaitingStore {
    async fn create(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        (self.before)(Operation::Create, name).await;
        self.inner.create(name, parts).await
    }

    async fn get(&self, name: &str) -> Result<Bytes, StoreError> {
        (self.before)(Operation::Get, name).await;
        self.inner.get(name).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        (self.before)(Operation::Get, name).await;
        self.inner.get_range(name, range).await
    }

    async fn head(&self, name: &str) -> Result<u64, StoreError> {
        (self.before)(Operation::Head, name).await;
        self.inner.head(name).await
    }

    fn list(&self, prefix: &str, start_after: Option<&str>) -> BoxStream<'_, Result<ObjectEntry, StoreError>> {
        let (folder, start_after) = (prefix.to_owned(), start_after.map(str::to_owned));
        stream::once((self.before)(Operation::List, prefix)).flat_map(move |()| self.inner.list(&folder, start_after.as_deref())).boxed()
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        (self.before)(Operation::Delete, name).await;
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
