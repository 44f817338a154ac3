//! All that the server holds, behind one lock.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;

use crate::{
    builtin,
    failure::Failure,
    kind::Kind,
    request::Target,
    store::{HISTORY_CHANGES, Key, Store},
    token::Tokens,
};

/// Unfinished paged lists kept; the oldest is forgotten first, and its client gets 410.
const CONTINUATIONS: usize = 64;

/// The objects of a paged list that were not handed out yet, as they were when it began.
#[derive(Debug)]
pub(crate) struct Continuation {
    pub(crate) token: String,
    pub(crate) revision: u64,
    pub(crate) rest: Vec<Arc<Value>>,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) kinds: BTreeMap<String, Arc<Kind>>,
    pub(crate) store: Store,
    pub(crate) tokens: Tokens,
    pub(crate) continuations: VecDeque<Continuation>,
}

impl State {
    fn new() -> Self {
        let kinds = builtin::kinds()
            .into_iter()
            .map(|kind| (kind.group_resource(), Arc::new(kind)))
            .collect();
        Self {
            kinds,
            store: Store::new(HISTORY_CHANGES),
            tokens: Tokens::default(),
            continuations: VecDeque::new(),
        }
    }

    /// The kind a request is about. Missing built-ins are 501, missing custom resources 404, as where no CRD is installed.
    pub(crate) fn kind_of(&self, target: &Target) -> Result<Arc<Kind>, Failure> {
        let found = self.kinds.values().find(|kind| {
            kind.group == target.group
                && kind.version == target.version
                && kind.plural == target.plural
        });
        match found {
            Some(kind) => Ok(kind.clone()),
            None if builtin::is_builtin_group(&target.group) => {
                let Target {
                    group,
                    version,
                    plural,
                    ..
                } = target;
                Err(Failure::not_implemented(format!(
                    "the resource {plural} of {group}/{version}"
                )))
            }
            None => Err(Failure::no_such_resource()),
        }
    }

    pub(crate) fn get(&self, kind: &Kind, key: &Key) -> Result<Arc<Value>, Failure> {
        self.store
            .get(&kind.group_resource(), key)
            .ok_or_else(|| Failure::not_found(kind, &key.name))
    }

    pub(crate) fn remember(&mut self, continuation: Continuation) {
        self.continuations.push_back(continuation);
        while self.continuations.len() > CONTINUATIONS {
            self.continuations.pop_front();
        }
    }
}

/// The state, and the signal that it changed.
#[derive(Debug)]
pub(crate) struct Server {
    state: Mutex<State>,
    revised: watch::Sender<u64>,
}

impl Server {
    pub(crate) fn new() -> Self {
        let state = State::new();
        let (revised, _) = watch::channel(state.store.revision());
        Self {
            state: Mutex::new(state),
            revised,
        }
    }

    /// Runs one request's work. Whoever watches learns of what it changed after the lock is free.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        // A panic in the middle of a request leaves complete objects: each write is one `put`.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut state);
        let revision = state.store.revision();
        drop(state);
        self.revised
            .send_if_modified(|known| std::mem::replace(known, revision) != revision);
        result
    }

    /// Changes whenever an object does.
    pub(crate) fn revisions(&self) -> watch::Receiver<u64> {
        self.revised.subscribe()
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// Fills the bytes from the operating system.
pub(crate) fn random(bytes: &mut [u8]) {
    // A machine without a random source cannot run TLS either: zeroes would only make names collide, which is refused.
    if aws_lc_rs::rand::fill(bytes).is_err() {
        bytes.fill(0);
    }
}
