//! A store whose operations can be held at a gate, one by one, until the scenario lets them go on.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use holdfast_repository::StoreError;
use holdfast_repository::store::{ObjectEntry, Store};
use holdfast_repository::testing::Operation;
use tokio::sync::Notify;

use crate::store::ProcessStore;

/// What becomes of what was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Through,
    /// It is done, and nobody hears of it.
    AnswerLost,
}

/// One operation to be held: the first of its kind on an object whose name begins so.
pub(crate) struct Hold {
    operation: Operation,
    prefix: String,
    state: Mutex<HoldState>,
    changed: Notify,
}

#[derive(Default)]
struct HoldState {
    is_taken: bool,
    is_here: bool,
    way: Option<Way>,
    is_done: bool,
}

impl Hold {
    async fn until<T>(&self, look: impl Fn(&HoldState) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            if let Some(found) = look(&self.state.lock().unwrap()) {
                return found;
            }
            changed.await;
        }
    }

    fn change(&self, change: impl FnOnce(&mut HoldState)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_waiters();
    }

    /// Waits until the operation stands at the gate: not done yet.
    pub(crate) async fn arrived(&self) {
        self.until(|state| state.is_here.then_some(())).await;
    }

    /// Lets it go on, and waits until it is done.
    pub(crate) async fn release(&self, way: Way) {
        self.change(|state| state.way = Some(way));
        self.until(|state| state.is_done.then_some(())).await;
    }
}

/// The gate of one process.
pub(crate) struct Gate {
    inner: Arc<ProcessStore>,
    holds: Mutex<Vec<Arc<Hold>>>,
    /// Nothing of its own goes through any more: a process that hangs, or is gone.
    frozen: tokio::sync::watch::Sender<bool>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gate before the {:?}", self.inner)
    }
}

impl Gate {
    pub(crate) fn new(inner: Arc<ProcessStore>) -> Self {
        Self { inner, holds: Mutex::default(), frozen: tokio::sync::watch::Sender::new(false) }
    }

    /// The next such operation waits at the gate.
    pub(crate) fn hold(&self, operation: Operation, prefix: &str) -> Arc<Hold> {
        let hold = Hold { operation, prefix: prefix.to_owned(), state: Mutex::default(), changed: Notify::new() };
        let hold = Arc::new(hold);
        self.holds.lock().unwrap().push(Arc::clone(&hold));
        hold
    }

    /// From here on the process is silent: what it does waits until it is thawed. What is held already can still be let go.
    pub(crate) fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    pub(crate) fn thaw(&self) {
        self.frozen.send_replace(false);
    }

    async fn pass<T>(&self, operation: Operation, name: &str, done: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let held = {
            let holds = self.holds.lock().unwrap();
            let takes = |hold: &&Arc<Hold>| {
                let mut state = hold.state.lock().unwrap();
                let fits = !state.is_taken && hold.operation == operation && name.starts_with(&hold.prefix);
                state.is_taken |= fits;
                fits
            };
            holds.iter().find(takes).cloned()
        };
        let Some(hold) = held else {
            self.thawed().await;
            return done.await;
        };
        hold.change(|state| state.is_here = true);
        let way = hold.until(|state| state.way).await;
        let outcome = done.await;
        hold.change(|state| state.is_done = true);
        self.thawed().await;
        match way {
            Way::Through => outcome,
            Way::AnswerLost => {
                Err(StoreError::Unreachable { object: name.to_owned(), source: Arc::new(std::io::Error::other("the answer is lost")) })
            }
        }
    }

    async fn thawed(&self) {
        let mut frozen = self.frozen.subscribe();
        // The gate itself holds the sender.
        let _ = frozen.wait_for(|frozen| !frozen).await;
    }
}

#[async_trait]
impl Store for Gate {
    async fn create(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.pass(Operation::Create, name, self.inner.create(name, parts)).await
    }

    async fn get(&self, name: &str) -> Result<Bytes, StoreError> {
        self.pass(Operation::Get, name, self.inner.get(name)).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.pass(Operation::Get, name, self.inner.get_range(name, range)).await
    }

    async fn head(&self, name: &str) -> Result<u64, StoreError> {
        self.pass(Operation::Head, name, self.inner.head(name)).await
    }

    fn list(&self, prefix: &str, start_after: Option<&str>) -> BoxStream<'_, Result<ObjectEntry, StoreError>> {
        let (prefix, after) = (prefix.to_owned(), start_after.map(str::to_owned));
        async move {
            // What the listing shows is what is there after the gate.
            let found = self.pass(Operation::List, &prefix, async { Ok(self.inner.list(&prefix, after.as_deref()).collect::<Vec<_>>().await) });
            match found.await {
                Ok(entries) => futures::stream::iter(entries),
                Err(error) => futures::stream::iter(vec![Err(error)]),
            }
        }
        .flatten_stream()
        .boxed()
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.pass(Operation::Delete, name, self.inner.delete(name)).await
    }

    fn conditional(&self) -> bool {
        true
    }

    fn location(&self) -> String {
        "simulation".to_owned()
    }
}
