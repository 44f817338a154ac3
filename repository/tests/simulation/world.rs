//! The object store that all hosts share, what goes wrong on the way to it, and what the run remembers of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use holdfast_repository::{LeaseId, SnapshotId};
use tokio::sync::Notify;

use crate::chance::Chance;
use crate::oracle::Oracle;

/// How often each thing goes wrong, per mille of the operations.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// Not done, and an error.
    pub(crate) lost_request: u64,
    /// Done, and an error.
    pub(crate) lost_answer: u64,
    /// An error now, done up to half an hour later.
    pub(crate) late: u64,
    /// Done twice: the second answer, "exists", is the one that arrives.
    pub(crate) repeated: u64,
    /// "Exists" although nothing does (409 to one of two creates of which neither was done).
    pub(crate) wrong_conflict: u64,
    /// A read that fails, a listing that breaks off.
    pub(crate) failed_read: u64,
    /// A read that gives other bytes than stand there.
    pub(crate) torn: u64,
    /// A listing in two pages, with time between them.
    pub(crate) paged: u64,
    /// The last thing its process does: before or after it took effect.
    pub(crate) crash: u64,
    /// Takes up to 40 minutes, long enough to be fenced meanwhile; as often a second as a quarter of an hour.
    pub(crate) stalled: u64,
}

impl Faults {
    /// A weather for one run: a third has no faults, and of those some are slow.
    pub(crate) fn draw(chance: &Chance) -> Self {
        let strength = [0, 0, 4, 12, 30, 60][chance.index(6)];
        let stalls = [0, 5, 20, 60, 120][chance.index(5)];
        let draw = || chance.below(strength + 1);
        Self {
            lost_request: draw(),
            lost_answer: draw(),
            late: draw(),
            repeated: draw(),
            wrong_conflict: draw(),
            failed_read: draw() / 2,
            torn: draw() / 4,
            crash: draw() / 4,
            paged: chance.below(500),
            stalled: chance.below(stalls + 1),
        }
    }
}

/// What the last operations were: printed when a rule is broken.
const LOG_ENTRIES_MAX: usize = 600;

/// What those at work were told, and did to each other.
#[derive(Debug, Default)]
pub(crate) struct Book {
    /// What writers were told is committed, with what it holds: accepted until somebody begins to forget it.
    pub(crate) committed: BTreeMap<SnapshotId, Vec<u64>>,
    /// Somebody began to forget these: they may go at any time.
    pub(crate) forgetting: BTreeSet<SnapshotId>,
    /// The forget succeeded: they must not come back.
    pub(crate) forgotten: BTreeSet<SnapshotId>,
    /// Which process took a lease, and which ended it.
    pub(crate) taken_by: BTreeMap<LeaseId, String>,
    pub(crate) ended_by: BTreeMap<LeaseId, String>,
    /// Packs that the run itself has damaged.
    pub(crate) rotten: BTreeSet<String>,
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) objects: Mutex<BTreeMap<String, Bytes>>,
    pub(crate) log: Mutex<VecDeque<String>>,
    pub(crate) book: Mutex<Book>,
    oracle: Mutex<Option<Arc<Oracle>>>,
    violation: Mutex<Option<String>>,
    pub(crate) violated: Notify,
}

impl World {
    pub(crate) fn new(objects: BTreeMap<String, Bytes>) -> Self {
        Self { objects: Mutex::new(objects), ..Self::default() }
    }

    /// From here on every step is looked at; none ends that, and the circle of references with it.
    pub(crate) fn watch(&self, oracle: Option<Arc<Oracle>>) {
        *self.oracle.lock().unwrap() = oracle;
    }

    /// The store's one atomic write: false if the name is taken.
    pub(crate) fn create(&self, name: &str, content: &Bytes, by: &str) -> bool {
        {
            let mut objects = self.objects.lock().unwrap();
            if objects.contains_key(name) {
                return false;
            }
            objects.insert(name.to_owned(), content.clone());
        }
        let mut book = self.book.lock().unwrap();
        let lease = |folder| name.strip_prefix(folder)?.split('/').next()?.parse::<LeaseId>().ok();
        if let Some(lease) = lease("leases/") {
            book.taken_by.entry(lease).or_insert_with(|| by.to_owned());
        }
        if let Some(lease) = lease("snapshots/") {
            book.ended_by.entry(lease).or_insert_with(|| by.to_owned());
        }
        drop(book);
        // A pack or a run more takes nothing away from anybody.
        if name.starts_with("state/") || name.starts_with("snapshots/") {
            self.look(name);
        }
        true
    }

    pub(crate) fn delete(&self, name: &str) {
        if self.objects.lock().unwrap().remove(name).is_some() {
            self.look(name);
        }
    }

    fn look(&self, after: &str) {
        let oracle = self.oracle.lock().unwrap().clone();
        if let Some(Err(broken)) = oracle.map(|oracle| oracle.look()) {
            self.violate(format!("after {after}: {broken}"));
        }
    }

    /// A rule is broken: the first one is told. (A panic in a task of a process would end that task and nothing else.)
    pub(crate) fn violate(&self, what: String) {
        self.note(format!("VIOLATION {what}"));
        self.violation.lock().unwrap().get_or_insert(what);
        self.violated.notify_one();
    }

    pub(crate) fn violation(&self) -> Option<String> {
        self.violation.lock().unwrap().clone()
    }

    /// Whether somebody else ended the lease that this process holds.
    pub(crate) fn is_fenced(&self, lease: &LeaseId, holder: &str) -> bool {
        self.book.lock().unwrap().ended_by.get(lease).is_some_and(|by| by != holder)
    }

    pub(crate) fn is_damaged(&self) -> bool {
        !self.book.lock().unwrap().rotten.is_empty()
    }

    pub(crate) fn names(&self, folder: &str) -> BTreeSet<String> {
        let objects = self.objects.lock().unwrap();
        objects.keys().filter(|name| name.starts_with(folder)).cloned().collect()
    }

    pub(crate) fn note(&self, line: String) {
        let mut log = self.log.lock().unwrap();
        if log.len() == LOG_ENTRIES_MAX {
            log.pop_front();
        }
        log.push_back(line);
    }
}
