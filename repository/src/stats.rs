//! Statistics: what is stored, and how much of it which snapshots use. Counted from names, refs and index; no content is read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt};

use crate::blob::{BlobKind, PackClass};
use crate::check::{packs, snapshots};
use crate::core::Core;
use crate::error::ReadError;
use crate::id::{BlobId, SnapshotId};
use crate::index::Index;
use crate::lease::{Activity, Purpose};
use crate::reader::Reader;
use crate::snapshot::listing::Snapshots;
use crate::snapshot::{SnapshotRecord, Statistics};
use crate::spill::{Sorted, Sorter, Spill};
use crate::view::spill_failed;

/// What sorting the used blobs may hold, where there is a cache directory for the rest.
const SORT_BYTES: usize = 8 << 20;
const SEGMENTS_AT_ONCE: usize = 16;
/// Marks in the sorter: used by the one snapshot that is asked for, by another.
const BY_IT: u8 = 1;
const BY_OTHERS: u8 = 2;

/// Objects of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Objects {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlobCount {
    /// How many.
    pub count: u64,
    /// Before compression.
    pub raw_bytes: u64,
    /// As stored.
    pub stored_bytes: u64,
}

impl BlobCount {
    fn add(&mut self, raw_bytes: u32, stored_bytes: u32) {
        self.count += 1;
        self.raw_bytes += u64::from(raw_bytes);
        self.stored_bytes += u64::from(stored_bytes);
    }
}

/// A repository in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepositoryStats {
    /// Snapshots that readers accept.
    pub snapshots: u64,
    /// Sum of the sizes of all files of all snapshots.
    pub referenced_bytes: u64,
    /// Everything stored, by folder.
    pub objects: BTreeMap<&'static str, Objects>,
    /// Blobs that snapshots use, each once.
    pub used: BlobCount,
    /// Blobs, and further copies of used ones, that no snapshot uses: a prune frees them pack by pack.
    pub unused: BlobCount,
    /// Packs that no index run lists: of backups that run or were interrupted.
    pub unlisted_packs: Objects,
    /// Used blobs that no readable index run lists: `check` names who suffers.
    pub missing: u64,
}

impl RepositoryStats {
    /// Everything.
    pub fn total(&self) -> Objects {
        self.objects.values().fold(Objects::default(), |sum, objects| Objects { count: sum.count + objects.count, bytes: sum.bytes + objects.bytes })
    }
}

/// A snapshot in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SnapshotStats {
    /// What its backup counted.
    pub statistics: Statistics,
    /// Blobs that it uses.
    pub used: BlobCount,
    /// Of these, what no other snapshot uses: what forgetting it and a prune can free.
    pub unique: BlobCount,
    /// Blobs that it uses and that no readable index run lists.
    pub missing: u64,
}

pub(crate) async fn repository(core: &Arc<Core>, host: &str) -> Result<RepositoryStats, ReadError> {
    let reader = Reader::begin(Arc::clone(core), Purpose::new(Activity::Browse, host)).await?;
    let stats = of_repository(&reader).await;
    reader.close().await?;
    stats
}

pub(crate) async fn snapshot(core: &Arc<Core>, host: &str, id: &SnapshotId) -> Result<SnapshotStats, ReadError> {
    let reader = Reader::begin(Arc::clone(core), Purpose::new(Activity::Browse, host)).await?;
    let stats = of_snapshot(&reader, id).await;
    reader.close().await?;
    stats
}

async fn of_repository(reader: &Reader) -> Result<RepositoryStats, ReadError> {
    let core = reader.core();
    let (data, meta, index, snapshots_, states, leases, keys, lengths, snapshots) = futures::try_join!(
        folder(core, PackClass::Data.folder()),
        folder(core, PackClass::Meta.folder()),
        folder(core, "index"),
        folder(core, "snapshots"),
        folder(core, "state"),
        folder(core, "leases"),
        folder(core, "keys"),
        packs::lengths(core),
        reader.snapshots(),
    )?;
    let view = reader.view();
    let mut unlisted_packs = Objects::default();
    for (_, bytes) in lengths.iter().filter(|(pack, _)| view.index.pack(pack).is_none()) {
        unlisted_packs.count += 1;
        unlisted_packs.bytes += bytes;
    }
    let used = mark(reader, &snapshots, None).await?;
    let joined = join(&view.index, used)?;
    Ok(RepositoryStats {
        snapshots: (snapshots.readable.len() + snapshots.unreadable.len()) as u64,
        referenced_bytes: snapshots.readable.iter().map(|(_, record)| record.statistics.bytes).sum(),
        objects: BTreeMap::from([
            (PackClass::Data.folder(), data),
            (PackClass::Meta.folder(), meta),
            ("index", index),
            ("snapshots", snapshots_),
            ("state", states),
            ("leases", leases),
            ("keys", keys),
        ]),
        used: joined.used,
        unused: joined.unused,
        unlisted_packs,
        missing: joined.missing,
    })
}

async fn of_snapshot(reader: &Reader, id: &SnapshotId) -> Result<SnapshotStats, ReadError> {
    let record = reader.snapshot(id).await?;
    let snapshots = reader.snapshots().await?;
    let used = mark(reader, &snapshots, Some((*id, &record))).await?;
    let joined = join(&reader.view().index, used)?;
    Ok(SnapshotStats { statistics: record.statistics, used: joined.of_it, unique: joined.only_of_it, missing: joined.missing_of_it })
}

