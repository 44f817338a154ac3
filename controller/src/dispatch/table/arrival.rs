//! Agents come and go: what they bring with them, and what stays behind.

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::v1;

use super::{State, Table, occupied_by, reference};
use crate::dispatch::agents::{Agent, AgentId, Announced};
use crate::dispatch::task::{Brought, Class, Outcome, Owner, TaskKey};
use crate::object::Key;

impl Table {
    /// An agent has said Hello on a new stream. An older stream of its node is over, whatever the network says.
    pub fn agent_joined(&mut self, id: AgentId, agent: Agent, now_ms: u64) {
        let node = agent.node.clone();
        while let Some(older) = self.agents.on_node(&node) {
            self.agent_left(older, now_ms);
        }
        self.agents.insert(id, agent);
        for announced in self.agents.announced_by(id) {
            self.adopt(id, &node, &announced);
            self.touched.push(announced.owner);
        }
        self.requeue_what_is_not_there(&node, now_ms);
        // Whoever waited for an agent has something new to say about it.
        let waiting = self.tasks.values().filter(|task| matches!(task.state, State::Queued { .. }));
        let waiting: Vec<Key> = waiting.map(|task| task.owner.key.clone()).collect();
        self.touched.extend(waiting);
    }

    /// A task that the agent says it has. What the table does not know yet stays announced until its owner is looked at.
    fn adopt(&mut self, id: AgentId, node: &str, announced: &Announced) {
        let Some(task) = self.tasks.get_mut(&announced.task) else { return };
        self.agents.forget_announced(id, &announced.task);
        let same_attempt = task.attempt == announced.attempt;
        let may_be_here = match &task.state {
            // By now it may be wanted on another node; this attempt was begun on that one.
            State::Missing { node: known, .. } if same_attempt => known == node,
            _ => task.request.may_be_on(node, announced.attempt),
        };
        let is_newer = announced.attempt > task.attempt && !task.begun_here && !task.withdrawn;
        let takes_its_place = is_newer && may_be_here && task.request.class.is_taken_over();
        match &mut task.state {
            _ if takes_its_place => self.take_newer(id, announced),
            State::Missing { .. } | State::Queued { .. } if same_attempt && may_be_here => task.state = State::Running { agent: id },
            // The result is here and waits for its owner, who acknowledges it to this stream now.
            State::Finished { agent, .. } if same_attempt => *agent = Some(id),
            _ => self.dismiss(id, &announced.owner, announced),
        }
    }

    /// Nobody has begun it here. What the leaders before began goes on, and of two attempts the newer, whichever is heard of first.
    fn take_newer(&mut self, id: AgentId, announced: &Announced) {
        let Some(task) = self.tasks.get_mut(&announced.task) else { return };
        let older = reference(&task.owner, &announced.task, task.attempt);
        task.attempt = announced.attempt;
        match std::mem::replace(&mut task.state, State::Running { agent: id }) {
            State::Running { agent } => {
                let cancel = v1::Cancel { task: Some(older), reason: "a newer attempt goes on".into() };
                self.send(agent, v1::controller_message::Kind::Cancel(cancel));
            }
            State::Finished { agent: Some(agent), .. } => self.acknowledge(agent, older),
            _ => {}
        }
    }

    /// What an agent brings with it becomes of a task that this leadership has not begun.
    pub(super) fn adopted(&mut self, agent: AgentId, mut announced: Announced, class: Class, now_ms: u64) -> State {
        let Some(result) = announced.result.take() else { return State::Running { agent } };
        let outcome = Outcome::from_message(result.outcome);
        if outcome.was_stopped() {
            // Cancelled, or let go for the application: not a result.
            self.dismiss(agent, &announced.owner, &announced);
            self.note_end(&announced.task, class, announced.attempt);
            return State::Queued { not_before_ms: now_ms };
        }
        State::Finished { agent: Some(agent), elapsed_ms: result.elapsed_ms, outcome: Arc::new(outcome) }
    }

    /// For how long agents may still come with what they have from the leader before.
    pub(super) fn more_within(&self, now_ms: u64) -> Option<Duration> {
        let left_ms = (self.since_ms + self.limits.agent_return_ms).saturating_sub(now_ms);
        (left_ms > 0).then(|| Duration::from_millis(left_ms))
    }

