//! Small records: names that speak of states that are gone, and with the deeper checks every record that nothing else reads.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt};

use super::{Findings, reason};
use crate::codec::Malformed;
use crate::core::Core;
use crate::error::ReadError;
use crate::id::{KeyId, LeaseId};
use crate::index::{Run, RunName};
use crate::keys;
use crate::lease::LeaseRecord;
use crate::sealed::ObjectKind;
use crate::snapshot::SnapshotObject;
use crate::state::{self, State};
use crate::store::StoreError;
use crate::view::View;

type Decode = fn(&[u8]) -> Result<(), Malformed>;

struct Folder {
    name: &'static str,
    kind: ObjectKind,
    decode: Decode,
    /// Runs may be some megabytes each.
    at_once: usize,
}

const FOLDERS: [Folder; 4] = [
    Folder { name: "state", kind: ObjectKind::State, decode: |content| State::decode(content).map(|_| ()), at_once: 16 },
    Folder { name: "leases", kind: ObjectKind::Lease, decode: |content| LeaseRecord::decode(content).map(|_| ()), at_once: 32 },
    Folder { name: "snapshots", kind: ObjectKind::Snapshot, decode: |content| SnapshotObject::decode(content).map(|_| ()), at_once: 32 },
    Folder { name: "index", kind: ObjectKind::IndexRun, decode: |content| Run::decode(content).map(|_| ()), at_once: 2 },
];

/// A record that is not as it should be.
#[derive(Debug)]
pub(super) struct Record {
    name: String,
    problem: String,
    matters: bool,
}

impl Record {
    pub(super) fn report(self, view: &View, findings: &mut Findings) {
        // What the view found unreadable is told by who needs it.
        let told = findings.names(&self.name) || view.unreadable_runs.iter().any(|(run, _)| run.to_string() == self.name);
        match self.matters {
            _ if told => {}
            true => findings.damaged(&self.name, self.problem),
            false => findings.leftover(&self.name, self.problem),
        }
    }
}

pub(super) async fn look(core: &Core, view: &View, deep: bool) -> Result<Vec<Record>, ReadError> {
    let [states, leases, snapshots, index] = &FOLDERS;
    let (keys, states, leases, snapshots, index) = futures::try_join!(
        keys(core, deep),
        folder(core, view, states, deep),
        folder(core, view, leases, deep),
        folder(core, view, snapshots, deep),
        folder(core, view, index, deep),
    )?;
    let mut records = keys;
    let mut last = BTreeSet::new();
    for (highest, found) in [states, leases, snapshots, index] {
        last.extend(highest);
        records.extend(found);
    }
    // A lease is named by the state it saw: that state was there once.
    if let Some(lost) = last.last().copied().filter(|&state| state > view.state.number)
        // Or it was published since the view was made.
        && let newest = state::numbers(core).await?.last().copied().unwrap_or_default()
        && newest < lost
    {
        let problem = format!("it is missing: work was begun under it, and the newest state left is {newest}");
        records.push(Record { name: state::object_name(lost), problem, matters: true });
    }
    Ok(records)
}

/// The highest state that a name of the folder speaks of, and what is wrong in it.
async fn folder(core: &Core, view: &View, folder: &Folder, deep: bool) -> Result<(Option<u64>, Vec<Record>), ReadError> {
    let mut highest = None;
    let mut wanted = Vec::new();
    let mut names = core.store.list(folder.name, None);
    while let Some(entry) = names.next().await {
        let name = entry?.name;
        highest = highest.max(lease_of(&name).map(|lease| lease.state));
        if deep && !is_read_elsewhere(view, &name) {
            wanted.push(name);
        }
    }
    drop(names);
    let mut found = Vec::new();
    let mut reads = stream::iter(wanted.into_iter().map(|name| async move {
        let content = core.read(folder.kind, &name).await;
        (name, content)
    }))
    .buffered(folder.at_once);
    while let Some((name, content)) = reads.next().await {
        match content {
            Ok(content) => {
                if let Err(error) = (folder.decode)(&content) {
                    found.push(Record { name, problem: error.to_string(), matters: false });
                }
            }
            // A prune removed it since it was listed.
            Err(ReadError::Store(StoreError::NotFound { .. })) => {}
            Err(error @ (ReadError::Damaged { .. } | ReadError::TooNew { .. })) => found.push(Record { name, problem: reason(&error), matters: false }),
            Err(error) => return Err(error),
        }
    }
    Ok((highest, found))
}

fn lease_of(name: &str) -> Option<LeaseId> {
    name.split('/').nth(1)?.parse().ok()
}

/// Snapshots that readers accept, and live runs, are read by who needs them.
fn is_read_elsewhere(view: &View, name: &str) -> bool {
    match RunName::parse(name) {
        Some(run) => view.state.runs.contains_key(&run) || view.adopted.values().flatten().any(|(adopted, _)| *adopted == run),
        None => name.starts_with("snapshots/") && lease_of(name).is_some_and(|lease| view.candidates.binary_search(&lease).is_ok()),
    }
}

/// The passwords' objects: their form. What is sealed in them only their passwords open.
async fn keys(core: &Core, deep: bool) -> Result<Vec<Record>, ReadError> {
    if !deep {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for id in keys::list(core.store.as_ref()).await? {
        let id: KeyId = id;
        match core.store.get(&keys::object_name(&id)).await {
            Ok(object) => {
                if let Err(error) = keys::check_form(&id, &object) {
                    found.push(Record { name: keys::object_name(&id), problem: reason(&error), matters: true });
                }
            }
            Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}
