//! The agents that are connected, and what they said they run.

use std::collections::BTreeMap;

use holdfast_proto::v1;

use super::task::{TaskKey, TaskRequest};
use crate::object::{Key, Kind};

/// One stream of one agent; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentId(pub u64);

/// An agent that has said Hello.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Its node, as its token says.
    pub node: String,
    /// Random per process.
    pub instance: String,
    /// Tasks it runs at once.
    pub slots: usize,
    /// Task kinds that it knows.
    pub capabilities: Vec<String>,
    announced: Vec<Announced>,
}

/// A task that an agent says it has.
#[derive(Clone, Debug, PartialEq)]
pub struct Announced {
    /// Which task.
    pub task: TaskKey,
    /// Its object.
    pub owner: Key,
    /// Which attempt.
    pub attempt: u32,
    /// It has ended and its result follows, or is here.
    pub finished: bool,
    /// Its result, if that came before the owner was looked at.
    pub result: Option<Box<v1::TaskFinished>>,
}

/// All connected agents.
#[derive(Debug, Default)]
pub struct Agents(BTreeMap<AgentId, Agent>);

/// What is taken from one Hello, at most: more than any node's slots, and what a hostile one may cost us.
const ANNOUNCED_MAX: usize = 1024;
const SLOTS_MAX: u32 = 256;

impl Agent {
    /// From the Hello of an agent on `node`.
    pub fn from_hello(node: String, hello: v1::Hello) -> Self {
        Self {
            node,
            instance: hello.instance,
            slots: usize::try_from(hello.slots.min(SLOTS_MAX)).unwrap_or(0),
            capabilities: hello.capabilities,
            announced: hello.running.into_iter().take(ANNOUNCED_MAX).filter_map(announced).collect(),
        }
    }

    /// Whether it says it can do this; an agent that names nothing is asked, and may refuse.
    pub fn can(&self, capability: &str) -> bool {
        self.capabilities.is_empty() || self.capabilities.iter().any(|known| known == capability)
    }
}

fn announced(running: v1::RunningTask) -> Option<Announced> {
    let task = running.task?;
    Some(Announced {
        owner: Key::new(Kind::parse(&task.kind)?, task.namespace, task.name),
        task: TaskKey { owner_uid: task.session_uid, component: task.component },
        attempt: task.attempt,
        finished: running.finished,
        result: None,
    })
}

impl Agents {
    pub(super) fn insert(&mut self, id: AgentId, agent: Agent) {
        self.0.insert(id, agent);
    }

    pub(super) fn remove(&mut self, id: AgentId) -> Option<Agent> {
        self.0.remove(&id)
    }

    pub(super) fn get(&self, id: AgentId) -> Option<&Agent> {
        self.0.get(&id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (AgentId, &Agent)> {
        self.0.iter().map(|(id, agent)| (*id, agent))
    }

    pub(super) fn on_node(&self, node: &str) -> Option<AgentId> {
        self.0.iter().find(|(_, agent)| agent.node == node).map(|(id, _)| *id)
    }

    /// The agent that announced this attempt, of those on nodes where it can be; it is no longer merely announced.
    pub(super) fn take_announced(&mut self, task: &TaskKey, request: &TaskRequest, attempt: u32) -> Option<(AgentId, Announced)> {
        for (id, agent) in self.0.iter_mut().filter(|(_, agent)| request.may_be_on(&agent.node, attempt)) {
            if let Some(at) = agent.announced.iter().position(|said| said.task == *task && said.attempt == attempt) {
                return Some((*id, agent.announced.swap_remove(at)));
            }
        }
        None
    }

    /// The newest attempt that any of them announced, and which; it is no longer merely announced.
    pub(super) fn take_newest_announced(&mut self, task: &TaskKey, request: &TaskRequest) -> Option<(AgentId, Announced)> {
        let all = self.0.values().flat_map(|agent| agent.announced.iter().map(|said| (&agent.node, said)));
        let theirs = all.filter(|(node, said)| said.task == *task && request.may_be_on(node, said.attempt));
        let newest = theirs.map(|(_, said)| said.attempt).max()?;
        self.take_announced(task, request, newest)
    }

    pub(super) fn announced_of(&self, owner_uid: &str) -> impl Iterator<Item = &Announced> {
        self.0.values().flat_map(|agent| &agent.announced).filter(move |said| said.task.owner_uid == owner_uid)
    }

    pub(super) fn announced_for(&self, owner: &Key) -> Vec<(AgentId, Announced)> {
        let all = self.0.iter().flat_map(|(id, agent)| agent.announced.iter().map(|said| (*id, said)));
        all.filter(|(_, said)| said.owner == *owner).map(|(id, said)| (id, said.clone())).collect()
    }

    pub(super) fn announced_by(&self, id: AgentId) -> Vec<Announced> {
        self.0.get(&id).map(|agent| agent.announced.clone()).unwrap_or_default()
    }

    /// Keeps the result of an announced attempt: an agent repeats it only on its next stream. Gives it back if it is
    /// of no announced attempt.
    pub(super) fn keep_result(
        &mut self,
        id: AgentId,
        task: &TaskKey,
        result: v1::TaskFinished,
    ) -> Option<v1::TaskFinished> {
        let attempt = result.task.as_ref().map(|task| task.attempt);
        let announced = self.0.get_mut(&id).and_then(|agent| {
            agent.announced.iter_mut().find(|said| said.task == *task && Some(said.attempt) == attempt)
        });
        let Some(announced) = announced else { return Some(result) };
        announced.finished = true;
        announced.result = Some(Box::new(result));
        None
    }

    pub(super) fn forget_announced(&mut self, id: AgentId, task: &TaskKey) {
        if let Some(agent) = self.0.get_mut(&id) {
            agent.announced.retain(|said| said.task != *task);
        }
    }

    pub(super) fn announced_owners(&self) -> impl Iterator<Item = &Key> {
        self.0.values().flat_map(|agent| agent.announced.iter().map(|said| &said.owner))
    }
}
