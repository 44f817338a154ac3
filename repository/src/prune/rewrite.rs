//! Packs of which little is used: what is used of them is copied to new packs, and they are condemned.
//!
//! The copies stand in live runs from the very state on that condemns the old packs: whoever sees that state reads and uses the new
//! ones, whoever saw an earlier one is waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt};

use super::look::{Chosen, Look, PackUse};
use super::runs::{NewRun, RunWriter};
use super::{Prune, PruneError};
use crate::blob::{Encoding, PackClass, PackName};
use crate::compress::Scratch;
use crate::crypto::Keys;
use crate::error::ReadError;
use crate::id::BlobId;
use crate::index::Index;
use crate::pack::{self, PackEntry, PackInfo};
use crate::writer::{WriterOptions, uploads::Uploads};

/// Dead bytes that may stay in packs that are partly used, of all that is used.
const DEAD_PERCENT_MAX: u64 = 2;
/// Blobs copied by one prune at most: about 150 bytes of memory each.
const BLOBS_MAX: u64 = 200_000;
/// Packs below this part of their full length are small, and so many of a class are better together.
const SMALL_PART: u64 = 8;
const SMALL_MAX: usize = 64;
/// One request.
const RANGE_BYTES_MAX: u64 = 8 << 20;
/// Dead bytes that are read along rather than asked around.
const GAP_BYTES_MAX: u64 = 128 << 10;
/// Ranges fetched and opened at once.
const AT_ONCE: usize = 3;
/// Less is opened at once on the spot.
const INLINE_BYTES: u64 = 256 << 10;

/// What was copied.
#[derive(Debug, Default)]
pub(super) struct Rewritten {
    /// Packs of which everything that is used was copied.
    pub(super) from: BTreeSet<PackName>,
    pub(super) runs: Vec<NewRun>,
    /// Copies that turned out rotten or missing.
    pub(super) bad: BTreeSet<(BlobId, PackName)>,
    new: Vec<(PackInfo, PackUse)>,
}

/// A blob to copy, and where its fine hashes are.
#[derive(Debug, Clone, Copy)]
struct Piece {
    entry: PackEntry,
    fine: Option<(BlobId, u32)>,
}

/// Neighbouring pieces of one pack: one request.
#[derive(Debug)]
struct Span {
    info: PackInfo,
    range: Range<u64>,
    pieces: Vec<Piece>,
}

/// What came of it: each piece as it stands in a pack before it is sealed.
type Opened = Vec<(Piece, Result<Vec<u8>, ReadError>)>;

