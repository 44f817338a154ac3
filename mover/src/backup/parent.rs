//! The parent: which snapshot it is, and its catalog as a stream beside the walk.

use std::collections::HashSet;
use std::sync::Arc;

use holdfast_repository::{BlobId, Snapshots, SnapshotId, SnapshotRecord, SourceRecord, Statistics, Writer};
use tokio::sync::mpsc;

use super::rebundle::BLOBS_MAX;
use super::request::{Parent, Source};
use crate::catalog::{CatalogReader, Entry, RelPath};
use crate::stop::StopToken;

/// Entries handed over at once, and how many such batches may wait.
const BATCH_ENTRIES: usize = 256;
const BATCHES: usize = 4;

/// What one source is compared with.
#[derive(Clone, Debug)]
pub(super) struct ParentSource {
    pub(super) snapshot: SnapshotId,
    pub(super) catalog: BlobId,
    pub(super) statistics: Statistics,
}

/// The parents of all sources, and why there is none where one might be expected.
#[derive(Debug, Default)]
pub(super) struct Parents {
    pub(super) sources: Vec<Option<ParentSource>>,
    pub(super) ignored: Option<String>,
    /// Blobs of which the parent uses little: see [`rebundle`](super::rebundle).
    pub(super) mostly_dead: HashSet<BlobId>,
}

impl Parents {
    /// What they hold.
    pub(super) fn content_bytes(&self) -> u64 {
        self.sources.iter().flatten().map(|parent| parent.statistics.bytes).sum()
    }
}

/// Looks for the parents. Nothing that goes wrong here stops a backup: it reads everything then.
pub(super) async fn find(writer: &Writer, choice: Parent, host: &str, sources: &[Source]) -> Parents {
    let mut parents = Parents::default();
    let candidates = match choice {
        Parent::None => Snapshots::default(),
        Parent::Id(id) => match writer.snapshot(&id).await {
            Ok(record) => Snapshots { readable: vec![(id, record)], unreadable: Vec::new() },
            Err(error) => Snapshots { readable: Vec::new(), unreadable: vec![(id, error)] },
        },
        Parent::Auto => match writer.newest_snapshots(|found| sources.iter().all(|source| newest(found, host, source).is_some())).await {
            Ok(snapshots) => snapshots,
            Err(error) => {
                parents.ignored = Some(format!("the snapshots could not be listed: {error}"));
                Snapshots::default()
            }
        },
    };
    parents.sources = sources.iter().map(|source| newest(&candidates, host, source)).collect();
    if let (true, Some((id, error))) = (parents.sources.iter().any(Option::is_none), candidates.unreadable.last()) {
        parents.ignored.get_or_insert(format!("snapshot {} could not be read: {error}", id.short()));
    }
    parents.mostly_dead = mostly_dead(writer, &parents, &candidates).await;
    parents
}

/// Of the first source's parent, which as a rule is that of all. What cannot be read is not cleaned up in this run.
async fn mostly_dead(writer: &Writer, parents: &Parents, candidates: &Snapshots) -> HashSet<BlobId> {
    let Some(parent) = parents.sources.iter().flatten().next() else {
        return HashSet::new();
    };
    let Some((_, record)) = candidates.readable.iter().find(|(id, _)| *id == parent.snapshot) else {
        return HashSet::new();
    };
    writer.mostly_dead(record, BLOBS_MAX).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "the parent's refs cannot be read; mostly dead blobs stay");
        HashSet::new()
    })
}

fn newest(candidates: &Snapshots, host: &str, source: &Source) -> Option<ParentSource> {
    candidates
        .readable
        .iter()
        .filter_map(|(id, record)| Some((record.end_ms, *id, matching(record, host, source)?)))
        .max_by_key(|(end_ms, id, _)| (*end_ms, *id))
        .and_then(|(_, snapshot, found)| {
            Some(ParentSource { snapshot, catalog: found.catalog?, statistics: found.statistics })
        })
}

/// A claim is known by its UID wherever it is mounted; without one, it is the same path on the same host.
fn matching<'a>(record: &'a SnapshotRecord, host: &str, source: &Source) -> Option<&'a SourceRecord> {
    record.sources.iter().find(|candidate| {
        if source.pvc_uid.is_empty() {
            candidate.pvc_uid.is_empty() && record.host == host && candidate.path == source.path
        } else {
            candidate.pvc_uid == source.pvc_uid && candidate.path_in_volume == source.path_in_volume
        }
    })
}

/// The walk's view of the parent's catalog: asked for one path after another, in order.
pub(super) struct ParentCursor {
    batches: mpsc::Receiver<Result<Vec<Entry>, String>>,
    batch: std::vec::IntoIter<Entry>,
    head: Option<Entry>,
    ended: bool,
    lost: Option<String>,
}

impl ParentCursor {
    /// Of a source that has no parent.
    pub(super) fn none() -> Self {
        let (_, batches) = mpsc::channel(1);
        Self { batches, batch: Vec::new().into_iter(), head: None, ended: true, lost: None }
    }

    /// Reads the catalog in a task of its own, a little ahead, until it ends, fails, is stopped, or nobody asks any more.
    pub(super) fn start(writer: &Writer, catalog: BlobId, stop: StopToken) -> Self {
        let (sender, batches) = mpsc::channel(BATCHES);
        let reader = CatalogReader::new(Arc::new(writer.clone()), catalog);
        tokio::spawn(async move {
            tokio::select! {
                () = feed(reader, sender) => {}
                () = stop.stopped() => {}
            }
        });
        Self { batches, batch: Vec::new().into_iter(), head: None, ended: false, lost: None }
    }

    /// The parent's entry at `path`, if it has one. Paths must rise.
    pub(super) fn entry(&mut self, path: &RelPath) -> Option<Entry> {
        loop {
            if self.head.is_none() {
                self.head = self.next();
            }
            match self.head.as_ref()?.path.cmp(path) {
                std::cmp::Ordering::Less => self.head = None,
                std::cmp::Ordering::Equal => return self.head.take(),
                std::cmp::Ordering::Greater => return None,
            }
        }
    }

    fn next(&mut self) -> Option<Entry> {
        while !self.ended {
            if let Some(entry) = self.batch.next() {
                return Some(entry);
            }
            match self.batches.blocking_recv() {
                Some(Ok(batch)) => self.batch = batch.into_iter(),
                Some(Err(error)) => {
                    self.lost = Some(error);
                    self.ended = true;
                }
                None => self.ended = true,
            }
        }
        None
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Why the rest of the parent could not be used.
    pub(super) fn lost(&mut self) -> Option<String> {
        self.lost.take()
    }
}

async fn feed(mut reader: CatalogReader, sender: mpsc::Sender<Result<Vec<Entry>, String>>) {
    loop {
        let mut batch = Vec::with_capacity(BATCH_ENTRIES);
        let mut end = false;
        while batch.len() < BATCH_ENTRIES && !end {
            match reader.next().await {
                Ok(Some(entry)) => batch.push(entry),
                Ok(None) => end = true,
                Err(error) => {
                    // What came before it is good and in order. A receiver that is gone wants neither.
                    if sender.send(Ok(batch)).await.is_ok() {
                        let _ = sender.send(Err(error.to_string())).await;
                    }
                    return;
                }
            }
        }
        if sender.send(Ok(batch)).await.is_err() || end {
            return;
        }
    }
}
