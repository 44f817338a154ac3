//! What the snapshots use, from their refs, in bounded memory.

use std::collections::HashSet;
use std::sync::atomic::Ordering;

use futures::stream::{self, StreamExt};

use super::used::Used;
use super::{PruneError, PruneProgress};
use crate::blob::BlobKind;
use crate::blobs::Blobs;
use crate::codec::Malformed;
use crate::core::Core;
use crate::error::ReadError;
use crate::id::BlobId;
use crate::mutation::left_out;
use crate::refs::{SegmentRef, decode_root, decode_segment};
use crate::snapshot::{self, SnapshotRecord};
use crate::view::View;

/// Snapshot objects read at once.
const SNAPSHOTS_AT_ONCE: usize = 32;
/// Segments of refs read at once.
const SEGMENTS_AT_ONCE: usize = 8;

/// What all accepted commits use.
pub(super) struct Marked<'i> {
    pub(super) used: Used<'i>,
    pub(super) commits: u64,
}

/// Reads every accepted snapshot and its refs. A segment that several share is read once.
pub(super) async fn mark<'i>(core: &Core, blobs: &Blobs, view: &View, used: Used<'i>, progress: &PruneProgress) -> Result<Marked<'i>, PruneError> {
    let mut marked = Marked { used, commits: 0 };
    let mut seen: HashSet<BlobId> = HashSet::new();
    let state = &view.state;
    let reads = view.candidates.clone().into_iter().map(|lease| async move { snapshot::listing::accepted(core, state, &lease).await });
    let mut reads = stream::iter(reads).buffered(SNAPSHOTS_AT_ONCE);
    while let Some(record) = reads.next().await {
        let record = match record {
            Ok(record) => record,
            // It ended without a commit.
            Err(ReadError::NotFound { .. }) => continue,
            Err(_) if left_out!(FailClosed) => continue,
            Err(error) => return Err(error.into()),
        };
        snapshot_refs(blobs, &record, &mut seen, |blob| marked.used.note(blob)).await?;
        marked.commits += 1;
        progress.snapshots_marked.fetch_add(1, Ordering::Relaxed);
    }
    Ok(marked)
}

/// Every blob that a snapshot names, but for segments that were `seen`.
pub(super) async fn snapshot_refs(blobs: &Blobs, record: &SnapshotRecord, seen: &mut HashSet<BlobId>, mut note: impl FnMut(&BlobId) -> Result<(), PruneError>) -> Result<(), PruneError> {
    let damaged = |blob: &BlobId, error: Malformed| ReadError::damaged(format!("refs {blob}"), error.to_string());
    for catalog in record.sources.iter().filter_map(|source| source.catalog) {
        note(&catalog)?;
    }
    if !seen.insert(record.refs) {
        return Ok(());
    }
    note(&record.refs)?;
    let root = blobs.read(BlobKind::Refs, &record.refs).await?;
    let segments = decode_root(&root).map_err(|error| damaged(&record.refs, error))?;
    let new: Vec<SegmentRef> = segments.into_iter().filter(|segment| seen.insert(segment.blob)).collect();
    let read = |segment: SegmentRef| async move {
        let content = blobs.read(BlobKind::Refs, &segment.blob).await;
        (segment, content)
    };
    let mut reads = stream::iter(new.into_iter().map(read)).buffered(SEGMENTS_AT_ONCE);
    while let Some((segment, content)) = reads.next().await {
        note(&segment.blob)?;
        for (blob, _) in decode_segment(&content?, &segment).map_err(|error| damaged(&segment.blob, error))? {
            note(&blob)?;
        }
    }
    Ok(())
}
