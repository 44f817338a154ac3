//! One process's way to the world: late, lossy, and it may be the last thing that process does.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use holdfast_repository::StoreError;
use holdfast_repository::store::{ObjectEntry, Store};
use tokio::sync::Notify;

use crate::chance::Chance;
use crate::world::{Faults, World};

/// A process: dead for good once it crashed, whatever tasks of it are still about.
#[derive(Debug, Default)]
pub(crate) struct Life {
    dead: AtomicBool,
    /// It was given wrong bytes once: what it finds damaged may be whole.
    pub(crate) was_deceived: AtomicBool,
    pub(crate) died: Notify,
}

impl Life {
    pub(crate) fn end(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.died.notify_waiters();
        self.died.notify_one();
    }
}

pub(crate) struct ProcessStore {
    pub(crate) world: Arc<World>,
    /// Which process of which host.
    pub(crate) process: String,
    pub(crate) life: Arc<Life>,
    pub(crate) chance: Chance,
    pub(crate) faults: Faults,
    /// The oracle sees everything at once and writes nothing.
    pub(crate) oracle: bool,
}

impl fmt::Debug for ProcessStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulated store of {}", self.process)
    }
}

fn lost(name: &str) -> StoreError {
    StoreError::Unreachable { object: name.to_owned(), source: Arc::new(std::io::Error::other("simulated: no answer")) }
}

fn exists(name: &str) -> StoreError {
    StoreError::AlreadyExists { object: name.to_owned() }
}

impl ProcessStore {
    fn note(&self, what: &str, name: &str, how: &str) {
        self.world.note(format!("{} {what} {name}: {how}", self.process));
    }

    async fn die(&self, what: &str, name: &str) -> ! {
        self.note(what, name, "CRASH");
        self.life.end();
        std::future::pending::<std::convert::Infallible>().await;
        unreachable!("a dead process does not come back")
    }

    /// The way there or back.
    async fn travel(&self) {
        if self.oracle {
            return;
        }
        let stalled = self.chance.hits(self.faults.stalled);
        // A scale of waits instead of one: each race needs its own. Up to 40 minutes.
        let ms = if stalled { (self.chance.of_any_size(7) / 4).max(1) } else { 1 + self.chance.below(60) };
        tokio::time::sleep(Duration::from_millis(ms)).await;
        if self.life.dead.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    async fn read<T>(&self, what: &str, name: &str, look: impl FnOnce() -> Result<T, StoreError> + Send) -> Result<T, StoreError> {
        self.travel().await;
        if !self.oracle {
            if self.chance.hits(self.faults.crash) {
                self.die(what, name).await;
            }
            if self.chance.hits(self.faults.failed_read) {
                self.note(what, name, "failed");
                return Err(lost(name));
            }
        }
        let answer = look();
        self.travel().await;
        answer
    }

    fn look(&self, name: &str) -> Result<Bytes, StoreError> {
        let objects = self.world.objects.lock().unwrap();
        objects.get(name).cloned().ok_or_else(|| StoreError::NotFound { object: name.to_owned() })
    }

    /// Now and then one bit is another.
    fn tear(&self, name: &str, bytes: Bytes) -> Bytes {
        if self.oracle || bytes.is_empty() || !self.chance.hits(self.faults.torn) {
            return bytes;
        }
        self.note("get", name, "torn");
        self.life.was_deceived.store(true, Ordering::Relaxed);
        let mut torn = bytes.to_vec();
        torn[self.chance.index(bytes.len())] ^= 1;
        torn.into()
    }

    fn entries(&self, prefix: &str, after: Option<&str>) -> Vec<ObjectEntry> {
        let objects = self.world.objects.lock().unwrap();
        let from = after.map_or_else(|| prefix.to_owned(), |after| format!("{after}\0"));
        let range = objects.range(from..).take_while(|(name, _)| name.starts_with(prefix));
        range.map(|(name, bytes)| ObjectEntry { name: name.clone(), bytes: bytes.len() as u64 }).collect()
    }

    /// Done when nobody waits for it any more: a zombie's write, a proxy's second try.
    fn create_later(&self, name: &str, content: Bytes) {
        let (world, name, process) = (Arc::clone(&self.world), name.to_owned(), self.process.clone());
        let delay = Duration::from_millis(self.chance.of_any_size(7) / 5);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let done = world.create(&name, &content, &process);
            world.note(format!("{process} late create {name}: {}", if done { "done" } else { "existed" }));
        });
    }
}

