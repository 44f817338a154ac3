//! The objects, their revisions, and a bounded history of changes for watches. One revision counter for everything, as etcd's.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::Arc,
};

use serde_json::{Value, json};

/// Changes kept per kind. A watcher that falls further behind gets 410 and lists again.
pub(crate) const HISTORY_CHANGES: usize = 4096;

/// Namespace ("" for cluster scope) and name, ordered as lists are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// One write: what the object was, and what it is (on deletion: its last state, with the deletion's revision).
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) deleted: bool,
    pub(crate) object: Arc<Value>,
    pub(crate) previous: Option<Arc<Value>>,
}

/// The watcher's revision is older than the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Compacted {
    pub(crate) oldest: u64,
}

#[derive(Debug, Default)]
struct Shelf {
    objects: BTreeMap<Key, Arc<Value>>,
    history: VecDeque<Change>,
    compacted: u64,
}

/// All objects, by group and resource.
#[derive(Debug)]
pub(crate) struct Store {
    revision: u64,
    history_changes: usize,
    shelves: BTreeMap<String, Shelf>,
}

impl Store {
    pub(crate) fn new(history_changes: usize) -> Self {
        Self {
            revision: 1,
            history_changes,
            shelves: BTreeMap::new(),
        }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn get(&self, resource: &str, key: &Key) -> Option<Arc<Value>> {
        self.shelves.get(resource)?.objects.get(key).cloned()
    }

    /// Objects in order, of one namespace or of all.
    pub(crate) fn list(&self, resource: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let Some(shelf) = self.shelves.get(resource) else {
            return Vec::new();
        };
        match namespace {
            None => shelf.objects.values().cloned().collect(),
            Some(namespace) => {
                let start = Bound::Included(Key::new(namespace, ""));
                let in_namespace = shelf.objects.range((start, Bound::Unbounded));
                in_namespace
                    .take_while(|(key, _)| key.namespace == namespace)
                    .map(|(_, object)| object.clone())
                    .collect()
            }
        }
    }

    /// Every object of every kind, with its resource.
    pub(crate) fn everything(&self) -> impl Iterator<Item = (&str, &Key, &Arc<Value>)> {
        self.shelves.iter().flat_map(|(resource, shelf)| {
            shelf
                .objects
                .iter()
                .map(move |(key, object)| (resource.as_str(), key, object))
        })
    }

    /// Writes the object under a new revision, which it carries.
    pub(crate) fn put(&mut self, resource: &str, key: Key, mut object: Value) -> Arc<Value> {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let object = Arc::new(object);
        let shelf = self.shelves.entry(resource.to_owned()).or_default();
        let previous = shelf.objects.insert(key, object.clone());
        let change = Change {
            revision: self.revision,
            deleted: false,
            object: object.clone(),
            previous,
        };
        shelf.remember(change, self.history_changes);
        object
    }

    /// Removes the object; its last state is returned with the deletion's revision.
    pub(crate) fn remove(&mut self, resource: &str, key: &Key) -> Option<Arc<Value>> {
        let shelf = self.shelves.get_mut(resource)?;
        let previous = shelf.objects.remove(key)?;
        self.revision += 1;
        let mut last = (*previous).clone();
        last["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let object = Arc::new(last);
        let change = Change {
            revision: self.revision,
            deleted: true,
            object: object.clone(),
            previous: Some(previous),
        };
        shelf.remember(change, self.history_changes);
        Some(object)
    }

    /// Up to `limit` changes after `revision`, oldest first.
    pub(crate) fn changes_after(
        &self,
        resource: &str,
        revision: u64,
        limit: usize,
    ) -> Result<Vec<Change>, Compacted> {
        let Some(shelf) = self.shelves.get(resource) else {
            return Ok(Vec::new());
        };
        if revision < shelf.compacted {
            return Err(Compacted {
                oldest: shelf.compacted,
            });
        }
        let first = shelf
            .history
            .partition_point(|change| change.revision <= revision);
        Ok(shelf.history.range(first..).take(limit).cloned().collect())
    }
}

impl Shelf {
    fn remember(&mut self, change: Change, history_changes: usize) {
        self.history.push_back(change);
        while self.history.len() > history_changes {
            if let Some(forgotten) = self.history.pop_front() {
                self.compacted = forgotten.revision;
            }
        }
    }
}
