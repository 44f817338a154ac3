//! One run: hosts that come, work, die and come again.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::beginning::Beginning;
use crate::chance::Chance;
use crate::oracle::Oracle;
use crate::process::Process;
use crate::roles::writer::back_up;
use crate::roles::{Role, linger, pruner};
use crate::world::{Faults, World};

/// How often a host's process is started again after a crash or an error.
const LIVES_MAX: u64 = 4;
/// Prunes at the end: two marks, one that dooms, and one for what those left behind.
const QUIET_PRUNES: usize = 4;

struct Host {
    name: String,
    world: Arc<World>,
    chance: Chance,
    faults: Faults,
    role: Role,
    cache: Option<TempDir>,
}

impl Host {
    fn cache(&self) -> Option<OwnedFd> {
        self.cache.as_ref().map(|folder| std::fs::File::open(folder.path()).expect("a folder of its own").into())
    }

    /// A process from start to end: opens, works, and dies if it is its time.
    async fn live(&self, number: u64) {
        let process = Process::new(&self.world, format!("{}.{number}", self.name), self.chance.fork(), self.faults);
        let work = async {
            let repository = process.open(self.cache().as_ref()).await?;
            for _ in 0..1 + self.chance.below(3) {
                self.role.work(&process, &repository).await?;
            }
            Ok::<(), String>(())
        };
        tokio::select! {
            outcome = work => if let Err(error) = outcome {
                self.world.note(format!("{} gave up: {error}", process.name));
            },
            () = process.life.died.notified() => {}
        }
        // Whatever tasks it has left end with it.
        process.life.end();
    }

    async fn run(&self) {
        for number in 0..1 + self.chance.below(LIVES_MAX) {
            linger(&self.chance).await;
            self.live(number).await;
        }
    }
}

/// The hosts of a run: always a writer and a pruner, and two to five others.
fn hosts(chance: &Chance, world: &Arc<World>) -> Vec<Host> {
    let faults = Faults::draw(chance);
    let mut roles = vec![Role::Writer, Role::Pruner];
    roles.extend((0..2 + chance.below(4)).map(|_| Role::draw(chance)));
    let host = |(number, role): (usize, Role)| Host {
        name: format!("{role:?}{number}"),
        world: Arc::clone(world),
        chance: chance.fork(),
        faults,
        role,
        cache: (role == Role::CachingWriter).then(|| TempDir::new().expect("a folder for a cache")),
    };
    roles.into_iter().enumerate().map(host).collect()
}

/// Runs `seed`; how many commits were confirmed, or which rule was broken.
pub(crate) async fn run(seed: u64, world: &Arc<World>) -> Result<u64, String> {
    let chance = Chance::new(seed);
    let mut watcher = Process::new(world, "oracle", chance.fork(), Faults::default());
    watcher.is_oracle = true;
    let oracle = Arc::new(Oracle::new(watcher.open(None).await?, Arc::clone(world)));
    world.watch(Some(Arc::clone(&oracle)));

    let hosts = hosts(&chance, world);
    let outcome = tokio::select! {
        biased;
        () = world.violated.notified() => Ok(0),
        outcome = unwatched(&chance, world, &oracle, &hosts) => outcome,
    };
    world.watch(None);
    world.violation().map_or(outcome, Err)
}

async fn unwatched(chance: &Chance, world: &Arc<World>, oracle: &Oracle, hosts: &[Host]) -> Result<u64, String> {
    futures::future::join_all(hosts.iter().map(Host::run)).await;
    // Late writes of the dead arrive; then whatever happened, the next backup succeeds and all is whole.
    tokio::time::sleep(Duration::from_secs(3600)).await;
    oracle.look()?;
    let calm = Process::new(world, "calm", chance.fork(), Faults::default());
    let repository = calm.open(None).await?;
    let last = back_up(&calm, &repository).await;
    last.map_err(|error| format!("a backup in calm weather succeeds, whatever went before; this one did not: {error}"))?;
    for _ in 0..QUIET_PRUNES {
        pruner::prune_quietly(&calm, &repository).await.map_err(|error| format!("a quiet prune fails: {error}"))?;
    }
    oracle.check_all().await?;
    oracle.nothing_is_left_over().await?;
    Ok(world.book.lock().unwrap().committed.len() as u64)
}

/// What `seed` begins with: half of the runs with an empty repository.
pub(crate) fn world(seed: u64) -> Arc<World> {
    if seed % 2 == 0 { Beginning::empty().world() } else { Beginning::with_a_past().world() }
}
