//! The table of tasks: who wants what, which attempt runs where, what waits for what.
//!
//! Pure state, no IO: callers pass the time, and take the messages to send and the objects to reconcile out of
//! [`Table::drain`]. The invariants, each held by a test, most by a property test:
//! - of one task at most one attempt is starting or running here, and attempts only ever grow;
//! - what an agent brings with it of a backup that nobody has begun here goes on, if it can be on its node; of two the newer;
//! - no more tasks than slots on a node, per storage and in all;
//! - a restore is assigned again only when the last grant that anybody may have given has lapsed, with a margin;
//! - a volume has one restore at a time, whoever asked for it;
//! - a result stays until its owner has taken it, so nothing that an agent reports is lost.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use holdfast_proto::v1;

use super::agents::{Agent, AgentId, Agents, Announced};
use super::task::{Class, FREE_SLOT, Outcome, Owner, TaskKey, TaskRequest, TaskView, Wanted};
use crate::object::{Key, Kind, Named};

mod admission;
mod arrival;
mod report;
mod tasks;
#[cfg(test)]
mod tests;
mod volumes;

pub use admission::Start;
use tasks::Tasks;
use volumes::{Place, Right};

/// Bounds of admission and of waiting.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Tasks in the table; more are taken when there is room.
    pub tasks: usize,
    /// Tasks running at once.
    pub running: usize,
    /// Tasks running at once on one storage.
    pub running_per_storage: usize,
    /// Prunes and checks running at once; on one agent there is never more than one.
    pub maintenance: usize,
    /// Pages of what is in buckets that are read or held at once: each may have 512 KiB.
    pub reading: usize,
    /// Backups of manifests that are read at once: of each a few pages are held.
    pub manifests_read: usize,
    /// Restores of manifests at once: of each the whole file is held.
    pub manifests_made: usize,
    /// How long a restore may write after it asked for leave.
    pub grant_ttl_ms: u64,
    /// What is waited beyond that: clock rates differ.
    pub grant_margin_ms: u64,
    /// How long an agent that went away may take to come back with its tasks.
    pub agent_return_ms: u64,
    /// Pause before another attempt, doubled each time.
    pub retry_pause_ms: u64,
    /// Status writes for progress in all, per second.
    pub progress_writes_per_second: u64,
    /// Progress of one object is shown no more often than this.
    pub progress_interval_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tasks: 50_000,
            running: 1_000,
            running_per_storage: 256,
            maintenance: 4,
            reading: 8,
            manifests_read: 4,
            manifests_made: 1,
            grant_ttl_ms: 20_000,
            grant_margin_ms: 5_000,
            agent_return_ms: 30_000,
            retry_pause_ms: 2_000,
            progress_writes_per_second: 5,
            progress_interval_ms: 5_000,
        }
    }
}

/// All tasks under one leadership.
#[derive(Debug)]
pub struct Table {
    limits: Limits,
    epoch: u64,
    since_ms: u64,
    agents: Agents,
    tasks: Tasks,
    /// The last grant for each restore, until the attempt it was for has ended.
    rights: HashMap<TaskKey, Right>,
    /// Attempts that ended under this leadership: what their node says of them no longer matters.
    ended: HashMap<TaskKey, u32>,
    /// Tasks that were asked for under this leadership, while it is new.
    asked: BTreeSet<TaskKey>,
    order: u64,
    unwritten_attempt: u32,
    outbox: Vec<(AgentId, v1::ControllerMessage)>,
    touched: Vec<Key>,
}

#[derive(Debug)]
struct Task {
    owner: Owner,
    request: TaskRequest,
    /// Where the attempt that is with an agent writes: what is wanted by now may be elsewhere.
    places: Vec<Place>,
    order: u64,
    /// The newest attempt that was started by anybody.
    attempt: u32,
    /// This leadership has begun one of it: what an agent brings is older, whatever its number.
    begun_here: bool,
    state: State,
    /// Cancel was sent: whatever comes back is not a result.
    withdrawn: bool,
    /// The owner no longer wants it; the entry stays until its agent has let go.
    unwanted: bool,
    /// How often it was begun again after a failure.
    retries: u32,
    progress: Progress,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    Queued {
        not_before_ms: u64,
    },
    /// Assigned once, and its agent is away.
    Missing {
        node: String,
        since_ms: u64,
    },
    /// Its attempt is being persisted and its secrets read.
    Starting {
        agent: AgentId,
    },
    Running {
        agent: AgentId,
    },
    Finished {
        agent: Option<AgentId>,
        elapsed_ms: u64,
        outcome: Arc<Outcome>,
    },
}

#[derive(Debug, Default)]
struct Progress {
    shown: Option<Arc<v1::TaskProgress>>,
    shown_ms: u64,
}

