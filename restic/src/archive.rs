//! The content of a repository, as a restore asks for it.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_mover::restore::source::{Archive, Decoder, Fetched, Location, Pack};
use holdfast_repository::{BLOB_RAW_BYTES_MAX, BlobId, ReadError};

use crate::cipher::Cipher;
use crate::content::{self, Buffers};
use crate::id;
use crate::index::{Index, Place};
use crate::objects::Objects;

/// Index and packs.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) objects: Objects,
    pub(crate) cipher: Arc<Cipher>,
    pub(crate) index: Index,
    pub(crate) unreadable: Vec<String>,
}

#[async_trait]
impl Archive for Content {
    fn locate(&self, id: &BlobId) -> Option<Location> {
        let place = self.index.find_content(id)?;
        let Place { pack, offset, stored_bytes, .. } = place;
        Some(Location::Other { pack, offset, stored_bytes, raw_bytes: place.raw_bytes(), is_compressed: place.is_compressed() })
    }

    fn is_blob(&self, id: &BlobId, _location: &Location, raw: &[u8]) -> bool {
        id::hash(raw) == id.0
    }

    async fn fetch(&self, pack: Pack, range: Range<u64>) -> Result<Fetched, ReadError> {
        let unknown = || ReadError::NotFound { what: format!("{pack:?}") };
        let Pack::Number(number) = pack else { return Err(unknown()) };
        let name = self.index.pack(number).ok_or_else(unknown)?.object();
        let bytes = self.objects.range(&name, range.clone()).await?;
        Ok(Fetched::Other { pack: number, offset: range.start, bytes })
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Opener { cipher: Arc::clone(&self.cipher), buffers: Buffers::default() })
    }

    async fn read_blob(&self, id: &BlobId) -> Result<Bytes, ReadError> {
        content::read(&self.objects, &self.cipher, &self.index, id, BLOB_RAW_BYTES_MAX).await
    }

    fn unreadable_runs(&self) -> Vec<String> {
        self.unreadable.clone()
    }
}

/// Takes blobs out of what was fetched.
struct Opener {
    cipher: Arc<Cipher>,
    buffers: Buffers,
}

impl Decoder for Opener {
    fn decode(&mut self, fetched: &Fetched, id: &BlobId, location: &Location) -> Result<&[u8], ReadError> {
        let (place, sealed) = sealed(fetched, location).ok_or_else(|| ReadError::NotFound { what: format!("blob {id} in the fetched range") })?;
        self.buffers.open(&self.cipher, id, &place, sealed)
    }
}

fn sealed<'f>(fetched: &'f Fetched, location: &Location) -> Option<(Place, &'f [u8])> {
    let (Fetched::Other { pack: fetched_pack, offset: start, bytes }, Location::Other { pack, offset, stored_bytes, raw_bytes, is_compressed }) = (fetched, *location) else {
        return None;
    };
    let place = Place::new(pack, offset, stored_bytes, raw_bytes, is_compressed);
    let range = place.range();
    let at = |place: u64| usize::try_from(place.checked_sub(*start)?).ok();
    let sealed = bytes.get(at(range.start)?..at(range.end)?)?;
    (*fetched_pack == pack).then_some((place, sealed))
}
