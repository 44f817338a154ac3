//! Packs against the index: there, of the right length, with the right list, with the right content.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use futures::stream::{self, StreamExt};

use super::{CheckOptions, CheckProgress, Findings};
use crate::blob::{PackClass, PackName};
use crate::blobs::Bad;
use crate::compress::Scratch;
use crate::core::Core;
use crate::error::ReadError;
use crate::id::BlobId;
use crate::pack::{self, PackEntry, PackInfo};
use crate::reader::Reader;
use crate::view::View;

/// Whole packs in memory at once, the one being verified included.
const PACKS_AT_ONCE: usize = 2;
const TRAILERS_AT_ONCE: usize = 16;
/// Holds the trailer of nearly every pack.
const TAIL_BYTES: u64 = 64 << 10;

/// What the index says of one pack.
type Listed = HashMap<PackName, Vec<PackEntry>>;

pub(super) async fn check(
    reader: &Reader,
    view: &View,
    options: CheckOptions,
    progress: &CheckProgress,
    findings: &mut Findings,
    bad: &mut Bad,
) -> Result<(), ReadError> {
    let core = reader.core();
    let mut present = lengths(core).await?;
    // A pack that was stored after the listing began is not missing.
    let mut packs = Vec::new();
    for info in view.index.packs() {
        let found = match present.remove(&info.name) {
            Some(bytes) => Some(bytes),
            None => match core.store.head(&info.name.to_string()).await {
                Ok(bytes) => Some(bytes),
                Err(crate::store::StoreError::NotFound { .. }) => None,
                Err(error) => return Err(error.into()),
            },
        };
        match found {
            Some(bytes) if bytes == info.object_bytes => packs.push(*info),
            Some(bytes) => lost(info, format!("it has {bytes} bytes instead of {}", info.object_bytes), findings, bad),
            None => lost(info, "it is missing".to_owned(), findings, bad),
        }
    }
    progress.packs_total.store(packs.len() as u64, Ordering::Relaxed);
    let listed = if options.trailers || options.read_data_percent > 0 { listed(view) } else { Listed::new() };
    let salt = u16::from_le_bytes(core.environment.random());
    let (whole, rest): (Vec<_>, Vec<_>) = packs.into_iter().partition(|info| in_sample(info, salt, options.read_data_percent));
    if options.trailers {
        check_trailers(core, rest, &listed, progress, findings, bad).await?;
    } else {
        progress.packs_done.fetch_add(rest.len() as u64, Ordering::Relaxed);
    }
    check_whole(core, whole, &listed, progress, findings, bad).await
}

fn lost(info: &PackInfo, problem: String, findings: &mut Findings, bad: &mut Bad) {
    findings.add(info.name.to_string(), problem);
    bad.packs.insert(info.name);
}

/// A fresh part each time, so that sampling often comes to everything.
fn in_sample(info: &PackInfo, salt: u16, percent: u8) -> bool {
    let place = u16::from_le_bytes([info.name.id.0[0], info.name.id.0[1]]).wrapping_add(salt);
    u32::from(place) * 100 < u32::from(percent) << 16
}

async fn lengths(core: &Core) -> Result<HashMap<PackName, u64>, ReadError> {
    let mut lengths = HashMap::new();
    for class in [PackClass::Data, PackClass::Meta] {
        let mut names = core.store.list(class.folder(), None);
        while let Some(entry) = names.next().await {
            let entry = entry?;
            let id = entry.name.rsplit('/').next().and_then(|id| id.parse().ok());
            if let Some(name) = id.map(|id| PackName { class, id }).filter(|name| name.to_string() == entry.name) {
                lengths.insert(name, entry.bytes);
            }
        }
    }
    Ok(lengths)
}

fn listed(view: &View) -> Listed {
    let mut listed = Listed::new();
    for (id, found) in view.index.all() {
        let at = found.location;
        let entry = PackEntry { id, kind: at.kind, encoding: at.encoding, offset: at.offset, stored_bytes: at.stored_bytes, raw_bytes: at.raw_bytes };
        listed.entry(at.pack).or_default().push(entry);
    }
    listed
}

