//! The agent's one decider: what controllers say on the one side, tasks on the other.
//!
//! Results and rights go to the controller that leads (the highest epoch among the open streams); an assignment is
//! answered where it came from. Queues are bounded: a controller that does not read loses its stream, not our memory.

mod connection;

use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_proto::v1::agent_message::Kind as ToController;
use holdfast_proto::v1::controller_message::Kind as FromController;
use holdfast_proto::v1::{
    AgentMessage, Assign, ControllerMessage, CredentialsRequest, DataPiece, DataRequest, GrantAnswer, GrantRequest, Hello, Released, RunningTask,
    TaskAccepted, TaskFinished, TaskProgress, TaskRef, TaskRefused, task_failure, task_finished, task_refused,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cache::Caches;
use crate::config::Config;
use crate::roster::{Decision, Roster, State};
use crate::supervisor::{self, Command, Report, Reports};
use crate::worker::failure::failure;
use crate::worker::message::wipe;
use connection::Connections;
pub(crate) use connection::{ConnectionId, OUTBOUND_MAX};

/// Without a leader for so long nobody tells us which pods are being deleted: longer than a takeover takes.
const ALONE_MAX: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_secs(1);
/// Events on their way to the hub.
pub(crate) const EVENTS_MAX: usize = 256;
/// How long running tasks may take when the agent ends; the kubelet's grace period is 30 s.
const FAREWELL: Duration = Duration::from_secs(20);

/// Kinds of task and options that this version knows.
const CAPABILITIES: &[&str] = &[
    "backup", "restore", "init-repository", "probe-storage", "write-views", "check", "check-part", "forget", "prune", "wipe", "read-back", "grants",
    "release", "manifests",
    #[cfg(feature = "restic")]
    "restore-restic",
];

/// From the streams.
#[derive(Debug)]
pub(crate) enum Event {
    /// A stream is about to open; the hub's first message on it is Hello.
    Opening { id: ConnectionId, sender: mpsc::Sender<AgentMessage>, close: CancellationToken },
    Message { id: ConnectionId, message: Box<ControllerMessage> },
    Closed { id: ConnectionId },
}

pub(crate) struct Hub {
    config: Arc<Config>,
    caches: Arc<Caches>,
    instance: String,
    roster: Roster<mpsc::Sender<Command>>,
    connections: Connections,
    reports: Reports,
    tasks: TaskTracker,
    alone_since: Instant,
    alone_max: Duration,
}

/// Runs until `shutdown`, then lets the tasks go.
pub(crate) async fn run(config: Arc<Config>, instance: String, mut events: mpsc::Receiver<Event>, shutdown: CancellationToken) {
    let (reports, mut reported) = mpsc::channel(EVENTS_MAX);
    let mut hub = Hub::new(config, instance, reports);
    let mut tick = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            Some(event) = events.recv() => hub.event(event),
            Some((task, report)) = reported.recv() => hub.report(task, report),
            _ = tick.tick() => hub.let_go_if_alone(Instant::now()),
            () = shutdown.cancelled() => break,
        }
    }
    hub.farewell(reported).await;
}

impl Hub {
    fn new(config: Arc<Config>, instance: String, reports: Reports) -> Self {
        let slots = usize::try_from(config.slots).unwrap_or(usize::MAX);
        Self {
            caches: Arc::new(Caches::new(config.cache.clone())),
            config,
            instance,
            roster: Roster::new(slots),
            connections: Connections::default(),
            reports,
            tasks: TaskTracker::new(),
            alone_since: Instant::now(),
            alone_max: ALONE_MAX,
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Opening { id, sender, close } => {
                self.connections.opened(id, sender, close);
                self.hello(id);
            }
            Event::Closed { id } => self.connections.closed(id),
            Event::Message { id, message } => self.message(id, *message),
        }
    }

    fn message(&mut self, id: ConnectionId, message: ControllerMessage) {
        match message.kind {
            Some(FromController::Welcome(welcome)) => {
                tracing::info!(node = welcome.node, epoch = welcome.epoch, "a controller answers");
                // While our token was looked at another may have assigned something, or taken a result.
                let knows = self.connections.knows(id, self.roster.changes());
                self.leadership(id, welcome.epoch, !knows);
            }
            Some(FromController::Leadership(leadership)) => self.leadership(id, leadership.epoch, true),
            Some(FromController::Assign(assign)) => self.assign(id, assign),
            Some(FromController::Cancel(cancel)) => self.cancel(cancel.task.as_ref(), cancel.reason),
            Some(FromController::Release(release)) => self.release(&release.pod_uid, &release.reason),
            Some(FromController::Grant(grant)) => self.grant(grant),
            Some(FromController::Credentials(credentials)) => {
                if let (Some(task), Some(backend)) = (credentials.task, credentials.backend) {
                    self.command(&task, Command::Credentials(Box::new(backend)));
                }
            }
            Some(FromController::FinishedAck(ack)) => {
                if let Some(task) = &ack.task {
                    self.roster.acknowledged(task);
                }
            }
            Some(FromController::Data(data)) => {
                if let Some(task) = data.task.clone() {
                    self.command(&task, Command::Data(Box::new(data)));
                }
            }
            Some(FromController::DataAnswer(answer)) => {
                if let Some(task) = answer.task.clone() {
                    self.command(&task, Command::DataAnswer(Box::new(answer)));
                }
            }
            None => tracing::debug!("a controller says something that this version does not know"),
        }
    }

