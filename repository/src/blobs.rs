//! Reading blobs under a view: copies tried in turn, every id verified, what is rotten remembered.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::blob::{BlobKind, BlobLocation, PackClass, PackName};
use crate::cache::CacheName;
use crate::compress::Scratch;
use crate::core::Core;
use crate::error::ReadError;
use crate::fine::{self, FineCache, FineHashes};
use crate::id::BlobId;
use crate::lock::locked;
use crate::mutation::left_out;
use crate::pack::{self, PackInfo};
use crate::read_ahead::{Ahead, ReadAhead};
use crate::state::State;
use crate::store::StoreError;
use crate::view::View;

/// Copies that turned out rotten or missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bad {
    pub(crate) blobs: BTreeSet<(BlobId, PackName)>,
    pub(crate) packs: BTreeSet<PackName>,
}

impl Bad {
    pub(crate) fn is_empty(&self) -> bool {
        self.blobs.is_empty() && self.packs.is_empty()
    }

    /// Adds to a state; false if it says all of this already.
    pub(crate) fn add_to(&self, state: &mut State) -> bool {
        let before = state.bad_blobs.len() + state.bad_packs.len();
        if left_out!(BadIsAbsent) {
            return false;
        }
        // A pack that is missing because a prune has deleted it is not bad.
        let State { bad_blobs, bad_packs, doomed, .. } = state;
        bad_blobs.extend(self.blobs.iter().filter(|(_, pack)| !doomed.contains(pack)));
        bad_packs.extend(self.packs.iter().filter(|pack| !doomed.contains(pack)));
        state.bad_blobs.len() + state.bad_packs.len() > before
    }
}

#[derive(Debug)]
pub(crate) struct Blobs {
    core: Arc<Core>,
    view: Mutex<Arc<View>>,
    bad: Mutex<Bad>,
    scratches: Mutex<Vec<Scratch>>,
    fine: Mutex<FineCache>,
    ahead: Mutex<ReadAhead>,
}

impl Blobs {
    pub(crate) fn new(core: Arc<Core>, view: View) -> Self {
        Self::knowing(core, view, Bad::default())
    }

    /// With what is known to be bad already.
    pub(crate) fn knowing(core: Arc<Core>, view: View, bad: Bad) -> Self {
        Self {
            core,
            view: Mutex::new(Arc::new(view)),
            bad: Mutex::new(bad),
            scratches: Mutex::default(),
            fine: Mutex::default(),
            ahead: Mutex::default(),
        }
    }

    pub(crate) fn view(&self) -> Arc<View> {
        Arc::clone(&locked(&self.view))
    }

    pub(crate) fn replace_view(&self, view: View) {
        *locked(&self.view) = Arc::new(view);
    }

    pub(crate) fn bad(&self) -> Bad {
        locked(&self.bad).clone()
    }

    /// A copy that a new snapshot may use: not condemned, doomed or bad, and not found rotten by us either.
    pub(crate) fn usable(&self, id: &BlobId) -> Option<BlobLocation> {
        let view = self.view();
        let bad = locked(&self.bad);
        view.index
            .find(id)
            .map(|found| found.location)
            .filter(|location| view.state.usable(&location.pack) && !view.state.bad_blobs.contains(&(*id, location.pack)))
            .find(|location| !bad.blobs.contains(&(*id, location.pack)) && !bad.packs.contains(&location.pack))
    }

    /// Where the best copy is.
    pub(crate) fn locate(&self, id: &BlobId) -> Option<BlobLocation> {
        self.usable(id).or_else(|| self.view().index.find(id).next().map(|found| found.location))
    }

    /// From any copy that is good.
    pub(crate) async fn read(&self, kind: BlobKind, id: &BlobId) -> Result<Bytes, ReadError> {
        let view = self.view();
        let mut last = None;
        let copies: Vec<_> = view.index.find(id).filter(|found| found.location.kind == kind).collect();
        for found in copies {
            match self.read_copy(found.info, id, &found.location).await {
                Ok(raw) => return Ok(raw),
                Err(error) if error.is_damage() => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| absent(&view, id)))
    }

    async fn read_copy(&self, info: &PackInfo, id: &BlobId, location: &BlobLocation) -> Result<Bytes, ReadError> {
        if let Some(raw) = self.from_cache(info, id, location) {
            return Ok(raw);
        }
        let sealed = self.sealed(info, location).await?;
        let raw = self.with_scratch(|scratch| self.open(info, id, location, &sealed, scratch))?;
        self.into_cache(location, &sealed);
        Ok(raw)
    }

