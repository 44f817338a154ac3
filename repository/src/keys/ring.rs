//! The passwords of an open repository: listed, added, removed. The master key is the same under all of them.

use crate::core::{self, Created};
use crate::error::{ReadError, WriteError};
use crate::id::KeyId;
use crate::keys;
use crate::repository::Repository;
use crate::secret::SecretBytes;
use crate::state;
use crate::store::StoreError;

/// A password's object. Whether it is of this master key only its password tells.
#[derive(Debug)]
pub struct KeyInfo {
    /// Its id.
    pub id: KeyId,
    /// When it was added, milliseconds since 1970; or why it cannot be read.
    pub created_ms: Result<i64, ReadError>,
    /// The one that opened the repository just now.
    pub is_own: bool,
}

/// Why a key was not added or removed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its own. Since nobody removes the key they came with, one that opens is always left.
    #[error("key {id} is the one that opened the repository; to remove it come with another password")]
    Own {
        /// The key.
        id: KeyId,
    },
    /// No more fit.
    #[error("there are {} keys already; remove one first (holdfast key list)", keys::KEYS_MAX)]
    TooMany,
    /// There is none.
    #[error("there is no key {id}; holdfast key list names them")]
    NotFound {
        /// What was asked for.
        id: KeyId,
    },
    /// The store.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<StoreError> for KeyError {
    fn from(error: StoreError) -> Self {
        Self::Write(error.into())
    }
}

impl Repository {
    /// Every key object, by id.
    pub async fn keys(&self) -> Result<Vec<KeyInfo>, ReadError> {
        let store = self.core.store.as_ref();
        let mut found = Vec::new();
        for id in keys::list(store).await? {
            let created_ms = match store.get(&keys::object_name(&id)).await {
                Ok(object) => keys::created_ms(&id, &object),
                // Removed since it was listed.
                Err(StoreError::NotFound { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            found.push(KeyInfo { id, created_ms, is_own: id == self.own_key });
        }
        Ok(found)
    }

    async fn may_write_keys(&self) -> Result<(), KeyError> {
        let newest = state::newest(&self.core).await.map_err(WriteError::from)?;
        match self.core.missing_to_write(&newest) {
            Some(needs) => Err(WriteError::TooNew { needs }.into()),
            None => Ok(()),
        }
    }

    /// Another password for the same master key.
    pub async fn add_key(&self, password: &SecretBytes) -> Result<KeyId, KeyError> {
        self.may_write_keys().await?;
        if keys::list(self.core.store.as_ref()).await?.len() >= keys::KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        let id = KeyId(self.core.environment.random());
        let name = keys::object_name(&id);
        let object = keys::wrap(&self.core.environment, &id, &self.core.keys.master, password)?;
        match core::create(self.core.store.as_ref(), &self.core.environment, &name, &object.into()).await? {
            Created::Written => Ok(id),
            Created::Other(_) => Err(StoreError::Corrupt { object: name, reason: "someone else's bytes stand there".into() }.into()),
        }
    }

    /// Removes another key than one's own. Of two that remove each other's at the same moment, at least one looks after both are
    /// gone, and puts its own back: a repository without any key could never be opened again.
    pub async fn remove_key(&self, id: &KeyId) -> Result<(), KeyError> {
        if *id == self.own_key {
            return Err(KeyError::Own { id: *id });
        }
        self.may_write_keys().await?;
        let store = self.core.store.as_ref();
        let (name, own_name) = (keys::object_name(id), keys::object_name(&self.own_key));
        match store.head(&name).await {
            Err(StoreError::NotFound { .. }) => return Err(KeyError::NotFound { id: *id }),
            result => result?,
        };
        let own = store.get(&own_name).await?;
        store.delete(&name).await?;
        match store.head(&own_name).await {
            Err(StoreError::NotFound { .. }) => {
                tracing::warn!(key = %self.own_key, "somebody removed this key meanwhile; it is put back");
                core::create(store, &self.core.environment, &own_name, &own).await?;
                Ok(())
            }
            result => Ok(result.map(drop)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::environment::Environment;
    use crate::error::OpenError;
    use crate::store::Store;
    use crate::testing::{Fate, MemoryStore, Operation, ScriptedStore};

    fn password(text: &str) -> SecretBytes {
        SecretBytes::new(text.as_bytes().to_vec())
    }

    async fn open(store: &Arc<MemoryStore>, with: &str) -> Result<Repository, OpenError> {
        Repository::open(Arc::clone(store) as Arc<dyn Store>, &password(with), Environment::system()).await
    }

    async fn made(with: &str) -> (Arc<MemoryStore>, Repository) {
        let store = Arc::new(MemoryStore::new());
        let report = Repository::init(Arc::clone(&store) as Arc<dyn Store>, &password(with), Environment::system()).await.expect("init");
        (store, report.repository)
    }

    #[tokio::test]
    async fn a_removed_password_opens_no_more_and_the_last_one_stays() {
        let (store, repository) = made("old").await;
        let [first] = repository.keys().await.expect("keys").try_into().expect("one");
        assert!(first.is_own);
        assert!(matches!(repository.remove_key(&first.id).await, Err(KeyError::Own { .. })), "the only one");

        let second = repository.add_key(&password("new")).await.expect("add");
        let by_the_new = open(&store, "new").await.expect("opens");
        assert_eq!(by_the_new.keys().await.expect("keys").iter().filter(|key| key.is_own).map(|key| key.id).collect::<Vec<_>>(), [second]);
        assert!(matches!(by_the_new.remove_key(&second).await, Err(KeyError::Own { .. })));
        by_the_new.remove_key(&first.id).await.expect("remove");
        assert!(matches!(by_the_new.remove_key(&first.id).await, Err(KeyError::NotFound { .. })));
        assert!(matches!(open(&store, "old").await, Err(OpenError::WrongPassword { .. })));
        open(&store, "new").await.expect("still opens");
    }

    #[tokio::test]
    async fn two_that_remove_each_other_do_not_lock_everybody_out() {
        let (store, repository) = made("a").await;
        repository.add_key(&password("b")).await.expect("add");
        let ids: Vec<KeyId> = repository.keys().await.expect("keys").iter().filter(|key| !key.is_own).map(|key| key.id).collect();
        // At the moment in which this one deletes the other's key, the other has deleted this one's.
        let (behind, own) = (Arc::clone(&store), keys::object_name(&repository.own_key));
        let done = AtomicBool::new(false);
        let store_of_a = ScriptedStore::new(Arc::clone(&store) as Arc<dyn Store>, move |operation, _| {
            if operation == Operation::Delete && !done.swap(true, Ordering::Relaxed) {
                behind.take(&own);
            }
            Fate::Through
        });
        let by_a = Repository::open(Arc::new(store_of_a), &password("a"), Environment::system()).await.expect("open");
        by_a.remove_key(&ids[0]).await.expect("remove");
        open(&store, "a").await.expect("one is left");
    }

    #[tokio::test]
    async fn a_damaged_key_is_listed_as_such() {
        let (store, repository) = made("a").await;
        let id = repository.add_key(&password("b")).await.expect("add");
        store.put(&keys::object_name(&id), "rubbish");
        let damaged: Vec<KeyId> = repository.keys().await.expect("keys").into_iter().filter(|key| key.created_ms.is_err()).map(|key| key.id).collect();
        assert_eq!(damaged, [id]);
    }
}
