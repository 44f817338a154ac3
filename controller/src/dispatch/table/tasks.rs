//! The tasks of the table, found by the object that wants them: each look at an object asks for its own, and there may be thousands.

use std::collections::{BTreeMap, HashMap};

use super::Task;
use crate::dispatch::task::TaskKey;
use crate::object::Key;

/// All tasks.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    /// In the order of their owners' UIDs.
    all: BTreeMap<TaskKey, Task>,
    /// Of each object, whatever its UID: another life of the same name has the same key.
    by_object: HashMap<Key, Vec<TaskKey>>,
}

impl Tasks {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn contains_key(&self, key: &TaskKey) -> bool {
        self.all.contains_key(key)
    }

    pub(super) fn get(&self, key: &TaskKey) -> Option<&Task> {
        self.all.get(key)
    }

    /// The owner of a task never changes.
    pub(super) fn get_mut(&mut self, key: &TaskKey) -> Option<&mut Task> {
        self.all.get_mut(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&TaskKey, &Task)> {
        self.all.iter()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Task> {
        self.all.values()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Task> {
        self.all.values_mut()
    }

    /// Those of one life of an object.
    pub(super) fn of_uid(&self, owner_uid: &str) -> impl Iterator<Item = (&TaskKey, &Task)> {
        let first = TaskKey { owner_uid: owner_uid.to_owned(), component: String::new() };
        self.all.range(first..).take_while(move |(key, _)| key.owner_uid == owner_uid)
    }

    /// Those of all lives of an object.
    pub(super) fn of_object(&self, object: &Key) -> impl Iterator<Item = &TaskKey> {
        self.by_object.get(object).into_iter().flatten()
    }

    pub(super) fn insert(&mut self, key: TaskKey, task: Task) {
        self.remove(&key);
        self.by_object.entry(task.owner.key.clone()).or_default().push(key.clone());
        self.all.insert(key, task);
    }

    pub(super) fn remove(&mut self, key: &TaskKey) {
        let Some(task) = self.all.remove(key) else { return };
        if let Some(keys) = self.by_object.get_mut(&task.owner.key) {
            keys.retain(|other| other != key);
            if keys.is_empty() {
                self.by_object.remove(&task.owner.key);
            }
        }
    }
}