    /// Metadata is read ahead: what was written together is read together.
    async fn sealed(&self, info: &PackInfo, location: &BlobLocation) -> Result<Bytes, ReadError> {
        if location.pack.class != PackClass::Meta {
            return self.fetch(info, location.range()).await;
        }
        let range = match locked(&self.ahead).find(location) {
            Ahead::There(sealed) => return Ok(sealed),
            Ahead::Fetch(range) => range.start..range.end.min(info.object_bytes).max(location.range().end),
        };
        let bytes = self.fetch(info, range.clone()).await?;
        let sealed = bytes.slice(..location.stored_bytes as usize);
        locked(&self.ahead).keep(info.name, range, bytes);
        Ok(sealed)
    }

    fn with_scratch(&self, open: impl FnOnce(&mut Scratch) -> Result<(), ReadError>) -> Result<Bytes, ReadError> {
        let mut scratch = locked(&self.scratches).pop().unwrap_or_default();
        let raw = open(&mut scratch).map(|()| Bytes::copy_from_slice(&scratch.raw));
        locked(&self.scratches).push(scratch);
        raw
    }

    /// A metadata blob whose cached copy opens. One that does not is the cache's fault, and says nothing about the store's.
    fn from_cache(&self, info: &PackInfo, id: &BlobId, location: &BlobLocation) -> Option<Bytes> {
        let cache = self.core.cache.get().filter(|_| location.pack.class == PackClass::Meta)?;
        let name = CacheName::blob(location);
        let sealed = cache.get(&name)?;
        let raw = self.with_scratch(|scratch| pack::open_blob(&self.core.keys, &info.salt, id, location, &sealed, scratch));
        raw.inspect_err(|error| {
            tracing::debug!(%error, "a cached blob does not open; it is fetched again");
            cache.remove(&name);
        })
        .ok()
    }

    fn into_cache(&self, location: &BlobLocation, sealed: &[u8]) {
        if let Some(cache) = self.core.cache.get().filter(|_| location.pack.class == PackClass::Meta) {
            cache.put(&CacheName::blob(location), sealed);
        }
    }

    /// Into `scratch.raw`; a copy that is not what it should be is remembered.
    pub(crate) fn open(&self, info: &PackInfo, id: &BlobId, location: &BlobLocation, sealed: &[u8], scratch: &mut Scratch) -> Result<(), ReadError> {
        pack::open_blob(&self.core.keys, &info.salt, id, location, sealed, scratch).inspect_err(|_| {
            locked(&self.bad).blobs.insert((*id, location.pack));
        })
    }

    /// A range of a pack. If it cannot be had, the pack's length tells whether it is the pack that is wrong or the store.
    pub(crate) async fn fetch(&self, info: &PackInfo, range: Range<u64>) -> Result<Bytes, ReadError> {
        let name = info.name.to_string();
        let error = match self.core.store.get_range(&name, range).await {
            Ok(bytes) => return Ok(bytes),
            Err(error) => error,
        };
        let reason = match &error {
            StoreError::NotFound { .. } => "it is missing".to_owned(),
            error if error.is_ambiguous() => match self.core.store.head(&name).await {
                Ok(bytes) if bytes != info.object_bytes => format!("it has {bytes} bytes instead of {}", info.object_bytes),
                _ => return Err(error.clone().into()),
            },
            _ => return Err(error.into()),
        };
        locked(&self.bad).packs.insert(info.name);
        Err(ReadError::damaged(name, reason))
    }

    /// The fine hashes stored with a blob, if there are any that can be read: without them a change costs more, nothing else.
    pub(crate) async fn fine_hashes(&self, id: &BlobId) -> Result<Option<FineHashes>, ReadError> {
        let view = self.view();
        let Some((blob, offset)) = view.index.find(id).find_map(|found| {
            let place = found.fine?;
            Some((*view.index.fine_blob(place)?, place.offset))
        }) else {
            return Ok(None);
        };
        let cached = locked(&self.fine).get(&blob);
        let raw = match cached {
            Some(raw) => raw,
            None => match self.read(BlobKind::FineHashes, &blob).await {
                Ok(raw) => raw,
                Err(error) if error.is_damage() => {
                    tracing::warn!(%blob, %error, "fine hashes cannot be read");
                    return Ok(None);
                }
                Err(error) => return Err(error),
            },
        };
        let hashes = fine::record_at(&raw, offset, id).map_err(|error| ReadError::damaged(format!("fine hashes {blob}"), error.to_string()))?;
        locked(&self.fine).put(blob, raw);
        Ok(Some(hashes))
    }
}

fn absent(view: &View, id: &BlobId) -> ReadError {
    if let Err(error) = view.index.intact() {
        return error;
    }
    match view.unreadable_runs.first() {
        None => ReadError::NotFound { what: format!("blob {id}") },
        Some((run, ReadError::Damaged { reason, .. })) => ReadError::damaged(run.to_string(), format!("{reason}; blob {id} may be listed in it")),
        Some((run, error)) => ReadError::damaged(run.to_string(), format!("{error}; blob {id} may be listed in it")),
    }
}