/// What came out of a change: to be sent, and to be looked at again.
#[derive(Debug, Default)]
pub struct Drained {
    /// Messages, in order.
    pub messages: Vec<(AgentId, v1::ControllerMessage)>,
    /// Objects whose tasks moved.
    pub touched: Vec<Key>,
}

impl Table {
    /// An empty table for the leadership that began at `now_ms` as `epoch`.
    pub fn new(limits: Limits, epoch: u64, now_ms: u64) -> Self {
        Self {
            limits,
            epoch,
            since_ms: now_ms,
            agents: Agents::default(),
            tasks: Tasks::default(),
            rights: HashMap::new(),
            ended: HashMap::new(),
            asked: BTreeSet::new(),
            order: 0,
            unwritten_attempt: 0,
            outbox: Vec::new(),
            touched: Vec::new(),
        }
    }

    /// The leadership's epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Takes what there is to send and to look at.
    pub fn drain(&mut self) -> Drained {
        Drained { messages: std::mem::take(&mut self.outbox), touched: std::mem::take(&mut self.touched) }
    }

    /// `owner` wants exactly this. Says whether all fitted; what did not must be asked for again.
    pub fn want(&mut self, owner: &Owner, wanted: Vec<Wanted>, now_ms: u64) -> bool {
        let unwanted: Vec<TaskKey> = self
            .tasks
            .of_object(&owner.key)
            // Another life of the same name is not this owner: its tasks go.
            .filter(|key| key.owner_uid != owner.uid || !wanted.iter().any(|wanted| wanted.component() == key.component))
            .cloned()
            .collect();
        for key in unwanted {
            self.withdraw(&key);
        }
        for (agent, announced) in self.agents.announced_for(&owner.key) {
            if !self.is_wanted(owner, &wanted, agent, &announced) {
                self.agents.forget_announced(agent, &announced.task);
                self.dismiss(agent, &owner.key, &announced);
            }
        }
        let mut all_fitted = true;
        for wanted in wanted {
            if let Wanted::Task(request) = wanted {
                all_fitted &= self.want_one(owner, *request, now_ms);
            }
        }
        all_fitted
    }

    fn want_one(&mut self, owner: &Owner, request: TaskRequest, now_ms: u64) -> bool {
        let key = TaskKey { owner_uid: owner.uid.clone(), component: request.component.clone() };
        if let Some(task) = self.tasks.get(&key) {
            let persisted = request.persisted.as_ref().map_or(0, |attempt| attempt.number);
            if persisted <= task.attempt || !matches!(task.state, State::Queued { .. }) {
                self.restate(&key, request, now_ms);
                return true;
            }
            // The cache was behind: the leader before has begun what seemed to be new.
            self.tasks.remove(&key);
        }
        if self.tasks.len() >= self.limits.tasks {
            return false;
        }
        let (attempt, state) = self.first_state(&key, &request, now_ms);
        // A result that came before its owner was looked at: whoever asks now has looked already, and no message follows.
        if matches!(state, State::Finished { .. }) {
            self.touched.push(owner.key.clone());
            self.note_end(&key, request.class, attempt);
        }
        self.order += 1;
        let task = Task {
            owner: owner.clone(),
            places: Place::all(&request.work),
            request,
            order: self.order,
            attempt,
            begun_here: false,
            state,
            withdrawn: false,
            unwanted: false,
            retries: 0,
            progress: Progress { shown: None, shown_ms: now_ms },
        };
        // The same of one that has to wait for others: its owner is to say so.
        if let State::Queued { not_before_ms } = task.state
            && self.waits_for_volumes(&task, not_before_ms, now_ms).is_some()
        {
            self.touched.push(owner.key.clone());
        }
        if self.more_within(now_ms).is_some() {
            self.asked.insert(key.clone());
        }
        self.tasks.insert(key, task);
        true
    }

    /// Where a task begins that this leadership has not seen, and with which attempt: an earlier one may still run somewhere.
    fn first_state(&mut self, key: &TaskKey, request: &TaskRequest, now_ms: u64) -> (u32, State) {
        let queued = State::Queued { not_before_ms: now_ms };
        let Some(persisted) = &request.persisted else {
            // What the leader before had begun there may be of a session that is gone by now, or that the cache does not show yet.
            let not_before_ms = if Place::all(&request.work).is_empty() { now_ms } else { self.safe_ms(key, request.class, now_ms) };
            let queued = State::Queued { not_before_ms };
            let brought = if request.class.is_taken_over() { self.agents.take_newest_announced(key, request) } else { None };
            return brought.map_or((0, queued), |(agent, announced)| (announced.attempt, self.adopted(agent, announced, request.class, now_ms)));
        };
        if self.ended.get(key).is_some_and(|ended| *ended >= persisted.number) {
            return (persisted.number, queued);
        }
        let state = match self.agents.take_announced(key, request, persisted.number) {
            Some((agent, announced)) => self.adopted(agent, announced, request.class, now_ms),
            None if self.agents.on_node(&persisted.node).is_some() => {
                State::Queued { not_before_ms: self.safe_ms(key, request.class, now_ms) }
            }
            None => State::Missing { node: persisted.node.clone(), since_ms: now_ms },
        };
        (persisted.number, state)
    }