/// Every blob that the index lists in a pack must stand in the pack's own list.
fn compare(info: &PackInfo, trailer: &[PackEntry], listed: &Listed, findings: &mut Findings, bad: &mut Bad) {
    let own: HashMap<BlobId, &PackEntry> = trailer.iter().map(|entry| (entry.id, entry)).collect();
    for entry in listed.get(&info.name).into_iter().flatten() {
        if own.get(&entry.id) != Some(&entry) {
            findings.add(info.name.to_string(), format!("the index lists blob {} in it, its own list does not", entry.id));
            bad.blobs.insert((entry.id, info.name));
        }
    }
}

async fn check_trailers(
    core: &Core,
    packs: Vec<PackInfo>,
    listed: &Listed,
    progress: &CheckProgress,
    findings: &mut Findings,
    bad: &mut Bad,
) -> Result<(), ReadError> {
    let mut trailers = stream::iter(packs.into_iter().map(|info| async move { (info, trailer(core, &info, progress).await) })).buffered(TRAILERS_AT_ONCE);
    while let Some((info, trailer)) = trailers.next().await {
        match trailer {
            Ok(trailer) => compare(&info, &trailer, listed, findings, bad),
            Err(error) if error.is_damage() => lost(&info, reason(&error), findings, bad),
            Err(error) => return Err(error),
        }
        progress.packs_done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn trailer(core: &Core, info: &PackInfo, progress: &CheckProgress) -> Result<Vec<PackEntry>, ReadError> {
    let name = info.name.to_string();
    let header = core.store.get_range(&name, 0..pack::HEADER_BYTES as u64).await?;
    let mut wanted = TAIL_BYTES.min(info.object_bytes);
    loop {
        let tail = core.store.get_range(&name, info.object_bytes - wanted..info.object_bytes).await?;
        progress.bytes_read.fetch_add(wanted, Ordering::Relaxed);
        match pack::read_trailer(&core.keys, &info.name, info.object_bytes, &header, &tail) {
            Ok((_, entries)) => return Ok(entries),
            // The footer says how much; more than that is never asked for.
            Err(Ok(bytes)) if bytes as u64 > wanted => wanted = bytes as u64,
            Err(Ok(_)) => return Err(ReadError::damaged(name, "cut short")),
            Err(Err(error)) => return Err(error),
        }
    }
}

async fn check_whole(
    core: &Core,
    packs: Vec<PackInfo>,
    listed: &Listed,
    progress: &CheckProgress,
    findings: &mut Findings,
    bad: &mut Bad,
) -> Result<(), ReadError> {
    let mut scratch = Scratch::new();
    let mut objects = stream::iter(packs.into_iter().map(|info| async move { (info, core.store.get(&info.name.to_string()).await) })).buffered(PACKS_AT_ONCE - 1);
    while let Some((info, object)) = objects.next().await {
        let object = match object.map_err(ReadError::from) {
            Ok(object) => object,
            Err(error) if error.is_damage() => {
                lost(&info, reason(&error), findings, bad);
                continue;
            }
            Err(error) => return Err(error),
        };
        let mut rotten = Vec::new();
        let verified = pack::verify_whole(&core.keys, &info.name, &object, &mut scratch, |id, error| rotten.push((id, error)));
        for (id, error) in rotten {
            findings.error(&info.name.to_string(), &error);
            bad.blobs.insert((id, info.name));
        }
        match verified {
            Ok(trailer) => compare(&info, &trailer, listed, findings, bad),
            Err(error) => lost(&info, reason(&error), findings, bad),
        }
        progress.bytes_read.fetch_add(object.len() as u64, Ordering::Relaxed);
        progress.packs_done.fetch_add(1, Ordering::Relaxed);
        // A long verification must not starve the heartbeats of its own lease.
        tokio::task::yield_now().await;
    }
    Ok(())
}

fn reason(error: &ReadError) -> String {
    match error {
        ReadError::Damaged { reason, .. } => reason.clone(),
        error => error.to_string(),
    }
}
