//! Reads views back, a page at a time: the Repositories of a storage, the Snapshots of a repository.
//!
//! Invariants: a page is bounded in views, bytes and requests, and the next one goes on behind it; a view that cannot be read is counted
//! and named, and the rest is read; nothing is written.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use holdfast_proto::v1::task_failure::Reason;
use holdfast_proto::v1::{
    ReadBackResult, ReadRepositories, ReadSnapshots, ReadView, RepositoryAccess, SourceResult, StoredSnapshot, TaskFailure, TaskProgress,
};
use holdfast_repository::{Repository, SnapshotId, SnapshotRecord};
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt as _};
use prost::Message as _;

use super::backend::Opened;
use super::link::Link;
use super::message::from_worker;
use super::{backup, document, engine, failure};

mod walk;

/// Views in a page.
const VIEWS_MAX: usize = 100;
/// A page that has so much is full; the last view of it may be as large again.
const PAGE_BYTES: usize = 256 * 1024;
/// Damaged views that are named.
const NAMED_MAX: usize = 10;
/// Kubernetes has no longer names; with the suffix.
const FILE_NAME_BYTES_MAX: usize = 253 + SUFFIX.len();
const SUFFIX: &str = ".yaml";
/// The label of a backup that names its Snapshot.
const SNAPSHOT_LABEL: &str = "snapshot";
/// What is told of the stored snapshots of one name, its components and attempts at them: with a full page and a view it fits a frame.
const STORED_BYTES_MAX: usize = 384 * 1024;
/// Around a message in another.
const FIELD_BYTES: usize = 8;
/// As a backup has sources.
const SOURCES_MAX: usize = 64;

/// A page that is being filled.
#[derive(Debug, Default)]
struct Page {
    result: ReadBackResult,
    bytes: usize,
}

impl Page {
    fn is_full(&self) -> bool {
        self.result.views.len() >= VIEWS_MAX || self.bytes >= PAGE_BYTES
    }

    fn put(&mut self, view: ReadView) {
        self.bytes += view.encoded_len();
        self.result.views.push(view);
    }

    fn damaged(&mut self, path: &str, why: &str) {
        self.result.damaged_count += 1;
        if self.result.damaged_first.len() < NAMED_MAX {
            self.result.damaged_first.push(format!("{path}: {why}"));
        }
    }

    /// As many as a page takes; the newest are the ones that a Snapshot was made of.
    fn newest(&mut self, path: &str, mut stored: Vec<StoredSnapshot>) -> Vec<StoredSnapshot> {
        let mut bytes = 0;
        let fits = stored.iter().rev().take_while(|stored| {
            bytes += stored.encoded_len() + FIELD_BYTES;
            bytes <= STORED_BYTES_MAX
        });
        let cut = stored.len() - fits.count();
        if cut > 0 {
            self.damaged(path, &format!("{cut} stored snapshots of this name do not fit a page"));
        }
        stored.split_off(cut)
    }

