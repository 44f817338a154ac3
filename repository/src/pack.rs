//! Packs: the one kind of object that holds content.
//!
//! `header | blob* | padding | trailer | footer`. Blobs, padding and trailer are sealed under the pack's own key, each with its
//! offset as nonce. The trailer lists the blobs, so that the index can be built again from packs alone.

mod builder;
mod memory;
pub(crate) mod trailer;
mod verify;

pub(crate) use builder::{FinishedPack, PackBuilder};
pub(crate) use trailer::read_trailer;
#[cfg(any(test, feature = "testing"))]
pub(crate) use verify::verify_whole;
pub(crate) use verify::{Layout, Part};

use crate::blob::{BlobKind, BlobLocation, Encoding, PackClass, PackName};
use crate::compress::Scratch;
use crate::crypto::{Cipher, DOMAIN, Keys, NotAuthentic};
use crate::error::ReadError;
use crate::id::BlobId;

const MAGIC: &[u8; 4] = b"HFPK";
const FOOTER_MAGIC: &[u8; 4] = b"HFPE";
const VERSION: u8 = 1;
/// The key is derived from the master key and the salt in the header.
const KEY_DERIVED: u8 = 0;
/// Magic, version, class, key mode, 0, length of the key field, 0: then the key field, 32 bytes of salt in key mode 0.
const FIXED_HEADER_BYTES: usize = 12;
pub(crate) const SALT_BYTES: usize = 32;
pub(crate) const HEADER_BYTES: usize = FIXED_HEADER_BYTES + SALT_BYTES;
/// Length of the sealed trailer, magic.
pub(crate) const FOOTER_BYTES: usize = 8;
const AAD_BLOB: u8 = 0x10;
const AAD_TRAILER: u8 = 0x11;
/// Stands for the kind of the padding, which is no blob.
const PADDING_KIND: u8 = 0;

/// A data pack is closed when it has reached this.
pub(crate) const DATA_PACK_BYTES: usize = 32 << 20;
/// Or this many blobs, however small they are: its list fits the room beyond the bytes, and a run that takes packs whole stays short.
pub(crate) const BLOBS_MAX: usize = 1 << 16;
/// Metadata is little, and is read whole by ranges: smaller packs bound the memory.
pub(crate) const META_PACK_BYTES: usize = 8 << 20;

impl PackClass {
    pub(crate) fn target_bytes(self) -> usize {
        match self {
            Self::Data => DATA_PACK_BYTES,
            Self::Meta => META_PACK_BYTES,
        }
    }
}

/// What identifies a pack and opens it: kept in the index beside the header's own copy, so that a blob is one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackInfo {
    pub(crate) name: PackName,
    /// Length of the whole object.
    pub(crate) object_bytes: u64,
    pub(crate) salt: [u8; SALT_BYTES],
}

/// One blob in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackEntry {
    pub(crate) id: BlobId,
    pub(crate) kind: BlobKind,
    pub(crate) encoding: Encoding,
    pub(crate) offset: u32,
    pub(crate) stored_bytes: u32,
    pub(crate) raw_bytes: u32,
}

impl PackEntry {
    pub(crate) fn location(&self, pack: PackName) -> BlobLocation {
        BlobLocation {
            pack,
            offset: self.offset,
            stored_bytes: self.stored_bytes,
            raw_bytes: self.raw_bytes,
            kind: self.kind,
            encoding: self.encoding,
        }
    }
}

fn header(class: PackClass, salt: &[u8; SALT_BYTES]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(MAGIC);
    header[4] = VERSION;
    header[5] = class as u8;
    header[6] = KEY_DERIVED;
    header[8..10].copy_from_slice(&(SALT_BYTES as u16).to_le_bytes());
    header[FIXED_HEADER_BYTES..].copy_from_slice(salt);
    header
}

/// The salt that a pack's header names.
fn parse_header(name: &PackName, header: &[u8]) -> Result<[u8; SALT_BYTES], ReadError> {
    let damaged = |reason: &str| ReadError::damaged(name.to_string(), reason);
    if header.len() < HEADER_BYTES || &header[..4] != MAGIC {
        return Err(damaged("not a pack"));
    }
    if header[4] != VERSION || header[6] != KEY_DERIVED {
        let needs = format!("a version that knows packs of version {}, key mode {}", header[4], header[6]);
        return Err(ReadError::TooNew { object: name.to_string(), needs });
    }
    let mut salt = [0; SALT_BYTES];
    salt.copy_from_slice(&header[FIXED_HEADER_BYTES..HEADER_BYTES]);
    if header[..HEADER_BYTES] != self::header(name.class, &salt) {
        return Err(damaged("its header is not that of a pack of this name"));
    }
    Ok(salt)
}

type BlobAad = [u8; DOMAIN.len() + 1 + 1 + 16 + 1 + 1 + 4 + 32];

/// Binds a blob to its pack, kind, encoding, length and id; the nonce binds it to its offset.
fn blob_aad(pack: &PackName, kind: u8, encoding: Encoding, raw_bytes: u32, id: &BlobId) -> BlobAad {
    let mut aad = [0; size_of::<BlobAad>()];
    aad[..10].copy_from_slice(DOMAIN);
    aad[10] = AAD_BLOB;
    aad[11] = pack.class as u8;
    aad[12..28].copy_from_slice(&pack.id.0);
    aad[28] = kind;
    aad[29] = encoding as u8;
    aad[30..34].copy_from_slice(&raw_bytes.to_le_bytes());
    aad[34..].copy_from_slice(&id.0);
    aad
}

fn trailer_aad(pack: &PackName, header: &[u8]) -> Vec<u8> {
    let mut aad = Vec::with_capacity(DOMAIN.len() + 18 + header.len());
    aad.extend_from_slice(DOMAIN);
    aad.push(AAD_TRAILER);
    aad.push(pack.class as u8);
    aad.extend_from_slice(&pack.id.0);
    aad.extend_from_slice(header);
    aad
}

/// Opens one blob from its sealed bytes into `scratch.raw`: tag, length and keyed id must all fit.
pub(crate) fn open_blob(
    keys: &Keys,
    salt: &[u8; SALT_BYTES],
    id: &BlobId,
    location: &BlobLocation,
    sealed: &[u8],
    scratch: &mut Scratch,
) -> Result<(), ReadError> {
    let damaged = |reason: &str| ReadError::damaged(location.pack.to_string(), format!("blob {id} at {}: {reason}", location.offset));
    let opened = keys.pack(location.pack.class, salt).and_then(|cipher| open_with(&cipher, id, location, sealed, scratch));
    opened.map_err(|error| damaged(&error.to_string()))?;
    scratch.decompress(location.encoding, location.raw_bytes as usize).map_err(damaged)?;
    if keys.blob_id(location.kind, &scratch.raw) != *id {
        return Err(damaged("its content has another id"));
    }
    Ok(())
}

fn open_with(cipher: &Cipher, id: &BlobId, location: &BlobLocation, sealed: &[u8], scratch: &mut Scratch) -> Result<(), NotAuthentic> {
    let aad = blob_aad(&location.pack, location.kind as u8, location.encoding, location.raw_bytes, id);
    cipher.open(u64::from(location.offset), &aad, sealed, &mut scratch.opened)
}

#[cfg(test)]
mod tests;
