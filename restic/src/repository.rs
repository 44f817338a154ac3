//! A repository, open: its key and its index.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use holdfast_repository::{ReadError, SecretBytes, Store};
use serde::Deserialize;

use crate::cipher::Cipher;
use crate::error::{OpenError, damaged};
use crate::id::SnapshotId;
use crate::index::{self, Index, IndexObject};
use crate::key::{Key, KeyError};
use crate::objects::Objects;
use crate::snapshot::{self, Snapshot, Snapshots};
use crate::inflate;

const CONFIG_BYTES_MAX: usize = 64 << 10;
/// As many as restic tries.
const KEYS_MAX: usize = 20;
/// Snapshots that are listed: more cannot be looked through by anybody.
const SNAPSHOTS_MAX: usize = 100_000;
/// Digits of an id that may stand for all of it.
const DIGITS_MIN: usize = 8;
const REQUESTS_MAX: usize = 8;
const VERSIONS: std::ops::RangeInclusive<u32> = 1..=2;

/// A repository of restic's, open to be read. Clones share it.
#[derive(Clone, Debug)]
pub struct Repository {
    pub(crate) objects: Objects,
    pub(crate) cipher: Arc<Cipher>,
}

#[derive(Deserialize)]
struct Config {
    version: u32,
}

impl Repository {
    /// Opens it with a password; its index is read when it is needed.
    pub async fn open(store: Arc<dyn Store>, password: &SecretBytes) -> Result<Self, OpenError> {
        let objects = Objects::new(store);
        let config = match objects.get("config").await {
            Err(error) if error.is_not_found() => return Err(OpenError::NotARepository { location: objects.location() }),
            config => config?,
        };
        let cipher = Arc::new(unlock(&objects, password).await?);
        let mut sealed = Vec::from(config);
        if sealed.len() > CONFIG_BYTES_MAX {
            return Err(damaged("config", "it is too large").into());
        }
        let plain = cipher.open(&mut sealed).map_err(|error| damaged("config", error.to_string()))?;
        let config: Config = serde_json::from_slice(plain).map_err(|_| damaged("config", "it is none"))?;
        if VERSIONS.contains(&config.version) {
            Ok(Self { objects, cipher })
        } else {
            Err(OpenError::TooNew { location: objects.location(), version: config.version })
        }
    }

    /// For people: where it is.
    pub fn location(&self) -> String {
        self.objects.location()
    }

    /// All snapshots, the oldest first.
    pub async fn snapshots(&self) -> Result<Snapshots, ReadError> {
        let names = self.objects.names("snapshots").await?;
        if names.len() > SNAPSHOTS_MAX {
            return Err(damaged("snapshots", format!("there are more than {SNAPSHOTS_MAX}")));
        }
        let ids = names.iter().filter_map(|name| name.rsplit('/').next()?.parse::<SnapshotId>().ok());
        let mut read = stream::iter(ids.map(|id| async move { (id, self.read_snapshot(id).await) })).buffer_unordered(REQUESTS_MAX);
        let mut all = Snapshots::default();
        while let Some((id, snapshot)) = read.next().await {
            match snapshot {
                Ok(snapshot) => all.readable.push(snapshot),
                Err(error) if error.is_damage() => all.unreadable.push((id, error)),
                Err(error) => return Err(error),
            }
        }
        all.readable.sort_by_key(|snapshot| (snapshot.time_ms, snapshot.id));
        all.unreadable.sort_by_key(|(id, _)| *id);
        Ok(all)
    }

    /// A snapshot by its id, or by the first digits of it if they are no other's.
    pub async fn snapshot(&self, id: &str) -> Result<Snapshot, ReadError> {
        if let Ok(id) = id.parse() {
            return self.read_snapshot(id).await;
        }
        let unknown = |what: &str| ReadError::NotFound { what: format!("{what} {:?}", id.chars().take(64).collect::<String>()) };
        if id.len() < DIGITS_MIN {
            return Err(unknown("a snapshot named"));
        }
        let names = self.objects.names("snapshots").await?;
        let mut meant = names.iter().filter_map(|name| name.rsplit('/').next().filter(|name| name.starts_with(id))?.parse().ok());
        match (meant.next(), meant.next()) {
            (Some(id), None) => self.read_snapshot(id).await,
            (Some(_), Some(_)) => Err(unknown("only one snapshot that begins with")),
            (None, _) => Err(unknown("a snapshot named")),
        }
    }