    /// What agents have brought of an object, and nobody has asked for here.
    pub fn brought(&self, owner_uid: &str, now_ms: u64) -> Brought {
        let first = TaskKey { owner_uid: owner_uid.to_owned(), component: String::new() };
        let asked = self.asked.range(first..).take_while(|key| key.owner_uid == owner_uid).map(|key| key.component.clone()).collect();
        let mut brought = Brought { asked, more_within: self.more_within(now_ms), ..Brought::default() };
        for said in self.agents.announced_of(owner_uid).filter(|said| !self.tasks.contains_key(&said.task)) {
            let component = said.task.component.clone();
            match (said.finished, &said.result) {
                (_, Some(_)) => brought.ended.insert(component),
                (false, None) => brought.running.insert(component),
                // Its result is on the way, and until it is here nothing can be said of it.
                (true, None) => false,
            };
        }
        brought
    }

    /// Tells an agent to drop a task that nobody wants, or that a newer attempt has replaced.
    pub(super) fn dismiss(&mut self, id: AgentId, owner: &Key, announced: &Announced) {
        let owner = Owner { key: owner.clone(), uid: announced.task.owner_uid.clone() };
        let task = reference(&owner, &announced.task, announced.attempt);
        if announced.finished {
            self.acknowledge(id, task);
        } else {
            let cancel = v1::Cancel { task: Some(task), reason: "no longer wanted".into() };
            self.send(id, v1::controller_message::Kind::Cancel(cancel));
        }
    }

    /// The agent of this node is here without them: they ended with its former life.
    fn requeue_what_is_not_there(&mut self, node: &str, now_ms: u64) {
        let gone: Vec<TaskKey> = self
            .tasks
            .iter()
            .filter(|(_, task)| matches!(&task.state, State::Missing { node: missing, .. } if missing == node))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.requeue(&key, now_ms);
        }
    }

    fn requeue(&mut self, key: &TaskKey, now_ms: u64) {
        let Some(class) = self.tasks.get(key).map(|task| task.request.class) else { return };
        let not_before_ms = self.safe_ms(key, class, now_ms);
        if let Some(task) = self.tasks.get_mut(key) {
            task.state = State::Queued { not_before_ms };
            self.touched.push(task.owner.key.clone());
        }
    }

    /// An agent's stream has ended.
    pub fn agent_left(&mut self, id: AgentId, now_ms: u64) {
        let Some(agent) = self.agents.remove(id) else { return };
        let held: Vec<TaskKey> = self
            .tasks
            .iter()
            .filter(|(_, task)| occupied_by(&task.state) == Some(id))
            .map(|(key, _)| key.clone())
            .collect();
        for key in held {
            let Some(task) = self.tasks.get_mut(&key) else { continue };
            // A task that is starting has not been sent: `started` finds its agent gone and puts it back.
            if matches!(task.state, State::Starting { .. }) {
                continue;
            }
            self.touched.push(task.owner.key.clone());
            if task.unwanted {
                // The agent hears of it again when it announces the task.
                self.tasks.remove(&key);
            } else {
                task.withdrawn = false;
                task.state = State::Missing { node: agent.node.clone(), since_ms: now_ms };
            }
        }
        for task in self.tasks.values_mut() {
            if let State::Finished { agent, .. } = &mut task.state
                && *agent == Some(id)
            {
                *agent = None;
            }
        }
    }

    /// Gives up waiting for agents that did not come back in time, and forgets grants that have long lapsed.
    pub fn expire(&mut self, now_ms: u64) {
        let patience = self.limits.agent_return_ms;
        let late: Vec<TaskKey> = self
            .tasks
            .iter()
            .filter(|(_, task)| matches!(task.state, State::Missing { since_ms, .. } if now_ms >= since_ms + patience))
            .map(|(key, _)| key.clone())
            .collect();
        for key in late {
            self.requeue(&key, now_ms);
        }
        if self.more_within(now_ms).is_none() {
            self.asked.clear();
        }
        let lapse_ms = self.lapse_ms();
        self.rights.retain(|_, right| right.answered_ms + lapse_ms > now_ms);
    }

    /// When something will be due that no message announces.
    pub fn next_due_ms(&self, now_ms: u64) -> Option<u64> {
        let patience = self.limits.agent_return_ms;
        let due = self.tasks.values().filter_map(|task| match &task.state {
            State::Queued { not_before_ms } if *not_before_ms > now_ms => Some(*not_before_ms),
            State::Missing { since_ms, .. } => Some(since_ms + patience),
            _ => None,
        });
        // With the end of a right its volumes are free.
        let lapses = self.rights.values().map(|right| right.answered_ms + self.lapse_ms()).filter(|lapse_ms| *lapse_ms > now_ms);
        due.chain(lapses).min()
    }
}
