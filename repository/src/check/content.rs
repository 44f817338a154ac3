//! Every byte of packs: fetched in parts, several at once, and verified by a few plain threads while the next are on their way.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::packs::Listed;
use super::{CheckProgress, Findings, reason};
use crate::compress::Scratch;
use crate::crypto::Keys;
use crate::error::ReadError;
use crate::id::BlobId;
use crate::lock::locked;
use crate::pack::{Layout, PackEntry, PackInfo, Part};
use crate::reader::Reader;
use crate::store::StoreError;
use crate::view::View;

/// A request's bytes, and one blob more: half a pack.
const PART_BYTES: u64 = 16 << 20;
/// Bytes on their way or waiting to be verified; with the threads' working memory below 100 MB.
const ROOM_KIB: u32 = 49 << 10;
/// As many as the room may hold of small ones: metadata and packs that a checkpoint closed early.
const PACKS_AT_ONCE: usize = 8;
const PARTS_AT_ONCE: usize = 2;
/// More threads than this wait for the store.
const THREADS_MAX: usize = 8;

pub(super) async fn check(
    reader: &Reader,
    view: &View,
    packs: Vec<PackInfo>,
    listed: &Listed,
    progress: &CheckProgress,
    findings: &mut Findings,
) -> Result<(), ReadError> {
    let verifier = &Verifier::new(reader);
    let mut verified = stream::iter(packs.into_iter().map(|info| async move { (info, verifier.pack(info).await) })).buffered(PACKS_AT_ONCE);
    while let Some((info, result)) = verified.next().await {
        match result {
            Ok((entries, rotten)) => {
                findings.verified.insert(info.name);
                rotten.into_iter().for_each(|(id, error)| findings.rotten_blob(id, info.name, &error));
                listed.compare(view, info.name, &entries, findings);
            }
            Err(error) if error.is_damage() => findings.lost_pack(info.name, reason(&error)),
            Err(error) => return Err(error),
        }
        progress.bytes_read.fetch_add(info.object_bytes, Ordering::Relaxed);
        progress.packs_done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Whether every byte of a pack is what was written.
pub(crate) async fn is_whole(reader: &Reader, info: PackInfo) -> Result<bool, ReadError> {
    match Verifier::new(reader).pack(info).await {
        Ok((_, rotten)) => Ok(rotten.is_empty()),
        Err(error) if error.is_damage() => Ok(false),
        Err(error) => Err(error),
    }
}

type Rotten = Vec<(BlobId, ReadError)>;

/// Whoever holds the room that a part takes.
struct Fetched {
    bytes: Bytes,
    room: OwnedSemaphorePermit,
}

struct Verifier<'r> {
    reader: &'r Reader,
    room: Arc<Semaphore>,
    /// None on a runtime of one thread: there it happens where the caller is, in an order that a simulation can play again.
    threads: Option<Semaphore>,
    scratches: Arc<Mutex<Vec<Scratch>>>,
}

impl<'r> Verifier<'r> {
    /// As many threads as the runtime has workers.
    fn new(reader: &'r Reader) -> Self {
        let runtime = Handle::current();
        let workers = runtime.metrics().num_workers().clamp(1, THREADS_MAX);
        let threads = (runtime.runtime_flavor() != RuntimeFlavor::CurrentThread).then(|| Semaphore::new(workers));
        Self { reader, room: Arc::new(Semaphore::new(ROOM_KIB as usize)), threads, scratches: Arc::default() }
    }

    async fn pack(&self, info: PackInfo) -> Result<(Vec<PackEntry>, Rotten), ReadError> {
        let tail_from = info.object_bytes.saturating_sub(PART_BYTES);
        let tail = self.fetch(&info, tail_from..info.object_bytes).await?;
        let layout = Layout::read(&self.reader.core().keys, &info, &tail.bytes)
            .map_err(|error| error.err().unwrap_or_else(|| ReadError::damaged(info.name.to_string(), "cut short")))?;
        let layout = Arc::new(layout);
        let mut parts = layout.parts(tail_from, PART_BYTES);
        let last = parts.pop();
        let front = stream::iter(parts.into_iter().map(|part| async {
            let fetched = self.fetch(&info, part.range.clone()).await?;
            self.verify(&layout, part, fetched).await
        }))
        .buffered(PARTS_AT_ONCE)
        .try_collect::<Vec<Rotten>>();
        let end = async {
            match last {
                Some(part) => self.verify(&layout, part, tail).await,
                None => Ok(Rotten::new()),
            }
        };
        let (front, end) = futures::try_join!(front, end)?;
        let rotten = front.into_iter().flatten().chain(end).collect();
        let entries = Arc::into_inner(layout).map(|layout| layout.entries).unwrap_or_default();
        Ok((entries, rotten))
    }

    async fn fetch(&self, info: &PackInfo, range: std::ops::Range<u64>) -> Result<Fetched, ReadError> {
        let kib = u32::try_from((range.end - range.start).div_ceil(1024)).unwrap_or(u32::MAX).min(ROOM_KIB);
        let room = Arc::clone(&self.room).acquire_many_owned(kib).await.map_err(|_| stopped())?;
        Ok(Fetched { bytes: self.reader.fetch_stored(info, range).await?, room })
    }

    async fn verify(&self, layout: &Arc<Layout>, part: Part, fetched: Fetched) -> Result<Rotten, ReadError> {
        let scratch = locked(&self.scratches).pop().unwrap_or_default();
        let Some(threads) = &self.threads else {
            let (rotten, scratch) = verify(&self.reader.core().keys, layout, &part, scratch, &fetched.bytes);
            locked(&self.scratches).push(scratch);
            // A long verification must not starve the heartbeats of its own lease.
            tokio::task::yield_now().await;
            return rotten;
        };
        let _thread = threads.acquire().await.map_err(|_| stopped())?;
        let (keys, layout, scratches) = (Arc::clone(&self.reader.core().keys), Arc::clone(layout), Arc::clone(&self.scratches));
        let work = tokio::task::spawn_blocking(move || {
            let Fetched { bytes, room } = fetched;
            let (rotten, scratch) = verify(&keys, &layout, &part, scratch, &bytes);
            locked(&scratches).push(scratch);
            // The bytes go before their room is another's.
            drop((bytes, layout));
            drop(room);
            rotten
        });
        work.await.map_err(|_| stopped())?
    }
}

fn verify(keys: &Keys, layout: &Layout, part: &Part, mut scratch: Scratch, bytes: &[u8]) -> (Result<Rotten, ReadError>, Scratch) {
    (layout.verify(keys, part, bytes, &mut scratch), scratch)
}

/// Only while the runtime ends.
fn stopped() -> ReadError {
    StoreError::Corrupt { object: "check".to_owned(), reason: "the process is ending".to_owned() }.into()
}
