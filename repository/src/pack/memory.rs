//! The memory of a pack while it fills: in whole blocks, so that it can be written past the page cache as it stands, and in large pages. In
//! pages of 4 KiB the kernel takes a fault for each of them, for every pack anew: a tenth of what storing incompressible data costs.

use bytes::Bytes;

use crate::crypto::Cipher;
use crate::error::WriteError;

/// Where it begins is a multiple of this: the largest logical block of today's disks.
pub(crate) const BLOCK_BYTES: usize = 4096;

pub(super) struct PackMemory {
    /// With some bytes before the pack's first.
    bytes: Vec<u8>,
    start: usize,
}

impl PackMemory {
    /// Only touched pages are memory: room for all of it keeps it from moving.
    pub(super) fn with_room_for(bytes: usize) -> Self {
        let mut memory = Vec::with_capacity(bytes + BLOCK_BYTES);
        in_large_pages(&mut memory);
        let start = memory.as_ptr().align_offset(BLOCK_BYTES).min(BLOCK_BYTES);
        memory.resize(start, 0);
        Self { bytes: memory, start }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(super) fn get(&self, bytes: usize) -> &[u8] {
        &self.bytes[self.start..self.start + bytes]
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn extend_with_zeros(&mut self, bytes: usize) {
        self.bytes.resize(self.bytes.len() + bytes, 0);
    }

    /// Seals what was added since it had `from` bytes. That offset is the nonce.
    pub(super) fn seal(&mut self, cipher: &Cipher, aad: &[u8], from: usize) -> Result<(), WriteError> {
        cipher.seal(from as u64, aad, &mut self.bytes, self.start + from)
    }

    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from(self.bytes).slice(self.start..)
    }
}

/// A kernel that has none, or is told not to, takes small ones.
#[expect(unsafe_code, reason = "madvise has no safe form")]
fn in_large_pages(memory: &mut Vec<u8>) {
    let room = memory.spare_capacity_mut();
    let first = room.as_ptr().align_offset(BLOCK_BYTES);
    let Some(whole) = room.get_mut(first..).filter(|whole| whole.len() >= BLOCK_BYTES) else { return };
    let bytes = whole.len() / BLOCK_BYTES * BLOCK_BYTES;
    // SAFETY: whole pages of this vector's own memory; the advice changes nothing of what they hold.
    let _ = unsafe { rustix::mm::madvise(whole.as_mut_ptr().cast(), bytes, rustix::mm::Advice::LinuxHugepage) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_at_a_block_and_holds_what_was_put_in() {
        for room in [0, 1, 100, 3 << 20] {
            let mut memory = PackMemory::with_room_for(room);
            memory.extend(b"abc");
            memory.extend_with_zeros(2);
            assert_eq!((memory.len(), memory.get(3)), (5, &b"abc"[..]));
            let bytes = memory.into_bytes();
            assert_eq!(bytes, &b"abc\0\0"[..]);
            assert!(room == 0 || bytes.as_ptr().align_offset(BLOCK_BYTES) == 0);
        }
    }
}
