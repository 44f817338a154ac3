//! `object_store`'s stores as ours: names below one prefix, errors by what the caller can do, create-if-absent.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::direct::{self, Written};
use super::failure::{typed, wants_checksum};
use super::ranges::{self, RangeMemory};
use super::{OBJECT_BYTES_MAX, ObjectEntry, Store, StoreError};

const LIST_TRIES_MAX: u32 = 4;
const LIST_WAIT: Duration = Duration::from_millis(200);

/// The same store, sending a checksum with each object.
type Checksummed = Box<dyn Fn() -> Result<Arc<dyn ObjectStore>, object_store::Error> + Send + Sync>;

/// Adapts any `object_store` backend. Retries are that crate's, bounded; there are none here.
pub struct ObjectStoreAdapter {
    inner: Arc<dyn ObjectStore>,
    checksummed: Option<Checksummed>,
    /// Made when the store asks for it: a bucket with a lock does, others do not know the header.
    inner_checksummed: OnceLock<Arc<dyn ObjectStore>>,
    prefix: Path,
    location: String,
    conditional: AtomicBool,
    /// Of a local directory: where its objects' names begin. Large ones are written there past the page cache, where that can be done, and
    /// large ranges read into memory of our own.
    folder: Option<PathBuf>,
    range_memory: Arc<RangeMemory>,
}

impl std::fmt::Debug for ObjectStoreAdapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ObjectStoreAdapter({})", self.location)
    }
}

impl ObjectStoreAdapter {
    /// Objects go below `prefix` of `inner`; `location` is for messages.
    pub fn new(inner: Arc<dyn ObjectStore>, prefix: Path, location: String) -> Self {
        let (checksummed, inner_checksummed, conditional) = (None, OnceLock::new(), AtomicBool::new(true));
        Self { inner, checksummed, inner_checksummed, prefix, location, conditional, folder: None, range_memory: Arc::default() }
    }

    /// Of a local directory, whose objects' names begin in `folder`.
    pub(super) fn with_folder(mut self, folder: PathBuf) -> Self {
        self.folder = Some(folder);
        self
    }

    /// With a way to the same store that sends checksums, for buckets that take nothing without.
    pub(super) fn with_checksummed(mut self, checksummed: Checksummed) -> Self {
        self.checksummed = Some(checksummed);
        self
    }

    async fn put(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<(), object_store::Error> {
        if let Some(inner) = self.inner_checksummed.get() {
            return inner.put_opts(path, payload, options).await.map(drop);
        }
        match (self.inner.put_opts(path, payload.clone(), options.clone()).await, &self.checksummed) {
            (Err(error), Some(make)) if wants_checksum(&error) => {
                let inner = make()?;
                self.inner_checksummed.get_or_init(|| inner).put_opts(path, payload, options).await.map(drop)
            }
            (put, _) => put.map(drop),
        }
    }

    async fn create_direct(&self, path: PathBuf, name: &str, parts: Vec<Bytes>) -> Result<Written, StoreError> {
        let written = tokio::task::spawn_blocking(move || direct::create(&path, &parts)).await;
        let failed = |source| typed(name, object_store::Error::Generic { store: "LocalFileSystem", source });
        match written {
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(StoreError::AlreadyExists { object: name.to_owned() })
            }
            Ok(written) => written.map_err(|error| failed(Box::new(error))),
            Err(error) => Err(failed(Box::new(error))),
        }
    }

    /// None: the usual way has it, or the words for what is wrong.
    async fn read_large(&self, name: &str, range: &Range<u64>) -> Option<Bytes> {
        let folder = self.folder.as_ref().filter(|_| range.end - range.start >= ranges::BYTES_MIN)?;
        let (memory, path, range) = (Arc::clone(&self.range_memory), folder.join(name), range.clone());
        tokio::task::spawn_blocking(move || memory.read(&path, range)).await.ok()?.ok()
    }

    fn path(&self, name: &str) -> Path {
        self.prefix.parts().chain(Path::from(name).parts()).collect()
    }

    fn list_once(&self, prefix: &str, start_after: Option<&str>) -> BoxStream<'_, Result<ObjectEntry, StoreError>> {
        let folder = prefix.to_owned();
        let path = self.path(prefix);
        let listing = match start_after {
            Some(name) => self.inner.list_with_offset(Some(&path), &self.path(name)),
            None => self.inner.list(Some(&path)),
        };
        listing
            .map_err(move |error| typed(&folder, error))
            .try_filter_map(move |meta| async move { Ok(self.name(&meta.location).map(|name| ObjectEntry { name, bytes: meta.size })) })
            .boxed()
    }

    fn name(&self, path: &Path) -> Option<String> {
        let parts = path.prefix_match(&self.prefix)?;
        Some(parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/"))
    }
}

