//! One task from assignment to result, around one worker process.
//!
//! Invariants: a result is reported only when the process is gone, so that no attempt of it still holds or writes a
//! volume; a worker that does not let go in time is killed; one that ends without a result failed its own task only.

mod exchange;
mod questions;
mod rights;
mod stall;
mod stop;

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_proto::v1::task_failure::Reason;
use holdfast_proto::v1::{
    Assign, Backend, Data, DataAnswer, DataPiece, TaskFailure, TaskFinished, TaskProgress, TaskRef, task_finished::Outcome,
};
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::mpsc;

use crate::cache::{self, Caches};
use crate::clock;
use crate::config::Config;
use crate::lookup;
use crate::process::{self, Process};
use crate::worker::failure::{failure, outcome};
use crate::worker::message::{FromWorker, Grant, StopOrder, Work, from_worker, to_worker};
use crate::worker::task::{has_temporary_keys, volumes};
use exchange::Exchange;
use questions::Questions;
use rights::Rights;
use stall::Stall;
use stop::{Cause, Stop};

const TICK: Duration = Duration::from_millis(200);
/// Progress goes out no more often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// After its result a worker only has to exit.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);
/// What a dead worker's socket still holds.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// Temporary keys are asked for anew well within the shortest life that a provider gives them (15 minutes).
const CREDENTIALS_INTERVAL: Duration = Duration::from_secs(300);
/// Messages on their way to a supervisor.
pub(crate) const QUEUE_MAX: usize = 64;
/// Messages from its worker: each may be a megabyte, and ten times that once it is parsed.
const HEARD_MAX: usize = 4;

/// From the hub.
#[derive(Debug)]
pub(crate) enum Command {
    Cancel { reason: String },
    Release { reason: String },
    Grant { sequence: u64, granted: bool, ttl_ms: u64, reason: String },
    Credentials(Box<Backend>),
    Data(Box<Data>),
    DataAnswer(Box<DataAnswer>),
}

/// To the hub.
#[derive(Debug)]
pub(crate) enum Report {
    Progress(TaskProgress),
    GrantWanted { sequence: u64 },
    CredentialsWanted,
    DataWanted { offset: u64, max_bytes: u32 },
    Piece(DataPiece),
    Released,
    Finished(Box<TaskFinished>),
}

/// Where reports go.
pub(crate) type Reports = mpsc::Sender<(TaskRef, Report)>;

/// Runs the task to its end and reports it. Returns when nothing of it is left.
pub(crate) async fn run(config: Arc<Config>, caches: Arc<Caches>, assign: Assign, reports: Reports, mut commands: mpsc::Receiver<Command>) {
    let started = Instant::now();
    let Some(task) = assign.task.clone() else { return };
    let mut finished = match Supervisor::start(config, caches, assign, task.clone(), reports.clone()).await {
        Ok((supervisor, reader)) => supervisor.attend(reader, &mut commands).await,
        Err(failed) => outcome(Outcome::Failure(failed)),
    };
    finished.task = Some(task.clone());
    finished.elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    // The hub outlives its tasks, or the agent is ending.
    let _ = reports.send((task, Report::Finished(Box::new(finished)))).await;
}

struct Supervisor {
    task: TaskRef,
    reports: Reports,
    process: Process,
    questions: Questions,
    answers: mpsc::Receiver<to_worker::Kind>,
    has_volumes: bool,
    stop: Option<Stop>,
    rights: Rights,
    stall: Stall,
    exchange: Exchange,
    progress: Option<TaskProgress>,
    progress_sent: Instant,
    /// When to ask for newer keys; None if they do not expire.
    credentials_due: Option<Instant>,
    result: Option<TaskFinished>,
}

