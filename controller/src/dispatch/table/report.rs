//! What agents say about their tasks. A report of another attempt than the one that runs here is ignored.

use std::sync::Arc;

use holdfast_proto::v1;

use super::volumes::Right;
use super::{State, Table};
use crate::dispatch::agents::AgentId;
use crate::dispatch::task::{Class, Outcome, TaskKey, TaskRequest};
use crate::object::{Key, Kind};

/// How long a task waits after an agent refused it for want of room.
const REFUSED_PAUSE_MS: u64 = 1_000;
/// How long after an agent that did not know it: until the rollout has come further.
const UNKNOWN_PAUSE_MS: u64 = 30_000;
/// Ended attempts of restores that are remembered; without the memory a restore merely waits for its grant to lapse.
const ENDED_MAX: usize = 10_000;

fn key_of(reference: &v1::TaskRef) -> TaskKey {
    TaskKey { owner_uid: reference.session_uid.clone(), component: reference.component.clone() }
}

/// Whether there is anything to say: a task that stands still says so once, and is not written again every few seconds.
fn has_moved(shown: &v1::TaskProgress, now: &v1::TaskProgress) -> bool {
    let what = |progress: &v1::TaskProgress| {
        let counted = (progress.files_done, progress.files_total, progress.bytes_done, progress.bytes_total);
        (counted, progress.phase.clone(), progress.bytes_per_second == 0)
    };
    what(shown) != what(now)
}

impl Table {
    /// Whether this agent runs this attempt, as far as the table knows.
    fn runs(&self, agent: AgentId, reference: &v1::TaskRef) -> bool {
        self.tasks
            .get(&key_of(reference))
            .is_some_and(|task| task.state == State::Running { agent } && task.attempt == reference.attempt)
    }

    /// An attempt has ended.
    pub fn finished(&mut self, agent: AgentId, message: v1::TaskFinished) {
        // A stream that another has replaced: its agent says it again on the new one.
        if self.agents.get(agent).is_none() {
            return;
        }
        let Some(reference) = message.task.clone() else { return };
        let key = key_of(&reference);
        if !self.runs(agent, &reference) {
            self.finished_elsewhere(agent, message, &key);
            return;
        }
        let outcome = Outcome::from_message(message.outcome);
        self.rights.remove(&key);
        let Some(class) = self.tasks.get(&key).map(|task| task.request.class) else { return };
        self.note_end(&key, class, reference.attempt);
        let Some(task) = self.tasks.get_mut(&key) else { return };
        self.touched.push(task.owner.key.clone());
        if task.withdrawn || outcome.was_stopped() {
            // Cancelled, or let go for the application: not a result. Whoever still wants it asks for it again.
            self.tasks.remove(&key);
            self.acknowledge(agent, reference);
            return;
        }
        task.state = State::Finished { agent: Some(agent), elapsed_ms: message.elapsed_ms, outcome: Arc::new(outcome) };
    }

    /// An agent has said that an attempt is over.
    pub(super) fn note_end(&mut self, key: &TaskKey, class: Class, attempt: u32) {
        if !class.is_persisted() {
            return;
        }
        if self.ended.len() >= ENDED_MAX {
            self.ended.clear();
        }
        self.ended.insert(key.clone(), attempt);
    }

    /// A report that the table does not expect: of an announced task whose owner has not been looked at yet (kept), a
    /// repetition, or of an old attempt (the agent may forget it).
    fn finished_elsewhere(&mut self, agent: AgentId, message: v1::TaskFinished, key: &TaskKey) {
        let Some(reference) = message.task.clone() else { return };
        let awaited = self
            .tasks
            .get(key)
            .is_some_and(|task| task.attempt == reference.attempt && matches!(task.state, State::Finished { .. }));
        if awaited {
            return;
        }
        if self.agents.keep_result(agent, key, message).is_some() {
            self.acknowledge(agent, reference);
        } else if let Some(kind) = Kind::parse(&reference.kind) {
            self.touched.push(Key::new(kind, reference.namespace, reference.name));
        }
    }

