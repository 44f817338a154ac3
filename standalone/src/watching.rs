//! Watches: the changes after a revision, as a stream of JSON lines.
//!
//! A watcher holds a position in the history, not a queue: a slow one costs no memory, and one that falls behind the
//! history ends with 410, after which its client lists again.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::Stream;
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use crate::{
    failure::Failure,
    kind::Kind,
    listing::{parse_revision, selector, shown},
    metadata,
    request::Query,
    selector::Selector,
    state::{Server, State},
    store::Change,
};

/// How often a watcher that asked for bookmarks gets one: what a real server does about once a minute.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// Longest watch; clients reconnect.
const WATCH_MAX: Duration = Duration::from_secs(3600);
/// Changes read at a time, so that one watcher does not hold the lock for long.
const CHANGES_AT_ONCE: usize = 256;

const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

pub(crate) struct Watcher {
    server: Arc<Server>,
    revised: watch::Receiver<u64>,
    kind: Arc<Kind>,
    namespace: Option<String>,
    selector: Selector,
    metadata_only: bool,
    bookmarks: bool,
    position: u64,
    pending: VecDeque<Value>,
    ended: bool,
    deadline: Instant,
    next_bookmark: Instant,
}

impl Watcher {
    pub(crate) fn start(
        server: &Arc<Server>,
        kind: Arc<Kind>,
        namespace: Option<String>,
        query: &Query,
        metadata_only: bool,
    ) -> Result<Self, Failure> {
        let stated = query
            .resource_version
            .as_deref()
            .map(parse_revision)
            .transpose()?
            .unwrap_or(0);
        if query.send_initial_events
            && query.resource_version_match.as_deref() != Some("NotOlderThan")
        {
            return Err(Failure::bad_request(
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
        let limit = query
            .timeout_seconds
            .filter(|seconds| *seconds > 0)
            .map_or(WATCH_MAX, Duration::from_secs);
        let mut watcher = Self {
            server: server.clone(),
            revised: server.revisions(),
            selector: selector(&kind, query)?,
            kind,
            namespace,
            metadata_only,
            bookmarks: query.allow_watch_bookmarks,
            position: stated,
            pending: VecDeque::new(),
            ended: false,
            deadline: Instant::now() + limit.min(WATCH_MAX),
            next_bookmark: Instant::now() + BOOKMARK_EVERY,
        };
        if stated == 0 || query.send_initial_events {
            server.with(|state| watcher.begin_with_objects(state, query.send_initial_events));
        }
        Ok(watcher)
    }

    pub(crate) fn stream(self) -> impl Stream<Item = Bytes> + Send {
        futures::stream::unfold(self, |mut watcher| async move {
            let event = watcher.next().await?;
            let mut line = event.to_string();
            line.push('\n');
            Some((Bytes::from(line), watcher))
        })
    }

    fn begin_with_objects(&mut self, state: &State, announce_end: bool) {
        let objects = state
            .store
            .list(&self.kind.group_resource(), self.namespace.as_deref());
        let matching = objects
            .iter()
            .filter(|object| self.selector.matches(object));
        self.pending = matching
            .map(|object| event("ADDED", shown(object, self.metadata_only)))
            .collect();
        self.position = state.store.revision();
        if announce_end && self.bookmarks {
            let mut bookmark = self.bookmark();
            bookmark["object"]["metadata"]["annotations"] = json!({INITIAL_EVENTS_END: "true"});
            self.pending.push_back(bookmark);
        }
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            if self.ended {
                return None;
            }
            self.revised.borrow_and_update();
            self.read_changes();
            if self.pending.is_empty() && !self.ended {
                self.wait().await;
            }
        }
    }

    fn read_changes(&mut self) {
        let server = self.server.clone();
        let resource = self.kind.group_resource();
        let (changes, revision, served) = server.with(|state| {
            let changes = state
                .store
                .changes_after(&resource, self.position, CHANGES_AT_ONCE);
            (
                changes,
                state.store.revision(),
                state.kinds.contains_key(&resource),
            )
        });
        match changes {
            Err(compacted) => {
                let message = format!(
                    "too old resource version: {} ({})",
                    self.position, compacted.oldest
                );
                self.pending
                    .push_back(event("ERROR", Failure::expired(message).to_status()));
                self.ended = true;
            }
            Ok(changes) => {
                // A client may name a revision that is still to come; nothing before it is shown.
                let complete = changes.len() < CHANGES_AT_ONCE;
                let read_to = if complete {
                    revision
                } else {
                    changes.last().map_or(revision, |last| last.revision)
                };
                self.position = self.position.max(read_to);
                let events: Vec<_> = changes
                    .iter()
                    .filter_map(|change| self.event_of(change))
                    .collect();
                self.pending.extend(events);
                self.ended = !served && complete;
            }
        }
    }

    async fn wait(&mut self) {
        let bookmark_at = if self.bookmarks {
            self.next_bookmark
        } else {
            self.deadline
        };
        tokio::select! {
            changed = self.revised.changed() => self.ended |= changed.is_err(),
            () = tokio::time::sleep_until(self.deadline) => self.ended = true,
            () = tokio::time::sleep_until(bookmark_at) => {
                if self.bookmarks {
                    self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
                    self.pending.push_back(self.bookmark());
                }
            }
        }
    }

    /// An object that leaves the selection is deleted for this watcher, one that enters is added.
    fn event_of(&self, change: &Change) -> Option<Value> {
        let here = |object: &Value| {
            self.namespace
                .as_deref()
                .is_none_or(|namespace| metadata::text(object, "namespace") == namespace)
        };
        if !here(&change.object) {
            return None;
        }
        let was = change
            .previous
            .as_ref()
            .is_some_and(|object| self.selector.matches(object));
        let is = !change.deleted && self.selector.matches(&change.object);
        let what = match (was, is) {
            (false, true) => "ADDED",
            (true, true) => "MODIFIED",
            (true, false) => "DELETED",
            (false, false) => return None,
        };
        Some(event(what, shown(&change.object, self.metadata_only)))
    }

    fn bookmark(&self) -> Value {
        let (api_version, kind) = if self.metadata_only {
            (
                "meta.k8s.io/v1".to_owned(),
                "PartialObjectMetadata".to_owned(),
            )
        } else {
            (self.kind.api_version(), self.kind.kind.clone())
        };
        let metadata =
            json!({"resourceVersion": self.position.to_string(), "creationTimestamp": null});
        event(
            "BOOKMARK",
            json!({"apiVersion": api_version, "kind": kind, "metadata": metadata}),
        )
    }
}

fn event(what: &str, object: Value) -> Value {
    json!({"type": what, "object": object})
}
