//! Large pieces of new files, written past the page cache, where the disk else waits until somebody syncs.
//!
//! Only whole blocks go this way. The ends of a piece share a block with its neighbours and wait for them (`edges`); what remains in the end is
//! written through the cache. No block is ever written both ways, nor a page: the cache brings in all of a page for a part of it, and would keep
//! what stood there before.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use holdfast_repository::past_cache::{self, BLOCK_BYTES};
use rustix::io::Errno;

use super::standing;

/// Of a smaller piece the ends cost more than the middle saves.
const PIECE_BYTES_MIN: u64 = 128 << 10;
/// Smaller files are not worth another handle.
pub(super) const FILE_BYTES_MIN: u64 = 4 << 20;
/// Between two looks at the grant at most this much is written; memory of each thread that restores a large file.
pub(super) const BATCH_BYTES: u64 = 1 << 20;

/// A file's second handle.
#[derive(Clone, Default)]
pub(super) enum Direct {
    #[default]
    Untried,
    /// This file is not written that way.
    Never,
    Handle(Arc<OwnedFd>),
}

/// Where a range is cut: what comes before its whole blocks, and these. None: it is not worth it.
pub(super) fn split(offset: u64, length: u64) -> Option<(u64, u64)> {
    split_at(block_bytes() as u64, offset, length)
}

/// What is written one way or the other, never both. On some machines a page is 16 or 64 KiB.
pub(super) fn block_bytes() -> usize {
    BLOCK_BYTES.max(rustix::param::page_size())
}

fn split_at(block: u64, offset: u64, length: u64) -> Option<(u64, u64)> {
    let (first, end) = (offset.checked_next_multiple_of(block)?, offset.checked_add(length)? / block * block);
    let blocks = end.checked_sub(first)?;
    (blocks >= PIECE_BYTES_MIN).then_some((first - offset, blocks))
}

/// One thread's memory in whole blocks.
#[derive(Default)]
pub(super) struct Blocks(past_cache::Blocks);

impl Blocks {
    /// Writes whole blocks, one batch at most; zeros where there are no `bytes`.
    pub(super) fn write(&mut self, fd: &OwnedFd, bytes: Option<&[u8]>, length: u64, offset: u64) -> Result<(), Errno> {
        let length = usize::try_from(length).ok().filter(|length| *length as u64 <= BATCH_BYTES).ok_or(Errno::OVERFLOW)?;
        let batch = &mut self.0.first(BATCH_BYTES as usize)[..length];
        match bytes {
            Some(bytes) if bytes.len() == batch.len() => batch.copy_from_slice(bytes),
            Some(_) => return Err(Errno::OVERFLOW),
            None => batch.fill(0),
        }
        standing::write_all(fd, batch, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_blocks_of_large_pieces() {
        for block in [4096, 16 << 10, 64 << 10] {
            let split = |offset, length| split_at(block, offset, length);
            assert_eq!(split(0, PIECE_BYTES_MIN), Some((0, PIECE_BYTES_MIN)));
            assert_eq!(split(0, PIECE_BYTES_MIN - 1), None);
            assert_eq!(split(1, PIECE_BYTES_MIN + block), Some((block - 1, PIECE_BYTES_MIN)));
            assert_eq!(split(1, PIECE_BYTES_MIN + block - 2), None, "the second end is one byte short");
            assert_eq!(split(block + 5, 10 * PIECE_BYTES_MIN), Some((block - 5, 10 * PIECE_BYTES_MIN - block)));
            assert_eq!((split(7, 3), split(u64::MAX - 1, 100), split(3, u64::MAX)), (None, None, None));
        }
    }

    #[test]
    fn no_page_is_written_both_ways() {
        let page = rustix::param::page_size() as u64;
        for offset in [1, 4096, 5 * 4096 + 7, 15 << 12] {
            let (before, blocks) = split(offset, 10 * PIECE_BYTES_MIN).unwrap();
            assert_eq!(((offset + before) % page, blocks % page), (0, 0), "from {offset}");
        }
    }

    #[test]
    fn bytes_and_zeros_come_back() {
        let file = tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        std::fs::write(&file, [9; 10]).unwrap();
        let fd: OwnedFd = std::fs::OpenOptions::new().write(true).open(&file).unwrap().into();
        let bytes: Vec<u8> = (0..BATCH_BYTES as usize).map(|at| (at * 31 % 251) as u8).collect();
        let mut blocks = Blocks::default();
        blocks.write(&fd, Some(&bytes), bytes.len() as u64, BLOCK_BYTES as u64).unwrap();
        assert_eq!(blocks.write(&fd, None, BATCH_BYTES + 1, 0), Err(Errno::OVERFLOW), "more than one batch");
        blocks.write(&fd, None, 2 * BLOCK_BYTES as u64, 5 * BLOCK_BYTES as u64).unwrap();
        let there = std::fs::read(&file).unwrap();
        assert_eq!(there.len(), BLOCK_BYTES + bytes.len());
        assert!(there[..10] == [9; 10] && there[BLOCK_BYTES..5 * BLOCK_BYTES] == bytes[..4 * BLOCK_BYTES]);
        assert!(there[5 * BLOCK_BYTES..7 * BLOCK_BYTES].iter().all(|byte| *byte == 0));
        assert!(there[7 * BLOCK_BYTES..] == bytes[6 * BLOCK_BYTES..]);
    }
}
