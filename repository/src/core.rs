//! What every part of an open repository stands on: the store, the keys, the clock, and creation that survives lost answers.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use crate::cache::{Cache, CacheName};
use crate::config::Config;
use crate::crypto::Keys;
use crate::environment::Environment;
use crate::error::{ReadError, WriteError};
use crate::lock::locked;
use crate::sealed::{self, ObjectKind};
use crate::spill::Spill;
use crate::state::State;
use crate::store::{Store, StoreError};

/// Tries of one creation; each has the store's own bounded retries below it.
const ATTEMPTS_MAX: u32 = 4;
const BACKOFF: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) environment: Environment,
    pub(crate) config: Config,
    /// The highest state seen, so that looking for the newest neither lists the chain from its beginning nor reads what it has.
    newest_seen: Mutex<Option<Arc<State>>>,
    /// Once `Repository::use_cache` was called.
    pub(crate) cache: Arc<OnceLock<Cache>>,
    /// Where to spill without a cache: once `Repository::use_spill` was called, or where one spills that this reads past the cache of.
    pub(crate) spill: OnceLock<Spill>,
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
        Self { store, keys: Arc::new(keys), environment, config, newest_seen: Mutex::default(), cache: Arc::default(), spill: OnceLock::new() }
    }

    /// The same repository, everything read from the store itself: for whoever looks whether it is there.
    pub(crate) fn uncached(&self) -> Self {
        Self {
            store: Arc::clone(&self.store),
            keys: Arc::clone(&self.keys),
            environment: self.environment.clone(),
            config: self.config.clone(),
            newest_seen: Mutex::default(),
            cache: Arc::default(),
            spill: OnceLock::from(self.spill()),
        }
    }

    /// What is missing here to write anything, for people: neither `config` nor the newest state may name a feature unknown to us.
    pub(crate) fn missing_to_write(&self, newest: &State) -> Option<String> {
        self.config.features.missing_to_write().or_else(|| newest.features.missing_to_write())
    }

    pub(crate) fn newest_seen(&self) -> Option<Arc<State>> {
        locked(&self.newest_seen).clone()
    }

    pub(crate) fn saw_state(&self, state: &State) {
        let mut newest = locked(&self.newest_seen);
        if newest.as_ref().is_none_or(|seen| seen.number < state.number) {
            *newest = Some(Arc::new(state.clone()));
        }
    }

    /// Where to spill: beside the cache, else where `Repository::use_spill` says, else nowhere.
    pub(crate) fn spill(&self) -> Spill {
        let spill = self.cache.get().map(Cache::spill).or_else(|| self.spill.get());
        spill.cloned().unwrap_or_else(|| Spill::nowhere(self.environment.clone()))
    }

    /// An object that never changes, from the cache if it opens there; with the object's length.
    pub(crate) async fn read_immutable(&self, kind: ObjectKind, name: &str, cache_name: &CacheName) -> Result<(Vec<u8>, u64), ReadError> {
        if let Some(cache) = self.cache.get()
            && let Some(object) = cache.get(cache_name)
        {
            match sealed::open(&self.keys, kind, name, &object) {
                Ok(content) => return Ok((content, object.len() as u64)),
                Err(error) => {
                    tracing::debug!(%error, "a cached object does not open; it is fetched again");
                    cache.remove(cache_name);
                }
            }
        }
        let object = self.store.get(name).await?;
        let content = sealed::open(&self.keys, kind, name, &object)?;
        self.keep_immutable(cache_name, &object);
        Ok((content, object.len() as u64))
    }

    /// Into the cache, if there is one: `object` stands in the store under its name.
    pub(crate) fn keep_immutable(&self, cache_name: &CacheName, object: &[u8]) {
        if let Some(cache) = self.cache.get() {
            cache.put(cache_name, object);
        }
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