async fn folder(core: &Core, name: &str) -> Result<Objects, ReadError> {
    let mut objects = Objects::default();
    let mut names = core.store.list(name, None);
    while let Some(entry) = names.next().await {
        objects.count += 1;
        objects.bytes += entry?.bytes;
    }
    Ok(objects)
}

/// Every used blob's id, with who uses it, some more than once. A segment that snapshots share is read once.
async fn mark(reader: &Reader, snapshots: &Snapshots, it: Option<(SnapshotId, &SnapshotRecord)>) -> Result<Sorted, ReadError> {
    let mut used = sorter(&reader.core().spill());
    let push = |used: &mut Sorter, blob: &BlobId, by: u8| used.push(&blob.0, &[by]).map_err(spill_failed);
    let (mut of_it, mut of_others) = (HashSet::new(), HashSet::new());
    let mut segments = HashMap::new();
    for (id, record) in &snapshots.readable {
        let by = if it.is_some_and(|(it, _)| it == *id) { BY_IT } else { BY_OTHERS };
        push(&mut used, &record.refs, by)?;
        for catalog in record.sources.iter().filter_map(|source| source.catalog) {
            push(&mut used, &catalog, by)?;
        }
    }
    {
        let mut roots = std::pin::pin!(snapshots::roots(reader, snapshots));
        while let Some((id, root)) = roots.next().await {
            let is_it = it.is_some_and(|(it, _)| it == id);
            for segment in root? {
                if is_it { of_it.insert(segment.blob) } else { of_others.insert(segment.blob) };
                segments.insert(segment.blob, segment);
            }
        }
    }
    let mut read = stream::iter(segments.into_values().map(|segment| async move { (segment.blob, snapshots::entries(reader, &segment).await) }))
        .buffered(SEGMENTS_AT_ONCE);
    while let Some((segment, entries)) = read.next().await {
        let by = u8::from(of_it.contains(&segment)) * BY_IT | u8::from(of_others.contains(&segment)) * BY_OTHERS;
        push(&mut used, &segment, by)?;
        for (blob, _) in entries? {
            push(&mut used, &blob, by)?;
        }
    }
    used.finish().map_err(spill_failed)
}

/// In memory alone where there is no directory.
fn sorter(spill: &Spill) -> Sorter {
    spill.sorter(if spill.has_directory() { SORT_BYTES } else { usize::MAX })
}

#[derive(Debug, Default)]
struct Joined {
    used: BlobCount,
    unused: BlobCount,
    missing: u64,
    of_it: BlobCount,
    only_of_it: BlobCount,
    missing_of_it: u64,
}

/// The used blobs beside the index, both sorted by id. Fine hashes belong to their blobs: no refs name them, and they count as used.
fn join(index: &Index, mut used: Sorted) -> Result<Joined, ReadError> {
    let mut joined = Joined::default();
    let mut ahead = None;
    let mut wanted = next(&mut used, &mut ahead)?;
    let mut last = None;
    for (id, found) in index.all() {
        let at = found.location;
        if last == Some(id) {
            joined.unused.add(at.raw_bytes, at.stored_bytes);
            continue;
        }
        last = Some(id);
        while let Some((_, by)) = wanted.filter(|(blob, _)| *blob < id) {
            joined.is_missing(by);
            wanted = next(&mut used, &mut ahead)?;
        }
        match wanted.filter(|(blob, _)| *blob == id) {
            Some((_, by)) => {
                wanted = next(&mut used, &mut ahead)?;
                joined.used.add(at.raw_bytes, at.stored_bytes);
                if by & BY_IT != 0 {
                    joined.of_it.add(at.raw_bytes, at.stored_bytes);
                }
                if by == BY_IT {
                    joined.only_of_it.add(at.raw_bytes, at.stored_bytes);
                }
            }
            None if at.kind == BlobKind::FineHashes => joined.used.add(at.raw_bytes, at.stored_bytes),
            None => joined.unused.add(at.raw_bytes, at.stored_bytes),
        }
    }
    while let Some((_, by)) = wanted {
        joined.is_missing(by);
        wanted = next(&mut used, &mut ahead)?;
    }
    index.intact().map(|()| joined)
}

impl Joined {
    fn is_missing(&mut self, by: u8) {
        self.missing += 1;
        self.missing_of_it += u64::from(by & BY_IT != 0);
    }
}

type Used = (BlobId, u8);

/// The next blob, with all who use it.
fn next(used: &mut Sorted, ahead: &mut Option<Used>) -> Result<Option<Used>, ReadError> {
    let mut current: Option<Used> = ahead.take();
    while let Some((key, value)) = used.next().map_err(spill_failed)? {
        let Ok(id) = <[u8; 32]>::try_from(key).map(BlobId) else { continue };
        let by = value.first().copied().unwrap_or_default();
        match &mut current {
            None => current = Some((id, by)),
            Some((blob, all)) if *blob == id => *all |= by,
            Some(_) => {
                *ahead = Some((id, by));
                break;
            }
        }
    }
    Ok(current)
}

#[cfg(test)]
mod tests;
