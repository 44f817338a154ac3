//! The worker's end of the socketpair while its task runs.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_mover::stop::{Stop, StopToken};
use holdfast_proto::v1::{Backend, Data, DataAnswer, DataPiece, DataRequest, TaskFinished};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use super::grant::GrantState;
use super::message::{
    Check, FROM_WORKER_BYTES_MAX, FromWorker, Resolve, TO_WORKER_BYTES_MAX, ToWorker, from_worker, to_worker,
};
use crate::frame;

/// Progress is one message a second and questions are few; a full queue only makes the asker wait.
const OUTBOUND_MAX: usize = 64;
/// Connections being made at once, and the look at the volumes.
const QUESTIONS_MAX: usize = 64;
/// The agent answers a question in less, or says that it cannot.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// After so long without an answer of a controller it is asked again: it may be another by now.
const DATA_AGAIN: Duration = Duration::from_secs(5);
/// The last message must leave the process.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Takes renewed credentials.
pub(crate) type Renew = dyn Fn(Backend) + Send + Sync;

/// An answer to a question, by its number.
enum Answer {
    Addresses(Result<Vec<String>, String>),
    Changed(String),
}

/// Where the answer to the one question that is open goes.
type Awaited<T> = Mutex<Option<oneshot::Sender<T>>>;

/// Shared by the task, the resolver and the store.
pub(crate) struct Link {
    outbound: mpsc::Sender<FromWorker>,
    queue: Mutex<Option<mpsc::Receiver<FromWorker>>>,
    questions: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    next_question: AtomicU64,
    credentials: Mutex<Option<Arc<Renew>>>,
    data: Awaited<Data>,
    data_answer: Awaited<DataAnswer>,
    /// Set by the agent; obeyed by the mover.
    pub(crate) stop: StopToken,
    /// The right to write.
    pub(crate) grant: GrantState,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

impl Link {
    /// Needs no runtime: it is made before the sandbox, for the store's resolver.
    pub(crate) fn new() -> Arc<Self> {
        let (outbound, queue) = mpsc::channel(OUTBOUND_MAX);
        Arc::new(Self {
            outbound,
            queue: Mutex::new(Some(queue)),
            questions: Mutex::default(),
            next_question: AtomicU64::new(1),
            credentials: Mutex::new(None),
            data: Mutex::new(None),
            data_answer: Mutex::new(None),
            stop: StopToken::new(),
            grant: GrantState::default(),
        })
    }

    pub(crate) async fn send(&self, kind: from_worker::Kind) {
        // The queue closes only when the agent is gone, and then this process is about to end.
        let _ = self.outbound.send(FromWorker { kind: Some(kind) }).await;
    }

    /// What to do with renewed credentials.
    pub(crate) fn on_credentials(&self, renew: Arc<Renew>) {
        *lock(&self.credentials) = Some(renew);
    }

    /// The agent resolves names: its C library may load code to do so, ours never does.
    pub(crate) async fn resolve(&self, host: &str) -> Result<Vec<String>, String> {
        match self.ask(|id| from_worker::Kind::Resolve(Resolve { id, host: host.to_owned() })).await {
            Some(Answer::Addresses(addresses)) => addresses,
            _ => Err("the agent did not answer".into()),
        }
    }

    /// Err(reason) if a volume is no longer mounted where it was found.
    pub(crate) async fn check_volumes(&self) -> Result<(), String> {
        match self.ask(|id| from_worker::Kind::Check(Check { id })).await {
            Some(Answer::Changed(changed)) if changed.is_empty() => Ok(()),
            Some(Answer::Changed(changed)) => Err(changed),
            _ => Err("the agent did not look at the volume again in time".into()),
        }
    }

    /// The piece of the task's data that begins at `offset`; waits for it as long as it takes.
    pub(crate) async fn data(&self, offset: u64, max_bytes: u32) -> Data {
        loop {
            let question = from_worker::Kind::WantData(DataRequest { task: None, offset, max_bytes });
            match self.exchange(&self.data, question).await {
                Some(data) if data.offset == offset => return data,
                // Of an earlier question, or none.
                _ => {}
            }
        }
    }

