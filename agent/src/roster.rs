//! Which tasks run here, and what an assignment means for them. Pure: the hub acts on its answers.

use std::collections::{HashMap, HashSet};

use holdfast_proto::v1::task_refused::Reason;
use holdfast_proto::v1::{Assign, TaskFinished, TaskRef, assign};

use crate::worker::task::volumes;

/// Results that no controller has acknowledged. More than this many and the oldest are forgotten: the controller
/// then finds the task gone and assigns it again.
const UNACKNOWLEDGED_MAX: usize = 1024;

/// The unit of work that never runs twice at once: attempts of it replace each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    session_uid: String,
    component: String,
}

impl Key {
    pub(crate) fn of(task: &TaskRef) -> Self {
        Self { session_uid: task.session_uid.clone(), component: task.component.clone() }
    }
}

#[derive(Debug)]
pub(crate) struct Entry<H> {
    pub(crate) task: TaskRef,
    pub(crate) epoch: u64,
    pub(crate) state: State<H>,
}

#[derive(Debug)]
pub(crate) enum State<H> {
    Running {
        handle: H,
        pods: HashSet<String>,
        /// A newer attempt that begins when this one has ended.
        next: Option<Box<Assign>>,
    },
    Finished { result: Box<TaskFinished>, order: u64 },
}

/// What to do with an assignment.
#[derive(Debug, PartialEq)]
pub(crate) enum Decision {
    Start,
    /// Stop the running attempt; this one begins after it.
    Replace,
    /// It runs already: say so again.
    Acknowledge,
    /// It has finished already: send the result again.
    Report,
    Refuse(Reason, String),
}

/// Tasks by key; `H` is the handle of a running one.
#[derive(Debug)]
pub(crate) struct Roster<H> {
    slots: usize,
    entries: HashMap<Key, Entry<H>>,
    finished_so_far: u64,
    highest_epoch: u64,
    changes: u64,
}

impl<H> Roster<H> {
    pub(crate) fn new(slots: usize) -> Self {
        Self { slots, entries: HashMap::new(), finished_so_far: 0, highest_epoch: 0, changes: 0 }
    }

    /// Of the leaderships that are known here.
    pub(crate) fn highest_epoch(&self) -> u64 {
        self.highest_epoch
    }

    /// Another number each time that a task has come or gone.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Leaderships only ever grow; an assignment under an older one comes from a leader that was deposed.
    pub(crate) fn saw_epoch(&mut self, epoch: u64) {
        self.highest_epoch = self.highest_epoch.max(epoch);
    }

    pub(crate) fn decide(&self, assign: &Assign) -> Decision {
        let Some(task) = &assign.task else {
            return Decision::Refuse(Reason::UnknownTask, "the assignment names no task".into());
        };
        if assign.epoch < self.highest_epoch {
            return Decision::Refuse(Reason::StaleEpoch, format!("leadership {} is over, {} is known here", assign.epoch, self.highest_epoch));
        }
        if let Some(refusal) = unknown(assign) {
            return Decision::Refuse(Reason::UnknownTask, refusal);
        }
        let attempt = task.attempt;
        match self.entries.get(&Key::of(task)) {
            Some(entry) => match &entry.state {
                State::Running { next: Some(next), .. } if next.task.as_ref().is_some_and(|next| next.attempt == attempt) => Decision::Acknowledge,
                State::Running { next: Some(next), .. } if next.task.as_ref().is_some_and(|next| next.attempt > attempt) => stale(attempt),
                State::Running { .. } if entry.task.attempt == attempt => Decision::Acknowledge,
                State::Finished { .. } if entry.task.attempt == attempt => Decision::Report,
                _ if entry.task.attempt > attempt => stale(attempt),
                State::Running { .. } => Decision::Replace,
                State::Finished { .. } => self.start_if_slot(),
            },
            None => self.start_if_slot(),
        }
    }

    fn start_if_slot(&self) -> Decision {
        if self.running().count() < self.slots {
            Decision::Start
        } else {
            Decision::Refuse(Reason::NoSlot, format!("all {} slots of this node are taken", self.slots))
        }
    }