#[async_trait]
impl Store for ProcessStore {
    async fn create(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        if self.oracle {
            return Err(StoreError::ReadOnly {
                object: name.to_owned(),
                source: Arc::new(std::io::Error::other("the oracle only looks")),
            });
        }
        let content = parts
            .iter()
            .fold(BytesMut::new(), |mut whole, part| {
                whole.extend_from_slice(part);
                whole
            })
            .freeze();
        self.travel().await;
        let (faults, chance) = (&self.faults, &self.chance);
        if chance.hits(faults.crash) {
            if chance.hits(500) {
                self.world.create(name, &content, &self.process);
            }
            self.die("create", name).await;
        }
        if chance.hits(faults.lost_request) {
            self.note("create", name, "lost request");
            return Err(lost(name));
        }
        if chance.hits(faults.wrong_conflict) {
            self.note("create", name, "conflict, not done");
            return Err(exists(name));
        }
        if chance.hits(faults.late) {
            self.note("create", name, "will be late");
            self.create_later(name, content);
            self.travel().await;
            return Err(lost(name));
        }
        let done = self.world.create(name, &content, &self.process);
        self.note("create", name, if done { "done" } else { "existed" });
        self.travel().await;
        if chance.hits(faults.lost_answer) {
            self.note("create", name, "answer lost");
            return Err(lost(name));
        }
        if !done || chance.hits(faults.repeated) { Err(exists(name)) } else { Ok(()) }
    }

    async fn get(&self, name: &str) -> Result<Bytes, StoreError> {
        self.read("get", name, || self.look(name)).await.map(|bytes| self.tear(name, bytes))
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.read("get", name, || {
            let whole = self.look(name)?;
            let (start, end) = (usize::try_from(range.start).unwrap(), usize::try_from(range.end).unwrap());
            if end > whole.len() {
                return Err(StoreError::Corrupt { object: name.to_owned(), reason: "shorter than asked for".into() });
            }
            Ok(whole.slice(start..end))
        })
        .await
        .map(|bytes| self.tear(name, bytes))
    }

    async fn head(&self, name: &str) -> Result<u64, StoreError> {
        self.read("head", name, || self.look(name).map(|bytes| bytes.len() as u64)).await
    }

    fn list(&self, prefix: &str, start_after: Option<&str>) -> BoxStream<'_, Result<ObjectEntry, StoreError>> {
        let (prefix, after) = (format!("{prefix}/"), start_after.map(str::to_owned));
        async move {
            let mut found = self.read("list", &prefix, || Ok(self.entries(&prefix, after.as_deref()))).await;
            if !self.oracle && self.chance.hits(self.faults.paged) {
                if let Ok(entries) = &mut found && entries.len() > 1 {
                    // The second page is of another time.
                    entries.truncate(1 + self.chance.index(entries.len() - 1));
                    let last = entries[entries.len() - 1].name.clone();
                    self.travel().await;
                    entries.extend(self.entries(&prefix, Some(&last)));
                }
            }
            match found {
                Ok(entries) if !self.oracle && self.chance.hits(self.faults.failed_read) => {
                    // Breaks off in the middle: whoever takes the first half for the whole loses data.
                    let half = entries.len() / 2;
                    let broken = entries.into_iter().take(half).map(Ok).chain([Err(lost(&prefix))]);
                    stream::iter(broken.collect::<Vec<_>>())
                }
                Ok(entries) => stream::iter(entries.into_iter().map(Ok).collect::<Vec<_>>()),
                Err(error) => stream::iter(vec![Err(error)]),
            }
        }
        .flatten_stream()
        .boxed()
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.travel().await;
        if self.chance.hits(self.faults.crash) {
            if self.chance.hits(500) {
                self.world.delete(name);
            }
            self.die("delete", name).await;
        }
        if self.chance.hits(self.faults.lost_request) {
            return Err(lost(name));
        }
        if self.chance.hits(self.faults.late) {
            let (world, late, delay) = (Arc::clone(&self.world), name.to_owned(), self.chance.of_any_size(7) / 5);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(delay)).await;
                world.delete(&late);
            });
            return Err(lost(name));
        }
        self.note("delete", name, "done");
        self.world.delete(name);
        self.travel().await;
        if self.chance.hits(self.faults.lost_answer) { Err(lost(name)) } else { Ok(()) }
    }

    fn conditional(&self) -> bool {
        true
    }

    fn location(&self) -> String {
        "simulation".to_owned()
    }
}
