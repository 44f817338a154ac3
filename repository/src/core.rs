//! What every part of an open repository stands on: the store, the keys, the clock, and creation that survives lost answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::config::Config;
use crate::crypto::Keys;
use crate::environment::Environment;
use crate::error::{ReadError, WriteError};
use crate::sealed::{self, ObjectKind};
use crate::store::{Store, StoreError};

/// Tries of one creation; each has the store's own bounded retries below it.
const ATTEMPTS_MAX: u32 = 4;
const BACKOFF: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keys: Keys,
    pub(crate) environment: Environment,
    pub(crate) config: Config,
    /// The highest state seen, so that looking for the newest does not list the chain from its beginning each time.
    pub(crate) newest_seen: AtomicU64,
}

/// What stands at a name after an attempt to create it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Created {
    /// Our bytes.
    Written,
    /// Someone else's.
    Other(Bytes),
}

impl Core {
    pub(crate) fn new(store: Arc<dyn Store>, keys: Keys, environment: Environment, config: Config) -> Self {
        Self { store, keys, environment, config, newest_seen: AtomicU64::new(0) }
    }

    pub(crate) fn saw_state(&self, number: u64) {
        self.newest_seen.fetch_max(number, Ordering::Relaxed);
    }

    pub(crate) async fn read(&self, kind: ObjectKind, name: &str) -> Result<Vec<u8>, ReadError> {
        let object = self.store.get(name).await?;
        sealed::open(&self.keys, kind, name, &object)
    }

    pub(crate) fn seal(&self, kind: ObjectKind, name: &str, content: &[u8]) -> Result<Bytes, WriteError> {
        Ok(sealed::seal(&self.keys, &self.environment, kind, name, content)?.into())
    }

    /// Seals and creates; see `create`.
    pub(crate) async fn write(&self, kind: ObjectKind, name: &str, content: &[u8]) -> Result<Created, WriteError> {
        let object = self.seal(kind, name, content)?;
        Ok(create(self.store.as_ref(), &self.environment, name, &object).await?)
    }
}

/// Creates `name`, and finds out what stands there whatever the answer was: own bytes mean written, whoever's try it was that
/// arrived. The same bytes are sent each time, so a delayed first try can do no harm.
pub(crate) async fn create(store: &dyn Store, environment: &Environment, name: &str, object: &Bytes) -> Result<Created, StoreError> {
    let mut last = StoreError::NotFound { object: name.to_owned() };
    for attempt in 0..ATTEMPTS_MAX {
        if attempt > 0 {
            environment.clock.sleep(BACKOFF * 2_u32.pow(attempt)).await;
        }
        match store.create(name, vec![object.clone()]).await {
            Ok(()) => return Ok(Created::Written),
            Err(error @ StoreError::AlreadyExists { .. }) => last = error,
            Err(error) if error.is_ambiguous() => last = error,
            Err(error) => return Err(error),
        }
        match store.get(name).await {
            Ok(found) if found == *object => return Ok(Created::Written),
            Ok(found) => return Ok(Created::Other(found)),
            Err(StoreError::NotFound { .. }) => {}
            Err(error) if error.is_ambiguous() => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}
