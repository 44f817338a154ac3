//! Snapshots against the index: every blob that one refers to is listed in a pack that is there.

use std::collections::{BTreeSet, HashMap};

use super::Findings;
use crate::blob::BlobKind;
use crate::blobs::Bad;
use crate::error::ReadError;
use crate::id::{BlobId, SnapshotId};
use crate::reader::Reader;
use crate::refs;
use crate::snapshot::{self, SnapshotRecord};
use crate::view::View;

/// Object and problem, for a blob that no good copy is left of.
type Loss = (String, String);

/// Returns how many snapshots readers accept.
pub(super) async fn check(reader: &Reader, view: &View, findings: &mut Findings, bad: &mut Bad) -> Result<u64, ReadError> {
    let snapshots = reader.snapshots().await?;
    let count = snapshots.readable.len() + snapshots.unreadable.len();
    for (id, error) in &snapshots.unreadable {
        findings.error(&snapshot::object_name(id), error);
        findings.affects(&snapshot::object_name(id), "unreadable", *id);
    }
    // Segments are shared between snapshots: each is read once.
    let mut seen: HashMap<BlobId, BTreeSet<Loss>> = HashMap::new();
    for (id, record) in &snapshots.readable {
        match losses(reader, view, record, bad, &mut seen).await {
            Ok(losses) => losses.iter().for_each(|(object, problem)| findings.affects(object, problem, *id)),
            Err(error) if error.is_damage() => mark(findings, *id, &error),
            Err(error) => return Err(error),
        }
    }
    let rotten = reader.found_bad();
    bad.blobs.extend(rotten.blobs);
    bad.packs.extend(rotten.packs);
    Ok(count as u64)
}

fn mark(findings: &mut Findings, id: SnapshotId, error: &ReadError) {
    match error {
        ReadError::Damaged { object, reason } => findings.affects(object, reason, id),
        error => findings.affects(&snapshot::object_name(&id), &format!("its refs cannot be read: {error}"), id),
    }
}

async fn losses(
    reader: &Reader,
    view: &View,
    record: &SnapshotRecord,
    bad: &Bad,
    seen: &mut HashMap<BlobId, BTreeSet<Loss>>,
) -> Result<BTreeSet<Loss>, ReadError> {
    let damaged = |id: &BlobId, error: crate::codec::Malformed| ReadError::damaged(format!("refs {id}"), error.to_string());
    let mut losses = BTreeSet::new();
    losses.extend(record.sources.iter().filter_map(|source| loss(view, bad, &source.catalog?)));
    let root = reader.read_blob(BlobKind::Refs, &record.refs).await?;
    for segment in refs::decode_root(&root).map_err(|error| damaged(&record.refs, error))? {
        if let Some(known) = seen.get(&segment.blob) {
            losses.extend(known.iter().cloned());
            continue;
        }
        let content = reader.read_blob(BlobKind::Refs, &segment.blob).await?;
        let entries = refs::decode_segment(&content, &segment).map_err(|error| damaged(&segment.blob, error))?;
        let lost: BTreeSet<Loss> = entries.iter().filter_map(|(id, _)| loss(view, bad, id)).collect();
        losses.extend(lost.iter().cloned());
        seen.insert(segment.blob, lost);
    }
    Ok(losses)
}

/// `None` if a good copy is left.
fn loss(view: &View, bad: &Bad, id: &BlobId) -> Option<Loss> {
    let mut last = None;
    for found in view.index.find(id) {
        let pack = found.location.pack;
        if !bad.packs.contains(&pack) && !bad.blobs.contains(&(*id, pack)) {
            return None;
        }
        last = Some(pack);
    }
    Some(match last {
        Some(pack) => (pack.to_string(), format!("blob {id} is lost with it")),
        None => (format!("blob {id}"), "no readable index run lists it".to_owned()),
    })
}
