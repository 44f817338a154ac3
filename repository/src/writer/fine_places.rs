//! Fine hashes gathered into fine-hash blobs while their blobs are packed, and remembered until a run lists both.

use std::collections::HashMap;

use futures::executor::block_on;

use super::Inner;
use crate::blob::BlobKind;
use crate::compress::Scratch;
use crate::error::WriteError;
use crate::fine::{FineBatch, FineHashes};
use crate::id::BlobId;
use crate::lock::locked;

#[derive(Debug, Default)]
pub(super) struct FinePlaces {
    open: FineBatch,
    /// Number of the open batch.
    number: u64,
    /// Blobs in no run yet: batch and offset.
    places: HashMap<BlobId, (u64, u32)>,
    /// Ids of the closed batches that `places` still speaks of.
    closed: HashMap<u64, BlobId>,
}

/// A batch that is ready to be added as a blob.
pub(super) struct FullBatch {
    number: u64,
    content: Vec<u8>,
}

impl FinePlaces {
    fn take(&mut self) -> FullBatch {
        let content = std::mem::take(&mut self.open).into_content();
        self.number += 1;
        FullBatch { number: self.number - 1, content }
    }

    /// Whether a run can list the blob: its fine hashes, if it has any, are in a blob with an id.
    pub(super) fn is_settled(&self, id: &BlobId) -> bool {
        self.places.get(id).is_none_or(|(batch, _)| self.closed.contains_key(batch))
    }

    /// For the run that lists the blob now.
    pub(super) fn forget(&mut self, id: &BlobId) -> Option<(BlobId, u32)> {
        let (batch, offset) = self.places.remove(id)?;
        Some((*self.closed.get(&batch)?, offset))
    }

    /// Closed batches that no waiting blob speaks of.
    pub(super) fn sweep(&mut self) {
        if self.places.is_empty() {
            self.closed.clear();
        }
    }
}

impl Inner {
    /// Remembers a new blob's fine hashes; a batch that is full now must be added.
    pub(super) fn push_fine(&self, id: &BlobId, raw_bytes: u32, hashes: &FineHashes) -> Option<FullBatch> {
        let mut fine = locked(&self.fine);
        let offset = fine.open.push(id, raw_bytes, hashes);
        let number = fine.number;
        fine.places.insert(*id, (number, offset));
        fine.open.is_full().then(|| fine.take())
    }

    /// The open batch, if it has anything.
    pub(super) fn take_fine(&self) -> Option<FullBatch> {
        let mut fine = locked(&self.fine);
        (!fine.open.is_empty()).then(|| fine.take())
    }

    pub(super) fn add_fine_batch(&self, batch: FullBatch) -> Result<(), WriteError> {
        let id = self.core.keys.blob_id(BlobKind::FineHashes, &batch.content);
        if let Some(raw_bytes) = self.claim(BlobKind::FineHashes, &id, &batch.content)? {
            // Hashes do not compress, but zstd sees that at once.
            let mut scratch = Scratch::new();
            let (encoding, stored) = scratch.compress(&batch.content, self.options.compression_level)?;
            block_on(self.uploads.add(BlobKind::FineHashes, id, encoding, raw_bytes, stored))?;
        }
        locked(&self.fine).closed.insert(batch.number, id);
        Ok(())
    }

    pub(super) async fn add_fine_batch_async(&self, batch: FullBatch) -> Result<(), WriteError> {
        let id = self.core.keys.blob_id(BlobKind::FineHashes, &batch.content);
        if let Some(raw_bytes) = self.claim(BlobKind::FineHashes, &id, &batch.content)? {
            let mut scratch = Scratch::new();
            let (encoding, stored) = scratch.compress(&batch.content, self.options.compression_level)?;
            self.uploads.add(BlobKind::FineHashes, id, encoding, raw_bytes, stored).await?;
        }
        locked(&self.fine).closed.insert(batch.number, id);
        Ok(())
    }
}
