//! One run: hosts that come, work, die and come again.

use std::sync::Arc;
use std::time::Duration;

use holdfast_repository::{CommitError, Environment, Repository, SecretBytes};

use crate::actors::{Committed, back_up, restore_any, suspect};
use crate::chance::Chance;
use crate::clock::HostClock;
use crate::oracle;
use crate::store::{Life, ProcessStore};
use crate::world::{Faults, World};

/// How often a host's process is started again after a crash or an error.
const LIVES_MAX: u64 = 4;

/// What a host does, in all its lives.
#[derive(Debug, Clone, Copy)]
enum Role {
    Writer,
    Reader,
    Suspicious,
}

impl Role {
    fn draw(chance: &Chance) -> Self {
        [Self::Writer, Self::Writer, Self::Writer, Self::Reader, Self::Suspicious][usize::try_from(chance.below(5)).unwrap()]
    }
}

struct Host {
    name: String,
    world: Arc<World>,
    chance: Chance,
    faults: Faults,
    committed: Committed,
}

impl Host {
    fn environment(&self) -> Environment {
        let wrong_by_ms = i64::try_from(self.chance.below(172_800_000)).unwrap() - 86_400_000;
        let clock = HostClock::new(wrong_by_ms, self.chance.below(1 << 32), 995 + self.chance.below(11));
        Environment { clock: Arc::new(clock), random: Arc::new(self.chance.fork()) }
    }

    fn store(&self, life: &Arc<Life>) -> Arc<ProcessStore> {
        Arc::new(ProcessStore {
            world: Arc::clone(&self.world),
            host: self.name.clone(),
            life: Arc::clone(life),
            chance: self.chance.fork(),
            faults: self.faults,
            oracle: false,
        })
    }

    /// A process from start to end: opens, works, and dies if it is its time.
    async fn live(&self, role: Role) {
        let life = Arc::new(Life::default());
        let work = async {
            let repository = Repository::open(self.store(&life), &password(), self.environment()).await.map_err(|e| e.to_string())?;
            for _ in 0..1 + self.chance.below(3) {
                match role {
                    Role::Writer => {
                        let done = back_up(&repository, &self.name, &self.chance, &self.committed).await;
                        done.map(drop).map_err(|e: CommitError| e.to_string())?;
                    }
                    Role::Reader => restore_any(&repository, &self.name, &self.chance).await.map_err(|e| e.to_string())?,
                    Role::Suspicious => {
                        tokio::time::sleep(Duration::from_millis(self.chance.below(240_000))).await;
                        suspect(&repository, &self.world, &self.name, &self.chance).await.map_err(|e| e.to_string())?;
                    }
                }
            }
            Ok::<(), String>(())
        };
        tokio::select! {
            outcome = work => if let Err(error) = outcome {
                self.world.note(format!("{} gave up: {error}", self.name));
            },
            () = life.died.notified() => {}
        }
    }

    async fn run(&self, role: Role) {
        for _ in 0..1 + self.chance.below(LIVES_MAX) {
            tokio::time::sleep(Duration::from_millis(self.chance.below(120_000))).await;
            self.live(role).await;
        }
    }
}

pub fn password() -> SecretBytes {
    SecretBytes::new(b"simulation".to_vec())
}

/// Runs `seed` and returns how many commits were confirmed.
pub async fn run(seed: u64, world: &Arc<World>) -> u64 {
    let chance = Chance::new(seed);
    let faults = Faults::draw(&chance);
    let committed = Committed::default();
    let host = |name: String, faults| Host { name, world: Arc::clone(world), chance: chance.fork(), faults, committed: Arc::clone(&committed) };

    let calm = host("calm".into(), Faults::default());
    let made = Repository::init(calm.store(&Arc::default()), &password(), calm.environment()).await.expect("init in calm weather");
    let watcher = oracle_repository(world, &calm).await;

    let roles: Vec<Role> = (0..2 + chance.below(3)).map(|n| if n == 0 { Role::Writer } else { Role::draw(&chance) }).collect();
    let hosts: Vec<(Host, Role)> = roles.into_iter().enumerate().map(|(n, role)| (host(format!("host{n}"), faults), role)).collect();
    let mut work = Box::pin(futures::future::join_all(hosts.iter().map(|(host, role)| host.run(*role))));
    let mut objects = 0;
    loop {
        tokio::select! {
            _ = &mut work => break,
            // Often enough to see each state of the store for a while; only if it changed.
            () = tokio::time::sleep(Duration::from_millis(97)) => {
                let now = world.objects.lock().unwrap().len();
                if now != objects {
                    objects = now;
                    oracle::look(&watcher, &committed).await;
                }
            }
        }
    }
    drop(work);
    // Late writes of the dead arrive; then whatever happened, the next backup succeeds and all is whole.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    oracle::look(&watcher, &committed).await;
    back_up(&made.repository, "calm", &chance, &committed).await.expect("a backup in calm weather succeeds, whatever went before");
    oracle::look(&watcher, &committed).await;
    oracle::check_all(&watcher).await;
    let commits = committed.lock().unwrap().len();
    commits as u64
}

async fn oracle_repository(world: &Arc<World>, calm: &Host) -> Repository {
    let store = ProcessStore {
        world: Arc::clone(world),
        host: "oracle".into(),
        life: Arc::default(),
        chance: Chance::new(0),
        faults: Faults::default(),
        oracle: true,
    };
    Repository::open(Arc::new(store), &password(), calm.environment()).await.expect("the oracle opens it")
}
