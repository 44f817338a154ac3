//! The data of tasks on its way between this controller and agents: read while an agent stores it, made when an agent has brought it.
//!
//! A stream belongs to one attempt, and to this leadership: what another has begun cannot be gone on with, and its attempt fails to
//! be begun again. Nothing of it goes on when its attempt is over, or the leadership.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use holdfast_proto::{PIECE_BYTES_MAX, v1};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::outflow::{Outflow, Piece};
use super::restore::{self, Leads, Progress};
use super::{BackupOrder, RESTORED_BYTES_MAX, Refused, RestoreOrder, read};
use crate::dispatch::task::TaskKey;

/// Pieces that are read ahead.
const PIECES_AHEAD: usize = 2;

/// One attempt of a task.
pub type Attempt = (TaskKey, u32);

/// All streams.
#[derive(Debug, Default)]
pub struct Courier {
    outgoing: Mutex<HashMap<Attempt, Arc<tokio::sync::Mutex<Outgoing>>>>,
    incoming: Mutex<HashMap<Attempt, Incoming>>,
}

/// Ends with whoever holds it.
#[derive(Debug)]
struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What an agent stores.
#[derive(Debug)]
struct Outgoing {
    pieces: mpsc::Receiver<Piece>,
    /// Why there are no more.
    ended: Arc<OnceLock<Refused>>,
    /// Where the next piece begins.
    offset: u64,
    /// The last answer: it may not have arrived.
    answered: Option<v1::Data>,
    _reader: Running,
}

/// What an agent brings.
#[derive(Debug, Default)]
struct Incoming {
    bytes: Vec<u8>,
    length: u64,
    progress: Arc<Progress>,
    outcome: Arc<OnceLock<Result<v1::RestoreResult, Refused>>>,
    maker: Option<Running>,
}

impl Courier {
    /// Whether there is any stream.
    pub fn is_empty(&self) -> bool {
        lock(&self.outgoing).is_empty() && lock(&self.incoming).is_empty()
    }

    /// Ends those that `goes_on` does not know any more.
    pub fn retain(&self, goes_on: impl Fn(&Attempt) -> bool) {
        lock(&self.outgoing).retain(|attempt, _| goes_on(attempt));
        lock(&self.incoming).retain(|attempt, _| goes_on(attempt));
    }

    /// The piece that an agent asks for; none while an earlier question for it is still open.
    pub async fn serve(&self, client: &kube::Client, attempt: Attempt, order: BackupOrder, request: v1::DataRequest) -> Option<v1::Data> {
        let stream = {
            let mut outgoing = lock(&self.outgoing);
            let begin = || Arc::new(tokio::sync::Mutex::new(Outgoing::begin(client.clone(), order)));
            Arc::clone(outgoing.entry(attempt).or_insert_with(begin))
        };
        let mut stream = stream.try_lock().ok()?;
        Some(stream.next(request).await)
    }

    /// Takes a piece from an agent; says how far things are.
    pub fn take(&self, client: &kube::Client, attempt: Attempt, order: RestoreOrder, piece: v1::DataPiece, leads: Arc<Leads>) -> v1::DataAnswer {
        let mut incoming = lock(&self.incoming);
        let stream = incoming.entry(attempt).or_default();
        let task = piece.task.clone();
        let answer = match stream.take(piece) {
            Ok(is_whole) => {
                if is_whole {
                    stream.make(client.clone(), order, leads);
                }
                stream.state()
            }
            Err(refused) => refusal(refused),
        };
        v1::DataAnswer { task, ..answer }
    }
}

impl Outgoing {
    fn begin(client: kube::Client, order: BackupOrder) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
        let ended = Arc::new(OnceLock::new());
        let reader = tokio::spawn({
            let ended = Arc::clone(&ended);
            async move {
                if let Err(refused) = read::all(&client, &order, Outflow::new(sender)).await {
                    // Nobody else sets it.
                    let _ = ended.set(refused);
                }
            }
        });
        Self { pieces, ended, offset: 0, answered: None, _reader: Running(reader) }
    }

    async fn next(&mut self, request: v1::DataRequest) -> v1::Data {
        if let Some(answered) = self.answered.as_ref().filter(|answered| answered.offset == request.offset) {
            return v1::Data { task: request.task, ..answered.clone() };
        }
        if request.offset != self.offset {
            return unanswerable(request, Refused::for_now("this controller has not begun these manifests: they are read again"));
        }
        let Some(piece) = self.pieces.recv().await else {
            let refused = self.ended.get().cloned().unwrap_or_else(|| Refused::for_now("the manifests could not be read to their end"));
            return unanswerable(request, refused);
        };
        let left_out = piece.last.clone().unwrap_or_default();
        let data = v1::Data {
            task: request.task,
            offset: self.offset,
            bytes: piece.bytes,
            last: piece.last.is_some(),
            objects: piece.objects,
            left_out_count: left_out.count,
            left_out_first: left_out.first,
            ..v1::Data::default()
        };
        self.offset += data.bytes.len() as u64;
        self.answered = Some(data.clone());
        data
    }
}

