//! A store that does what a script says to each operation.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

use crate::lock::locked;
use crate::store::{ObjectEntry, Source, Store, StoreError};

/// What is asked of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `create`
    Create,
    /// `get`, `get_range`
    Get,
    /// `head`
    Head,
    /// `list`
    List,
    /// `delete`
    Delete,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is done, and the answer arrives.
    Through,
    /// It is done, and the answer is lost.
    AnswerLost,
    /// It is not done, and no answer comes.
    Lost,
    /// Refused for want of rights.
    Denied,
    /// Refused for want of space.
    Full,
    /// Of a list: it has passed the place of its first object when that comes. Anything else goes through.
    Passed,
}

type Script = Box<dyn FnMut(Operation, &str) -> Fate + Send>;

/// Wraps a store; `script` decides about each operation by its kind and its object (or folder).
pub struct ScriptedStore {
    inner: Arc<dyn Store>,
    script: Mutex<Script>,
}

impl std::fmt::Debug for ScriptedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ScriptedStore({:?})", self.inner)
    }
}

impl ScriptedStore {
    /// Over `inner`.
    pub fn new(inner: Arc<dyn Store>, script: impl FnMut(Operation, &str) -> Fate + Send + 'static) -> Self {
        Self { inner, script: Mutex::new(Box::new(script)) }
    }

    fn fate(&self, operation: Operation, name: &str) -> Fate {
        (locked(&self.script))(operation, name)
    }

    async fn through<T>(&self, operation: Operation, name: &str, done: impl Future<Output = Result<T, StoreError>> + Send) -> Result<T, StoreError> {
        let object = name.to_owned();
        let source: Source = Arc::new(std::io::Error::other("scripted"));
        match self.fate(operation, name) {
            Fate::Through | Fate::Passed => done.await,
            Fate::AnswerLost => {
                done.await?;
                Err(StoreError::Unreachable { object, source })
            }
            Fate::Lost => Err(StoreError::Unreachable { object, source }),
            Fate::Denied => Err(StoreError::Denied { object, source }),
            Fate::Full => Err(StoreError::Full { object, source }),
        }
    }
}

#[async_trait]
impl Store for ScriptedStore {
    async fn create(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.through(Operation::Create, name, self.inner.create(name, parts)).await
    }

    async fn get(&self, name: &str) -> Result<Bytes, StoreError> {
        self.through(Operation::Get, name, self.inner.get(name)).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.through(Operation::Get, name, self.inner.get_range(name, range)).await
    }

    async fn head(&self, name: &str) -> Result<u64, StoreError> {
        self.through(Operation::Head, name, self.inner.head(name)).await
    }

    fn list(&self, prefix: &str, start_after: Option<&str>) -> BoxStream<'_, Result<ObjectEntry, StoreError>> {
        match self.fate(Operation::List, prefix) {
            Fate::Through => self.inner.list(prefix, start_after),
            Fate::Passed => self.inner.list(prefix, start_after).skip(1).boxed(),
            _ => {
                let source: Source = Arc::new(std::io::Error::other("scripted"));
                stream::iter([Err(StoreError::Unreachable { object: prefix.to_owned(), source })]).boxed()
            }
        }
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.through(Operation::Delete, name, self.inner.delete(name)).await
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
