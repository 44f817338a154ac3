//! A fixed number of threads, and jobs that are handed to them and waited for.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::RestoreError;
use super::gate::Halted;
use super::worker::{Job, Leftover, Shared, Worker};

struct Order {
    job: Job,
    done: oneshot::Sender<Result<Leftover, Halted>>,
    /// The memory that the job's bytes take; given back when they are written.
    _memory: Option<Arc<OwnedSemaphorePermit>>,
}

pub(super) struct Pool {
    orders: Option<crossbeam_channel::Sender<Order>>,
    threads: Vec<JoinHandle<()>>,
}

/// A job that was handed over.
pub(super) struct Ticket(oneshot::Receiver<Result<Leftover, Halted>>);

impl Ticket {
    /// Waits until it is done; what is left over, if anything.
    pub(super) async fn done(self) -> Result<Leftover, Halted> {
        // A worker that is gone took its job with it: nothing more can be written.
        self.0.await.unwrap_or(Err(Halted))
    }
}

impl Pool {
    pub(super) fn start(threads: usize, shared: &Arc<Shared>) -> Result<Self, RestoreError> {
        // Unbounded, and never long: each job that holds data holds a permit too, and the others come one by one.
        let (orders, inbox) = crossbeam_channel::unbounded::<Order>();
        let mut pool = Self { orders: Some(orders), threads: Vec::with_capacity(threads) };
        for number in 0..threads {
            let inbox = inbox.clone();
            let shared = Arc::clone(shared);
            let started = std::thread::Builder::new().name(format!("restore-{number}")).spawn(move || {
                let mut worker = Worker::of_this_thread(Arc::clone(&shared));
                let mut decoder = shared.archive.decoder();
                for order in inbox {
                    let result = shared.turns.compute(|| worker.run(order.job, decoder.as_mut()));
                    // Nobody waits any more if the restore was stopped.
                    let _ = order.done.send(result);
                }
            });
            pool.threads.push(started.map_err(|error| RestoreError::Target { reason: format!("could not start a thread: {error}") })?);
        }
        Ok(pool)
    }

    pub(super) fn hand(&self, job: Job, memory: Option<Arc<OwnedSemaphorePermit>>) -> Ticket {
        let (done, ticket) = oneshot::channel();
        if let Some(orders) = &self.orders {
            // Only fails if all threads are gone, which the ticket tells.
            let _ = orders.send(Order { job, done, _memory: memory });
        }
        Ticket(ticket)
    }

    /// Takes no more jobs, and waits until the threads have closed all that they hold.
    pub(super) async fn close(mut self) {
        self.orders = None;
        let threads = std::mem::take(&mut self.threads);
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().map(JoinHandle::join).filter(Result::is_err).count());
        if !matches!(joined.await, Ok(0)) {
            tracing::error!("a thread of the restore ended in a panic");
        }
    }
}
