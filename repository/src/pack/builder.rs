//! A pack while it fills.

use bytes::Bytes;

use super::memory::PackMemory;
use super::{BLOBS_MAX, FOOTER_MAGIC, HEADER_BYTES, PADDING_KIND, PackEntry, PackInfo, SALT_BYTES, blob_aad, header, trailer, trailer_aad};
use crate::blob::{BlobKind, Encoding, PackClass, PackName};
use crate::crypto::{Cipher, Keys, TAG_BYTES, padme};
use crate::environment::Environment;
use crate::error::WriteError;
use crate::id::{BlobId, PackId};

/// Packs above this are padded to a step of `LARGE_STEP_BYTES`: Padmé would cost per cents.
const PADME_BYTES_MAX: u64 = 4 << 20;
const LARGE_STEP_BYTES: u64 = 64 << 10;
/// A pack is full when it has reached its target: for the rest of its last blob, the padding and the trailer. Beyond that it moves.
const ROOM_BEYOND_BYTES: usize = 4 << 20;

pub(crate) struct PackBuilder {
    name: PackName,
    salt: [u8; SALT_BYTES],
    cipher: Cipher,
    memory: PackMemory,
    entries: Vec<PackEntry>,
}

/// A sealed pack, ready to be stored.
pub(crate) struct FinishedPack {
    pub(crate) info: PackInfo,
    pub(crate) entries: Vec<PackEntry>,
    pub(crate) bytes: Bytes,
}

impl PackBuilder {
    pub(crate) fn new(keys: &Keys, environment: &Environment, class: PackClass) -> Result<Self, WriteError> {
        Self::named(keys, PackName { class, id: PackId(environment.random()) }, environment.random())
    }

    /// Under a name and a salt that must be new: only tests choose them.
    pub(crate) fn named(keys: &Keys, name: PackName, salt: [u8; SALT_BYTES]) -> Result<Self, WriteError> {
        let class = name.class;
        let cipher = keys.pack(class, &salt).map_err(|_| internal("no cipher"))?;
        let mut memory = PackMemory::with_room_for(class.target_bytes() + ROOM_BEYOND_BYTES)?;
        memory.extend(&header(class, &salt))?;
        Ok(Self { name, salt, cipher, memory, entries: Vec::new() })
    }

    /// Seals a blob at the end. The offset is its nonce: nothing is ever sealed twice at one offset of one pack.
    pub(crate) fn push(&mut self, kind: BlobKind, id: BlobId, encoding: Encoding, raw_bytes: u32, stored: &[u8]) -> Result<PackEntry, WriteError> {
        assert!(kind.class() == self.name.class, "a blob of another class");
        let offset = u32::try_from(self.memory.len()).map_err(|_| internal("the pack is too large"))?;
        let stored_bytes = u32::try_from(stored.len() + TAG_BYTES).map_err(|_| internal("the blob is too large"))?;
        self.memory.extend_sealed(&self.cipher, &blob_aad(&self.name, kind as u8, encoding, raw_bytes, &id), stored)?;
        let entry = PackEntry { id, kind, encoding, offset, stored_bytes, raw_bytes };
        self.entries.push(entry);
        Ok(entry)
    }

    /// What it has so far.
    pub(crate) fn bytes(&self) -> usize {
        self.memory.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.memory.len() >= self.name.class.target_bytes() || self.entries.len() >= BLOBS_MAX
    }

    /// Padding, trailer, footer.
    pub(crate) fn finish(mut self) -> Result<FinishedPack, WriteError> {
        let trailer = trailer::encode(&self.entries);
        let sealed_trailer_bytes = trailer.len() + TAG_BYTES;
        let base = (self.memory.len() + TAG_BYTES + sealed_trailer_bytes + super::FOOTER_BYTES) as u64;
        let padded = if base <= PADME_BYTES_MAX { padme(base) } else { base.next_multiple_of(LARGE_STEP_BYTES) };
        self.pad(padded - base)?;

        let aad = trailer_aad(&self.name, self.memory.get(HEADER_BYTES));
        self.memory.extend_sealed(&self.cipher, &aad, &trailer)?;
        let length = u32::try_from(sealed_trailer_bytes).map_err(|_| internal("the trailer is too large"))?;
        self.memory.extend(&length.to_le_bytes())?;
        self.memory.extend(FOOTER_MAGIC)?;
        assert_eq!(self.memory.len() as u64, padded, "the padding was computed wrong");

        let info = PackInfo { name: self.name, object_bytes: padded, salt: self.salt };
        Ok(FinishedPack { info, entries: self.entries, bytes: self.memory.into_bytes() })
    }

    /// Sealed zeros: no flipped bit goes unseen, and the length of the blobs before is hidden.
    fn pad(&mut self, bytes: u64) -> Result<(), WriteError> {
        let raw_bytes = u32::try_from(bytes).map_err(|_| internal("the padding is too large"))?;
        let aad = blob_aad(&self.name, PADDING_KIND, Encoding::Raw, raw_bytes, &BlobId([0; 32]));
        self.memory.extend_sealed(&self.cipher, &aad, &vec![0; raw_bytes as usize])
    }
}

fn internal(what: &str) -> WriteError {
    WriteError::Internal { what: what.to_owned() }
}
