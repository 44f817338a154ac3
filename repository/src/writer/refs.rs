//! What the snapshot needs, looked up before anything is committed, and stored as refs.

use std::collections::HashSet;

use super::{Inner, Writer, locked};
use crate::blob::BlobKind;
use crate::compress::Scratch;
use crate::error::{CommitError, ReadError, WriteError};
use crate::id::BlobId;
use crate::refs::{Ref, Segment, SegmentRef, decode_root, decode_segment, encode_root};
use crate::snapshot::SnapshotRecord;

/// Less is not worth a new blob.
const DEAD_BYTES_MIN: u64 = 256 << 10;

impl Writer {
    /// Blobs of which a snapshot uses less than half, at most `count_max` of them: what is left of them is better stored anew.
    pub async fn mostly_dead(&self, record: &SnapshotRecord, count_max: usize) -> Result<HashSet<BlobId>, ReadError> {
        let damaged = |blob: &BlobId, reason: crate::codec::Malformed| ReadError::damaged(format!("refs {blob}"), reason.to_string());
        let root = self.read_blob(BlobKind::Refs, &record.refs).await?;
        let mut dead = HashSet::new();
        for segment in decode_root(&root).map_err(|error| damaged(&record.refs, error))? {
            let raw = self.read_blob(BlobKind::Refs, &segment.blob).await?;
            for (id, live_bytes) in decode_segment(&raw, &segment).map_err(|error| damaged(&segment.blob, error))? {
                let raw_bytes = self.known(&id).map_or(0, u64::from);
                if live_bytes.saturating_mul(2) < raw_bytes && raw_bytes - live_bytes >= DEAD_BYTES_MIN {
                    dead.insert(id);
                    if dead.len() >= count_max {
                        return Ok(dead);
                    }
                }
            }
        }
        Ok(dead)
    }
}

impl Inner {
    /// Every blob must be stored and usable, under the lease that is held now.
    pub(super) fn check_refs(&self, refs: impl Iterator<Item = Ref>, also: impl Iterator<Item = BlobId>) -> Result<(), CommitError> {
        let mut missing = Vec::new();
        let mut more = false;
        let mut need = |id: BlobId| {
            if locked(&self.added).contains_key(&id) || self.use_stored(&id) {
                return;
            }
            if missing.len() < CommitError::GONE_MAX {
                missing.push(id);
            } else {
                more = true;
            }
        };
        let mut last: Option<BlobId> = None;
        for (id, _) in refs {
            if last.is_some_and(|last| last >= id) {
                return Err(CommitError::Unsorted { blob: id });
            }
            last = Some(id);
            need(id);
        }
        also.for_each(need);
        if missing.is_empty() { Ok(()) } else { Err(CommitError::Gone { missing, more }) }
    }

    /// Stores the refs; the root's id. Segments that another snapshot has are there already.
    pub(super) async fn write_refs(&self, refs: impl Iterator<Item = Ref> + Send) -> Result<BlobId, WriteError> {
        let mut scratch = Scratch::new();
        let mut segments = Vec::new();
        let mut segment = Segment::default();
        for entry in refs {
            if segment.push(entry) {
                self.write_segment(&mut segment, &mut segments, &mut scratch).await?;
            }
        }
        self.write_segment(&mut segment, &mut segments, &mut scratch).await?;
        self.add_refs(&encode_root(&segments), &mut scratch).await
    }

    async fn write_segment(&self, segment: &mut Segment, segments: &mut Vec<SegmentRef>, scratch: &mut Scratch) -> Result<(), WriteError> {
        if let Some((content, described)) = segment.take() {
            let blob = self.add_refs(&content, scratch).await?;
            segments.push(SegmentRef { blob, ..described });
        }
        Ok(())
    }

    async fn add_refs(&self, content: &[u8], scratch: &mut Scratch) -> Result<BlobId, WriteError> {
        let id = self.core.keys.blob_id(BlobKind::Refs, content);
        self.add_async(BlobKind::Refs, id, content, None, scratch).await?;
        Ok(id)
    }
}
