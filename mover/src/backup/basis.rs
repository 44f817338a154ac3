//! What the parent has of a large file that changed: the steps of its blobs, and where in the file they may stand now.
//!
//! A step is looked for where it was, and, if the file's size changed, where a single insertion or removal would have moved it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use holdfast_repository::{BlobId, FINE_STEP_BYTES, FineHash, FineHashes};

use super::context::Context;
use crate::catalog::{Entry, Extent, ExtentStream};

const STEP: u64 = FINE_STEP_BYTES as u64;
/// Extents of one section; a file in more pieces than that is not compared any further.
const EXTENTS_MAX: usize = 65_536;

/// A piece of the parent's file at the place where it is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub(super) at: u64,
    pub(super) extent: Extent,
}

/// The parent's extents in order, moved by `shift`. Sections are asked for in order.
struct Track {
    stream: ExtentStream,
    shift: i64,
    /// Where `head` begins in the parent's file.
    position: u64,
    head: Option<Extent>,
    ended: bool,
}

/// See the module.
pub(super) struct Basis {
    tracks: Vec<Track>,
    parent_bytes: u64,
    size: u64,
}

impl Basis {
    /// `size`: what the file has now.
    pub(super) fn new(context: &Context, entry: &Entry, size: u64) -> Self {
        let moved = i64::try_from(i128::from(size) - i128::from(entry.size)).unwrap_or(0);
        let mut shifts = vec![0];
        shifts.extend((moved != 0).then_some(moved));
        let track = |shift| Track {
            stream: ExtentStream::new(Arc::new(context.shared.writer.clone()), entry),
            shift,
            position: 0,
            head: None,
            ended: false,
        };
        Self { tracks: shifts.into_iter().map(track).collect(), parent_bytes: entry.size, size }
    }

    /// What may stand in this range of the file: a list for each way in which the file may have moved.
    pub(super) fn take(&mut self, context: &Context, range: &Range<u64>, tail_bytes: u64) -> Vec<Vec<Placed>> {
        let mut lists: Vec<_> = self.tracks.iter_mut().map(|track| track.take(context, range)).collect();
        // A file that grows by a little each time would end in crumbs: its short end is stored together with what was appended.
        if self.size > self.parent_bytes && range.contains(&self.parent_bytes) {
            let mut dropped = 0;
            while let Some(last) = lists[0].last()
                && dropped + last.extent.length() < tail_bytes
            {
                dropped += last.extent.length();
                lists[0].pop();
            }
        }
        lists
    }
}

impl Track {
    fn take(&mut self, context: &Context, range: &Range<u64>) -> Vec<Placed> {
        let old = |position: u64| position.checked_add_signed(-self.shift).unwrap_or(0);
        let (from, to) = (old(range.start), old(range.end));
        let mut placed = Vec::new();
        while self.position < to {
            let Some(head) = self.head.take().or_else(|| self.next(context)) else {
                break;
            };
            let length = head.length().min(to.max(self.position) - self.position);
            let (mut now, later) = split(head, length);
            self.head = later;
            let mut at = self.position;
            self.position += length;
            if self.position <= from {
                continue;
            }
            if at < from {
                let Some(rest) = split(now, from - at).1 else { continue };
                (now, at) = (rest, from);
            }
            if placed.len() >= EXTENTS_MAX {
                self.ended = true;
                return Vec::new();
            }
            placed.extend(at.checked_add_signed(self.shift).map(|at| Placed { at, extent: now }));
        }
        placed
    }

    /// What cannot be read is not there: the file is.
    fn next(&mut self, context: &Context) -> Option<Extent> {
        if self.ended {
            return None;
        }
        let next = match context.wait(self.stream.next()) {
            Some(Ok(next)) => next,
            Some(Err(error)) => {
                tracing::debug!(%error, "the parent's extents cannot be read (any further)");
                None
            }
            None => None,
        };
        self.ended = next.is_none();
        next
    }
}

/// The first `length` bytes, and the rest if there is any.
fn split(extent: Extent, length: u64) -> (Extent, Option<Extent>) {
    let rest = extent.length() - length;
    let is_whole = rest == 0;
    match extent {
        Extent::Hole { .. } => (Extent::Hole { length }, (!is_whole).then_some(Extent::Hole { length: rest })),
        Extent::Zero { .. } => (Extent::Zero { length }, (!is_whole).then_some(Extent::Zero { length: rest })),
        Extent::Blob { blob, offset, .. } => {
            let (first, rest) = (length as u32, rest as u32);
            let later = Extent::Blob { blob, offset: offset.saturating_add(first), length: rest };
            (Extent::Blob { blob, offset, length: first }, (!is_whole).then_some(later))
        }
    }
}

