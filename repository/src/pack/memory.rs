//! The memory of a pack while it fills: whole pages, so that it can be written past the page cache as it stands, and large ones. In
//! pages of 4 KiB the kernel takes a fault for each of them, for every pack anew: a tenth of what storing incompressible data costs.

use std::io;

use bytes::Bytes;
use memmap2::{Advice, MmapMut};

use crate::crypto::{Cipher, TAG_BYTES};
use crate::error::WriteError;

pub(super) struct PackMemory {
    /// Only touched pages are memory.
    map: MmapMut,
    used: usize,
}

impl PackMemory {
    pub(super) fn with_room_for(bytes: usize) -> Result<Self, WriteError> {
        Ok(Self { map: map(bytes)?, used: 0 })
    }

    pub(super) fn len(&self) -> usize {
        self.used
    }

    pub(super) fn get(&self, bytes: usize) -> &[u8] {
        &self.map[..bytes]
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.more(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Adds these bytes, sealed, and their tag. Where they begin is the nonce.
    pub(super) fn extend_sealed(&mut self, cipher: &Cipher, aad: &[u8], text: &[u8]) -> Result<(), WriteError> {
        let from = self.used as u64;
        cipher.seal_into(from, aad, text, self.more(text.len() + TAG_BYTES)?)
    }

    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(Filled(self))
    }

    /// The next so many bytes. What there is moves if it has to.
    fn more(&mut self, bytes: usize) -> Result<&mut [u8], WriteError> {
        let end = self.used + bytes;
        if end > self.map.len() {
            let mut larger = map(end.next_power_of_two())?;
            larger[..self.used].copy_from_slice(&self.map[..self.used]);
            self.map = larger;
        }
        let from = std::mem::replace(&mut self.used, end);
        Ok(&mut self.map[from..end])
    }
}

fn map(bytes: usize) -> Result<MmapMut, WriteError> {
    let no_memory = |error: io::Error| WriteError::Internal { what: format!("no memory for a pack: {error}") };
    let map = MmapMut::map_anon(bytes.max(1)).map_err(no_memory)?;
    // A kernel that has none, or is told not to, takes small ones.
    #[cfg(target_os = "linux")]
    let _ = map.advise(Advice::HugePage);
    Ok(map)
}

/// A pack that nothing is added to any more.
struct Filled(PackMemory);

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        self.0.get(self.0.used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::past_cache::BLOCK_BYTES;

    #[test]
    fn it_begins_at_a_block_holds_what_was_put_in_and_grows() {
        for room in [0, 1, 100, 3 << 20] {
            let mut memory = PackMemory::with_room_for(room).expect("memory");
            memory.extend(b"abc").expect("room");
            memory.extend(&[0; 2]).expect("room");
            assert_eq!((memory.len(), memory.get(3)), (5, &b"abc"[..]));
            memory.extend(&vec![7; 5 << 20]).expect("room");
            let bytes = memory.into_bytes();
            assert_eq!((&bytes[..6], bytes.len()), (&b"abc\0\0\x07"[..], (5 << 20) + 5));
            assert_eq!(bytes.as_ptr().align_offset(BLOCK_BYTES), 0);
        }
    }
}
