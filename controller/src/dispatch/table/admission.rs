//! Which task is next, and on which agent: restores first, then small service work, then backups; within a class the
//! group with the fewest running tasks, then the oldest.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use holdfast_proto::v1;

use super::volumes::Place;
use super::{State, Table, Task, occupied_by, reference};
use crate::dispatch::agents::AgentId;
use crate::dispatch::task::{Class, NotStarted, Outcome, Owner, TaskKey, TaskRequest, Work};
use crate::object::Named;

/// A task that has been given to an agent and is to be prepared: attempt persisted, secrets read.
#[derive(Clone, Debug)]
pub struct Start {
    /// Which task.
    pub key: TaskKey,
    /// For whom.
    pub owner: Owner,
    /// The agent.
    pub agent: AgentId,
    /// The agent's node.
    pub node: String,
    /// The attempt to persist and to assign.
    pub attempt: u32,
    /// The attempt that must still be the newest when it is persisted; 0 if there is none.
    pub previous_attempt: u32,
    /// What to do.
    pub request: TaskRequest,
}

impl Start {
    /// The task's name in messages.
    pub fn reference(&self) -> v1::TaskRef {
        reference(&self.owner, &self.key, self.attempt)
    }
}

/// Slots that are taken.
#[derive(Default)]
struct Load {
    in_all: usize,
    per_storage: HashMap<Named, usize>,
    per_group: HashMap<String, usize>,
    per_agent: HashMap<AgentId, usize>,
    maintenance: usize,
    maintained: HashMap<AgentId, usize>,
    /// Pages that are read, or have been and are still held here.
    reading: usize,
    /// Manifests that go through this controller: out, and back.
    manifests: (usize, usize),
}

impl Load {
    fn add(&mut self, agent: AgentId, request: &TaskRequest) {
        *self.per_agent.entry(agent).or_default() += 1;
        self.reading += usize::from(request.class == Class::Reading);
        match request.work {
            Work::StoreManifests { .. } => self.manifests.0 += 1,
            Work::ReturnManifests { .. } => self.manifests.1 += 1,
            _ => {}
        }
        if request.class == Class::Maintenance {
            self.maintenance += 1;
            *self.maintained.entry(agent).or_default() += 1;
        }
        // Service work is small: it takes an agent's slot, but no part of what bounds the data in flight.
        if !request.class.is_repeatable() {
            self.in_all += 1;
            *self.per_storage.entry(request.storage.clone()).or_default() += 1;
            *self.per_group.entry(request.group.clone()).or_default() += 1;
        }
    }

    fn of_group(&self, group: &str) -> usize {
        self.per_group.get(group).copied().unwrap_or(0)
    }
}

/// Whose turn it is: the least first.
type Rank = (Class, usize, u64);

fn rank(task: &Task, load: &Load) -> Rank {
    (task.request.class, load.of_group(&task.request.group), task.order)
}

impl Table {
    /// Gives what can run now to agents, and returns it to be prepared.
    pub fn starts(&mut self, now_ms: u64) -> Vec<Start> {
        let mut load = self.load();
        let mut writers = self.writers(now_ms);
        let mut ready: BinaryHeap<Reverse<(Rank, TaskKey)>> = self
            .tasks
            .iter()
            .filter(|(_, task)| matches!(task.state, State::Queued { not_before_ms } if not_before_ms <= now_ms))
            .map(|(key, task)| Reverse((rank(task, &load), key.clone())))
            .collect();
        let mut starts = Vec::new();
        while let Some(Reverse((ranked, key))) = ready.pop() {
            let Some(task) = self.tasks.get(&key) else { continue };
            // Others of its group were begun meanwhile: it is another's turn.
            let now = rank(task, &load);
            if now != ranked {
                ready.push(Reverse((now, key)));
                continue;
            }
            // What does not fit now does not later in this round either: slots and volumes are only taken.
            let places = Place::all(&task.request.work);
            if writers.before(&key, &places).is_some() {
                continue;
            }
            let Some(agent) = self.agent_for(&task.request, &load) else { continue };
            if let Some(start) = self.start(key, agent) {
                load.add(agent, &start.request);
                writers.add(&start.key, &start.owner.key, &places);
                starts.push(start);
            }
        }
        starts
    }

    fn load(&self) -> Load {
        let mut load = Load::default();
        for task in self.tasks.values() {
            if let Some(agent) = occupied_by(&task.state) {
                load.add(agent, &task.request);
            } else if task.request.class == Class::Reading && matches!(task.state, State::Finished { .. }) {
                load.reading += 1;
            }
        }
        load
    }