impl Supervisor {
    async fn start(
        config: Arc<Config>,
        caches: Arc<Caches>,
        mut assign: Assign,
        task: TaskRef,
        reports: Reports,
    ) -> Result<(Self, OwnedReadHalf), TaskFailure> {
        let crashed = |error: io::Error| failure(Reason::WorkerCrashed, format!("no worker starts: {error}"), true);
        let now = Instant::now();
        let spec = assign.spec.as_ref();
        let held: Vec<_> = spec.into_iter().flat_map(volumes).cloned().collect();
        let cache = match spec.and_then(cache::name) {
            // A lost thread costs the task its cache.
            Some(name) => tokio::task::spawn_blocking(move || caches.folder(&name)).await.unwrap_or_default(),
            None => None,
        };
        let credentials_due = spec.is_some_and(has_temporary_keys).then(|| now + CREDENTIALS_INTERVAL);
        let stall = Stall::new(assign.stall_timeout_ms, now);
        let share = config.memory_bytes / u64::from(config.slots.max(1));
        if assign.memory_bytes == 0 {
            assign.memory_bytes = share;
        }
        let memory_bytes = assign.memory_bytes;

        let mut process = Process::spawn(&config.worker_command).map_err(crashed)?;
        let reader = process.reader.take().ok_or_else(|| crashed(io::ErrorKind::NotConnected.into()))?;
        let order = lookup::order(&config, memory_bytes, cache, Work::Task(Box::new(assign)));
        process.send(to_worker::Kind::Order(Box::new(order))).await.map_err(crashed)?;
        let has_volumes = !held.is_empty();
        let (questions, answers) = Questions::new(config, held);
        let supervisor = Self {
            task,
            reports,
            process,
            questions,
            answers,
            has_volumes,
            stop: None,
            rights: Rights::default(),
            stall,
            exchange: Exchange::default(),
            progress: None,
            progress_sent: now,
            credentials_due,
            result: None,
        };
        Ok((supervisor, reader))
    }