    /// Whether an announced attempt is that of a task which its owner wants, and which nobody else has.
    fn is_wanted(&self, owner: &Owner, wanted: &[Wanted], agent: AgentId, announced: &Announced) -> bool {
        let may_have = |request: &TaskRequest| self.agents.get(agent).is_some_and(|agent| request.may_be_on(&agent.node, announced.attempt));
        announced.task.owner_uid == owner.uid
            && wanted.iter().any(|wanted| match wanted {
                Wanted::Keep(component) => *component == announced.task.component,
                Wanted::Hold(_) | Wanted::Function(_) => false,
                Wanted::Task(request) => {
                    request.component == announced.task.component
                        && may_have(request)
                        && match &request.persisted {
                            Some(attempt) => attempt.number == announced.attempt,
                            None => request.class.is_taken_over() && !self.tasks.contains_key(&announced.task),
                        }
                }
            })
    }

    /// A task that is wanted again: as it stands now, and perhaps for another attempt.
    fn restate(&mut self, key: &TaskKey, request: TaskRequest, now_ms: u64) {
        let pause = self.limits.retry_pause_ms;
        // One that could not be begun because another controller had begun it leaves that its time to end.
        let safe_ms = self.safe_ms(key, request.class, now_ms);
        let Some(task) = self.tasks.get_mut(key) else { return };
        task.unwanted = false;
        let again_after = request.again_after;
        task.request = request;
        let State::Finished { agent, .. } = &task.state else { return };
        if again_after.is_some_and(|after| after >= task.attempt) {
            let agent = *agent;
            let reference = reference(&task.owner, key, task.attempt);
            let doubled = pause << task.retries.min(4);
            task.retries += 1;
            task.state = State::Queued { not_before_ms: safe_ms.max(now_ms + doubled) };
            if let Some(agent) = agent {
                self.acknowledge(agent, reference);
            }
        }
    }

    /// The earliest moment at which nobody can be writing under a grant for this task.
    fn safe_ms(&self, key: &TaskKey, class: Class, now_ms: u64) -> u64 {
        if class != Class::Restore {
            return now_ms;
        }
        // Grants of the leadership before this one are not known: the last could have been answered just before it ended. Of what has
        // ended since there is none left.
        let before = (!self.ended.contains_key(key)).then_some(self.since_ms);
        let answered = self.rights.get(key).map(|right| right.answered_ms).max(before);
        now_ms.max(answered.map_or(0, |answered_ms| answered_ms + self.lapse_ms()))
    }

