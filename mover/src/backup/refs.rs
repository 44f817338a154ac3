//! Which blobs the snapshot needs, and how many of their bytes.

use std::collections::HashMap;

use holdfast_repository::BlobId;

use crate::catalog::Extent;

/// 40 bytes and the table's slack per blob: about 60 MB per TiB of content. It is sorted once, at the commit.
#[derive(Debug, Default)]
pub(super) struct Refs {
    live: HashMap<BlobId, u64>,
}

impl Refs {
    fn extent(&mut self, extent: &Extent) {
        if let Extent::Blob { blob, length, .. } = extent {
            *self.live.entry(*blob).or_default() += u64::from(*length);
        }
    }

    pub(super) fn extents(&mut self, extents: &[Extent]) {
        extents.iter().for_each(|extent| self.extent(extent));
    }

    /// A blob that is needed with all its bytes, however often it is named.
    pub(super) fn whole(&mut self, blob: BlobId, raw_bytes: u64) {
        self.live.insert(blob, raw_bytes);
    }

    /// Sorted by blob. Content that two files share was counted twice: no blob has more live bytes than `raw_bytes` says.
    pub(super) fn sorted(&self, raw_bytes: impl Fn(&BlobId) -> Option<u32>) -> Vec<(BlobId, u64)> {
        let cap = |blob: &BlobId| raw_bytes(blob).map_or(u64::MAX, u64::from);
        let mut refs: Vec<_> = self.live.iter().map(|(blob, bytes)| (*blob, (*bytes).min(cap(blob)))).collect();
        refs.sort_unstable_by_key(|(blob, _)| *blob);
        refs
    }
}