    fn agent_for(&self, request: &TaskRequest, load: &Load) -> Option<AgentId> {
        let is_maintenance = request.class == Class::Maintenance;
        if is_maintenance && load.maintenance >= self.limits.maintenance {
            return None;
        }
        if request.class == Class::Reading && load.reading >= self.limits.reading {
            return None;
        }
        let is_too_much = match request.work {
            Work::StoreManifests { .. } => load.manifests.0 >= self.limits.manifests_read,
            Work::ReturnManifests { .. } => load.manifests.1 >= self.limits.manifests_made,
            _ => false,
        };
        if is_too_much {
            return None;
        }
        if !request.class.is_repeatable() {
            let on_storage = load.per_storage.get(&request.storage).copied().unwrap_or(0);
            if load.in_all >= self.limits.running || on_storage >= self.limits.running_per_storage {
                return None;
            }
        }
        let taken = |id: AgentId| load.per_agent.get(&id).copied().unwrap_or(0);
        let fits = self.agents.iter().filter(|(id, agent)| {
            // Maintenance leaves a slot for whatever comes, where there is more than one.
            let slots = if is_maintenance { agent.slots.saturating_sub(1).max(1) } else { agent.slots };
            request.node.as_ref().is_none_or(|node| *node == agent.node)
                && taken(*id) < slots
                && !(is_maintenance && load.maintained.contains_key(id))
                && agent.can(capability(&request.work))
        });
        fits.map(|(id, _)| id).min_by_key(|id| (taken(*id), *id))
    }

    fn start(&mut self, key: TaskKey, agent: AgentId) -> Option<Start> {
        let node = self.agents.get(agent)?.node.clone();
        let unwritten_attempt = self.next_unwritten_attempt();
        let task = self.tasks.get_mut(&key)?;
        let previous_attempt = task.attempt;
        let following = previous_attempt.saturating_add(1);
        task.attempt = if task.request.class.is_persisted() { following } else { unwritten_attempt.max(following) };
        task.begun_here = true;
        task.state = State::Starting { agent };
        task.places = Place::all(&task.request.work);
        task.withdrawn = false;
        let (owner, request, attempt) = (task.owner.clone(), task.request.clone(), task.attempt);
        Some(Start { key, owner, agent, node, attempt, previous_attempt, request })
    }

    /// Of a task whose attempts are not written down: the leadership's epoch, which is, makes them grow.
    fn next_unwritten_attempt(&mut self) -> u32 {
        self.unwritten_attempt = (self.unwritten_attempt + 1) & 0xf_ffff;
        (u32::try_from(self.epoch & 0xfff).unwrap_or(0) << 20) | self.unwritten_attempt
    }

    /// A start has been prepared, or could not be.
    pub fn started(&mut self, start: &Start, prepared: Result<v1::Assign, NotStarted>, now_ms: u64) {
        let agent_is_here = self.agents.get(start.agent).is_some();
        let Some(task) = self.tasks.get_mut(&start.key) else { return };
        if task.attempt != start.attempt || task.state != (State::Starting { agent: start.agent }) {
            return;
        }
        self.touched.push(task.owner.key.clone());
        if task.unwanted {
            self.tasks.remove(&start.key);
            return;
        }
        // What was wanted meanwhile may be somewhere else: this assignment is out of date and nobody has it.
        let moved = task.request.node.as_ref().is_some_and(|node| *node != start.node);
        match prepared {
            Ok(assign) if agent_is_here && !moved => {
                task.state = State::Running { agent: start.agent };
                task.withdrawn = false;
                task.progress.shown_ms = now_ms;
                self.send(start.agent, v1::controller_message::Kind::Assign(assign));
            }
            Ok(_) => task.state = State::Queued { not_before_ms: now_ms },
            Err(reason) => {
                task.state =
                    State::Finished { agent: None, elapsed_ms: 0, outcome: Arc::new(Outcome::NotStarted(reason)) };
            }
        }
    }
}

/// The word in Hello for a kind of work.
pub(super) fn capability(work: &Work) -> &'static str {
    match work {
        Work::Probe { .. } => "probe-storage",
        Work::Initialise { only_existing: false, .. } => "init-repository",
        Work::Initialise { only_existing: true, .. } | Work::ReadRepositories { .. } | Work::ReadSnapshots { .. } => "read-back",
        Work::Views { .. } => "write-views",
        Work::Forget { .. } => "forget",
        Work::Prune { .. } => "prune",
        Work::Check { .. } => "check-part",
        Work::Wipe { .. } => "wipe",
        Work::Backup { .. } => "backup",
        Work::Restore { task, .. } if task.restic.is_some() => "restore-restic",
        Work::Restore { .. } => "restore",
        Work::StoreManifests { .. } | Work::ReturnManifests { .. } => "manifests",
    }
}