fn unanswerable(request: v1::DataRequest, refused: Refused) -> v1::Data {
    let (error, retry_may_help) = (refused.message, refused.retry_may_help);
    v1::Data { task: request.task, offset: request.offset, last: true, error, retry_may_help, ..v1::Data::default() }
}

impl Incoming {
    /// Whether all is here now.
    fn take(&mut self, piece: v1::DataPiece) -> Result<bool, Refused> {
        let length = piece.bytes.len();
        let end = piece.offset.saturating_add(length as u64);
        let is_known = self.maker.is_some() || (end <= self.length && length > 0);
        if is_known && end <= self.length {
            return Ok(false);
        }
        if self.maker.is_some() || piece.offset != self.length || length > PIECE_BYTES_MAX {
            return Err(Refused::for_now("this controller has not begun this restore: it begins again"));
        }
        if self.bytes.len() + length > RESTORED_BYTES_MAX {
            return Err(Refused::for_good(format!("the stored manifests have more than {} MiB, which is more than one restore takes", RESTORED_BYTES_MAX >> 20)));
        }
        self.bytes.extend_from_slice(&piece.bytes);
        self.length = end;
        Ok(piece.last)
    }

    fn make(&mut self, client: kube::Client, order: RestoreOrder, leads: Arc<Leads>) {
        let (file, progress, outcome) = (std::mem::take(&mut self.bytes), Arc::clone(&self.progress), Arc::clone(&self.outcome));
        self.maker = Some(Running(tokio::spawn(async move {
            let made = restore::all(&client, &order, &file, &progress, leads.as_ref()).await;
            // Nobody else sets it.
            let _ = outcome.set(made);
        })));
    }

    fn state(&self) -> v1::DataAnswer {
        let (done, total) = (self.progress.done.load(Relaxed), self.progress.total.load(Relaxed));
        let answer = v1::DataAnswer { offset: self.length, done, total, ..v1::DataAnswer::default() };
        let has_ended = self.maker.as_ref().is_some_and(|maker| maker.0.is_finished());
        match self.outcome.get() {
            None if has_ended => refusal(Refused::for_good("the restore of manifests broke off; the controller's log says why")),
            Some(Ok(result)) => v1::DataAnswer { result: Some(result.clone()), ..answer },
            Some(Err(refused)) => refusal(refused.clone()),
            None => answer,
        }
    }
}

fn refusal(refused: Refused) -> v1::DataAnswer {
    v1::DataAnswer { error: refused.message, retry_may_help: refused.retry_may_help, ..v1::DataAnswer::default() }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing panics while holding one of these; if it did, the maps inside would still be whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(offset: u64, bytes: &[u8], last: bool) -> v1::DataPiece {
        v1::DataPiece { task: None, offset, bytes: bytes.to_vec(), last }
    }

    #[test]
    fn pieces_follow_each_other_and_one_that_is_sent_again_is_taken_once() {
        let mut incoming = Incoming::default();
        assert_eq!(incoming.take(piece(0, b"abc", false)), Ok(false));
        assert_eq!(incoming.take(piece(0, b"abc", false)), Ok(false));
        assert_eq!((incoming.length, incoming.state().offset), (3, 3));
        assert!(incoming.take(piece(7, b"x", false)).unwrap_err().retry_may_help, "another controller had the rest");
        assert_eq!(incoming.take(piece(3, b"de", true)), Ok(true));
        assert_eq!(incoming.bytes, b"abcde");
    }

    #[test]
    fn more_than_a_restore_takes_is_refused_and_not_held() {
        let mut incoming = Incoming::default();
        let full = vec![0; PIECE_BYTES_MAX];
        let pieces = (RESTORED_BYTES_MAX / PIECE_BYTES_MAX) as u64;
        for number in 0..pieces {
            incoming.take(piece(number * full.len() as u64, &full, false)).unwrap();
        }
        let refused = incoming.take(piece(incoming.length, b"x", true)).unwrap_err();
        assert!(refused.message.contains("64 MiB") && !refused.retry_may_help);
        assert!(Incoming::default().take(piece(0, &vec![0; PIECE_BYTES_MAX + 1], false)).is_err());
    }

    #[tokio::test]
    async fn an_answer_that_was_lost_is_given_again_and_a_stream_of_another_is_not_gone_on_with() {
        let (sender, pieces) = mpsc::channel(2);
        let mut outgoing = Outgoing { pieces, ended: Arc::default(), offset: 0, answered: None, _reader: Running(tokio::spawn(async {})) };
        sender.send(Piece { bytes: b"abc".to_vec(), objects: 1, last: None }).await.unwrap();
        let ask = |offset| v1::DataRequest { task: None, offset, max_bytes: 0 };
        assert_eq!(outgoing.next(ask(0)).await.bytes, b"abc");
        assert_eq!(outgoing.next(ask(0)).await.bytes, b"abc");
        drop(sender);
        let cut = outgoing.next(ask(3)).await;
        assert!(cut.last && cut.error.contains("to their end"), "an end that nobody has announced is none");
        let other = outgoing.next(ask(99)).await;
        assert!(!other.error.is_empty() && other.retry_may_help);
    }
}
