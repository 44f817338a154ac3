//! A process that kills itself at a chosen durable step: for tests of the real command.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::store::{ObjectEntry, Store, StoreError};

/// `before:N` or `after:N`: SIGKILL around the N-th create or delete of this process (counted from 1).
pub const VARIABLE: &str = "HOLDFAST_TEST_DIE";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Before,
    After,
}

/// Wraps a store; the process ends at the step that `VARIABLE` names.
#[derive(Debug)]
pub struct DyingStore {
    inner: Arc<dyn Store>,
    moment: Moment,
    step: u64,
    done: AtomicU64,
}

/// `store`, or the same one with an end in sight if `VARIABLE` is set.
pub fn dying(store: Arc<dyn Store>) -> Arc<dyn Store> {
    let Ok(asked) = std::env::var(VARIABLE) else { return store };
    let parsed = asked.split_once(':').and_then(|(moment, step)| {
        let moment = match moment {
            "before" => Moment::Before,
            "after" => Moment::After,
            _ => return None,
        };
        Some((moment, step.parse().ok()?))
    });
    match parsed {
        Some((moment, step)) => Arc::new(DyingStore { inner: store, moment, step, done: AtomicU64::new(0) }),
        None => store,
    }
}

impl DyingStore {
    async fn step<T>(&self, write: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, StoreError> {
        let last = self.done.fetch_add(1, Ordering::Relaxed) + 1 == self.step;
        if last && self.moment == Moment::Before {
            die().await;
        }
        let outcome = write.await;
        if last {
            die().await;
        }
        outcome
    }
}

/// Never goes on: the signal may need a moment.
async fn die() {
    // A failure leaves the process waiting for ever, which the test sees.
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::future::pending::<()>().await;
}

#[async_trait]
impl Store for DyingStore {
    async fn create(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.step(self.inner.create(name, parts)).await
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
        self.step(self.inner.delete(name)).await
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