impl Prune<'_> {
    /// Which packs are worth copying: those first of which the least must be copied for what it frees, until little enough is dead
    /// or the budget is used up.
    pub(super) fn worth_rewriting(&self, look: &Look) -> BTreeMap<PackName, PackUse> {
        let state = &look.state;
        let is_good = |pack: &PackName, used: &PackUse| used.live_blobs > 0 && !used.is_rotten && state.usable(pack);
        let mut partly: Vec<(PackName, PackUse)> =
            look.packs.iter().filter(|(pack, used)| is_good(pack, used)).map(|(pack, used)| (*pack, *used)).collect();
        partly.sort_unstable_by_key(|(pack, used)| (used.live_bytes.saturating_mul(1 << 20) / used.listed_bytes.max(1), *pack));
        let live: u64 = partly.iter().map(|(_, used)| used.live_bytes).sum();
        let mut dead: u64 = partly.iter().map(|(_, used)| used.dead_bytes()).sum();
        let (mut wanted, mut bytes, mut blobs) = (BTreeMap::new(), 0, 0);
        let mut take = |pack: PackName, used: PackUse| {
            let fits = bytes + used.live_bytes <= self.options.repack_bytes_max && blobs + used.live_blobs <= BLOBS_MAX;
            if fits && wanted.insert(pack, used).is_none() {
                bytes += used.live_bytes;
                blobs += used.live_blobs;
            }
            fits
        };
        for (pack, used) in &partly {
            if used.dead_bytes() == 0 || dead * 100 <= live * DEAD_PERCENT_MAX {
                break;
            }
            if take(*pack, *used) {
                dead -= used.dead_bytes();
            }
        }
        for class in [PackClass::Data, PackClass::Meta] {
            let small = |pack: &PackName| pack.class == class && self.inventory.bytes(pack) < class.target_bytes() as u64 / SMALL_PART;
            let small: Vec<_> = partly.iter().filter(|(pack, _)| small(pack)).collect();
            if small.len() >= SMALL_MAX {
                small.into_iter().for_each(|(pack, used)| {
                    take(*pack, *used);
                });
            }
        }
        wanted
    }

    /// Copies what is used of the packs in `wanted`. Nothing refers to the copies until a state lists their runs.
    pub(super) async fn rewrite(&mut self, look: &mut Look, wanted: &BTreeMap<PackName, PackUse>) -> Result<Rewritten, PruneError> {
        let mut rewritten = Rewritten::default();
        let Some((view, chosen)) = look.view.take().filter(|_| !wanted.is_empty()) else { return Ok(rewritten) };
        let spans = spans(&view.index, &chosen, wanted)?;
        drop(view);
        let core = self.core;
        let uploads = Uploads::new(Arc::clone(core), WriterOptions::default());
        let mut fine: BTreeMap<BlobId, (BlobId, u32)> = BTreeMap::new();
        let mut copied: BTreeMap<PackName, u64> = BTreeMap::new();
        let mut opened = stream::iter(spans).map(|span| open(core, span)).buffered(AT_ONCE);
        while let Some(outcome) = opened.next().await {
            let (pack, pieces) = outcome?;
            for (piece, stored) in pieces {
                match stored {
                    Ok(stored) => {
                        push(&uploads, &piece.entry, &stored).await?;
                        fine.extend(piece.fine.map(|place| (piece.entry.id, place)));
                        *copied.entry(pack).or_default() += 1;
                        self.report.bytes_rewritten += stored.len() as u64;
                    }
                    Err(error) => {
                        // What cannot be copied stays where it is: it may be read again one day, or healed.
                        tracing::warn!(%pack, %error, "not rewritten");
                        rewritten.bad.insert((piece.entry.id, pack));
                    }
                }
            }
        }
        drop(opened);
        uploads.close_open()?;
        uploads.settle().await?;

        let mut writer = RunWriter::new(core, look.state.number);
        for stored in uploads.take_stored() {
            let live_bytes = stored.entries.iter().map(|entry| u64::from(entry.stored_bytes)).sum();
            rewritten.new.push((stored.info, PackUse { listed_bytes: live_bytes, live_bytes, live_blobs: stored.entries.len() as u64, is_rotten: false }));
            writer.push(&stored.info, stored.entries.into_iter().map(|entry| (entry, fine.get(&entry.id).copied()))).await?;
        }
        rewritten.runs = writer.finish().await?;
        // Counted against the first walk through the index: what the second one missed for whatever reason stays where it is.
        rewritten.from = wanted.iter().filter(|(pack, used)| copied.get(pack) == Some(&used.live_blobs)).map(|(pack, _)| *pack).collect();
        Ok(rewritten)
    }

    /// After the publish: what the old packs held is chosen in the new ones.
    pub(super) fn moved(&mut self, look: &mut Look, rewritten: Rewritten) {
        self.report.packs_rewritten = rewritten.from.len() as u64;
        for pack in &rewritten.from {
            if let Some(used) = look.packs.get_mut(pack) {
                (used.live_bytes, used.live_blobs) = (0, 0);
            }
        }
        for (info, used) in rewritten.new {
            self.inventory.insert(info.name, info.object_bytes);
            look.packs.insert(info.name, used);
        }
        look.run_packs.extend(rewritten.runs.into_iter().map(|run| (run.name, run.packs)));
    }
}