    /// A view's JSON; empty if there is none, or it is damaged.
    async fn read(&mut self, backend: &Opened, path: &str) -> Result<Vec<u8>, TaskFailure> {
        let full = backend.below(path)?;
        let got = match backend.store.get(&full).await {
            Ok(got) => got,
            Err(Error::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(failure::view(&full, &error)),
        };
        if got.meta.size > document::BYTES_MAX as u64 {
            self.damaged(path, "too large for a view");
            return Ok(Vec::new());
        }
        let bytes = got.bytes().await.map_err(|error| failure::view(&full, &error))?;
        Ok(document::parse(&bytes).unwrap_or_else(|why| {
            self.damaged(path, &why);
            Vec::new()
        }))
    }
}

async fn report(link: &Link, page: &Page) {
    let progress = TaskProgress { files_done: page.result.views.len() as u64, phase: "read".into(), ..TaskProgress::default() };
    link.send(from_worker::Kind::Progress(progress)).await;
}

/// One page of the Repositories of a storage.
pub(super) async fn repositories(task: ReadRepositories, backend: &Opened, link: &Link) -> Result<ReadBackResult, TaskFailure> {
    walk::repositories(&task.after, backend, link).await
}

/// One page of the Snapshots of a repository: those that have a view, and those that only the repository knows.
pub(super) async fn snapshots(task: ReadSnapshots, backend: &Opened, link: &Link) -> Result<ReadBackResult, TaskFailure> {
    let directory = task.repository.as_ref().map(|repository| repository.directory.clone()).unwrap_or_default();
    let folder = format!("{directory}/snapshots");
    let mut page = Page::default();
    let mut stored = stored(task.repository, backend, &mut page).await?;
    let mut names = views_after(&backend.below(&folder)?, &task.after, backend).await?;
    names.extend(stored.keys().filter(|name| **name > task.after).cloned());
    let mut last = String::new();
    for (looked_at, name) in names.into_iter().enumerate() {
        if page.is_full() || looked_at >= VIEWS_MAX {
            page.result.next = last;
            break;
        }
        let path = format!("{folder}/{name}");
        let json = page.read(backend, &path).await?;
        let stored = page.newest(&path, stored.remove(&name).unwrap_or_default());
        if !json.is_empty() || !stored.is_empty() {
            page.put(ReadView { path, json, stored });
        }
        report(link, &page).await;
        last = name;
    }
    Ok(page.result)
}

/// What the repository holds, by the file name of the view that each would have. Nothing, where another tool keeps its data.
async fn stored(access: Option<RepositoryAccess>, backend: &Opened, page: &mut Page) -> Result<BTreeMap<String, Vec<StoredSnapshot>>, TaskFailure> {
    let repository: Repository = match engine::open(access, backend).await {
        Ok((repository, _)) => repository,
        Err(failure) if failure.reason() == Reason::NotARepository => return Ok(BTreeMap::new()),
        Err(failure) => return Err(failure),
    };
    let snapshots = repository.snapshots().await.map_err(|error| failure::read(&error))?;
    for (id, error) in &snapshots.unreadable {
        page.damaged(&id.to_string(), &error.to_string());
    }
    let mut stored: BTreeMap<String, Vec<StoredSnapshot>> = BTreeMap::new();
    for (id, record) in snapshots.readable {
        let name = record.extensions.get(SNAPSHOT_LABEL).and_then(|name| std::str::from_utf8(name).ok());
        let Some(name) = name.map(|name| format!("{name}{SUFFIX}")).filter(|name| is_view(name)) else { continue };
        stored.entry(name).or_default().push(told(&id, record));
    }
    Ok(stored)
}

fn told(id: &SnapshotId, record: SnapshotRecord) -> StoredSnapshot {
    let sources = record.sources.iter().take(SOURCES_MAX).map(|source| backup::source_result(&source.path, &source.statistics, record.start_ms..record.end_ms));
    let sources: Vec<SourceResult> = sources.collect();
    StoredSnapshot {
        id: id.to_string(),
        host: record.host,
        session: record.session,
        component: record.component,
        sources,
        started_unix_ms: record.start_ms,
        ended_unix_ms: record.end_ms,
        unreadable_count: record.statistics.unreadable,
    }
}

/// A name that a view of ours can have: no path, and none that could not be an object's.
fn is_view(name: &str) -> bool {
    name.len() <= FILE_NAME_BYTES_MAX && name.ends_with(SUFFIX) && !name.contains('/') && !name.starts_with('.')
}

/// The first names behind `after`, in order, whatever the order of the store's list: one more than a page takes.
async fn views_after(folder: &Path, after: &str, backend: &Opened) -> Result<BTreeSet<String>, TaskFailure> {
    let parts = folder.parts().count() + 1;
    let mut listed = backend.store.list(Some(folder));
    let mut names = BTreeSet::new();
    while let Some(entry) = listed.next().await {
        let location = entry.map_err(|error| failure::view(folder, &error))?.location;
        let Some(name) = location.filename().filter(|name| location.parts().count() == parts && is_view(name) && *name > after) else { continue };
        names.insert(name.to_owned());
        if names.len() > VIEWS_MAX + 1 {
            names.pop_last();
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::message::FROM_WORKER_BYTES_MAX;

    #[test]
    fn the_fullest_page_fits_a_frame() {
        let source = SourceResult { container_path: "/data/of/some/length".into(), bytes: u64::MAX, ..SourceResult::default() };
        let one = |number: usize| StoredSnapshot { id: format!("e-{number}"), sources: vec![source.clone(); SOURCES_MAX], ..StoredSnapshot::default() };
        let mut page = Page::default();
        let mut views = 0;
        while !page.is_full() {
            let stored = page.newest("p", (0..1000).map(one).collect());
            assert_eq!(stored.last().map(|stored| stored.id.as_str()), Some("e-999"));
            page.put(ReadView { path: "p".into(), json: vec![b'x'; document::BYTES_MAX], stored });
            views += 1;
        }
        assert_eq!((views, page.result.damaged_count), (1, 1));
        // What came before it may be nearly as large as a page.
        assert!(page.result.encoded_len() + PAGE_BYTES + NAMED_MAX * 1024 < FROM_WORKER_BYTES_MAX, "{}", page.result.encoded_len());
    }
}
