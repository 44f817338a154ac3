//! A blob's bytes: opened, inflated, verified by its id.

use bytes::Bytes;
use holdfast_repository::{BlobId, ReadError};

use crate::cipher::Cipher;
use crate::error::damaged;
use crate::index::{Index, Place};
use crate::objects::Objects;
use crate::{id, inflate};

/// Memory of one thread.
#[derive(Default)]
pub(crate) struct Buffers {
    sealed: Vec<u8>,
    raw: Vec<u8>,
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
}

impl Buffers {
    /// One blob, out of its sealed bytes.
    pub(crate) fn open(&mut self, cipher: &Cipher, id: &BlobId, place: &Place, sealed: &[u8]) -> Result<&[u8], ReadError> {
        self.sealed.clear();
        self.sealed.extend_from_slice(sealed);
        self.open_held(cipher, id, place)
    }

    /// The same of what is in `sealed` already.
    fn open_held(&mut self, cipher: &Cipher, id: &BlobId, place: &Place) -> Result<&[u8], ReadError> {
        let refused = |reason: &str| damaged(format!("blob {id}"), reason);
        let plain = cipher.open(&mut self.sealed).map_err(|error| refused(&error.to_string()))?;
        let raw: &[u8] = if place.is_compressed() {
            let decompressor = match &mut self.decompressor {
                Some(decompressor) => decompressor,
                slot => slot.insert(zstd::bulk::Decompressor::new().map_err(|_| refused("zstd does not start"))?),
            };
            inflate::blob(plain, place.raw_bytes() as usize, &mut self.raw, decompressor).map_err(refused)?;
            &self.raw
        } else {
            plain
        };
        if id::hash(raw) == id.0 { Ok(raw) } else { Err(refused("its content is not that of its id")) }
    }
}

/// A blob by itself, from any copy, of at most so many bytes.
pub(crate) async fn read(objects: &Objects, cipher: &Cipher, index: &Index, id: &BlobId, bytes_max: usize) -> Result<Bytes, ReadError> {
    let mut error = ReadError::NotFound { what: format!("blob {id}") };
    for place in index.find(id) {
        if place.raw_bytes() as usize > bytes_max {
            error = damaged(format!("blob {id}"), format!("it has {} bytes, more than there is memory for", place.raw_bytes()));
            continue;
        }
        match copy(objects, cipher, index, id, &place).await {
            Err(found) if found.is_damage() => error = found,
            read => return read,
        }
    }
    Err(error)
}

async fn copy(objects: &Objects, cipher: &Cipher, index: &Index, id: &BlobId, place: &Place) -> Result<Bytes, ReadError> {
    let pack = index.pack(place.pack).ok_or_else(|| ReadError::NotFound { what: format!("blob {id}") })?;
    let sealed = objects.range(&pack.object(), place.range()).await?;
    // What was fetched is opened where it is: it may be a large part of the memory.
    let mut buffers = Buffers { sealed: sealed.into(), ..Buffers::default() };
    buffers.open_held(cipher, id, place)?;
    let Buffers { sealed, raw, .. } = buffers;
    Ok(if place.is_compressed() { raw.into() } else { Bytes::from(sealed).slice(plain(place)) })
}

/// Where the plain bytes stand in what was sealed.
fn plain(place: &Place) -> std::ops::Range<usize> {
    let front = crate::cipher::OVERHEAD_BYTES / 2;
    front..place.stored_bytes as usize - front
}
