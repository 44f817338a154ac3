//! The object store that all hosts share, and what goes wrong on the way to it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use bytes::Bytes;

use crate::chance::Chance;

/// How often each thing goes wrong, per mille of the operations.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Not done, and an error.
    pub lost_request: u64,
    /// Done, and an error.
    pub lost_answer: u64,
    /// An error now, done up to half an hour later.
    pub late: u64,
    /// Done twice: the second answer, "exists", is the one that arrives.
    pub repeated: u64,
    /// "Exists" although nothing does (409 to one of two creates of which neither was done).
    pub wrong_conflict: u64,
    /// A read that fails, a listing that breaks off.
    pub failed_read: u64,
    /// The last thing its process does: before or after it took effect.
    pub crash: u64,
    /// Takes minutes, long enough to be fenced meanwhile.
    pub stalled: u64,
}

impl Faults {
    /// A weather for one run: a third is calm.
    pub fn draw(chance: &Chance) -> Self {
        let strength = [0, 0, 4, 12, 30, 60][usize::try_from(chance.below(6)).unwrap()];
        let mut draw = || chance.below(strength + 1);
        Self {
            lost_request: draw(),
            lost_answer: draw(),
            late: draw(),
            repeated: draw(),
            wrong_conflict: draw(),
            failed_read: draw(),
            crash: draw() / 6,
            stalled: draw() / 4,
        }
    }
}

/// What the last operations were: printed when a rule is broken.
const LOG_ENTRIES_MAX: usize = 400;

#[derive(Debug)]
pub struct World {
    pub objects: Mutex<BTreeMap<String, Bytes>>,
    pub log: Mutex<VecDeque<String>>,
}

impl World {
    pub fn new() -> Self {
        Self { objects: Mutex::default(), log: Mutex::default() }
    }

    /// The store's one atomic write: false if the name is taken.
    pub fn create(&self, name: &str, content: &Bytes) -> bool {
        let mut objects = self.objects.lock().unwrap();
        if objects.contains_key(name) {
            return false;
        }
        objects.insert(name.to_owned(), content.clone());
        true
    }

    pub fn note(&self, line: String) {
        let mut log = self.log.lock().unwrap();
        if log.len() == LOG_ENTRIES_MAX {
            log.pop_front();
        }
        log.push_back(line);
    }
}