    async fn read_snapshot(&self, id: SnapshotId) -> Result<Snapshot, ReadError> {
        let name = format!("snapshots/{id}");
        match self.read(&name, snapshot::RAW_BYTES_MAX).await {
            Err(error) if error.is_not_found() => Err(ReadError::NotFound { what: format!("snapshot {id}") }),
            raw => snapshot::parse(id, &raw?).map_err(|reason| damaged(name, reason)),
        }
    }

    /// An object of the repository's own, opened.
    async fn read(&self, name: &str, raw_bytes_max: usize) -> Result<Vec<u8>, ReadError> {
        let mut sealed = Vec::from(self.objects.named(name).await?);
        let plain = self.cipher.open(&mut sealed).map_err(|error| damaged(name, error.to_string()))?;
        inflate::object(plain, raw_bytes_max).map_err(|reason| damaged(name, reason))
    }

    /// All of the index, within so much memory; beside it the parts of it that cannot be read.
    pub(crate) async fn index(&self, memory_bytes: usize) -> Result<(Index, Vec<String>), OpenError> {
        let names = self.objects.names("index").await?;
        if names.is_empty() {
            return Err(damaged("index", "there is none; `restic repair index` makes one").into());
        }
        let blobs_max = Index::blobs_max(memory_bytes);
        let too_large = || OpenError::TooLarge { location: self.location(), blobs_max, memory_bytes };
        let (mut index, mut unreadable) = (Index::default(), Vec::new());
        // Two at a time: each may be large.
        let mut read = stream::iter(names.iter().map(|name| async move { Ok::<_, ReadError>((name, self.read_index(name).await)) })).buffered(2);
        while let Some((name, part)) = read.try_next().await? {
            match part {
                Ok(part) => index.add(part, blobs_max).map_err(|_| too_large())?,
                Err(error) if error.is_damage() => {
                    tracing::warn!(object = name, %error, "a part of the index cannot be read; what it lists counts as missing");
                    unreadable.push(name.clone());
                }
                Err(error) => return Err(error.into()),
            }
        }
        index.sort();
        if index.is_empty() && !unreadable.is_empty() {
            return Err(damaged("index", format!("none of its {} parts can be read; `restic repair index` makes another", unreadable.len())).into());
        }
        Ok((index, unreadable))
    }

    async fn read_index(&self, name: &str) -> Result<IndexObject, ReadError> {
        let raw = self.read(name, index::OBJECT_RAW_BYTES_MAX).await?;
        let parsed = tokio::task::spawn_blocking(move || IndexObject::parse(&raw)).await;
        parsed.unwrap_or(Err("it could not be parsed")).map_err(|reason| damaged(name, reason))
    }
}

/// The key that the password opens. Keys are tried one after the other: each takes its time and memory.
async fn unlock(objects: &Objects, password: &SecretBytes) -> Result<Cipher, OpenError> {
    let names = objects.names("keys").await?;
    let (mut tried, mut wrong) = (0, None);
    for name in names.iter().take(KEYS_MAX) {
        let key = match objects.named(name).await {
            Ok(bytes) => Key::parse(&bytes).map_err(|error| damaged(name, error.to_string())),
            Err(error) => Err(error),
        };
        let key = match key {
            Ok(key) => key,
            Err(error) if error.is_damage() => {
                wrong = Some(error);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        tried += 1;
        let password = password.clone();
        match tokio::task::spawn_blocking(move || key.open(&password)).await {
            Ok(Ok(cipher)) => return Ok(cipher),
            Ok(Err(KeyError::Password)) => {}
            Ok(Err(error)) => wrong = Some(damaged(name, error.to_string())),
            Err(_) => wrong = Some(damaged(name, "it could not be opened")),
        }
    }
    match wrong {
        // No key could be tried: whether the password is right, nobody knows.
        Some(error) if tried == 0 => Err(error.into()),
        None if tried == 0 => Err(damaged("keys", "there is none").into()),
        _ => Err(OpenError::WrongPassword { location: objects.location(), keys: tried }),
    }
}
