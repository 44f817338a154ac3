//! Blobs that are mostly dead: what a file still uses of them is read again and stored anew, within a budget.
//!
//! Changes in place leave blobs of which less and less is used. Without this, a chain of backups would end with a file in
//! crumbs, a restore that reads twice what it needs and more, and space that no prune can free, since it cannot cut blobs.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use holdfast_repository::BlobId;

use crate::catalog::Extent;

/// Mostly dead blobs that one run looks at: 32 bytes each.
pub(super) const BLOBS_MAX: usize = 32_768;
/// Of what the parent held, one part in so many may be stored anew in one run.
const BUDGET_PART: u64 = 20;
const BUDGET_BYTES_MIN: u64 = 8 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Rebundle {
    dead: HashSet<BlobId>,
    left_bytes: AtomicU64,
}

impl Rebundle {
    pub(super) fn new(dead: HashSet<BlobId>, content_bytes: u64) -> Self {
        Self { dead, left_bytes: AtomicU64::new((content_bytes / BUDGET_PART).max(BUDGET_BYTES_MIN)) }
    }

    /// True if this extent is to be stored anew: its blob is mostly dead, and the budget has room for it.
    pub(super) fn takes(&self, extent: &Extent) -> bool {
        let Extent::Blob { blob, length, .. } = extent else {
            return false;
        };
        if !self.dead.contains(blob) {
            return false;
        }
        let length = u64::from(*length);
        self.left_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(length)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_an_end() {
        let rebundle = Rebundle::new(HashSet::from([BlobId([1; 32])]), 0);
        let extent = |id, length| Extent::Blob { blob: BlobId([id; 32]), offset: 0, length };
        assert!(!rebundle.takes(&extent(2, 1)) && !rebundle.takes(&Extent::Hole { length: 1 }));
        assert!(rebundle.takes(&extent(1, 8 << 20)));
        assert!(!rebundle.takes(&extent(1, 1)), "used up");
    }
}