    /// Gives the controller a piece of the task's data, and waits for what it says to that as long as it takes.
    pub(crate) async fn give(&self, piece: DataPiece) -> DataAnswer {
        let end = piece.offset + piece.bytes.len() as u64;
        loop {
            match self.exchange(&self.data_answer, from_worker::Kind::Piece(piece.clone())).await {
                Some(answer) if answer.offset == end || !answer.error.is_empty() => return answer,
                _ => {}
            }
        }
    }

    async fn exchange<T>(&self, awaited: &Awaited<T>, question: from_worker::Kind) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        *lock(awaited) = Some(sender);
        self.send(question).await;
        tokio::time::timeout(DATA_AGAIN, receiver).await.ok()?.ok()
    }

    async fn ask(&self, question: impl FnOnce(u64) -> from_worker::Kind) -> Option<Answer> {
        let id = self.next_question.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        {
            let mut questions = lock(&self.questions);
            if questions.len() >= QUESTIONS_MAX {
                return None;
            }
            questions.insert(id, sender);
        }
        self.send(question(id)).await;
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, receiver).await;
        lock(&self.questions).remove(&id);
        answer.ok()?.ok()
    }

    fn answered(&self, id: u64, answer: Answer) {
        if let Some(sender) = lock(&self.questions).remove(&id) {
            // The asker may have given up; nobody misses the answer then.
            let _ = sender.send(answer);
        }
    }

    fn receive(&self, message: ToWorker) {
        match message.kind {
            Some(to_worker::Kind::Stop(stop)) => self.stop.stop(if stop.release { Stop::Release } else { Stop::Cancel }),
            Some(to_worker::Kind::Grant(grant)) => self.grant.answered(&grant),
            Some(to_worker::Kind::Credentials(backend)) => {
                if let Some(renew) = lock(&self.credentials).clone() {
                    renew(backend);
                }
            }
            Some(to_worker::Kind::Resolved(resolved)) => {
                let addresses = if resolved.error.is_empty() { Ok(resolved.addresses) } else { Err(resolved.error) };
                self.answered(resolved.id, Answer::Addresses(addresses));
            }
            Some(to_worker::Kind::Checked(checked)) => self.answered(checked.id, Answer::Changed(checked.changed)),
            Some(to_worker::Kind::Data(data)) => arrived(&self.data, data),
            Some(to_worker::Kind::DataAnswer(answer)) => arrived(&self.data_answer, answer),
            // One order per process.
            Some(to_worker::Kind::Order(_)) | None => {}
        }
    }
}

/// Runs the task with the socket attended, and reports how it ended.
pub(crate) async fn attend<F>(socket: UnixStream, link: Arc<Link>, task: impl FnOnce(Arc<Link>) -> F) -> io::Result<()>
where
    F: Future<Output = TaskFinished>,
{
    socket.set_nonblocking(true)?;
    let (reader, writer) = tokio::net::UnixStream::from_std(socket)?.into_split();
    let Some(queue) = lock(&link.queue).take() else { return Err(io::Error::other("attended twice")) };
    let writing = tokio::spawn(write_all(writer, queue));
    let reading = read_all(reader, &link);
    let finished = tokio::select! {
        finished = task(Arc::clone(&link)) => finished,
        // Without the agent nobody grants, releases or takes the result.
        ended = reading => return Err(ended.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())),
    };
    link.send(from_worker::Kind::Finished(Box::new(finished))).await;
    match tokio::time::timeout(FLUSH_TIMEOUT, writing).await {
        Ok(Ok(written)) => written,
        Ok(Err(_)) | Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn read_all(mut reader: OwnedReadHalf, link: &Link) -> io::Result<()> {
    while let Some(message) = frame::read(&mut reader, TO_WORKER_BYTES_MAX).await? {
        link.receive(message);
    }
    Ok(())
}

/// Ends after `Finished`.
async fn write_all(mut writer: OwnedWriteHalf, mut queue: mpsc::Receiver<FromWorker>) -> io::Result<()> {
    while let Some(message) = queue.recv().await {
        frame::write(&mut writer, &message, FROM_WORKER_BYTES_MAX).await?;
        if matches!(message.kind, Some(from_worker::Kind::Finished(_))) {
            break;
        }
    }
    Ok(())
}

fn arrived<T>(awaited: &Awaited<T>, answer: T) {
    if let Some(sender) = lock(awaited).take() {
        // The asker may have given up; it asks again.
        let _ = sender.send(answer);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing panics while holding one of these; if it did, the maps inside would still be whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