/// In the order of the packs' names and the blobs' places: what was written together stays together.
fn spans(index: &Index, chosen: &Chosen, wanted: &BTreeMap<PackName, PackUse>) -> Result<Vec<Span>, PruneError> {
    let mut pieces: BTreeMap<PackName, (PackInfo, Vec<Piece>)> = BTreeMap::new();
    for (place, (id, found)) in index.all().enumerate() {
        let at = found.location;
        if !wanted.contains_key(&at.pack) || !chosen.has(place, &id, &at) {
            continue;
        }
        let fine = found.fine.and_then(|place| Some((*index.fine_blob(place)?, place.offset)));
        let entry = PackEntry { id, kind: at.kind, encoding: at.encoding, offset: at.offset, stored_bytes: at.stored_bytes, raw_bytes: at.raw_bytes };
        pieces.entry(at.pack).or_insert_with(|| (*found.info, Vec::new())).1.push(Piece { entry, fine });
    }
    index.intact()?;
    let mut spans: Vec<Span> = Vec::new();
    for (info, mut pieces) in pieces.into_values() {
        pieces.sort_unstable_by_key(|piece| piece.entry.offset);
        for piece in pieces {
            let range = piece.entry.location(info.name).range();
            match spans.last_mut() {
                Some(span)
                    if span.info.name == info.name
                        && range.start <= span.range.end + GAP_BYTES_MAX
                        && range.end - span.range.start <= RANGE_BYTES_MAX =>
                {
                    span.range.end = range.end.max(span.range.end);
                    span.pieces.push(piece);
                }
                _ => spans.push(Span { info, range, pieces: vec![piece] }),
            }
        }
    }
    Ok(spans)
}

/// Damage is each piece's own; a store that does not answer is an error.
async fn open(core: &crate::core::Core, span: Span) -> Result<(PackName, Opened), PruneError> {
    let pack = span.info.name;
    let bytes = match core.store.get_range(&pack.to_string(), span.range.clone()).await.map_err(ReadError::from) {
        Ok(bytes) => bytes,
        Err(error) if error.is_damage() => return Ok((pack, span.pieces.into_iter().map(|piece| (piece, Err(error.clone()))).collect())),
        Err(error) => return Err(error.into()),
    };
    let keys = Arc::clone(&core.keys);
    if span.range.end - span.range.start <= INLINE_BYTES {
        return Ok((pack, open_all(&keys, &span, &bytes)));
    }
    let opened = tokio::task::spawn_blocking(move || open_all(&keys, &span, &bytes)).await;
    opened.map(|opened| (pack, opened)).map_err(|error| crate::error::WriteError::Internal { what: format!("opening {pack}: {error}") }.into())
}

/// Each blob by its tag, length and keyed id; what is kept is what stands in the pack, not compressed anew.
fn open_all(keys: &Keys, span: &Span, bytes: &Bytes) -> Opened {
    let mut scratch = Scratch::new();
    let mut opened = Vec::with_capacity(span.pieces.len());
    for piece in &span.pieces {
        let location = piece.entry.location(span.info.name);
        let from = (location.range().start - span.range.start) as usize;
        let sealed = bytes.get(from..from + location.stored_bytes as usize).unwrap_or_default();
        let stored = pack::open_blob(keys, &span.info.salt, &piece.entry.id, &location, sealed, &mut scratch).map(|()| match piece.entry.encoding {
            Encoding::Raw => scratch.raw.clone(),
            Encoding::Zstd => scratch.opened.clone(),
        });
        opened.push((*piece, stored));
    }
    opened
}

async fn push(uploads: &Arc<Uploads>, entry: &PackEntry, stored: &[u8]) -> Result<(), PruneError> {
    uploads.add(entry.kind, entry.id, entry.encoding, entry.raw_bytes, stored).await?;
    Ok(())
}
