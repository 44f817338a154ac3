//! For tests of this crate and others: a store in memory, chance from a seed, a clock that stands, and the store conformance suite.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

use crate::blob::BlobKind;
use crate::environment::{Clock, Random};
use crate::error::{ReadError, WriteError};
use crate::id::LeaseId;
use crate::keys;
use crate::lease::{Activity, Purpose};
use crate::lock::locked;
use crate::refs;
use crate::repository::Repository;
use crate::secret::SecretBytes;
use crate::snapshot::{Ending, EndingReason};
use crate::store::{ObjectEntry, Store, StoreError};
use crate::view::{Looker, View};

mod conformance;
mod dying;
mod future;
pub mod mutation;
mod mutator;
mod parsers;
mod scripted;
#[cfg(test)]
pub(crate) mod spilling;
mod waiting;
pub use conformance::conformance;
pub use dying::{DyingStore, VARIABLE as DIE_VARIABLE, dying};
pub use future::{Place, require};
pub use mutator::{Mutator, rounds, seed};
pub use parsers::{Parser, examples, parsers, plain};
pub use scripted::{Fate, Operation, ScriptedStore};
pub use waiting::WaitingStore;

/// Fences a lease as a prune does that has seen no heartbeat for too long, rightly or wrongly.
pub async fn fence(repository: &Repository, lease: &LeaseId, by: &str) -> Result<(), WriteError> {
    let ending = Ending { reason: EndingReason::Fenced, by: by.to_owned() };
    ending.write(&repository.core, lease).await.map(drop)
}

/// A key object for `password` that costs next to nothing to open, and its name: to put in the place of a repository's keys.
pub fn cheap_key(repository: &Repository, password: &SecretBytes) -> Result<(String, Vec<u8>), WriteError> {
    let core = &repository.core;
    let object = keys::wrap_cheaply(&core.environment, &repository.own_key, &core.keys.master, password)?;
    Ok((keys::object_name(&repository.own_key), object))
}

/// The packs that hold what the accepted snapshots need, by their objects' names: all that a prune may not take away.
pub async fn needed_packs(repository: &Repository) -> Result<BTreeSet<String>, ReadError> {
    let reader = repository.reader(Purpose::new(Activity::Browse, "test")).await?;
    let view = reader.view();
    let malformed = |error: crate::codec::Malformed| ReadError::damaged("refs", error.to_string());
    let mut needed = BTreeSet::new();
    let mut fine = BTreeSet::new();
    for (_, record) in reader.snapshots().await?.readable {
        let root = reader.read_blob(BlobKind::Refs, &record.refs).await?;
        let mut blobs = vec![record.refs];
        for segment in refs::decode_root(&root).map_err(malformed)? {
            let raw = reader.read_blob(BlobKind::Refs, &segment.blob).await?;
            blobs.push(segment.blob);
            blobs.extend(refs::decode_segment(&raw, &segment).map_err(malformed)?.into_iter().map(|(blob, _)| blob));
        }
        for found in blobs.iter().flat_map(|blob| view.index.find(blob)) {
            needed.insert(found.location.pack.to_string());
            fine.extend(found.fine.and_then(|place| view.index.fine_blob(place).copied()));
        }
    }
    needed.extend(fine.iter().flat_map(|blob| view.index.find(blob)).map(|found| found.location.pack.to_string()));
    reader.close().await?;
    Ok(needed)
}

/// The packs that index runs list, whoever wrote them, with their lengths: all that a next backup need not send again.
pub async fn listed_packs(repository: &Repository) -> Result<BTreeMap<String, u64>, ReadError> {
    let state = crate::state::newest(&repository.core).await?;
    let view = View::load(&repository.core, state, Looker::Writer).await?;
    Ok(view.index.packs().map(|pack| (pack.name.to_string(), pack.object_bytes)).collect())
}

/// Bytes after which a checkpoint is due, instead of the usual many: for tests that are killed between two of them.
pub(crate) fn checkpoint_bytes() -> Option<u64> {
    std::env::var("HOLDFAST_TEST_CHECKPOINT_BYTES").ok()?.parse().ok()
}

/// Entries of an index that stay in memory, instead of the usual many: for tests of what is spilled.
pub(crate) fn resident_entries() -> Option<usize> {
    #[cfg(test)]
    if spilling::is_on() {
        return Some(0);
    }
    std::env::var("HOLDFAST_TEST_RESIDENT_ENTRIES").ok()?.parse().ok()
}

