//! Hands work to agents: the table of tasks, the streams, and between them the preparation of each assignment.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_proto::{PROTOCOL_VERSION, v1};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::clock::SharedClock;
use crate::leadership::Leadership;
use crate::manifests::courier::Courier;
use crate::object::{Key, Kind, Named};
use crate::workqueue::WorkQueue;

pub mod agents;
pub mod assign;
pub mod attempts;
pub mod authenticate;
mod data;
pub mod secrets;
pub mod server;
pub mod table;
pub mod task;

use agents::{Agent, AgentId};
use assign::Preparer;
use table::{Limits, Start, Table};
use task::{Brought, NotStarted, Owner, TaskView, Wanted};

/// Longest sleep of the pump; everything that matters wakes it.
const PUMP_IDLE: Duration = Duration::from_secs(10);

/// What a stream is written through; full means that its agent does not read, and it is cut off.
type Outgoing = mpsc::Sender<Result<v1::ControllerMessage, Status>>;

/// The dispatcher of this replica.
#[derive(Clone)]
pub struct Dispatcher(Arc<Inner>);

struct Inner {
    /// There is one while this replica leads.
    table: Mutex<Option<Table>>,
    streams: Mutex<HashMap<AgentId, Stream>>,
    next_stream: AtomicU64,
    clock: SharedClock,
    leadership: Leadership,
    limits: Limits,
    queue: WorkQueue,
    pump: Notify,
    /// Data of tasks, under way.
    courier: Arc<Courier>,
    shutdown: CancellationToken,
}

struct Stream {
    node: String,
    outgoing: Outgoing,
    closed: CancellationToken,
}

