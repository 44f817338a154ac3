//! What a restore could not bring back: counted, named, and told to whoever listens.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::catalog::RelPath;

/// The report names this many; the counts go on, and the observer hears of each.
pub const ISSUES_NAMED_MAX: usize = 1_000;
/// So many failed files are remembered, so that no link is made to what stands in their place.
const FAILED_PATHS_MAX: usize = 100_000;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// An entry, or an attribute of it, is not as it was: the restore is not a success.
    Failed,
    /// The target's file system cannot hold it.
    Unsupported,
    /// Left out on purpose: a device node or a privilege that this restore may not bring back.
    Withheld,
}

/// One thing that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    /// How bad it is.
    pub severity: Severity,
    /// The source's path in the snapshot.
    pub source: Vec<u8>,
    /// The entry below it.
    pub path: RelPath,
    /// What is wrong, for people.
    pub what: String,
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

/// Hears of each issue as it is found, on the thread that found it.
pub type Observer = Arc<dyn Fn(&Issue) + Send + Sync>;

/// Collects issues from all threads.
pub(super) struct Issues {
    observer: Option<Observer>,
    failed: AtomicU64,
    warnings: AtomicU64,
    lost_parts: AtomicU64,
    lists: Mutex<Lists>,
}

#[derive(Default)]
struct Lists {
    failures: Vec<Issue>,
    warnings: Vec<Issue>,
    failed_paths: HashSet<(Vec<u8>, RelPath)>,
}

/// What was collected.
pub(super) struct Collected {
    pub(super) failed: u64,
    pub(super) warnings: u64,
    pub(super) lost_parts: u64,
    /// Failures first.
    pub(super) named: Vec<Issue>,
}

impl Issues {
    pub(super) fn new(observer: Option<Observer>) -> Self {
        Self { observer, failed: AtomicU64::new(0), warnings: AtomicU64::new(0), lost_parts: AtomicU64::new(0), lists: Mutex::default() }
    }

    pub(super) fn add(&self, issue: Issue) {
        if let Some(observer) = &self.observer {
            observer(&issue);
        }
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let list = if issue.severity == Severity::Failed {
            self.failed.fetch_add(1, Ordering::Relaxed);
            if lists.failed_paths.len() < FAILED_PATHS_MAX {
                lists.failed_paths.insert((issue.source.clone(), issue.path.clone()));
            }
            &mut lists.failures
        } else {
            self.warnings.fetch_add(1, Ordering::Relaxed);
            &mut lists.warnings
        };
        if list.len() < ISSUES_NAMED_MAX {
            list.push(issue);
        }
    }

    /// A part of the snapshot of which not even the names are left.
    pub(super) fn add_lost_part(&self, issue: Issue) {
        self.lost_parts.fetch_add(1, Ordering::Relaxed);
        self.add(issue);
    }

    /// True if something about this path failed before.
    pub(super) fn has_failed(&self, source: &[u8], path: &RelPath) -> bool {
        if self.failed.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.failed_paths.contains(&(source.to_vec(), path.clone()))
    }

    pub(super) fn collect(&self) -> Collected {
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        let mut named = std::mem::take(&mut lists.failures);
        named.append(&mut lists.warnings);
        named.truncate(ISSUES_NAMED_MAX);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Collected { failed: count(&self.failed), warnings: count(&self.warnings), lost_parts: count(&self.lost_parts), named }
    }
}
