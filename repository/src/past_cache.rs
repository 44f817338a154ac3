//! Writing past the page cache: where that is worth it, and memory that can be written so.
//!
//! The kernel's copy of large data costs more than all our own work on what does not compress (2.3 CPU seconds for each GiB on ext4, against
//! 0.2), and takes the place of somebody's cached data.

use std::io;
use std::os::fd::AsFd;

/// Memory, places and lengths are multiples of this: the largest logical block of today's disks, and no larger than a page.
pub const BLOCK_BYTES: usize = 4096;
/// File systems that are known to write past their cache and be quick at it (statfs(2)): ext2 to ext4, XFS.
const KNOWN: [i64; 2] = [0xef53, 0x5846_5342];

/// Whether the file system of an open file is one of those.
pub fn is_quick(file: impl AsFd) -> io::Result<bool> {
    Ok(KNOWN.contains(&(rustix::fs::fstatfs(file)?.f_type as i64)))
}

/// Memory that begins at a block; made when it is first used.
#[derive(Debug, Default)]
pub struct Blocks(Vec<u8>);

impl Blocks {
    /// The first `bytes` of it.
    pub fn first(&mut self, bytes: usize) -> &mut [u8] {
        if self.0.len() < bytes + BLOCK_BYTES {
            self.0 = vec![0; bytes + BLOCK_BYTES];
        }
        let start = self.0.as_ptr().align_offset(BLOCK_BYTES);
        &mut self.0[start..start + bytes]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_a_block_and_grows() {
        let mut blocks = Blocks::default();
        for bytes in [1, 4096, 1, 1 << 20] {
            let first = blocks.first(bytes);
            assert_eq!((first.len(), first.as_ptr().align_offset(BLOCK_BYTES)), (bytes, 0));
            first.fill(7);
        }
    }
}