    pub(crate) fn started(&mut self, task: TaskRef, epoch: u64, spec: &assign::Spec, handle: H) {
        let pods = volumes(spec).map(|volume| volume.pod_uid.clone()).collect();
        self.changes += 1;
        self.entries.insert(Key::of(&task), Entry { task, epoch, state: State::Running { handle, pods, next: None } });
    }

    /// Puts a newer attempt behind the running one. What waits no longer is given back: it has secrets in it.
    pub(crate) fn queue_next(&mut self, assign: Assign) -> Option<Assign> {
        let Some(key) = assign.task.as_ref().map(Key::of) else { return Some(assign) };
        match self.entries.get_mut(&key) {
            Some(Entry { state: State::Running { next, .. }, .. }) => next.replace(Box::new(assign)).map(|older| *older),
            _ => Some(assign),
        }
    }

    /// Records the end of a running task and hands out the attempt that waited for it.
    pub(crate) fn finished(&mut self, result: TaskFinished) -> Option<Assign> {
        let key = Key::of(result.task.as_ref()?);
        self.finished_so_far += 1;
        let order = self.finished_so_far;
        let entry = self.entries.get_mut(&key)?;
        let before = std::mem::replace(&mut entry.state, State::Finished { result: Box::new(result), order });
        self.forget_oldest();
        match before {
            State::Running { next, .. } => next.map(|assign| *assign),
            State::Finished { .. } => None,
        }
    }

    /// The controller has the result of this attempt.
    pub(crate) fn acknowledged(&mut self, task: &TaskRef) {
        let key = Key::of(task);
        if let Some(Entry { task: known, state: State::Finished { .. }, .. }) = self.entries.get(&key)
            && known.attempt == task.attempt
        {
            self.changes += 1;
            self.entries.remove(&key);
        }
    }

    pub(crate) fn get(&self, task: &TaskRef) -> Option<&Entry<H>> {
        self.entries.get(&Key::of(task)).filter(|entry| entry.task.attempt == task.attempt)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Entry<H>> {
        self.entries.values()
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = (&TaskRef, &H, &HashSet<String>)> {
        self.entries.values().filter_map(|entry| match &entry.state {
            State::Running { handle, pods, .. } => Some((&entry.task, handle, pods)),
            State::Finished { .. } => None,
        })
    }

    /// The attempt of the same work that runs now, whatever its number.
    pub(crate) fn running_attempt(&self, task: &TaskRef) -> Option<&TaskRef> {
        self.entries.get(&Key::of(task)).filter(|entry| matches!(entry.state, State::Running { .. })).map(|entry| &entry.task)
    }

    /// Takes back an attempt that waits behind a running one.
    pub(crate) fn take_next(&mut self, task: &TaskRef) -> Option<Assign> {
        match self.entries.get_mut(&Key::of(task)) {
            Some(Entry { state: State::Running { next, .. }, .. }) => {
                next.take_if(|next| next.task.as_ref().is_some_and(|next| next.attempt == task.attempt)).map(|assign| *assign)
            }
            _ => None,
        }
    }

    fn forget_oldest(&mut self) {
        let finished = |entry: &Entry<H>| match entry.state {
            State::Finished { order, .. } => Some(order),
            State::Running { .. } => None,
        };
        if self.entries.values().filter_map(finished).count() <= UNACKNOWLEDGED_MAX {
            return;
        }
        let oldest = self.entries.iter().filter_map(|(key, entry)| finished(entry).map(|order| (order, key.clone()))).min_by_key(|(order, _)| *order);
        if let Some((_, key)) = oldest {
            tracing::warn!(?key, "a result that no controller took is forgotten");
            self.changes += 1;
            self.entries.remove(&key);
        }
    }
}

fn stale(attempt: u32) -> Decision {
    Decision::Refuse(Reason::StaleAttempt, format!("a newer attempt than {attempt} is known here"))
}

/// Why this version cannot run it; None if it can.
fn unknown(assign: &Assign) -> Option<String> {
    match &assign.spec {
        None => Some("this agent does not know this kind of task".into()),
        Some(spec) if volumes(spec).any(|volume| volume.block) => Some("this agent does not read raw block devices".into()),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests;
