//! A repository: made, opened, asked.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use zeroize::Zeroizing;

use crate::blob::ChunkerParameters;
use crate::cache::{Cache, CacheUsage};
use crate::check::{self, CheckOptions, CheckProgress, CheckReport};
use crate::config::{self, Config, CutParameters};
use crate::core::{self, Core, Created};
use crate::crypto::{Key, Keys};
use crate::environment::Environment;
use crate::pace::Pace;
use crate::error::{InitError, OpenError, ReadError, WriteError};
use crate::features::Features;
use crate::forget;
use crate::id::{KeyId, RepositoryId, SnapshotId};
use crate::keys;
use crate::lease::{Activity, Purpose};
use crate::prune::{self, PruneError, PruneOptions, PruneProgress, PruneReport};
use crate::reader::Reader;
use crate::repair::{self, RepairOptions, RepairReport};
use crate::secret::SecretBytes;
use crate::snapshot::SnapshotRecord;
use crate::snapshot::listing::{self, Snapshots};
use crate::spill::{Spill, SpillError};
use crate::state;
use crate::stats::{self, RepositoryStats, SnapshotStats};
use crate::store::{self, Store, StoreError};
use crate::writer::{Writer, WriterOptions};

/// An open repository; clones share it.
#[derive(Clone, Debug)]
pub struct Repository {
    pub(crate) core: Arc<Core>,
    /// The key that the password opened.
    pub(crate) own_key: KeyId,
}

/// What `init` did.
#[derive(Debug)]
pub struct InitReport {
    /// The repository, open.
    pub repository: Repository,
    /// False if there was one already, and the password opens it.
    pub created: bool,
    /// Whether the store refuses to overwrite: without that, prune needs the controller.
    pub conditional_create: bool,
}

impl Repository {
    /// Makes a repository, or finds that there is one that the password opens. Of two at once one wins, and the other opens it.
    pub async fn init(store: Arc<dyn Store>, password: &SecretBytes, environment: Environment) -> Result<InitReport, InitError> {
        match store.head(config::NAME).await {
            // A new one in its place would hide what the old one still has.
            Err(StoreError::NotFound { .. }) => refuse_without_config(store.as_ref()).await.map_err(OpenError::Read)?,
            Ok(_) => return Self::open_existing(store, password, environment).await,
            Err(error) => return Err(error.into()),
        }
        let conditional_create = store::probe_conditional_create(store.as_ref(), &environment).await?;
        if !conditional_create {
            store.set_unconditional();
        }
        let master: Key = Zeroizing::new(environment.random());
        let derived = Keys::derive(master);
        let config = Config {
            repository: RepositoryId(environment.random()),
            master_key: derived.master_id,
            features: Features::default(),
            cut: CutParameters::FIRST,
            created_ms: environment.clock.unix_ms(),
            conditional_create,
            extensions: BTreeMap::new(),
        };
        // The key first: a `config` whose key is missing could never be opened.
        let own_key = Self::put_key(store.as_ref(), &environment, &derived, password).await?;
        let object = Bytes::from(config.encode(&derived));
        match core::create(store.as_ref(), &environment, config::NAME, &object).await? {
            Created::Written => {
                let core = Arc::new(Core::new(store, derived, environment, config));
                state::ensure_first(&core).await.map_err(init_error)?;
                Ok(InitReport { repository: Self { core, own_key }, created: true, conditional_create })
            }
            Created::Other(_) => {
                // Another init won; our key is void, and opens nothing.
                if let Err(error) = store.delete(&keys::object_name(&own_key)).await {
                    tracing::debug!(%error, "a void key stays");
                }
                Self::open_existing(store, password, environment).await
            }
        }
    }

    async fn put_key(store: &dyn Store, environment: &Environment, keys: &Keys, password: &SecretBytes) -> Result<KeyId, InitError> {
        let id = KeyId(environment.random());
        let name = keys::object_name(&id);
        let object = keys::wrap(environment, &id, &keys.master, password).map_err(init_error)?;
        match core::create(store, environment, &name, &object.into()).await? {
            Created::Written => Ok(id),
            Created::Other(_) => Err(StoreError::Corrupt { object: name, reason: "someone else's bytes stand there".into() }.into()),
        }
    }

    async fn open_existing(store: Arc<dyn Store>, password: &SecretBytes, environment: Environment) -> Result<InitReport, InitError> {
        let repository = Self::open(store, password, environment).await.map_err(|error| match error {
            OpenError::WrongPassword { location, .. } => InitError::Exists { location },
            error => error.into(),
        })?;
        // An init that was cut off behind `config` is finished here; anything else is left as it is, read-only or not.
        if repository.core.store.list("state", None).next().await.transpose()?.is_none() {
            state::ensure_first(&repository.core).await.map_err(init_error)?;
        }
        let conditional_create = repository.core.config.conditional_create;
        Ok(InitReport { repository, created: false, conditional_create })
    }

