//! A process on a host: its way to the world, its clock, the repository as it opened it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use holdfast_repository::{Environment, Repository, SecretBytes};

use crate::chance::Chance;
use crate::clock::HostClock;
use crate::store::{Life, ProcessStore};
use crate::world::{Faults, World};

/// Large enough that nothing is evicted.
const CACHE_BYTES_MAX: u64 = 64 << 20;

pub(crate) struct Process {
    pub(crate) world: Arc<World>,
    pub(crate) name: String,
    pub(crate) chance: Chance,
    pub(crate) faults: Faults,
    pub(crate) life: Arc<Life>,
    pub(crate) is_oracle: bool,
}

impl Process {
    pub(crate) fn new(world: &Arc<World>, name: impl Into<String>, chance: Chance, faults: Faults) -> Self {
        Self { world: Arc::clone(world), name: name.into(), chance, faults, life: Arc::default(), is_oracle: false }
    }

    pub(crate) fn environment(&self) -> Environment {
        let wrong_by_ms = i64::try_from(self.chance.below(172_800_000)).unwrap() - 86_400_000;
        let clock = HostClock::new(wrong_by_ms, self.chance.below(1 << 32), 995 + self.chance.below(11));
        Environment { clock: Arc::new(clock), random: Arc::new(self.chance.fork()) }
    }

    pub(crate) fn store(&self) -> Arc<ProcessStore> {
        Arc::new(ProcessStore {
            world: Arc::clone(&self.world),
            process: self.name.clone(),
            life: Arc::clone(&self.life),
            chance: self.chance.fork(),
            faults: self.faults,
            oracle: self.is_oracle,
        })
    }

    /// Whether the store lied to it.
    pub(crate) fn is_deceived(&self) -> bool {
        self.life.was_deceived.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub(crate) async fn open(&self, cache: Option<&OwnedFd>) -> Result<Repository, String> {
        let repository = Repository::open(self.store(), &password(), self.environment()).await.map_err(|error| error.to_string())?;
        if let Some(root) = cache {
            repository.use_cache(root, CACHE_BYTES_MAX).map_err(|error| error.to_string())?;
        }
        Ok(repository)
    }
}

pub(crate) fn password() -> SecretBytes {
    SecretBytes::new(b"simulation".to_vec())
}
