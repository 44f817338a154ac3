//! Snapshots against the index: every blob that one refers to is listed in a pack that is there.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures::stream::{self, Stream, StreamExt};

use super::{Findings, reason};
use crate::blob::BlobKind;
use crate::error::ReadError;
use crate::id::{BlobId, SnapshotId};
use crate::reader::Reader;
use crate::refs::{self, Ref, SegmentRef};
use crate::snapshot::listing::{self, Snapshots};
use crate::snapshot::{self, SnapshotRecord};
use crate::view::View;

const ROOTS_AT_ONCE: usize = 16;
const SEGMENTS_AT_ONCE: usize = 16;

/// An object that no good copy of something is left in, and what is wrong with it.
type Loss = (String, String);

/// Every snapshot that readers accept; those that no state lists were read with the view.
pub(super) async fn all(reader: &Reader, view: &View) -> Result<Snapshots, ReadError> {
    let listed = view.state.listed.iter().copied().collect();
    let mut snapshots = listing::read_all(reader.core(), &view.state, listed).await?;
    snapshots.readable.extend(view.unlisted.iter().cloned());
    snapshots.unreadable.extend(view.unreadable_snapshots.iter().cloned());
    Ok(snapshots)
}

pub(super) async fn check(reader: &Reader, view: &View, snapshots: &Snapshots, findings: &mut Findings) -> Result<(), ReadError> {
    for (id, error) in &snapshots.unreadable {
        let object = snapshot::object_name(id);
        findings.damaged(&object, reason(error));
        findings.affects(&object, "unreadable", *id);
    }
    for (id, record) in &snapshots.readable {
        for catalog in record.sources.iter().filter_map(|source| source.catalog) {
            for (object, problem) in lost(view, findings, [catalog].iter()) {
                findings.affects(&object, &problem, *id);
            }
        }
    }
    // Segments are shared between snapshots: each is read once.
    let mut seen = HashSet::new();
    let mut unreadable = Vec::new();
    let mut lossy: BTreeMap<BlobId, BTreeSet<Loss>> = BTreeMap::new();
    let segments = roots(reader, snapshots).flat_map(|(id, root)| {
        let new = match root {
            Ok(segments) => segments.into_iter().filter(|segment| seen.insert(segment.blob)).collect(),
            Err(error) => {
                unreadable.push((id, error));
                Vec::new()
            }
        };
        stream::iter(new)
    });
    let mut read = segments.map(|segment| async move { (segment.blob, entries(reader, &segment).await) }).buffered(SEGMENTS_AT_ONCE);
    while let Some((segment, entries)) = read.next().await {
        let losses = match entries {
            Ok(entries) => lost(view, findings, entries.iter().map(|(id, _)| id)),
            Err(error) if error.is_damage() => BTreeSet::from([of_refs(&error)]),
            Err(error) => return Err(error),
        };
        if !losses.is_empty() {
            lossy.insert(segment, losses);
        }
    }
    drop(read);
    for (id, error) in unreadable {
        if !error.is_damage() {
            return Err(error);
        }
        let (object, problem) = of_refs(&error);
        findings.affects(&object, &problem, id);
    }
    if !lossy.is_empty() {
        name_sufferers(reader, snapshots, &lossy, findings).await?;
    }
    let rotten = reader.found_bad();
    findings.bad.blobs.extend(rotten.blobs);
    findings.bad.packs.extend(rotten.packs);
    Ok(())
}

/// Which snapshots have a segment that something is lost of. The roots are read again: this is rare, and they may be many.
async fn name_sufferers(
    reader: &Reader,
    snapshots: &Snapshots,
    lossy: &BTreeMap<BlobId, BTreeSet<Loss>>,
    findings: &mut Findings,
) -> Result<(), ReadError> {
    let mut roots = std::pin::pin!(roots(reader, snapshots));
    while let Some((id, root)) = roots.next().await {
        let segments = match root {
            Ok(segments) => segments,
            Err(error) if error.is_damage() => continue,
            Err(error) => return Err(error),
        };
        for (object, problem) in segments.iter().filter_map(|segment| lossy.get(&segment.blob)).flatten() {
            findings.affects(object, problem, id);
        }
    }
    Ok(())
}

/// The root of each snapshot's refs, some at once.
pub(crate) fn roots<'a>(
    reader: &'a Reader,
    snapshots: &'a Snapshots,
) -> impl Stream<Item = (SnapshotId, Result<Vec<SegmentRef>, ReadError>)> + Send + 'a {
    stream::iter(&snapshots.readable).map(move |(id, record)| async move { (*id, root(reader, record).await) }).buffered(ROOTS_AT_ONCE)
}

async fn root(reader: &Reader, record: &SnapshotRecord) -> Result<Vec<SegmentRef>, ReadError> {
    let content = reader.read_blob(BlobKind::Refs, &record.refs).await?;
    refs::decode_root(&content).map_err(|error| ReadError::damaged(format!("refs {}", record.refs), error.to_string()))
}

/// The blobs of a segment, with how much of each is used.
pub(crate) async fn entries(reader: &Reader, segment: &SegmentRef) -> Result<Vec<Ref>, ReadError> {
    let content = reader.read_blob(BlobKind::Refs, &segment.blob).await?;
    refs::decode_segment(&content, segment).map_err(|error| ReadError::damaged(format!("refs {}", segment.blob), error.to_string()))
}

fn of_refs(error: &ReadError) -> Loss {
    match error {
        ReadError::Damaged { object, reason } => (object.clone(), reason.clone()),
        ReadError::NotFound { .. } => in_no_run(),
        error => ("refs".to_owned(), error.to_string()),
    }
}

/// What no readable run lists.
fn in_no_run() -> Loss {
    ("index".to_owned(), "no run that can be read lists blobs that snapshots need".to_owned())
}

/// What of these is lost, told and counted.
fn lost<'b>(view: &View, findings: &mut Findings, blobs: impl Iterator<Item = &'b BlobId>) -> BTreeSet<Loss> {
    let mut losses: BTreeMap<Loss, Vec<BlobId>> = BTreeMap::new();
    for id in blobs {
        if let Some(loss) = loss(view, findings, id) {
            losses.entry(loss).or_default().push(*id);
        }
    }
    for ((object, problem), blobs) in &losses {
        findings.loses(object, problem, blobs);
    }
    losses.into_keys().collect()
}

/// `None` if a good copy is left.
fn loss(view: &View, findings: &Findings, id: &BlobId) -> Option<Loss> {
    let mut last = None;
    for found in view.index.find(id) {
        let pack = found.location.pack;
        let (state, now) = (&view.state, &findings.bad);
        let known = !findings.verified.contains(&pack) && (state.bad_packs.contains(&pack) || state.bad_blobs.contains(&(*id, pack)));
        if !known && !now.packs.contains(&pack) && !now.blobs.contains(&(*id, pack)) {
            return None;
        }
        last = Some(pack);
    }
    Some(match last {
        Some(pack) => (pack.to_string(), "blobs in it are known to be rotten since an earlier check".to_owned()),
        None => in_no_run(),
    })
}