/// A step of a known blob, where it may stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) at: u64,
    pub(super) length: u32,
    /// Bytes that its hash is of: behind `length` there are zeros, or the block is never found.
    pub(super) step: u32,
    pub(super) blob: BlobId,
    pub(super) offset: u32,
    hash: FineHash,
}

impl Block {
    /// The block as an extent, if `bytes` are what it holds.
    pub(super) fn matches(&self, context: &Context, bytes: &[u8]) -> Option<Extent> {
        let writer = &context.shared.writer;
        let hash = if self.length == self.step {
            writer.fine_hash(self.offset, bytes)
        } else {
            let mut padded = [0; FINE_STEP_BYTES];
            padded[..bytes.len()].copy_from_slice(bytes);
            writer.fine_hash(self.offset, &padded[..self.step as usize])
        };
        (hash == self.hash).then_some(Extent::Blob { blob: self.blob, offset: self.offset, length: self.length })
    }
}

/// Blocks in the order of the file.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    list: Vec<Block>,
    next: usize,
}

impl Blocks {
    /// Of the blobs that may be used again and have fine hashes; those that are mostly dead are left out, to be stored anew.
    pub(super) fn of(context: &Context, placed: &[Placed]) -> Self {
        let mut known = KnownBlobs { context, blobs: HashMap::new() };
        let mut list = Vec::new();
        for Placed { at, extent } in placed {
            let Extent::Blob { blob, offset, length } = *extent else { continue };
            if context.shared.rebundle.takes(extent) {
                continue;
            }
            let Some((raw_bytes, hashes)) = known.get(&blob) else { continue };
            let (first, end) = (u64::from(offset).next_multiple_of(STEP), u64::from(offset) + u64::from(length));
            if end > u64::from(raw_bytes) {
                continue;
            }
            for start in (first..end).step_by(FINE_STEP_BYTES) {
                let step = (u64::from(raw_bytes) - start).min(STEP);
                let hash = hashes.0[(start / STEP) as usize];
                let (at, length) = (at + (start - u64::from(offset)), (end - start).min(STEP) as u32);
                list.push(Block { at, length, step: step as u32, blob, offset: start as u32, hash });
            }
        }
        Self { list, next: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The block that begins at `at`. Positions rise.
    pub(super) fn at(&mut self, at: u64) -> Option<Block> {
        while self.list.get(self.next).is_some_and(|block| block.at < at) {
            self.next += 1;
        }
        self.list.get(self.next).filter(|block| block.at == at).copied()
    }

    /// Where the first block after `at` begins.
    pub(super) fn after(&self, at: u64) -> Option<u64> {
        self.list[self.next.min(self.list.len())..].iter().map(|block| block.at).find(|start| *start > at)
    }
}

/// Fine hashes of the blobs of one section.
struct KnownBlobs<'a> {
    context: &'a Context,
    blobs: HashMap<BlobId, Option<(u32, FineHashes)>>,
}

impl KnownBlobs<'_> {
    fn get(&mut self, blob: &BlobId) -> Option<(u32, &FineHashes)> {
        let context = self.context;
        let known = self.blobs.entry(*blob).or_insert_with(|| look_up(context, blob));
        known.as_ref().map(|(raw_bytes, hashes)| (*raw_bytes, hashes))
    }
}

fn look_up(context: &Context, blob: &BlobId) -> Option<(u32, FineHashes)> {
    let writer = &context.shared.writer;
    let raw_bytes = writer.known(blob)?;
    match context.wait(writer.stored_fine_hashes(blob))? {
        Ok(hashes) => hashes.filter(|hashes| hashes.0.len() == (raw_bytes as usize).div_ceil(FINE_STEP_BYTES)).map(|hashes| (raw_bytes, hashes)),
        Err(error) => {
            tracing::debug!(%blob, %error, "fine hashes cannot be read; what they are of is stored again");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_extent_is_the_same_bytes() {
        let blob = Extent::Blob { blob: BlobId([1; 32]), offset: 5, length: 100 };
        let (first, rest) = split(blob, 30);
        assert_eq!(first, Extent::Blob { blob: BlobId([1; 32]), offset: 5, length: 30 });
        assert_eq!(rest, Some(Extent::Blob { blob: BlobId([1; 32]), offset: 35, length: 70 }));
        assert_eq!(split(blob, 100), (blob, None));
        assert_eq!(split(Extent::Hole { length: 9 }, 4), (Extent::Hole { length: 4 }, Some(Extent::Hole { length: 5 })));
    }
}