    /// An agent will not run a task.
    pub fn refused(&mut self, agent: AgentId, message: &v1::TaskRefused, now_ms: u64) {
        use v1::task_refused::Reason;
        let Some(reference) = &message.task else { return };
        if !self.runs(agent, reference) {
            return;
        }
        let Some(task) = self.tasks.get_mut(&key_of(reference)) else { return };
        let pause_ms = match message.reason() {
            Reason::UnknownTask => UNKNOWN_PAUSE_MS,
            _ => REFUSED_PAUSE_MS,
        };
        self.touched.push(task.owner.key.clone());
        if task.unwanted {
            self.tasks.remove(&key_of(reference));
        } else {
            task.state = State::Queued { not_before_ms: now_ms + pause_ms };
        }
    }

    /// Progress; nobody hears of it until it is the object's turn to be written.
    pub fn progress(&mut self, agent: AgentId, message: v1::TaskProgress, now_ms: u64) {
        let Some(reference) = &message.task else { return };
        if !self.runs(agent, reference) {
            return;
        }
        let (_, running) = self.counts();
        // One budget for all: with many tasks each is shown less often.
        let fair_ms = u64::try_from(running).unwrap_or(u64::MAX).saturating_mul(1000)
            / self.limits.progress_writes_per_second.max(1);
        let interval_ms = fair_ms.max(self.limits.progress_interval_ms);
        let Some(task) = self.tasks.get_mut(&key_of(reference)) else { return };
        let moved = task.progress.shown.as_deref().is_none_or(|shown| has_moved(shown, &message));
        if moved && now_ms >= task.progress.shown_ms + interval_ms {
            task.progress.shown_ms = now_ms;
            task.progress.shown = Some(Arc::new(message));
            self.touched.push(task.owner.key.clone());
        }
    }

    /// A restore asks for leave to write. `leads` is whether this controller's own leadership holds at this moment.
    pub fn grant(&mut self, agent: AgentId, request: &v1::GrantRequest, leads: bool, now_ms: u64) {
        let Some(reference) = &request.task else { return };
        let key = key_of(reference);
        let may_write =
            self.tasks.get(&key).is_some_and(|task| task.request.class == Class::Restore && !task.withdrawn);
        let is_it = may_write && self.runs(agent, reference);
        let is_kept_out = self.is_kept_out(&key, now_ms);
        let granted = leads && is_it && !is_kept_out;
        if granted && let Some(task) = self.tasks.get(&key) {
            let right = Right { answered_ms: now_ms, owner: task.owner.key.clone(), places: task.places.clone() };
            self.rights.insert(key, right);
        }
        let reason = match (leads, is_it) {
            _ if granted => "",
            (false, _) => "this controller does not lead",
            (true, false) => "this attempt is not the one that may write",
            (true, true) => "another restore may still write to its volume",
        };
        let answer = v1::GrantAnswer {
            task: Some(reference.clone()),
            sequence: request.sequence,
            granted,
            ttl_ms: if granted { self.limits.grant_ttl_ms } else { 0 },
            reason: reason.into(),
        };
        self.send(agent, v1::controller_message::Kind::Grant(answer));
    }

    /// Whether an attempt is with an agent, or may come back with one, and is still wanted.
    pub fn goes_on(&self, key: &TaskKey, attempt: u32) -> bool {
        let is_with_an_agent = |state: &State| matches!(state, State::Running { .. } | State::Missing { .. });
        self.tasks.get(key).is_some_and(|task| task.attempt == attempt && !task.withdrawn && is_with_an_agent(&task.state))
    }

    /// The request of a task that this agent runs: what its credentials are renewed from.
    pub fn held_request(&self, agent: AgentId, reference: &v1::TaskRef) -> Option<TaskRequest> {
        if !self.runs(agent, reference) {
            return None;
        }
        self.tasks.get(&key_of(reference)).map(|task| task.request.clone())
    }
}