#[async_trait]
impl Store for ObjectStoreAdapter {
    async fn create(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        if let Some(folder) = &self.folder
            && parts.iter().map(Bytes::len).sum::<usize>() >= direct::BYTES_MIN
            && self.create_direct(folder.join(name), name, parts.clone()).await? == Written::Done
        {
            return Ok(());
        }
        let path = self.path(name);
        let mode = if self.conditional() {
            PutMode::Create
        } else {
            // The store cannot refuse, so look first; the protocol keeps what this race could break for the controller's holding of all writers.
            match self.head(name).await {
                Err(StoreError::NotFound { .. }) => PutMode::Overwrite,
                Ok(_) => return Err(StoreError::AlreadyExists { object: name.to_owned() }),
                Err(error) => return Err(error),
            }
        };
        let options = PutOptions { mode, ..PutOptions::default() };
        match self.put(&path, PutPayload::from_iter(parts), options).await {
            Ok(()) => Ok(()),
            // An object that is to be created is never missing: what holds it is.
            Err(error @ object_store::Error::NotFound { .. }) => Err(StoreError::Denied { object: name.to_owned(), source: Arc::new(error) }),
            Err(error) => Err(typed(name, error)),
        }
    }

    async fn get(&self, name: &str) -> Result<Bytes, StoreError> {
        let result = self.inner.get(&self.path(name)).await.map_err(|error| typed(name, error))?;
        let bytes = result.meta.size;
        if bytes > OBJECT_BYTES_MAX {
            return Err(StoreError::Corrupt { object: name.to_owned(), reason: format!("{bytes} bytes, above the limit of {OBJECT_BYTES_MAX}") });
        }
        let content = result.bytes().await.map_err(|error| typed(name, error))?;
        same_length(name, content.len() as u64, bytes)?;
        Ok(content)
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let bytes = range.end.saturating_sub(range.start);
        if bytes == 0 || bytes > OBJECT_BYTES_MAX {
            return Err(StoreError::Corrupt { object: name.to_owned(), reason: format!("a range of {bytes} bytes was asked for") });
        }
        if let Some(content) = self.read_large(name, &range).await {
            return Ok(content);
        }
        let content = self.inner.get_range(&self.path(name), range).await.map_err(|error| typed(name, error))?;
        same_length(name, content.len() as u64, bytes)?;
        Ok(content)
    }

    async fn head(&self, name: &str) -> Result<u64, StoreError> {
        Ok(self.inner.head(&self.path(name)).await.map_err(|error| typed(name, error))?.size)
    }

    /// A page whose body breaks off is not tried again by that crate. As long as nothing was handed out the listing begins anew;
    /// later than that the caller must, since not every store lists in an order to go on from.
    fn list(&self, prefix: &str, start_after: Option<&str>) -> BoxStream<'_, Result<ObjectEntry, StoreError>> {
        let (prefix, start_after) = (prefix.to_owned(), start_after.map(str::to_owned));
        stream::once(async move {
            let mut tries = 1;
            loop {
                let mut listing = self.list_once(&prefix, start_after.as_deref()).fuse();
                match listing.next().await {
                    Some(Err(error)) if tries < LIST_TRIES_MAX && broke_off(&error) => {
                        tokio::time::sleep(LIST_WAIT * tries).await;
                        tries += 1;
                    }
                    first => return stream::iter(first).chain(listing),
                }
            }
        })
        .flatten()
        .boxed()
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        match self.inner.delete(&self.path(name)).await.map_err(|error| typed(name, error)) {
            Err(StoreError::NotFound { .. }) | Ok(()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn conditional(&self) -> bool {
        self.conditional.load(Ordering::Relaxed)
    }

    fn set_unconditional(&self) {
        self.conditional.store(false, Ordering::Relaxed);
    }

    fn location(&self) -> String {
        self.location.clone()
    }
}

/// That crate has tried everything else again already, and has no type of its own for this.
fn broke_off(error: &StoreError) -> bool {
    matches!(error, StoreError::Unreachable { source, .. } if source.to_string().contains("response body"))
}

fn same_length(name: &str, got: u64, wanted: u64) -> Result<(), StoreError> {
    if got == wanted {
        return Ok(());
    }
    Err(StoreError::Corrupt { object: name.to_owned(), reason: format!("{got} bytes came instead of {wanted}") })
}
