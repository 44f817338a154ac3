//! Snapshots: what a lease committed, or that it ended without.

use std::collections::BTreeMap;

use crate::core::{Core, Created};
use crate::error::WriteError;
use crate::id::{BlobId, LeaseId, SnapshotId};
use crate::sealed::ObjectKind;

mod encoding;
pub(crate) mod listing;

pub(crate) fn object_name(lease: &LeaseId) -> String {
    format!("snapshots/{lease}")
}

/// What stands at `snapshots/<lease>`: of a commit and an ending, one wins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SnapshotObject {
    /// A snapshot.
    Commit(Box<SnapshotRecord>),
    /// The lease ended without one.
    Ended(Ending),
}

/// A tombstone, or a reader's end mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) reason: EndingReason,
    /// The host that wrote it.
    pub(crate) by: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum EndingReason {
    /// Its holder gave up.
    Abandoned = 1,
    /// A prune saw no heartbeat.
    Fenced = 2,
    /// A prune published while it was taken.
    Stale = 3,
    /// A reader is done.
    Done = 4,
}

impl Ending {
    /// Ends the lease, unless it has ended already.
    pub(crate) async fn write(self, core: &Core, lease: &LeaseId) -> Result<Created, WriteError> {
        core.write(ObjectKind::Snapshot, &object_name(lease), &SnapshotObject::Ended(self).encode()).await
    }
}

/// One path in one volume.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceRecord {
    /// The path as its user knows it: in the application's container, or on the command line.
    pub path: Vec<u8>,
    /// The claim's UID; empty where there is no claim. With `path_in_volume` it finds the parent.
    pub pvc_uid: String,
    /// The path inside the volume.
    pub path_in_volume: Vec<u8>,
    /// Root of its catalog; `None` if nothing could be read.
    pub catalog: Option<BlobId>,
    /// What was counted.
    pub statistics: Statistics,
}

/// Counts of one source or of a whole snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Symlinks, FIFOs, sockets, devices.
    pub others: u64,
    /// Sum of the files' sizes.
    pub bytes: u64,
    /// Bytes read from the volume.
    pub bytes_read: u64,
    /// Bytes of new blobs, before compression.
    pub bytes_added: u64,
    /// Bytes of new blobs as stored.
    pub bytes_stored: u64,
    /// Files whose content was read.
    pub files_read: u64,
    /// Files never seen before.
    pub files_new: u64,
    /// Files that differ from the parent.
    pub files_changed: u64,
    /// Entries that could not be read.
    pub unreadable: u64,
    /// Files that changed while they were read.
    pub changed_while_read: u64,
}

/// What the writer of a snapshot says about it; the repository adds its name, end, refs and runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SnapshotDraft {
    /// Where it was taken.
    pub host: String,
    /// What was taken.
    pub sources: Vec<SourceRecord>,
    /// The BackupSession, or empty.
    pub session: String,
    /// The component, or empty.
    pub component: String,
    /// When it began, milliseconds since 1970.
    pub start_ms: i64,
    /// When the scan began: what changed later is read next time.
    pub scan_ms: i64,
    /// What it was taken against.
    pub parent: Option<SnapshotId>,
    /// Sums.
    pub statistics: Statistics,
    /// Whatever else; keys begin with their owner (`kubestash/...`). At most 1 MiB in all.
    pub extensions: BTreeMap<String, Vec<u8>>,
}

/// A committed snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// Where it was taken.
    pub host: String,
    /// What was taken.
    pub sources: Vec<SourceRecord>,
    /// The BackupSession, or empty.
    pub session: String,
    /// The component, or empty.
    pub component: String,
    /// When it began, milliseconds since 1970.
    pub start_ms: i64,
    /// When it was committed.
    pub end_ms: i64,
    /// When the scan began.
    pub scan_ms: i64,
    /// What it was taken against.
    pub parent: Option<SnapshotId>,
    /// Root of the refs: every blob it needs, with its live bytes.
    pub refs: BlobId,
    /// The index runs that its writer wrote, in order.
    pub runs: Vec<crate::index::RunName>,
    /// Sums.
    pub statistics: Statistics,
    /// Whatever else.
    pub extensions: BTreeMap<String, Vec<u8>>,
}