impl Dispatcher {
    /// A dispatcher that does not lead yet. Objects whose tasks move are put into `queue`; every stream ends with `shutdown`.
    pub fn new(
        clock: SharedClock,
        leadership: Leadership,
        limits: Limits,
        queue: WorkQueue,
        shutdown: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            table: Mutex::new(None),
            streams: Mutex::default(),
            next_stream: AtomicU64::new(1),
            clock,
            leadership,
            limits,
            queue,
            pump: Notify::new(),
            courier: Arc::default(),
            shutdown,
        }))
    }

    /// Does `work` on the table, then sends and announces what came of it; `None` when this replica does not lead.
    fn with_table<R>(&self, work: impl FnOnce(&mut Table, u64) -> R) -> Option<R> {
        let now_ms = self.0.clock.boottime_ms();
        let mut guard = self.0.table.lock().unwrap_or_else(PoisonError::into_inner);
        let table = guard.as_mut()?;
        let result = work(table, now_ms);
        let drained = table.drain();
        // Sent under the lock: messages of one agent keep the order in which the table made them.
        for (agent, message) in drained.messages {
            self.send(agent, message);
        }
        drop(guard);
        for key in drained.touched {
            self.0.queue.add(key);
        }
        Some(result)
    }

    fn send(&self, agent: AgentId, message: v1::ControllerMessage) {
        let streams = self.0.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stream) = streams.get(&agent) else { return };
        match stream.outgoing.try_send(Ok(message)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                tracing::warn!(?agent, node = stream.node, "an agent does not read its stream and is cut off");
                stream.closed.cancel();
            }
            // The stream has ended; what is to be said waits for the next.
            Err(mpsc::error::TrySendError::Closed(_)) => stream.closed.cancel(),
        }
    }

    /// This replica leads as `epoch` from now on. Agents hear it, and say again what they run.
    pub fn lead(&self, epoch: u64) {
        let now_ms = self.0.clock.boottime_ms();
        let mut table = self.0.table.lock().unwrap_or_else(PoisonError::into_inner);
        *table = Some(Table::new(self.0.limits.clone(), epoch, now_ms));
        self.announce(epoch);
    }

    /// This replica no longer leads; agents keep their streams and look elsewhere for work.
    pub fn follow(&self) {
        *self.0.table.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.0.courier.retain(|_| false);
        self.announce(0);
    }

    fn announce(&self, epoch: u64) {
        let streams = self.0.streams.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in streams.values() {
            let kind = v1::controller_message::Kind::Leadership(v1::Leadership { epoch });
            if stream.outgoing.try_send(Ok(v1::ControllerMessage { kind: Some(kind) })).is_err() {
                stream.closed.cancel();
            }
        }
    }

    /// `owner` wants exactly these tasks. Says whether all were taken.
    pub fn want(&self, owner: &Owner, wanted: Vec<Wanted>) -> bool {
        let fitted = self.with_table(|table, now_ms| table.want(owner, wanted, now_ms)).unwrap_or(true);
        self.0.pump.notify_one();
        fitted
    }

    /// What the tasks of an object look like.
    pub fn views(&self, owner_uid: &str) -> BTreeMap<String, TaskView> {
        self.with_table(|table, now_ms| table.views(owner_uid, now_ms)).unwrap_or_default()
    }

    /// What agents have brought of an object since another led.
    pub fn brought(&self, owner_uid: &str) -> Brought {
        self.with_table(|table, now_ms| table.brought(owner_uid, now_ms)).unwrap_or_default()
    }

    /// Whether a backup to this Repository, or a restore from it, is with an agent.
    pub fn is_used(&self, repository: &Named, directory: &str) -> bool {
        self.with_table(|table, _| table.is_used(repository, directory)).unwrap_or(false)
    }

    /// Objects of a kind that have tasks here.
    pub fn owners(&self, kind: Kind) -> Vec<Key> {
        self.with_table(|table, _| table.owners(kind)).unwrap_or_default()
    }

    /// Whether anything of an object may still run; `attempted` names the components that somebody has begun and that have not succeeded.
    pub fn is_at_work<'a>(&self, owner_uid: &str, attempted: impl Iterator<Item = &'a str>) -> bool {
        self.with_table(|table, now_ms| table.is_at_work(owner_uid, attempted, now_ms)).unwrap_or(false)
    }

    /// A pod of a node is being deleted.
    pub fn pod_terminating(&self, pod_uid: &str, node: &str) {
        self.with_table(|table, _| table.pod_terminating(pod_uid, node));
    }

    /// Tasks that wait, and that run.
    pub fn counts(&self) -> (usize, usize) {
        self.with_table(|table, _| table.counts()).unwrap_or_default()
    }

    /// Gives out work until `stop`. To be run while this replica leads.
    pub async fn pump(&self, preparer: Arc<Preparer>, stop: CancellationToken) {
        loop {
            let notified = self.0.pump.notified();
            preparer.secrets.wipe_old();
            let step = self.with_table(|table, now_ms| {
                table.expire(now_ms);
                (table.starts(now_ms), table.next_due_ms(now_ms).map(|due| due.saturating_sub(now_ms)))
            });
            let Some((starts, due_ms)) = step else { return };
            self.let_data_go();
            for start in starts {
                tokio::spawn(self.clone().prepare(start, Arc::clone(&preparer)));
            }
            let pause = due_ms.map_or(PUMP_IDLE, |ms| Duration::from_millis(ms.max(1)).min(PUMP_IDLE));
            tokio::select! {
                () = stop.cancelled() => return,
                () = notified => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn prepare(self, start: Start, preparer: Arc<Preparer>) {
        let epoch = self.0.leadership.epoch();
        let prepared = preparer.prepare(&start, epoch).await;
        // A leadership that lapsed meanwhile must not assign; agents would refuse its epoch, too.
        let prepared = if self.0.leadership.holds(epoch, self.0.clock.boottime_ms()) {
            prepared
        } else {
            prepared.and(Err(NotStarted::Superseded("the controller's leadership lapsed".into())))
        };
        if let Err(reason) = &prepared {
            tracing::info!(owner = %start.owner.key, component = start.key.component, %reason, "a task could not be assigned");
        }
        self.with_table(|table, now_ms| {
            if table.epoch() == epoch {
                table.started(&start, prepared, now_ms);
            }
        });
        self.0.pump.notify_one();
    }

    /// A new stream, with its Welcome: its number, and the token that ends it.
    fn open(&self, node: String, outgoing: Outgoing) -> (AgentId, CancellationToken) {
        let id = AgentId(self.0.next_stream.fetch_add(1, Ordering::Relaxed));
        let closed = self.0.shutdown.child_token();
        let mut streams = self.0.streams.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock of the announcements: whoever misses one that was just made knows of it already, and of the next it hears.
        let epoch = self.0.leadership.epoch();
        let welcome = v1::Welcome { protocol_version: PROTOCOL_VERSION, node: node.clone(), epoch, capabilities: Vec::new() };
        let kind = v1::controller_message::Kind::Welcome(welcome);
        // The channel is empty: this cannot wait, and cannot fail while the receiver is here.
        let _ = outgoing.try_send(Ok(v1::ControllerMessage { kind: Some(kind) }));
        streams.insert(id, Stream { node, outgoing, closed: closed.clone() });
        (id, closed)
    }

    fn joined(&self, id: AgentId, node: String, hello: v1::Hello) {
        self.0.leadership.heard(hello.highest_epoch);
        let agent = Agent::from_hello(node, hello);
        self.with_table(|table, now_ms| table.agent_joined(id, agent, now_ms));
        self.0.pump.notify_one();
    }

    fn left(&self, id: AgentId) {
        self.0.streams.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.with_table(|table, now_ms| table.agent_left(id, now_ms));
        self.0.pump.notify_one();
    }

    /// A message of an agent that has said Hello.
    fn heard(&self, id: AgentId, message: v1::agent_message::Kind, preparer: &Arc<Preparer>) {
        use v1::agent_message::Kind as Heard;
        match message {
            Heard::Progress(progress) => {
                self.with_table(|table, now_ms| table.progress(id, progress, now_ms));
            }
            Heard::GrantRequest(request) => self.answer_grant(id, &request),
            Heard::Finished(finished) => {
                self.with_table(|table, _| table.finished(id, finished));
                self.0.pump.notify_one();
            }
            Heard::Refused(refused) => {
                tracing::info!(task = ?refused.task, reason = ?refused.reason(), message = refused.message, "an agent refused a task");
                self.with_table(|table, now_ms| table.refused(id, &refused, now_ms));
                self.0.pump.notify_one();
            }
            Heard::CredentialsRequest(request) => self.renew_credentials(id, request, Arc::clone(preparer)),
            Heard::DataRequest(request) => self.serve_data(id, request, Arc::clone(preparer)),
            Heard::DataPiece(piece) => self.take_data(id, piece, preparer),
            // Said again when a replica begins to lead: a refresh of what the agent runs.
            Heard::Hello(hello) => {
                let streams = self.0.streams.lock().unwrap_or_else(PoisonError::into_inner);
                let node = streams.get(&id).map(|stream| stream.node.clone());
                drop(streams);
                if let Some(node) = node {
                    self.joined(id, node, hello);
                }
            }
            Heard::Accepted(_) | Heard::Released(_) => {}
        }
    }

    fn answer_grant(&self, id: AgentId, request: &v1::GrantRequest) {
        let leadership = self.0.leadership.clone();
        let answered = self.with_table(|table, now_ms| {
            let leads = leadership.holds(table.epoch(), now_ms);
            table.grant(id, request, leads, now_ms);
        });
        if answered.is_none() {
            let refusal = v1::GrantAnswer {
                task: request.task.clone(),
                sequence: request.sequence,
                granted: false,
                ttl_ms: 0,
                reason: "this controller does not lead".into(),
            };
            self.send(id, v1::ControllerMessage { kind: Some(v1::controller_message::Kind::Grant(refusal)) });
        }
    }

    fn renew_credentials(&self, id: AgentId, request: v1::CredentialsRequest, preparer: Arc<Preparer>) {
        let Some(reference) = request.task else { return };
        let held = self.with_table(|table, _| table.held_request(id, &reference)).flatten();
        let Some(held) = held else { return };
        let dispatcher = self.clone();
        tokio::spawn(async move {
            match preparer.backend(&held.storage, true).await {
                Ok(backend) => {
                    let credentials = v1::Credentials { task: Some(reference), backend: Some(backend) };
                    let kind = v1::controller_message::Kind::Credentials(credentials);
                    dispatcher.send(id, v1::ControllerMessage { kind: Some(kind) });
                }
                Err(reason) => tracing::warn!(storage = %held.storage, %reason, "credentials could not be renewed"),
            }
        });
    }
}

#[cfg(test)]
mod tests;