/// Objects in memory: strongly listing, conditional unless told otherwise.
#[derive(Default)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<String, Bytes>>,
    unconditional: AtomicBool,
    overwrites: bool,
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemoryStore({} objects)", locked(&self.objects).len())
    }
}

impl MemoryStore {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that ignores the condition and overwrites, as some S3 servers do.
    pub fn overwriting() -> Self {
        Self { overwrites: true, ..Self::default() }
    }

    /// All of it.
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        locked(&self.objects).clone()
    }

    /// Puts an object there, whatever stands there: damage, a zombie, another's write.
    pub fn put(&self, name: &str, content: impl Into<Bytes>) {
        locked(&self.objects).insert(name.to_owned(), content.into());
    }

    /// Takes an object away.
    pub fn take(&self, name: &str) -> Option<Bytes> {
        locked(&self.objects).remove(name)
    }
}

fn not_found(name: &str) -> StoreError {
    StoreError::NotFound { object: name.to_owned() }
}

#[async_trait]
impl Store for MemoryStore {
    async fn create(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        let mut objects = locked(&self.objects);
        if objects.contains_key(name) && !(self.overwrites && self.conditional()) {
            return Err(StoreError::AlreadyExists { object: name.to_owned() });
        }
        objects.insert(name.to_owned(), parts.concat().into());
        Ok(())
    }

    async fn get(&self, name: &str) -> Result<Bytes, StoreError> {
        locked(&self.objects).get(name).cloned().ok_or_else(|| not_found(name))
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let object = self.get(name).await?;
        if range.start >= range.end || range.end > object.len() as u64 {
            return Err(StoreError::Corrupt { object: name.to_owned(), reason: format!("{range:?} of {} bytes", object.len()) });
        }
        Ok(object.slice(range.start as usize..range.end as usize))
    }

    async fn head(&self, name: &str) -> Result<u64, StoreError> {
        Ok(self.get(name).await?.len() as u64)
    }

    fn list(&self, prefix: &str, start_after: Option<&str>) -> BoxStream<'_, Result<ObjectEntry, StoreError>> {
        let folder = format!("{prefix}/");
        let entries: Vec<_> = locked(&self.objects)
            .iter()
            .filter(|(name, _)| name.starts_with(&folder) && start_after.is_none_or(|after| name.as_str() > after))
            .map(|(name, object)| Ok(ObjectEntry { name: name.clone(), bytes: object.len() as u64 }))
            .collect();
        stream::iter(entries).boxed()
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.take(name);
        Ok(())
    }

    fn conditional(&self) -> bool {
        !self.unconditional.load(Ordering::Relaxed)
    }

    fn set_unconditional(&self) {
        self.unconditional.store(true, Ordering::Relaxed);
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }
}

/// Chance from a seed: the same calls give the same bytes. Never for real keys.
#[derive(Debug)]
pub struct SeededRandom {
    seed: u64,
    calls: AtomicU64,
}

impl SeededRandom {
    /// From `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, calls: AtomicU64::new(0) }
    }
}

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(&call.to_le_bytes());
        hasher.finalize_xof().fill(bytes);
    }
}

/// A clock that stands until it is moved; sleeping is tokio's, so that paused time works.
#[derive(Debug, Default)]
pub struct StandingClock {
    unix_ms: AtomicI64,
    boottime_ms: AtomicU64,
}

impl StandingClock {
    /// At `unix_ms`.
    pub fn at(unix_ms: i64) -> Self {
        Self { unix_ms: AtomicI64::new(unix_ms), boottime_ms: AtomicU64::new(0) }
    }

    /// Moves both clocks forward.
    pub fn advance(&self, ms: u32) {
        self.unix_ms.fetch_add(ms.into(), Ordering::Relaxed);
        self.boottime_ms.fetch_add(ms.into(), Ordering::Relaxed);
    }
}

#[async_trait]
impl Clock for StandingClock {
    fn unix_ms(&self) -> i64 {
        self.unix_ms.load(Ordering::Relaxed)
    }

    fn boottime_ms(&self) -> u64 {
        self.boottime_ms.load(Ordering::Relaxed)
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A clock of tokio's own time, which tests may pause: sleeping moves it.
#[derive(Debug)]
pub struct TokioClock {
    begun: tokio::time::Instant,
}

impl TokioClock {
    /// Begins now. Inside a runtime.
    #[expect(clippy::new_without_default)] // Now is no default.
    pub fn new() -> Self {
        Self { begun: tokio::time::Instant::now() }
    }
}

#[async_trait]
impl Clock for TokioClock {
    fn unix_ms(&self) -> i64 {
        self.boottime_ms() as i64
    }

    fn boottime_ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
