//! Agents come and go: what they bring with them, and what stays behind.

use holdfast_proto::v1;

use super::{State, Table, occupied_by, reference};
use crate::dispatch::agents::{Agent, AgentId, Announced};
use crate::dispatch::task::{Owner, TaskKey};
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
            self.adopt(id, &announced);
            self.touched.push(announced.owner);
        }
        self.requeue_what_is_not_there(&node, now_ms);
        // Whoever waited for an agent has something new to say about it.
        let waiting = self.tasks.values().filter(|task| matches!(task.state, State::Queued { .. }));
        let waiting: Vec<Key> = waiting.map(|task| task.owner.key.clone()).collect();
        self.touched.extend(waiting);
    }

    /// A task that the agent says it has. What the table does not know yet stays announced until its owner is looked at.
    fn adopt(&mut self, id: AgentId, announced: &Announced) {
        let Some(task) = self.tasks.get_mut(&announced.task) else { return };
        // Nobody has begun it here: what the leader before began goes on.
        if task.attempt == 0 && task.request.class.is_taken_over() {
            task.attempt = announced.attempt;
        }
        let same_attempt = task.attempt == announced.attempt;
        self.agents.forget_announced(id, &announced.task);
        match &mut task.state {
            State::Missing { .. } | State::Queued { .. } if same_attempt => task.state = State::Running { agent: id },
            // The result is here and waits for its owner, who acknowledges it to this stream now.
            State::Finished { agent, .. } if same_attempt => *agent = Some(id),
            _ => self.dismiss(id, &announced.owner, announced),
        }
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
        let lapse_ms = self.limits.grant_ttl_ms + self.limits.grant_margin_ms;
        self.granted_ms.retain(|_, answered_ms| *answered_ms + lapse_ms > now_ms);
    }

    /// When something will be due that no message announces.
    pub fn next_due_ms(&self, now_ms: u64) -> Option<u64> {
        let patience = self.limits.agent_return_ms;
        let due = self.tasks.values().filter_map(|task| match &task.state {
            State::Queued { not_before_ms } if *not_before_ms > now_ms => Some(*not_before_ms),
            State::Missing { since_ms, .. } => Some(since_ms + patience),
            _ => None,
        });
        due.min()
    }
}