    /// Opens.
    pub async fn open(store: Arc<dyn Store>, password: &SecretBytes, environment: Environment) -> Result<Self, OpenError> {
        let (object, key_ids) = futures::join!(store.get(config::NAME), keys::list(store.as_ref()));
        let object = match object {
            Ok(object) => object,
            // An init that was cut off leaves a key too, and nothing else.
            Err(StoreError::NotFound { .. }) => {
                refuse_without_config(store.as_ref()).await?;
                return Err(OpenError::NotARepository { location: store.location() });
            }
            Err(error) => return Err(error.into()),
        };
        let config = Config::decode(&object)?;
        if let Some(needs) = config.features.missing_to_read() {
            return Err(ReadError::TooNew { object: config::NAME.to_owned(), needs }.into());
        }
        let (own_key, keys) = find_master(store.as_ref(), &key_ids?, &config, password).await?;
        Config::authenticate(&object, &keys)?;
        if !config.conditional_create {
            store.set_unconditional();
        }
        Ok(Self { core: Arc::new(Core::new(store, keys, environment, config)), own_key })
    }

    /// Keeps what never changes (index runs, snapshots, metadata; sealed as stored) in a folder of this repository's id below
    /// `root`, at most `bytes_max` bytes, and spills there. Several processes may. An error means that there is no cache, nothing else.
    pub fn use_cache(&self, root: &OwnedFd, bytes_max: u64) -> io::Result<()> {
        let cache = Cache::open(root, &self.id().to_string(), bytes_max, self.core.environment.clone())?;
        // A second call changes nothing: someone may be reading through the first one's.
        let _ = self.core.cache.set(cache);
        Ok(())
    }

    /// What the cache holds; none without one.
    pub fn cache_usage(&self) -> io::Result<Option<CacheUsage>> {
        self.core.cache.get().map(Cache::usage).transpose()
    }

    /// Evicts what was used longest ago until at most `bytes_max` bytes are left (none: everything); how many are.
    pub fn limit_cache(&self, bytes_max: u64) -> io::Result<u64> {
        self.core.cache.get().map_or(Ok(0), |cache| cache.limit(bytes_max))
    }

    /// Without a cache: what does not fit into memory goes to files without a name below `directory`, sealed, at most `bytes_max` bytes
    /// at any moment. An error means that nothing can be put there.
    pub fn use_spill(&self, directory: OwnedFd, bytes_max: u64) -> Result<(), SpillError> {
        let spill = Spill::new(self.core.environment.clone(), directory, bytes_max);
        spill.file()?;
        // A second call changes nothing.
        let _ = self.core.spill.set(spill);
        Ok(())
    }

    /// Where to put for a while what does not fit into memory: beside the cache, where `use_spill` says, or nowhere.
    pub fn spill(&self) -> Spill {
        self.core.spill()
    }

    /// Its id.
    pub fn id(&self) -> RepositoryId {
        self.core.config.repository
    }

    /// When it was made, milliseconds since 1970.
    pub fn created_ms(&self) -> i64 {
        self.core.config.created_ms
    }

    /// What the probe found at init: whether the store refuses to overwrite.
    pub fn conditional_create(&self) -> bool {
        self.core.config.conditional_create
    }

    /// Where it is, for people.
    pub fn location(&self) -> String {
        self.core.store.location()
    }

    /// A limit of bytes per second by this repository's clock; 0 for none.
    pub fn pace(&self, bytes_per_second: u64) -> Pace {
        Pace::new(bytes_per_second, Arc::clone(&self.core.environment.clock))
    }

    /// How to cut.
    pub fn chunker(&self) -> ChunkerParameters {
        self.core.config.cut.with_seed(self.core.keys.gear_seed)
    }

    /// Everything that readers accept now.
    pub async fn snapshots(&self) -> Result<Snapshots, ReadError> {
        let (state, _) = state::newest_readable(&self.core).await?;
        listing::all(&self.core, &state).await
    }

    /// One accepted snapshot.
    pub async fn snapshot(&self, id: &SnapshotId) -> Result<SnapshotRecord, ReadError> {
        let (state, _) = state::newest_readable(&self.core).await?;
        listing::accepted(&self.core, &state, id).await
    }

    /// Takes a lease to write under. Inside a tokio runtime: heartbeats, checkpoints and uploads are its tasks.
    pub async fn begin(&self, purpose: Purpose) -> Result<Writer, WriteError> {
        self.begin_with(purpose, WriterOptions::default()).await
    }

