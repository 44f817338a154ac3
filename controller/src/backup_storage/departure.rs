//! A storage that goes without WipeOut takes the objects of its Repositories along, and they their Snapshots', as in KubeStash. Their data
//! stay, and are read back when the storage is applied again.
//!
//! No finalizer stands for that: nothing of it is worth that an object hangs where no controller runs. A controller that was away
//! when the storage went does nothing, and the Repositories stay, NotReady.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_api::deletion::DeletionPolicy;
use holdfast_api::{BackupStorage, Repository};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::Api;
use serde_json::json;

use super::is_in;
use crate::action::Action;
use crate::context::{Context, Subject};
use crate::object::{Key, Named};
use crate::finalizer::is_held;
use crate::repository::ledger;

/// Storages that have gone and whose Repositories are still to go.
#[derive(Debug, Default)]
pub struct Departed(Mutex<HashMap<Key, Vec<Arc<Repository>>>>);

impl Departed {
    /// A storage has gone; these were in it at that moment. What is made later waits for the storage to come back.
    pub fn note(&self, storage: &BackupStorage, key: Key, repositories: Vec<Arc<Repository>>) {
        if storage.spec.deletion_policy != Some(DeletionPolicy::WipeOut) && !repositories.is_empty() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, repositories);
        }
    }

    fn take(&self, key: &Key) -> Vec<Arc<Repository>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key).unwrap_or_default()
    }

    fn put_back(&self, key: &Key, repositories: Vec<Arc<Repository>>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), repositories);
    }

    /// Those that are noted: nothing else says any more that there is something to do.
    pub fn keys(&self) -> Vec<Key> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// It is there: whatever was noted is over.
    pub fn forget(&self, key: &Key) {
        self.take(key);
    }
}

/// Takes along what was in a storage that is not in the cache any more.
pub(super) async fn take_along(context: &Context, key: &Key) -> Result<(), kube::Error> {
    let left = context.departed.take(key);
    if left.is_empty() {
        return Ok(());
    }
    let done = take(context, key, &left).await;
    if done.is_err() {
        context.departed.put_back(key, left);
    }
    done
}

async fn take(context: &Context, key: &Key, left: &[Arc<Repository>]) -> Result<(), kube::Error> {
    // A list that was cut short, or a storage that is back already, must not cost anybody their objects.
    let storages: Api<BackupStorage> = Api::namespaced(context.client.clone(), &key.namespace);
    if storages.get_opt(&key.name).await?.is_some() {
        return Ok(());
    }
    let name = Named::new(&key.namespace, &key.name);
    let still_there = |repository: &Arc<Repository>| {
        let key = ledger::key_of(repository);
        let known = context.caches.repositories.get(&key.namespace, &key.name)?;
        (known.metadata.uid == repository.metadata.uid && is_in(&known, &name)).then_some(known)
    };
    let left: Vec<Arc<Repository>> = left.iter().filter_map(still_there).collect();
    tracing::info!(storage = %name, repositories = left.len(), "a BackupStorage went, and the objects of its Repositories with it; their data stay");
    context.apply(&Subject::absent(key.clone()), plan(&left)).await
}

fn plan(left: &[Arc<Repository>]) -> Vec<Action> {
    let living = left.iter().filter(|repository| repository.metadata.deletion_timestamp.is_none());
    living.flat_map(|repository| go(repository)).collect()
}

/// The Repository goes, whatever its own policy is: the data stay.
fn go(repository: &Repository) -> Vec<Action> {
    let metadata: &ObjectMeta = &repository.metadata;
    let key = ledger::key_of(repository);
    let delete = Action::Delete { key: key.clone(), uid: metadata.uid.clone().unwrap_or_default() };
    if repository.spec.deletion_policy != Some(DeletionPolicy::WipeOut) && !is_held(metadata) {
        return vec![delete];
    }
    let patch = json!({"spec": {"deletionPolicy": DeletionPolicy::Delete}});
    vec![Action::Patch { key, resource_version: None, patch }, delete]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(name: &str, policy: &str, is_going: bool) -> Arc<Repository> {
        let mut value = json!({"metadata": {"name": name, "namespace": "demo", "uid": format!("{name}-uid")}, "spec": {"deletionPolicy": policy}});
        if is_going {
            value["metadata"]["deletionTimestamp"] = json!("2026-11-26T12:00:00Z");
        }
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn repositories_go_without_their_data_whatever_their_own_policy() {
        let actions = plan(&[repository("plain", "Delete", false), repository("wiped", "WipeOut", false), repository("going", "WipeOut", true)]);
        let [Action::Delete { key: plain, .. }, Action::Patch { key: wiped, patch, .. }, Action::Delete { uid, .. }] = actions.as_slice() else {
            panic!("{actions:?}")
        };
        assert_eq!((plain.name.as_str(), wiped.name.as_str(), uid.as_str()), ("plain", "wiped", "wiped-uid"));
        assert_eq!(patch["spec"]["deletionPolicy"], "Delete");
    }

    #[test]
    fn one_with_wipe_out_is_not_noted_and_one_that_is_back_is_forgotten() {
        let storage = |policy: &str| serde_json::from_value::<BackupStorage>(json!({"metadata": {"name": "s"}, "spec": {"deletionPolicy": policy}})).unwrap();
        let key = Key::new(crate::object::Kind::BackupStorage, "demo", "s");
        let departed = Departed::default();
        departed.note(&storage("WipeOut"), key.clone(), vec![repository("r", "Delete", false)]);
        assert!(departed.take(&key).is_empty());
        departed.note(&storage("Delete"), key.clone(), vec![repository("r", "Delete", false)]);
        departed.forget(&key);
        assert!(departed.take(&key).is_empty());
    }
}
