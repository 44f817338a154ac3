//! Which packs the store has.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt};

use crate::blob::{PackClass, PackName};
use crate::core::Core;
use crate::error::ReadError;
use crate::store::StoreError;

/// Packs asked for at once that are newer than the listing.
const AT_ONCE: usize = 16;

/// What was listed before the first mark, and what was asked for later. 25 bytes and the tree's share for a pack.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    packs: BTreeMap<PackName, u64>,
}

impl Inventory {
    pub(super) async fn list(core: &Core) -> Result<Self, ReadError> {
        let mut packs = BTreeMap::new();
        for class in [PackClass::Data, PackClass::Meta] {
            let mut names = core.store.list(class.folder(), None);
            while let Some(entry) = names.next().await {
                let entry = entry?;
                let id = entry.name.rsplit('/').next().and_then(|id| id.parse().ok());
                // A name that is no pack's is not ours to judge.
                if let Some(name) = id.map(|id| PackName { class, id }).filter(|name| name.to_string() == entry.name) {
                    packs.insert(name, entry.bytes);
                }
            }
        }
        Ok(Self { packs })
    }

    pub(super) fn packs(&self) -> impl Iterator<Item = (&PackName, u64)> {
        self.packs.iter().map(|(name, bytes)| (name, *bytes))
    }

    pub(super) fn has(&self, pack: &PackName) -> bool {
        self.packs.contains_key(pack)
    }

    /// 0 for one that is not there.
    pub(super) fn bytes(&self, pack: &PackName) -> u64 {
        self.packs.get(pack).copied().unwrap_or_default()
    }

    pub(super) fn insert(&mut self, pack: PackName, bytes: u64) {
        self.packs.insert(pack, bytes);
    }

    pub(super) fn remove(&mut self, pack: &PackName) {
        self.packs.remove(pack);
    }

    /// Packs that the index lists and the listing had not: they came later, or are missing.
    pub(super) async fn ask_for(&mut self, core: &Core, packs: &[PackName]) -> Result<(), ReadError> {
        let mut heads = stream::iter(packs.to_vec().into_iter().map(|pack| async move { (pack, core.store.head(&pack.to_string()).await) })).buffer_unordered(AT_ONCE);
        while let Some((pack, head)) = heads.next().await {
            match head {
                Ok(bytes) => {
                    self.packs.insert(pack, bytes);
                }
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