    /// Takes a lease to write under, with other bounds than the default.
    pub async fn begin_with(&self, purpose: Purpose, options: WriterOptions) -> Result<Writer, WriteError> {
        Writer::begin(Arc::clone(&self.core), purpose, options).await
    }

    /// Takes a lease to read under. Inside a tokio runtime.
    pub async fn reader(&self, purpose: Purpose) -> Result<Reader, ReadError> {
        Reader::begin(Arc::clone(&self.core), purpose).await
    }

    /// Looks for what is missing or wrong, under a lease of its own.
    pub async fn check(&self, options: CheckOptions, progress: &CheckProgress) -> Result<CheckReport, ReadError> {
        let reader = self.reader(Purpose::new(Activity::Check, "")).await?;
        let report = check::run(&reader, options, progress).await;
        reader.close().await?;
        report
    }

    /// The same, until `stopped` resolves: then `None`. Either way the lease is ended.
    pub async fn check_until(
        &self,
        options: CheckOptions,
        progress: &CheckProgress,
        stopped: impl Future<Output = ()>,
    ) -> Result<Option<CheckReport>, ReadError> {
        let reader = self.reader(Purpose::new(Activity::Check, "")).await?;
        let report = tokio::select! {
            biased;
            () = stopped => None,
            report = check::run(&reader, options, progress) => Some(report),
        };
        reader.close().await?;
        report.transpose()
    }

    /// What is stored, and how much of it is used. `host` is for the lease.
    pub async fn stats(&self, host: &str) -> Result<RepositoryStats, ReadError> {
        stats::repository(&self.core, host).await
    }

    /// What one snapshot uses, and what of it no other does.
    pub async fn snapshot_stats(&self, host: &str, id: &SnapshotId) -> Result<SnapshotStats, ReadError> {
        stats::snapshot(&self.core, host, id).await
    }

    /// Makes the records right again from what is stored, under a lease of its own, until `stopped` resolves: then `None`. Deletes nothing.
    pub async fn repair_until(
        &self,
        options: &RepairOptions,
        progress: &CheckProgress,
        stopped: impl Future<Output = ()>,
    ) -> Result<Option<RepairReport>, WriteError> {
        repair::run(&self.core, options, progress, stopped).await
    }

    /// Readers accept these snapshots no more; how many they accepted until now. Nothing is deleted: that is for a prune.
    pub async fn forget(&self, snapshots: &[SnapshotId]) -> Result<usize, WriteError> {
        forget::run(&self.core, &snapshots.iter().copied().collect()).await
    }

    /// Deletes what nothing uses, until `stopped` resolves. Stopped or killed at any point it harms nothing, and the next one goes on.
    pub async fn prune(&self, options: &PruneOptions, progress: &PruneProgress, stopped: impl Future<Output = ()>) -> Result<PruneReport, PruneError> {
        tokio::select! {
            biased;
            () = stopped => Err(PruneError::Stopped),
            report = prune::run(&self.core, options, progress) => report,
        }
    }
}

/// Without `config` there is no repository, unless it was lost: then there are states.
async fn refuse_without_config(store: &dyn Store) -> Result<(), ReadError> {
    match store.list("state", None).next().await {
        None => Ok(()),
        Some(Ok(_)) => Err(ReadError::damaged(config::NAME, "it is missing from a repository that is there")),
        Some(Err(error)) => Err(error.into()),
    }
}

/// The keys of the first password object that opens to the master key that `config` names. Others are void or of other passwords.
async fn find_master(store: &dyn Store, ids: &[KeyId], config: &Config, password: &SecretBytes) -> Result<(KeyId, Keys), OpenError> {
    let mut damage = None;
    for id in ids {
        let opened = match store.get(&keys::object_name(id)).await {
            Ok(object) => keys::unwrap(id, &object, password),
            Err(StoreError::NotFound { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        match opened {
            Ok(Some(master)) => {
                let keys = Keys::derive(master);
                if keys.master_id == config.master_key {
                    return Ok((*id, keys));
                }
            }
            Ok(None) => {}
            Err(error) => damage = Some(error),
        }
    }
    match damage {
        // Of keys none of which opens, the damaged one may be the right one.
        Some(error) => Err(error.into()),
        None => Err(OpenError::WrongPassword { location: store.location(), keys: ids.len() }),
    }
}

fn init_error(error: WriteError) -> InitError {
    match error {
        WriteError::Store { source } => source.into(),
        WriteError::Read(error) => OpenError::Read(error).into(),
        other => StoreError::Corrupt { object: "init".to_owned(), reason: other.to_string() }.into(),
    }
}
