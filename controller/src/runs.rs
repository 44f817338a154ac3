//! What runs beside the reconcilers for their objects: begun once, its end remembered until the object is done with it.
//!
//! What is known here is lost with the process, and with its leadership.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::JoinHandle;

use crate::object::Key;
use crate::workqueue::WorkQueue;

/// How a run stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// It runs.
    Running,
    /// It has ended; says why it failed.
    Ended(Result<(), String>),
}

enum Run {
    Running(JoinHandle<()>),
    Ended(Result<(), String>),
}

impl Run {
    fn standing(&self) -> Standing {
        match self {
            Self::Running(_) => Standing::Running,
            Self::Ended(result) => Standing::Ended(result.clone()),
        }
    }
}

/// Runs by what tells them apart, each with the object that it is for.
#[derive(Clone)]
pub struct Runs<I> {
    queue: WorkQueue,
    at_once_max: usize,
    known: Arc<Mutex<HashMap<I, (Key, Run)>>>,
}

impl<I: Clone + Eq + Hash + Send + 'static> Runs<I> {
    /// Wakes the objects of those that have ended; more than `at_once_max` do not run.
    pub fn new(queue: WorkQueue, at_once_max: usize) -> Self {
        Self { queue, at_once_max, known: Arc::default() }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<I, (Key, Run)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a run stands; none that was not begun here.
    pub fn standing(&self, id: &I) -> Option<Standing> {
        self.known().get(id).map(|(_, run)| run.standing())
    }

    /// How those stand that are `meant`.
    pub fn standings(&self, meant: impl Fn(&I) -> bool) -> HashMap<I, Standing> {
        self.known().iter().filter(|(id, _)| meant(id)).map(|(id, (_, run))| (id.clone(), run.standing())).collect()
    }

    /// Begins a run that was not begun; false if too many run. `work` comes to nothing if this process ends before it.
    pub fn start(&self, key: Key, id: I, work: impl Future<Output = Option<Result<(), String>>> + Send + 'static) -> bool {
        let mut known = self.known();
        if known.contains_key(&id) {
            return true;
        }
        if known.values().filter(|(_, run)| matches!(run, Run::Running(_))).count() >= self.at_once_max {
            return false;
        }
        let running = tokio::spawn({
            let (runs, id, key) = (self.clone(), id.clone(), key.clone());
            async move {
                let Some(result) = work.await else { return };
                runs.known().insert(id, (key.clone(), Run::Ended(result)));
                runs.queue.add(key);
            }
        });
        // It waits for the lock before it says how it ended.
        known.insert(id, (key, Run::Running(running)));
        true
    }

    /// Of an object only these are wanted: what else still runs for it is stopped.
    pub fn keep(&self, object: &Key, is_kept: impl Fn(&I) -> bool) {
        self.known().retain(|id, (key, run)| {
            let stays = key != object || is_kept(id);
            if !stays && let Run::Running(running) = run {
                running.abort();
            }
            stays
        });
    }

    /// The object is gone, or has what it wanted: what still runs for it is stopped.
    pub fn forget(&self, object: &Key) {
        self.keep(object, |_| false);
    }

    /// Whatever runs is stopped, and has stopped when this returns; nothing is remembered.
    pub async fn let_go(&self) {
        let known = std::mem::take(&mut *self.known());
        let running = known.into_values().filter_map(|(_, run)| if let Run::Running(running) = run { Some(running) } else { None });
        let running: Vec<JoinHandle<()>> = running.inspect(JoinHandle::abort).collect();
        for stopped in running {
            // An error says that it was stopped.
            let _ = stopped.await;
        }
        // One that ended at this moment has still said so.
        self.known().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Kind;

    /// Says when it is dropped.
    struct Guard(Arc<Mutex<bool>>);

    impl Drop for Guard {
        fn drop(&mut self) {
            *self.0.lock().unwrap() = true;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_runs_has_stopped_when_it_is_let_go_and_nothing_of_it_is_known() {
        let runs = Runs::new(WorkQueue::default(), 2);
        let key = Key::new(Kind::BackupSession, "demo", "s");
        let is_over = Arc::new(Mutex::new(false));
        let guard = Guard(Arc::clone(&is_over));
        assert!(runs.start(key.clone(), "runs", async move {
            let _guard = guard;
            std::future::pending().await
        }));
        assert!(runs.start(key.clone(), "ends", async { Some(Ok(())) }));
        while runs.standing(&"ends") != Some(Standing::Ended(Ok(()))) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        runs.let_go().await;
        assert!(*is_over.lock().unwrap(), "it runs on");
        assert_eq!((runs.standing(&"runs"), runs.standing(&"ends")), (None, None));
        assert!(runs.start(key, "runs", async { Some(Ok(())) }), "it can begin again");
    }
}
