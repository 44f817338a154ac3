//! What is to be reconciled, and when: each object once at a time, at the earliest moment anybody asked for.
//!
//! Closed while this replica does not lead: nobody takes anything out then, and who begins to lead asks for every object.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::object::{Key, Kind};

/// First pause after a failure; doubled with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A queue that any number of workers share.
#[derive(Clone, Default)]
pub struct WorkQueue(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    due: HashMap<Key, Instant>,
    /// What is not due yet. May hold entries that `due` no longer confirms; they are skipped.
    later: BinaryHeap<Reverse<(Instant, Key)>>,
    /// What is due, likewise, in the order in which it is taken.
    ready: BinaryHeap<Reverse<(Instant, Instant, Key)>>,
    running: HashSet<Key>,
    failures: HashMap<Key, u32>,
    is_closed: bool,
}

/// How long something of this kind lets others go first when there is more to do than can be done. What begins backups comes after those
/// that have begun: when thousands are due in one minute, each is over soon after it began, and none of them waits with its volume.
fn patience(kind: Kind) -> Duration {
    match kind {
        Kind::BackupConfiguration | Kind::BackupBatch => Duration::from_secs(300),
        _ => Duration::ZERO,
    }
}

impl WorkQueue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes nothing from now on, and forgets what it has.
    pub fn close(&self) {
        let mut state = self.state();
        let running = std::mem::take(&mut state.running);
        *state = State { running, is_closed: true, ..State::default() };
    }

    /// Takes again what it is asked for.
    pub fn open(&self) {
        self.state().is_closed = false;
    }

    /// Look at this object now.
    pub fn add(&self, key: Key) {
        self.add_at(key, Instant::now());
    }

    /// Look at them as soon as may be.
    pub fn extend(&self, keys: impl IntoIterator<Item = Key>) {
        keys.into_iter().for_each(|key| self.add(key));
    }

    /// Look at it in a while, or earlier if somebody else asked for that.
    pub fn add_after(&self, key: Key, delay: Duration) {
        self.add_at(key, Instant::now() + delay);
    }

    fn add_at(&self, key: Key, at: Instant) {
        let mut state = self.state();
        if state.is_closed || state.due.get(&key).is_some_and(|due| *due <= at) {
            return;
        }
        state.due.insert(key.clone(), at);
        state.later.push(Reverse((at, key)));
        drop(state);
        self.0.changed.notify_one();
    }

    /// The next object that is due and that nobody works on. Call [`Self::done`] afterwards.
    pub async fn next(&self) -> Key {
        loop {
            let changed = self.0.changed.notified();
            let (key, wait) = self.take(Instant::now());
            if let Some(key) = key {
                // Others may wait for the next entry.
                self.0.changed.notify_one();
                return key;
            }
            match wait {
                Some(at) => {
                    tokio::select! { () = changed => {}, () = tokio::time::sleep_until(at) => {} }
                }
                None => changed.await,
            }
        }
    }

    fn take(&self, now: Instant) -> (Option<Key>, Option<Instant>) {
        let mut state = self.state();
        while state.later.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Some(Reverse((at, key))) = state.later.pop() else { break };
            state.ready.push(Reverse((at + patience(key.kind), at, key)));
        }
        while let Some(Reverse((_, at, key))) = state.ready.pop() {
            // Superseded, or being worked on: `done` puts the latter back.
            if state.due.get(&key) != Some(&at) || state.running.contains(&key) {
                continue;
            }
            state.due.remove(&key);
            state.running.insert(key.clone());
            return (Some(key), None);
        }
        while let Some(Reverse((at, key))) = state.later.peek() {
            if state.due.get(key) == Some(at) && !state.running.contains(key) {
                return (None, Some(*at));
            }
            state.later.pop();
        }
        (None, None)
    }

    /// Work on this object is over; whether it went well decides about the pause before it is tried again.
    pub fn done(&self, key: &Key, succeeded: bool) {
        let mut state = self.state();
        state.running.remove(key);
        if let Some(at) = state.due.get(key).copied() {
            state.later.push(Reverse((at, key.clone())));
        }
        if succeeded || state.is_closed {
            state.failures.remove(key);
            drop(state);
            self.0.changed.notify_one();
            return;
        }
        let failures = state.failures.entry(key.clone()).or_default();
        *failures = failures.saturating_add(1);
        let pause = FIRST_PAUSE.saturating_mul(1 << (*failures - 1).min(16)).min(LONGEST_PAUSE);
        drop(state);
        self.add_after(key.clone(), pause);
        self.0.changed.notify_one();
    }

    /// Objects that wait.
    pub fn len(&self) -> usize {
        self.state().due.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new(Kind::Snapshot, "demo", name)
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_is_worked_on_once_at_a_time_and_no_wish_is_lost() {
        let queue = WorkQueue::default();
        queue.add(key("a"));
        queue.add(key("a"));
        assert_eq!(queue.next().await, key("a"));
        queue.add(key("a"));
        let second = tokio::time::timeout(Duration::from_millis(10), queue.next()).await;
        assert!(second.is_err(), "worked on twice at once");
        queue.done(&key("a"), true);
        assert_eq!(queue.next().await, key("a"));
        queue.done(&key("a"), true);
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_earliest_wish_counts_and_failures_wait_longer_each_time() {
        let queue = WorkQueue::default();
        queue.add_after(key("a"), Duration::from_secs(60));
        queue.add_after(key("a"), Duration::from_secs(5));
        let start = Instant::now();
        assert_eq!(queue.next().await, key("a"));
        assert_eq!(start.elapsed().as_secs(), 5);
        let mut pauses = Vec::new();
        for _ in 0..3 {
            queue.done(&key("a"), false);
            let start = Instant::now();
            queue.next().await;
            pauses.push(start.elapsed());
        }
        assert!(pauses[0] >= FIRST_PAUSE && pauses[1] >= 2 * FIRST_PAUSE && pauses[2] >= 4 * FIRST_PAUSE, "{pauses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_begun_goes_first_but_not_for_ever() {
        let queue = WorkQueue::default();
        let configuration = Key::new(Kind::BackupConfiguration, "demo", "c");
        queue.add(configuration.clone());
        tokio::time::advance(Duration::from_secs(1)).await;
        queue.add(key("a"));
        assert_eq!(queue.next().await, key("a"));
        queue.done(&key("a"), true);
        tokio::time::advance(Duration::from_secs(300)).await;
        queue.add(key("a"));
        assert_eq!(queue.next().await, configuration);
        assert_eq!(queue.next().await, key("a"));
    }
    #[tokio::test(start_paused = true)]
    async fn closed_it_takes_nothing_and_forgets_what_it_had() {
        let queue = WorkQueue::default();
        queue.add(key("running"));
        assert_eq!(queue.next().await, key("running"));
        queue.extend([key("a"), key("b")]);
        queue.add_after(key("later"), Duration::from_secs(1));
        queue.done(&key("b"), false);
        queue.close();
        assert!(queue.is_empty());
        queue.add(key("c"));
        queue.done(&key("running"), false);
        assert!(queue.state().failures.is_empty());
        assert!(queue.is_empty(), "nobody takes it out, so it grows for ever");
        tokio::time::advance(Duration::from_secs(600)).await;
        queue.open();
        queue.add(key("z"));
        tokio::time::advance(Duration::from_millis(1)).await;
        queue.add(key("a"));
        assert_eq!((queue.next().await, queue.next().await), (key("z"), key("a")), "in the order of the new wishes");
        assert!(tokio::time::timeout(Duration::from_secs(600), queue.next()).await.is_err(), "an old wish is left");
    }
}
