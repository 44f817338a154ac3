//! Watched objects of one kind, as of the newest event.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::PoisonError;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use futures::{Stream, StreamExt};
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::object::Named;

/// Objects of one kind.
#[derive(Debug)]
pub struct Cache<K> {
    objects: RwLock<HashMap<Named, Arc<K>>>,
    synced: watch::Sender<bool>,
}

/// What an event changed.
#[derive(Debug)]
pub enum Change<K> {
    /// Created or modified.
    Applied(Arc<K>),
    /// Gone; as it was last seen.
    Deleted(Arc<K>),
}

impl<K> Change<K> {
    /// The object.
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Applied(object) | Self::Deleted(object) => object,
        }
    }
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        Self { objects: RwLock::default(), synced: watch::channel(false).0 }
    }
}

impl<K: Resource> Cache<K> {
    fn read(&self) -> RwLockReadGuard<'_, HashMap<Named, Arc<K>>> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<Named, Arc<K>>> {
        self.objects.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object of this name ("" as namespace of cluster-scoped ones).
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.read().get(&Named::new(namespace, name)).cloned()
    }

    /// All objects that `keep` wants.
    pub fn select(&self, keep: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        self.read().values().filter(|object| keep(object)).cloned().collect()
    }

    /// Waits until the first list is complete.
    pub async fn synced(&self) {
        let mut synced = self.synced.subscribe();
        // The sender lives in self: waiting cannot fail while self is borrowed.
        let _ = synced.wait_for(|synced| *synced).await;
    }

    /// The change, and what the object was before.
    fn apply(&self, object: K) -> (Change<K>, Option<Arc<K>>) {
        let object = Arc::new(object);
        let before = self.write().insert(name_of(object.as_ref()), Arc::clone(&object));
        (Change::Applied(object), before)
    }

    fn delete(&self, object: K) -> Change<K> {
        self.write().remove(&name_of(&object));
        Change::Deleted(Arc::new(object))
    }

    /// A new list replaces everything: what is not in it was deleted while nobody watched.
    fn replace(&self, listed: Vec<K>, matters: Matters<K>) -> Vec<Change<K>> {
        let fresh: HashMap<Named, Arc<K>> =
            listed.into_iter().map(|object| (name_of(&object), Arc::new(object))).collect();
        let mut changes: Vec<Change<K>> = fresh.values().cloned().map(Change::Applied).collect();
        let old = std::mem::replace(&mut *self.write(), fresh);
        changes.retain(|change| {
            let object = change.object().as_ref();
            matters(old.get(&name_of(object)).map(AsRef::as_ref), object)
        });
        let current = self.read();
        changes.extend(
            old.into_iter().filter(|(name, _)| !current.contains_key(name)).map(|(_, object)| Change::Deleted(object)),
        );
        drop(current);
        self.synced.send_replace(true);
        changes
    }
}

/// Whether somebody has to hear of a change, given the object before and after it.
type Matters<K> = fn(Option<&K>, &K) -> bool;

fn name_of<K: Resource>(object: &K) -> Named {
    Named::new(object.meta().namespace.clone().unwrap_or_default(), object.meta().name.clone().unwrap_or_default())
}

/// Keeps `cache` as the API server has it, for ever. `strip` drops what nobody needs before it is kept; `changed` hears of
/// each change after the cache shows it.
pub async fn reflect<K>(api: Api<K>, cache: Arc<Cache<K>>, strip: fn(&mut K), changed: impl Fn(&Change<K>))
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    follow(watcher(api, watcher::Config::default()), &cache, strip, |_, _| true, changed).await;
}

/// The same of objects of which only the metadata matter: the API server sends no more, and only changes of the annotations
/// that `strip` leaves are heard of; of new objects without any only where `hears_of_new` says so.
pub async fn reflect_metadata<K>(
    api: Api<PartialObjectMeta<K>>,
    cache: Arc<Cache<PartialObjectMeta<K>>>,
    strip: fn(&mut PartialObjectMeta<K>),
    hears_of_new: bool,
    changed: impl Fn(&Change<PartialObjectMeta<K>>),
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    let of_annotations: Matters<PartialObjectMeta<K>> = |before, after| match before {
        Some(before) => before.annotations() != after.annotations(),
        None => !after.annotations().is_empty(),
    };
    let of_new: Matters<PartialObjectMeta<K>> = |before, after| before.is_none_or(|before| before.annotations() != after.annotations());
    let matters = if hears_of_new { of_new } else { of_annotations };
    follow(watcher(api, watcher::Config::default()), &cache, strip, matters, changed).await;
}

async fn follow<K: Resource<DynamicType = ()>>(
    events: impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send,
    cache: &Cache<K>,
    strip: fn(&mut K),
    matters: Matters<K>,
    changed: impl Fn(&Change<K>),
) {
    let mut events = events.default_backoff().boxed();
    let mut listed: Vec<K> = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(mut object)) => {
                drop_managed_fields(&mut object);
                strip(&mut object);
                listed.push(object);
            }
            Ok(watcher::Event::InitDone) => {
                for change in cache.replace(std::mem::take(&mut listed), matters) {
                    changed(&change);
                }
            }
            Ok(watcher::Event::Apply(mut object)) => {
                drop_managed_fields(&mut object);
                strip(&mut object);
                let (change, before) = cache.apply(object);
                if matters(before.as_deref(), change.object()) {
                    changed(&change);
                }
            }
            Ok(watcher::Event::Delete(object)) => changed(&cache.delete(object)),
            Err(error) => tracing::warn!(kind = %K::kind(&()), %error, "watch interrupted; it begins again"),
        }
    }
}

fn drop_managed_fields<K: Resource>(object: &mut K) {
    object.managed_fields_mut().clear();
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn pod(name: &str) -> Pod {
        let metadata = ObjectMeta { name: Some(name.into()), namespace: Some("demo".into()), ..ObjectMeta::default() };
        Pod { metadata, ..Pod::default() }
    }

    #[test]
    fn what_a_new_list_lacks_was_deleted() {
        let cache = Cache::<Pod>::default();
        cache.replace(vec![pod("a"), pod("b")], |_, _| true);
        let changes = cache.replace(vec![pod("b"), pod("c")], |_, _| true);
        let deleted: Vec<_> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Deleted(pod) => pod.metadata.name.clone(),
                Change::Applied(_) => None,
            })
            .collect();
        assert_eq!(deleted, ["a"]);
        assert!(cache.get("demo", "a").is_none() && cache.get("demo", "c").is_some());
    }
}
