//! Which packs are still there. A backup that used what a lost pack held would only add to the damage; one that knows stores it again,
//! and the older snapshots heal with it.
//!
//! The store is listed while the index is loaded, so that it costs no round trip of its own. Where there are more packs than that
//! is cheap for, each backup looks at another part of them. What is lost between this look and the commit, the next backup finds.

use std::collections::{BTreeSet, HashMap};

use futures::stream::{self, StreamExt, TryStreamExt};

use crate::blob::{PackClass, PackName};
use crate::blobs::Bad;
use crate::core::Core;
use crate::pack::PackInfo;
use crate::store::StoreError;
use crate::view::View;

/// As many are listed in twenty requests, and their names and lengths fit a megabyte.
pub(super) const LISTED_MAX: usize = 20_000;
/// Folders of a class, by the first two digits of their packs' ids.
const FOLDERS: usize = 256;
/// Requests at once.
const AT_ONCE: usize = 16;

type Lengths = HashMap<PackName, u64>;

/// All packs, with their lengths; none if there are too many.
pub(super) async fn list(core: &Core, listed_max: usize) -> Result<Option<Lengths>, StoreError> {
    let of = |class: PackClass| list_folder(core, class, class.folder().to_owned(), listed_max);
    let (data, meta) = futures::try_join!(of(PackClass::Data), of(PackClass::Meta))?;
    Ok(data.zip(meta).map(|(mut lengths, meta)| {
        lengths.extend(meta);
        lengths
    }))
}

async fn list_folder(core: &Core, class: PackClass, folder: String, listed_max: usize) -> Result<Option<Lengths>, StoreError> {
    let mut lengths = Lengths::new();
    let mut names = core.store.list(&folder, None);
    while let Some(entry) = names.next().await {
        let entry = entry?;
        let id = entry.name.rsplit('/').next().and_then(|id| id.parse().ok());
        if let Some(id) = id {
            lengths.insert(PackName { class, id }, entry.bytes);
        }
        if lengths.len() > listed_max {
            return Ok(None);
        }
    }
    Ok(Some(lengths))
}

/// The packs that a new snapshot might use and that are missing, or not as long as they should be.
pub(super) async fn lost(core: &Core, view: &View, listed: Option<Lengths>, listed_max: usize) -> Result<Bad, StoreError> {
    let mut packs: Vec<&PackInfo> = view.index.packs().filter(|pack| view.state.usable(&pack.name)).collect();
    let lengths = match listed {
        Some(lengths) => lengths,
        None => {
            let folders = sample(packs.len(), listed_max, core.environment.random());
            packs.retain(|pack| folders.contains(&pack.name.id.0[0]));
            list_folders(core, &folders).await?
        }
    };
    // One that was stored after the listing began is asked for.
    packs.retain(|pack| lengths.get(&pack.name) != Some(&pack.object_bytes));
    let asked: Vec<(PackName, u64)> = packs.into_iter().map(|pack| (pack.name, pack.object_bytes)).collect();
    let mut bad = Bad::default();
    let mut heads = stream::iter(asked).map(|(pack, bytes)| async move { (pack, bytes, core.store.head(&pack.to_string()).await) }).buffered(AT_ONCE);
    while let Some((pack, expected_bytes, head)) = heads.next().await {
        match head {
            Ok(bytes) if bytes == expected_bytes => {}
            Ok(_) | Err(StoreError::NotFound { .. }) => {
                tracing::warn!(%pack, "is missing or cut; what was in it counts as absent");
                bad.packs.insert(pack);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(bad)
}

/// So many folders that about `listed_max` packs are in them, one at least.
fn sample(packs: usize, listed_max: usize, chance: [u8; FOLDERS]) -> BTreeSet<u8> {
    let count = (FOLDERS * listed_max / packs.max(1)).clamp(1, FOLDERS);
    chance.into_iter().take(count).collect()
}

async fn list_folders(core: &Core, folders: &BTreeSet<u8>) -> Result<Lengths, StoreError> {
    let of = |class: PackClass, folder: u8| list_folder(core, class, format!("{}/{folder:02x}", class.folder()), usize::MAX);
    let lists: Vec<_> = folders.iter().copied().flat_map(|folder| [of(PackClass::Data, folder), of(PackClass::Meta, folder)]).collect();
    let lists: Vec<Option<Lengths>> = stream::iter(lists).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(lists.into_iter().flatten().flatten().collect())
}

#[cfg(test)]
mod tests;