    /// The owner no longer wants this task: its agent is told to stop, and the entry stays until it has.
    fn withdraw(&mut self, key: &TaskKey) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        match &task.state {
            State::Queued { .. } | State::Missing { .. } => {
                self.tasks.remove(key);
            }
            State::Starting { .. } => {
                task.withdrawn = true;
                task.unwanted = true;
            }
            State::Running { agent } => {
                let (agent, sent) = (*agent, task.withdrawn);
                task.withdrawn = true;
                task.unwanted = true;
                if !sent {
                    let cancel = v1::Cancel {
                        task: Some(reference(&task.owner, key, task.attempt)),
                        reason: "no longer wanted".into(),
                    };
                    self.send(agent, v1::controller_message::Kind::Cancel(cancel));
                }
            }
            State::Finished { agent, .. } => {
                let (agent, reference) = (*agent, reference(&task.owner, key, task.attempt));
                self.tasks.remove(key);
                if let Some(agent) = agent {
                    self.acknowledge(agent, reference);
                }
            }
        }
    }

    /// What an owner's tasks look like.
    pub fn views(&self, owner_uid: &str, now_ms: u64) -> BTreeMap<String, TaskView> {
        self.tasks
            .of_uid(owner_uid)
            .filter(|(_, task)| !task.unwanted)
            .map(|(key, task)| (key.component.clone(), self.view(task, now_ms)))
            .collect()
    }

    fn view(&self, task: &Task, now_ms: u64) -> TaskView {
        match &task.state {
            State::Queued { not_before_ms } => TaskView::Waiting(self.waits_for(task, *not_before_ms, now_ms)),
            State::Missing { node, .. } => {
                TaskView::Waiting(format!("waiting for the agent on node {node} to come back"))
            }
            State::Starting { agent } | State::Running { agent } => TaskView::Running {
                node: self.agents.get(*agent).map(|agent| agent.node.clone()).unwrap_or_default(),
                attempt: task.attempt,
                progress: task.progress.shown.clone(),
            },
            State::Finished { elapsed_ms, outcome, .. } => TaskView::Finished {
                attempt: task.attempt,
                retries: task.retries,
                elapsed_ms: *elapsed_ms,
                outcome: Arc::clone(outcome),
            },
        }
    }

    fn waits_for(&self, task: &Task, not_before_ms: u64, now_ms: u64) -> String {
        if let Some(why) = self.waits_for_volumes(task, not_before_ms, now_ms) {
            return why;
        }
        match &task.request.node {
            _ if not_before_ms > now_ms => "waiting before the next attempt".into(),
            Some(node) if self.agents.on_node(node).is_none() => format!("no agent is connected from node {node}"),
            None if self.agents.is_empty() => "no agent is connected".into(),
            node => {
                let needs = admission::capability(&task.request.work);
                let may_be_asked = |agent: &Agent| node.as_ref().is_none_or(|node| *node == agent.node) && agent.can(needs);
                if self.agents.iter().any(|(_, agent)| may_be_asked(agent)) {
                    return FREE_SLOT.into();
                }
                let place = node.as_ref().map_or_else(|| "connected".to_owned(), |node| format!("from node {node}"));
                format!("no agent {place} knows {needs:?}: they are of another version")
            }
        }
    }

    /// A pod of this node is being deleted: whoever uses its volumes lets go at once. Through which pods an attempt has its volumes only
    /// its agent knows for certain: another may be wanted by now, and what was taken over does not say.
    pub fn pod_terminating(&mut self, pod_uid: &str, node: &str) {
        let Some(agent) = self.agents.on_node(node) else { return };
        let running = self.tasks.values().filter(|task| task.state == State::Running { agent } && !task.request.pod_uids.is_empty());
        let running: Vec<(Key, bool)> =
            running.map(|task| (task.owner.key.clone(), task.request.pod_uids.iter().any(|uid| uid == pod_uid))).collect();
        // What an agent has brought and nobody has asked for yet may use it, too.
        if running.is_empty() && self.agents.announced_by(agent).is_empty() {
            return;
        }
        let release = v1::Release { pod_uid: pod_uid.to_owned(), reason: "the pod is being deleted".into() };
        self.send(agent, v1::controller_message::Kind::Release(release));
        self.touched.extend(running.into_iter().filter(|(_, uses_it)| *uses_it).map(|(owner, _)| owner));
    }

    /// Whether a backup to this Repository, a restore from it, or a view below its directory is with an agent.
    pub fn is_used(&self, repository: &Named, directory: &str) -> bool {
        let waits = |state: &State| matches!(state, State::Queued { .. } | State::Finished { .. });
        self.tasks.values().any(|task| {
            let work = &task.request.work;
            (work.uses() == Some(repository) || work.writes_below(directory)) && !waits(&task.state)
        })
    }

    /// Objects that have tasks here, by kind: after a relist their absence from the cache must be noticed.
    pub fn owners(&self, kind: Kind) -> Vec<Key> {
        let tasks = self.tasks.values().map(|task| &task.owner.key);
        let mut owners: Vec<Key> =
            tasks.chain(self.agents.announced_owners()).filter(|key| key.kind == kind).cloned().collect();
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    /// Number of tasks that wait and that run.
    pub fn counts(&self) -> (usize, usize) {
        let running = self.tasks.values().filter(|task| occupied_by(&task.state).is_some()).count();
        (self.tasks.len() - running, running)
    }

    fn send(&mut self, agent: AgentId, kind: v1::controller_message::Kind) {
        self.outbox.push((agent, v1::ControllerMessage { kind: Some(kind) }));
    }

    fn acknowledge(&mut self, agent: AgentId, task: v1::TaskRef) {
        self.send(agent, v1::controller_message::Kind::FinishedAck(v1::FinishedAck { task: Some(task) }));
    }
}

/// The agent whose slot a task takes.
fn occupied_by(state: &State) -> Option<AgentId> {
    match state {
        State::Starting { agent } | State::Running { agent } => Some(*agent),
        _ => None,
    }
}

fn reference(owner: &Owner, key: &TaskKey, attempt: u32) -> v1::TaskRef {
    v1::TaskRef {
        session_uid: key.owner_uid.clone(),
        component: key.component.clone(),
        attempt,
        namespace: owner.key.namespace.clone(),
        kind: owner.key.kind.as_str().to_owned(),
        name: owner.key.name.clone(),
    }
}