    /// A new leader hears what runs here and what has ended since anybody listened.
    fn leadership(&mut self, id: ConnectionId, epoch: u64, greet: bool) {
        self.connections.leads(id, epoch);
        if epoch == 0 {
            return;
        }
        self.roster.saw_epoch(epoch);
        if greet {
            self.hello(id);
        }
        let results: Vec<_> = self
            .roster
            .entries()
            .filter_map(|entry| match &entry.state {
                State::Finished { result, .. } => Some((**result).clone()),
                State::Running { .. } => None,
            })
            .collect();
        for result in results {
            self.connections.send(id, ToController::Finished(result));
        }
    }

    fn hello(&mut self, id: ConnectionId) {
        let running = self
            .roster
            .entries()
            .map(|entry| RunningTask {
                task: Some(entry.task.clone()),
                epoch: entry.epoch,
                finished: matches!(entry.state, State::Finished { .. }),
            })
            .collect();
        let hello = Hello {
            protocol_version: holdfast_proto::PROTOCOL_VERSION,
            capabilities: CAPABILITIES.iter().map(ToString::to_string).collect(),
            agent_version: env!("CARGO_PKG_VERSION").into(),
            slots: self.config.slots,
            memory_bytes: self.config.memory_bytes,
            running,
            instance: self.instance.clone(),
            highest_epoch: self.roster.highest_epoch(),
        };
        self.connections.told(id, self.roster.changes());
        self.connections.send(id, ToController::Hello(hello));
    }

    fn assign(&mut self, id: ConnectionId, mut assign: Assign) {
        let task = assign.task.clone();
        // Whoever may assign leads, even if the news of that never came: without a leader no result would be told, and no grant asked for.
        if assign.epoch >= self.roster.highest_epoch() && assign.epoch != self.connections.epoch(id) {
            self.leadership(id, assign.epoch, false);
        }
        match self.roster.decide(&assign) {
            Decision::Refuse(reason, message) => {
                tracing::info!(?task, ?reason, message, "a task is refused");
                wipe(&mut assign);
                self.refuse(id, task, reason, message);
                return;
            }
            Decision::Report => {
                let result = task.as_ref().and_then(|task| self.roster.get(task)).and_then(|entry| match &entry.state {
                    State::Finished { result, .. } => Some((**result).clone()),
                    State::Running { .. } => None,
                });
                if let Some(result) = result {
                    self.connections.send(id, ToController::Finished(result));
                }
                wipe(&mut assign);
                return;
            }
            Decision::Acknowledge => wipe(&mut assign),
            Decision::Replace => {
                self.command_running(&assign, "a newer attempt takes its place");
                if let Some(mut older) = self.roster.queue_next(assign) {
                    wipe(&mut older);
                }
            }
            Decision::Start => self.start(assign),
        }
        self.connections.send(id, ToController::Accepted(TaskAccepted { task }));
    }

    fn refuse(&mut self, id: ConnectionId, task: Option<TaskRef>, reason: task_refused::Reason, message: String) {
        self.connections.send(id, ToController::Refused(TaskRefused { task, reason: reason.into(), message }));
    }

    fn start(&mut self, assign: Assign) {
        let (Some(task), Some(spec)) = (assign.task.clone(), assign.spec.as_ref()) else { return };
        tracing::info!(kind = task.kind, namespace = task.namespace, name = task.name, component = task.component, attempt = task.attempt, "a task starts");
        let (commands, receiver) = mpsc::channel(supervisor::QUEUE_MAX);
        self.roster.saw_epoch(assign.epoch);
        self.roster.started(task, assign.epoch, spec, commands);
        self.tasks.spawn(supervisor::run(Arc::clone(&self.config), Arc::clone(&self.caches), assign, self.reports.clone(), receiver));
    }

    /// Stops the older attempt of an assignment.
    fn command_running(&mut self, assign: &Assign, reason: &str) {
        let running = assign.task.as_ref().and_then(|task| self.roster.running_attempt(task)).cloned();
        if let Some(task) = running {
            self.command(&task, Command::Cancel { reason: reason.into() });
        }
    }

