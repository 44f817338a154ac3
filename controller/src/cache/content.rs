//! What a cache holds: objects by their names, and the names by what they have in common. Most objects of a large cluster are at rest:
//! they are kept as packed JSON, a tenth of what their types take, and unpacked for whoever asks for one.

use std::collections::HashMap;
use std::sync::Arc;

use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::object::Named;

/// What objects of one kind have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// Snapshots of a Repository; BackupConfigurations and BackupBatches that use it.
    Repository,
    /// Snapshots of a BackupSession that have not ended.
    Session,
    /// BackupSessions, and BackupVerificationSessions, of an invoker: `<kind>/<name>`.
    Invoker,
    /// Repositories in a BackupStorage.
    Storage,
    /// Repositories in one directory of a BackupStorage: `<namespace>/<name>` of that and the directory.
    Place,
    /// Pods that mount a claim.
    Claim,
    /// Holder pods, of a namespace, and of all under "".
    Holder,
    /// Pods of Functions, of all namespaces under "".
    Function,
    /// BackupConfigurations that a blueprint has made for an application: its title.
    Application,
    /// Whatever is in a namespace.
    Namespace,
}

/// Objects that have something in common.
pub type Group = (By, Named);

/// How a kind is kept.
pub struct Shape<K> {
    /// The groups of an object.
    pub groups_of: fn(&K) -> Vec<Group>,
    /// The packed form of an object at rest; none of one that is worked on.
    pub pack: fn(&K) -> Option<Box<[u8]>>,
    /// The object of a packed form.
    pub unpack: fn(&[u8]) -> Option<K>,
}

impl<K> Shape<K> {
    /// Objects without groups, kept as they are.
    pub const PLAIN: Self = Self { groups_of: |_| Vec::new(), pack: |_| None, unpack: |_| None };
}

/// The packed form of an object.
pub fn pack<K: Serialize>(object: &K) -> Option<Box<[u8]>> {
    serde_json::to_vec(object).ok().map(Vec::into_boxed_slice)
}

/// The object of a packed form.
pub fn unpack<K: DeserializeOwned>(packed: &[u8]) -> Option<K> {
    // It was written by `pack`, from the same type.
    serde_json::from_slice(packed).ok()
}

enum Kept<K> {
    Whole(Arc<K>),
    Packed(Box<[u8]>),
}

/// The objects.
pub(super) struct Content<K> {
    shape: Shape<K>,
    objects: HashMap<Arc<Named>, Kept<K>>,
    groups: HashMap<Group, Vec<Arc<Named>>>,
}

impl<K: Resource> Content<K> {
    pub(super) fn new(shape: Shape<K>) -> Self {
        Self { shape, objects: HashMap::new(), groups: HashMap::new() }
    }

    /// An empty one for the same kind.
    pub(super) fn emptied(&self) -> Self {
        let Shape { groups_of, pack, unpack } = self.shape;
        Self::new(Shape { groups_of, pack, unpack })
    }

    fn open(&self, kept: &Kept<K>) -> Option<Arc<K>> {
        match kept {
            Kept::Whole(object) => Some(Arc::clone(object)),
            Kept::Packed(packed) => (self.shape.unpack)(packed).map(Arc::new),
        }
    }

    pub(super) fn get(&self, name: &Named) -> Option<Arc<K>> {
        self.objects.get(name).and_then(|kept| self.open(kept))
    }

    pub(super) fn contains(&self, name: &Named) -> bool {
        self.objects.contains_key(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<Named>> {
        self.objects.keys()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Arc<K>> {
        self.objects.values().filter_map(|kept| self.open(kept))
    }

    /// Those that are not at rest.
    pub(super) fn awake(&self) -> impl Iterator<Item = &Arc<K>> {
        self.objects.values().filter_map(|kept| match kept {
            Kept::Whole(object) => Some(object),
            Kept::Packed(_) => None,
        })
    }

    pub(super) fn of(&self, group: &Group) -> impl Iterator<Item = Arc<K>> {
        self.groups.get(group).into_iter().flatten().filter_map(|name| self.get(name))
    }

    /// Those of a group that are not at rest.
    pub(super) fn awake_of(&self, group: &Group) -> impl Iterator<Item = &Arc<K>> {
        let names = self.groups.get(group).into_iter().flatten();
        names.filter_map(|name| match self.objects.get(name) {
            Some(Kept::Whole(object)) => Some(object),
            Some(Kept::Packed(_)) | None => None,
        })
    }

    /// What the object was before.
    pub(super) fn insert(&mut self, object: &Arc<K>) -> Option<Arc<K>> {
        let name = Arc::new(name_of(object.as_ref()));
        let before = self.remove(&name);
        for group in (self.shape.groups_of)(object) {
            self.groups.entry(group).or_default().push(Arc::clone(&name));
        }
        let kept = (self.shape.pack)(object).map_or_else(|| Kept::Whole(Arc::clone(object)), Kept::Packed);
        self.objects.insert(name, kept);
        before
    }

    pub(super) fn remove(&mut self, name: &Named) -> Option<Arc<K>> {
        let kept = self.objects.remove(name)?;
        let object = self.open(&kept)?;
        for group in (self.shape.groups_of)(&object) {
            if let Some(names) = self.groups.get_mut(&group) {
                names.retain(|other| **other != *name);
                if names.is_empty() {
                    self.groups.remove(&group);
                }
            }
        }
        Some(object)
    }
}

pub(super) fn name_of<K: Resource>(object: &K) -> Named {
    Named::new(object.meta().namespace.clone().unwrap_or_default(), object.meta().name.clone().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use serde_json::json;

    use super::*;

    fn pod(name: &str, node: &str, at_rest: bool) -> Arc<Pod> {
        let value = json!({"metadata": {"name": name, "namespace": "demo", "labels": {"rests": at_rest.to_string()}}, "spec": {"nodeName": node, "containers": []}});
        Arc::new(serde_json::from_value(value).unwrap())
    }

    fn content() -> Content<Pod> {
        fn rests(pod: &Pod) -> bool {
            pod.metadata.labels.as_ref().unwrap()["rests"] == "true"
        }
        Content::new(Shape {
            groups_of: |pod| vec![(By::Namespace, Named::new("demo", pod.spec.as_ref().unwrap().node_name.clone().unwrap()))],
            pack: |pod| pack(pod).filter(|_| rests(pod)),
            unpack,
        })
    }

    fn names(content: &Content<Pod>, node: &str) -> Vec<String> {
        let mut names: Vec<_> = content.of(&(By::Namespace, Named::new("demo", node))).map(|pod| pod.metadata.name.clone().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn packed_or_whole_an_object_is_the_same_and_in_its_groups_alone() {
        let mut content = content();
        content.insert(&pod("a", "one", true));
        content.insert(&pod("b", "one", false));
        assert_eq!(content.get(&Named::new("demo", "a")), Some(pod("a", "one", true)));
        assert_eq!((names(&content, "one"), content.awake().count()), (vec!["a".to_owned(), "b".into()], 1));
        // It wakes and moves.
        assert_eq!(content.insert(&pod("a", "two", false)), Some(pod("a", "one", true)));
        assert_eq!((names(&content, "one"), names(&content, "two")), (vec!["b".to_owned()], vec!["a".to_owned()]));
        assert_eq!(content.awake_of(&(By::Namespace, Named::new("demo", "two"))).count(), 1);
        content.remove(&Named::new("demo", "a"));
        content.remove(&Named::new("demo", "b"));
        assert!(content.groups.is_empty() && content.objects.is_empty());
    }
}
