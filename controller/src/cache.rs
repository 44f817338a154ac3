//! Watched objects of one kind, as of the newest event.

use std::fmt;
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

pub mod content;

pub use content::{By, Group, Shape};
use content::{Content, name_of};

/// Objects of one kind.
pub struct Cache<K> {
    content: RwLock<Content<K>>,
    synced: watch::Sender<bool>,
}

impl<K> Debug for Cache<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("synced", &*self.synced.borrow()).finish_non_exhaustive()
    }
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

impl<K: Resource> Default for Cache<K> {
    fn default() -> Self {
        Self::shaped(Shape::PLAIN)
    }
}

impl<K: Resource> Cache<K> {
    /// An empty cache of objects that are kept so.
    pub fn shaped(shape: Shape<K>) -> Self {
        Self { content: RwLock::new(Content::new(shape)), synced: watch::channel(false).0 }
    }

    fn read(&self) -> RwLockReadGuard<'_, Content<K>> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Content<K>> {
        self.content.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object of this name ("" as namespace of cluster-scoped ones).
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.read().get(&Named::new(namespace, name))
    }

    /// All objects that `keep` wants. What is done for each object of a large cluster looks into a group instead.
    pub fn select(&self, keep: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        self.read().all().filter(|object| keep(object)).collect()
    }

    /// All objects of a group.
    pub fn of(&self, by: By, name: Named) -> Vec<Arc<K>> {
        self.read().of(&(by, name)).collect()
    }

    /// All objects that are not at rest.
    pub fn awake(&self) -> Vec<Arc<K>> {
        self.read().awake().cloned().collect()
    }

    /// The objects of a group that are not at rest.
    pub fn awake_of(&self, by: By, name: Named) -> Vec<Arc<K>> {
        self.read().awake_of(&(by, name)).cloned().collect()
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
        let before = self.write().insert(&object);
        (Change::Applied(object), before)
    }

    fn delete(&self, object: K) -> Change<K> {
        self.write().remove(&name_of(&object));
        Change::Deleted(Arc::new(object))
    }

    /// A new list replaces everything: what is not in it was deleted while nobody watched. Of the first one nobody hears: whoever
    /// begins to work looks at all there is.
    fn replace(&self, listed: Content<K>, matters: Matters<K>, changed: impl Fn(&Change<K>)) {
        let old = std::mem::replace(&mut *self.write(), listed);
        if !self.synced.send_replace(true) {
            return;
        }
        let names: Vec<Arc<Named>> = self.read().names().cloned().collect();
        for name in names {
            let before = old.get(&name);
            let Some(object) = self.get(&name.namespace, &name.name) else { continue };
            let is_same = before.as_ref().is_some_and(|before| before.meta().resource_version == object.meta().resource_version);
            if !is_same && matters(before.as_deref(), &object) {
                changed(&Change::Applied(object));
            }
        }
        for name in old.names() {
            let is_there = self.read().contains(name);
            if let Some(object) = old.get(name).filter(|_| !is_there) {
                changed(&Change::Deleted(object));
            }
        }
    }
}

/// Whether somebody has to hear of a change, given the object before and after it.
type Matters<K> = fn(Option<&K>, &K) -> bool;

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
    let mut listed = cache.read().emptied();
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Init) => listed = listed.emptied(),
            Ok(watcher::Event::InitApply(mut object)) => {
                drop_managed_fields(&mut object);
                strip(&mut object);
                listed.insert(&Arc::new(object));
            }
            Ok(watcher::Event::InitDone) => {
                let empty = listed.emptied();
                cache.replace(std::mem::replace(&mut listed, empty), matters, &changed);
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

    fn listed(cache: &Cache<Pod>, pods: &[(&str, &str)]) -> Vec<String> {
        let mut content = cache.read().emptied();
        for (name, version) in pods {
            let mut pod = pod(name);
            pod.metadata.resource_version = Some((*version).into());
            content.insert(&Arc::new(pod));
        }
        let heard = std::sync::Mutex::new(Vec::new());
        cache.replace(content, |_, _| true, |change| {
            let name = change.object().metadata.name.clone().unwrap_or_default();
            heard.lock().unwrap().push(match change {
                Change::Deleted(_) => format!("-{name}"),
                Change::Applied(_) => name,
            });
        });
        let mut heard = heard.into_inner().unwrap();
        heard.sort();
        heard
    }

    #[test]
    fn what_a_new_list_lacks_was_deleted_and_what_is_the_same_is_no_news() {
        let cache = Cache::<Pod>::default();
        assert!(listed(&cache, &[("a", "1"), ("b", "2"), ("d", "3")]).is_empty());
        assert_eq!(listed(&cache, &[("b", "2"), ("c", "4"), ("d", "5")]), ["-a", "c", "d"]);
        assert!(cache.get("demo", "a").is_none() && cache.get("demo", "c").is_some());
    }
}