    fn cancel(&mut self, task: Option<&TaskRef>, reason: String) {
        let Some(task) = task else { return };
        if let Some(mut waiting) = self.roster.take_next(task) {
            wipe(&mut waiting);
            // It was accepted: until its end is told, the leader counts it as running here.
            let stopped = failure(task_failure::Reason::Cancelled, format!("stopped before it began: {reason}"), false);
            let outcome = Some(task_finished::Outcome::Failure(stopped));
            self.tell_leader(ToController::Finished(TaskFinished { task: Some(task.clone()), elapsed_ms: 0, outcome }));
        }
        self.command(task, Command::Cancel { reason });
    }

    fn release(&mut self, pod_uid: &str, reason: &str) {
        let tasks: Vec<TaskRef> =
            self.roster.running().filter(|(_, _, pods)| pods.contains(pod_uid)).map(|(task, _, _)| task.clone()).collect();
        for task in tasks {
            self.command(&task, Command::Release { reason: reason.to_owned() });
        }
    }

    fn grant(&mut self, grant: GrantAnswer) {
        if let Some(task) = &grant.task {
            let GrantAnswer { sequence, granted, ttl_ms, reason, .. } = grant.clone();
            self.command(task, Command::Grant { sequence, granted, ttl_ms, reason });
        }
    }

    fn command(&self, task: &TaskRef, command: Command) {
        let Some(entry) = self.roster.get(task) else { return };
        let State::Running { handle, .. } = &entry.state else { return };
        if let Err(error) = handle.try_send(command) {
            // It ends, or more was said to it than anybody says; a lost grant is asked for again, a lost stop repeated.
            tracing::warn!(task = task.name, %error, "a task does not take a command");
        }
    }

    fn report(&mut self, task: TaskRef, report: Report) {
        match report {
            Report::Progress(progress) => self.connections.send_if_room(ToController::Progress(TaskProgress { task: Some(task), ..progress })),
            Report::GrantWanted { sequence } => self.tell_leader(ToController::GrantRequest(GrantRequest { task: Some(task), sequence })),
            Report::CredentialsWanted => self.tell_leader(ToController::CredentialsRequest(CredentialsRequest { task: Some(task) })),
            Report::DataWanted { offset, max_bytes } => {
                self.tell_leader(ToController::DataRequest(DataRequest { task: Some(task), offset, max_bytes }));
            }
            Report::Piece(piece) => self.tell_leader(ToController::DataPiece(DataPiece { task: Some(task), ..piece })),
            Report::Released => self.tell_leader(ToController::Released(Released { task: Some(task) })),
            Report::Finished(result) => {
                tracing::info!(kind = task.kind, namespace = task.namespace, name = task.name, component = task.component, attempt = task.attempt, "a task has ended");
                self.tell_leader(ToController::Finished((*result).clone()));
                if let Some(next) = self.roster.finished(*result) {
                    self.start(next);
                }
            }
        }
    }

    fn tell_leader(&mut self, kind: ToController) {
        if let Some(id) = self.connections.leader() {
            self.connections.send(id, kind);
        }
    }

    /// Only tasks with volumes obey a release.
    fn let_go_if_alone(&mut self, now: Instant) {
        if self.connections.leader().is_some() {
            self.alone_since = now;
        } else if now.duration_since(self.alone_since) >= self.alone_max {
            self.release_all("no controller leads, so nobody can say which pods need their volumes");
        }
    }

    fn release_all(&self, reason: &str) {
        for (task, _, _) in self.roster.running() {
            self.command(task, Command::Release { reason: reason.into() });
        }
    }

    /// Every task is let go; what they report on the way still reaches the leader.
    async fn farewell(mut self, mut reported: mpsc::Receiver<(TaskRef, Report)>) {
        for (task, _, pods) in self.roster.running() {
            let reason = "the agent of this node is being stopped".to_owned();
            let command = if pods.is_empty() { Command::Cancel { reason } } else { Command::Release { reason } };
            self.command(task, command);
        }
        self.tasks.close();
        let tasks = self.tasks.clone();
        let ended = async {
            loop {
                tokio::select! {
                    Some((task, report)) = reported.recv() => {
                        if let Report::Finished(result) = &report {
                            // Nothing begins any more.
                            drop(self.roster.finished((**result).clone()));
                        }
                        self.farewell_report(task, report);
                    }
                    () = tasks.wait() => break,
                }
            }
        };
        if tokio::time::timeout(FAREWELL, ended).await.is_err() {
            tracing::warn!("tasks that did not end in time are killed with the agent");
        }
    }

    fn farewell_report(&mut self, task: TaskRef, report: Report) {
        match report {
            Report::Finished(result) => self.tell_leader(ToController::Finished(*result)),
            Report::Released => self.tell_leader(ToController::Released(Released { task: Some(task) })),
            Report::GrantWanted { .. } | Report::CredentialsWanted | Report::Progress(_) | Report::DataWanted { .. } | Report::Piece(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
