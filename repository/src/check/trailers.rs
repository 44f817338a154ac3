//! The packs' own lists of blobs, without their content: two small requests a pack, many at once.

use std::sync::atomic::Ordering;

use futures::stream::{self, StreamExt};

use super::packs::Listed;
use super::{CheckProgress, Findings, reason};
use crate::blob::PackName;
use crate::core::Core;
use crate::error::ReadError;
use crate::pack::{self, PackEntry, PackInfo};
use crate::reader::Reader;
use crate::view::View;

const AT_ONCE: usize = 16;
/// Holds the trailer of nearly every pack.
const TAIL_BYTES: u64 = 64 << 10;

pub(super) async fn check(
    reader: &Reader,
    view: &View,
    packs: Vec<PackInfo>,
    listed: &Listed,
    progress: &CheckProgress,
    findings: &mut Findings,
) -> Result<(), ReadError> {
    let core = reader.core();
    let mut trailers =
        stream::iter(packs.into_iter().map(|info| async move { (info, read(core, info.name, info.object_bytes).await) })).buffered(AT_ONCE);
    while let Some((info, trailer)) = trailers.next().await {
        match trailer {
            Ok((own, _)) if own.salt != info.salt => findings.lost_pack(info.name, "its header is not the one that the index names"),
            Ok((_, entries)) => listed.compare(view, info.name, &entries, findings),
            Err(error) if error.is_damage() => findings.lost_pack(info.name, reason(&error)),
            Err(error) => return Err(error),
        }
        progress.bytes_read.fetch_add(TAIL_BYTES.min(info.object_bytes), Ordering::Relaxed);
        progress.packs_done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// What a pack says of itself.
pub(crate) async fn read(core: &Core, name: PackName, object_bytes: u64) -> Result<(PackInfo, Vec<PackEntry>), ReadError> {
    let object = name.to_string();
    let least = (pack::HEADER_BYTES + pack::FOOTER_BYTES) as u64;
    if object_bytes < least {
        return Err(ReadError::damaged(object, "cut short"));
    }
    let mut wanted = TAIL_BYTES.min(object_bytes);
    let (header, mut tail) = futures::try_join!(
        core.store.get_range(&object, 0..pack::HEADER_BYTES as u64),
        core.store.get_range(&object, object_bytes - wanted..object_bytes),
    )?;
    loop {
        match pack::read_trailer(&core.keys, &name, object_bytes, &header, &tail) {
            Ok(trailer) => return Ok(trailer),
            // The footer says how much; more than that is never asked for.
            Err(Ok(bytes)) if bytes as u64 > wanted => wanted = bytes as u64,
            Err(Ok(_)) => return Err(ReadError::damaged(object, "cut short")),
            Err(Err(error)) => return Err(error),
        }
        tail = core.store.get_range(&object, object_bytes - wanted..object_bytes).await?;
    }
}