    async fn attend(mut self, reader: OwnedReadHalf, commands: &mut mpsc::Receiver<Command>) -> TaskFinished {
        let mut messages = read_all(reader);
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                status = self.process.exited() => {
                    while let Ok(Some(message)) = tokio::time::timeout(DRAIN_TIMEOUT, messages.recv()).await {
                        self.hear(message).await;
                    }
                    return self.ended(status).await;
                }
                Some(message) = messages.recv() => self.hear(message).await,
                Some(command) = commands.recv() => self.obey(command).await,
                Some(answer) = self.answers.recv() => self.tell(answer).await,
                _ = tick.tick() => self.tick().await,
            }
        }
    }

    async fn hear(&mut self, message: FromWorker) {
        match message.kind {
            Some(from_worker::Kind::Opened(opened)) => self.questions.opened(opened.mounts),
            Some(from_worker::Kind::Progress(progress)) => {
                self.stall.observe(&progress, Instant::now());
                self.progress = Some(progress);
            }
            Some(from_worker::Kind::WantGrant(_)) => self.rights.want(),
            Some(from_worker::Kind::WantCredentials(_)) => self.credentials_due = Some(Instant::now()),
            Some(from_worker::Kind::Resolve(question)) => self.questions.resolve(question),
            Some(from_worker::Kind::Check(question)) => self.questions.check(question),
            Some(from_worker::Kind::WantData(request)) if self.exchange.may_ask(Instant::now()) => {
                self.report(Report::DataWanted { offset: request.offset, max_bytes: request.max_bytes }).await;
            }
            Some(from_worker::Kind::Piece(piece)) if self.exchange.may_ask(Instant::now()) => self.report(Report::Piece(piece)).await,
            // It asks again.
            Some(from_worker::Kind::WantData(_) | from_worker::Kind::Piece(_)) => {}
            Some(from_worker::Kind::Released(_)) => self.released().await,
            Some(from_worker::Kind::Finished(finished)) => self.finished(*finished),
            None => {}
        }
    }

    fn finished(&mut self, finished: TaskFinished) {
        let kill_at = Instant::now() + EXIT_TIMEOUT;
        match &mut self.stop {
            Some(stop) => stop.kill_at = stop.kill_at.min(kill_at),
            None => self.stop = Some(Stop { cause: Cause::Cancelled("it has its result".into()), kill_at, released: false }),
        }
        self.result.get_or_insert(finished);
    }

    async fn released(&mut self) {
        if let Some(stop) = &mut self.stop
            && !stop.released
        {
            stop.let_go(Instant::now());
            self.report(Report::Released).await;
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Cancel { reason } => self.stop(Cause::Cancelled(reason)).await,
            // A task without a volume has nothing to let go of.
            Command::Release { reason } if self.has_volumes => self.stop(Cause::Released(reason)).await,
            Command::Release { .. } => {}
            Command::Credentials(backend) => self.tell(to_worker::Kind::Credentials(*backend)).await,
            Command::Data(data) => {
                self.exchange.answered();
                self.tell(to_worker::Kind::Data(*data)).await;
            }
            Command::DataAnswer(answer) => {
                self.exchange.answered();
                self.tell(to_worker::Kind::DataAnswer(*answer)).await;
            }
            Command::Grant { .. } if self.stop.is_some() => {}
            Command::Grant { sequence, granted: true, ttl_ms, .. } => {
                if let Some(until_boottime_ms) = self.rights.granted(sequence, ttl_ms) {
                    self.tell(to_worker::Kind::Grant(Grant { until_boottime_ms, refused: String::new() })).await;
                }
            }
            Command::Grant { sequence, granted: false, reason, .. } => {
                if self.rights.refused(sequence) {
                    let refused = if reason.is_empty() { "no reason given".into() } else { reason };
                    self.tell(to_worker::Kind::Grant(Grant { until_boottime_ms: 0, refused })).await;
                }
            }
        }
    }

    async fn stop(&mut self, cause: Cause) {
        let release = matches!(cause, Cause::Released(_));
        match &mut self.stop {
            Some(stop) => {
                stop.also(&cause, Instant::now());
                return;
            }
            None => self.stop = Some(Stop::new(cause, Instant::now())),
        }
        self.tell(to_worker::Kind::Stop(StopOrder { release })).await;
    }

    async fn tick(&mut self) {
        let now = Instant::now();
        if self.rights.lapsed(clock::boottime_ms()) && self.result.is_none() {
            self.stop(Cause::GrantLapsed).await;
        }
        if let Some(timeout) = self.stall.stuck(now)
            && self.stop.is_none()
        {
            self.stop(Cause::Stalled(timeout)).await;
        }
        if self.stop.as_ref().is_some_and(|stop| stop.kill_at <= now) {
            self.process.kill();
        }
        if self.stop.is_none()
            && let Some(sequence) = self.rights.ask(clock::boottime_ms())
        {
            self.report(Report::GrantWanted { sequence }).await;
        }
        if self.credentials_due.is_some_and(|due| due <= now) {
            self.credentials_due = Some(now + CREDENTIALS_INTERVAL);
            self.report(Report::CredentialsWanted).await;
        }
        if now.duration_since(self.progress_sent) >= PROGRESS_INTERVAL
            && let Some(progress) = self.progress.take()
        {
            self.progress_sent = now;
            self.report(Report::Progress(progress)).await;
        }
    }

    /// A worker that cannot be told is ending; its exit says the rest.
    async fn tell(&mut self, kind: to_worker::Kind) {
        if let Err(error) = self.process.send(kind).await {
            tracing::debug!(task = self.task.name, %error, "a message does not reach the worker");
        }
    }

    async fn report(&self, report: Report) {
        // The hub outlives its tasks, or the agent is ending.
        let _ = self.reports.send((self.task.clone(), report)).await;
    }

    async fn ended(mut self, status: io::Result<ExitStatus>) -> TaskFinished {
        // With the process every handle of the volume is gone, whether it said so or not.
        self.released().await;
        let asked = self.stop.as_ref().filter(|_| self.result.is_none() || self.gave_up()).map(|stop| stop.cause.failure());
        match (self.result, asked) {
            (Some(result), None) => result,
            (_, Some(asked)) => outcome(Outcome::Failure(asked)),
            (None, None) => {
                let message = format!("the worker ended without a result: {}", process::describe_exit(status));
                tracing::warn!(task = self.task.name, message);
                outcome(Outcome::Failure(failure(Reason::WorkerCrashed, message, true)))
            }
        }
    }

    /// Whether the result only says that the worker stopped because it was told to; then the agent knows better why.
    fn gave_up(&self) -> bool {
        let Some(Outcome::Failure(failed)) = self.result.as_ref().and_then(|result| result.outcome.as_ref()) else { return false };
        matches!(failed.reason(), Reason::Cancelled | Reason::Released)
    }
}

/// A frame must be read to its end, so one task does nothing else.
fn read_all(mut reader: OwnedReadHalf) -> mpsc::Receiver<FromWorker> {
    let (sender, messages) = mpsc::channel(HEARD_MAX);
    tokio::spawn(async move {
        loop {
            match process::receive(&mut reader).await {
                Ok(Some(message)) => {
                    if sender.send(message).await.is_err() {
                        break;
                    }
                }
                Ok(None) => break,
                // It died before it had read everything; its exit is heard of.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                Err(error) => {
                    tracing::warn!(%error, "a worker says something that is no message; it is not heard any more");
                    break;
                }
            }
        }
    });
    messages
}

/// What a supervisor makes of a worker's numbers, for the tests on hostile bytes.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn observe(now: Instant) -> impl FnMut(&FromWorker) {
    let mut stall = Stall::new(1000, now);
    move |message| {
        if let Some(from_worker::Kind::Progress(progress)) = &message.kind {
            stall.observe(progress, now);
            let _ = stall.stuck(now);
        }
    }
}
