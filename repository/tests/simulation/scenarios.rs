//! The scenarios that the protocol's page names, by name, step by step; each also without the rule that is there for it, which
//! it must notice.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast_repository::testing::Operation;
use holdfast_repository::testing::mutation::{self, Rule};
use holdfast_repository::{CommitError, PruneError, PruneOptions, PruneProgress, PruneReport, Repository, SnapshotId};
use tokio::task::JoinHandle;

use crate::beginning::Beginning;
use crate::chance::Chance;
use crate::oracle::Oracle;
use crate::process::{Process, password};
use crate::roles::writer::back_up_these;
use crate::run_on_virtual_time;
use crate::world::{Faults, World};

mod gate;
mod late;
mod prunes;

use gate::{Gate, Hold, Way};

/// A world in which an oracle looks after every step.
struct Stage {
    world: Arc<World>,
    oracle: Arc<Oracle>,
}

/// A process in calm weather that the scenario can hold at any of its operations.
#[derive(Clone)]
struct Actor {
    process: Arc<Process>,
    gate: Arc<Gate>,
    repository: Repository,
}

impl Stage {
    async fn new() -> Self {
        let world = Beginning::empty().world();
        let mut watcher = Process::new(&world, "oracle", Chance::new(0), Faults::default());
        watcher.is_oracle = true;
        let oracle = Arc::new(Oracle::new(watcher.open(None).await.unwrap(), Arc::clone(&world)));
        world.watch(Some(Arc::clone(&oracle)));
        Self { world, oracle }
    }

    async fn actor(&self, name: &str) -> Actor {
        let seed = name.bytes().fold(7, |seed, byte| seed * 31 + u64::from(byte));
        let process = Arc::new(Process::new(&self.world, name, Chance::new(seed), Faults::default()));
        let gate = Arc::new(Gate::new(process.store()));
        let repository = Repository::open(Arc::clone(&gate) as Arc<_>, &password(), process.environment()).await.unwrap();
        Actor { process, gate, repository }
    }

    fn packs(&self) -> usize {
        self.world.names("packs/").len()
    }

    /// Flips a bit of what stands there; the oracle knows, until it is told that this should have healed.
    fn rot(&self, name: &str) {
        let mut objects = self.world.objects.lock().unwrap();
        let mut rotten = objects[name].to_vec();
        rotten[60] ^= 1;
        objects.insert(name.to_owned(), Bytes::from(rotten));
        self.world.book.lock().unwrap().rotten.insert(name.to_owned());
    }

    /// All is whole; and after quiet prunes nothing is left that no snapshot needs.
    async fn end(self) {
        self.oracle.look().unwrap();
        let last = self.actor("last").await;
        for _ in 0..3 {
            last.prune().await.unwrap();
        }
        self.oracle.check_all().await.unwrap();
        self.oracle.nothing_is_left_over().await.unwrap();
        self.world.watch(None);
        assert_eq!(self.world.violation(), None);
    }
}

impl Actor {
    async fn back_up(&self, seeds: &[u64]) -> SnapshotId {
        back_up_these(&self.process, &self.repository, seeds.to_vec()).await.unwrap()
    }

    fn start_backup(&self, seeds: &[u64]) -> JoinHandle<Result<SnapshotId, CommitError>> {
        let (actor, seeds) = (self.clone(), seeds.to_vec());
        tokio::task::spawn_local(async move { back_up_these(&actor.process, &actor.repository, seeds).await })
    }

    fn start_forget(&self, snapshot: SnapshotId) -> JoinHandle<()> {
        let actor = self.clone();
        tokio::task::spawn_local(async move { actor.forget(snapshot).await })
    }

    async fn forget(&self, snapshot: SnapshotId) {
        self.process.world.book.lock().unwrap().forgetting.insert(snapshot);
        assert_eq!(self.repository.forget(&[snapshot]).await.unwrap(), 1);
        self.process.world.book.lock().unwrap().forgotten.insert(snapshot);
    }

    fn options(&self) -> PruneOptions {
        PruneOptions { now: true, host: self.process.name.clone(), ..PruneOptions::default() }
    }

    async fn prune_as(&self, options: PruneOptions) -> Result<PruneReport, PruneError> {
        self.repository.prune(&options, &PruneProgress::default(), std::future::pending()).await
    }

    async fn prune(&self) -> Result<PruneReport, PruneError> {
        self.prune_as(self.options()).await
    }

    fn start_prune(&self) -> JoinHandle<Result<PruneReport, PruneError>> {
        let actor = self.clone();
        tokio::task::spawn_local(async move { actor.prune().await })
    }

    /// A prune that has condemned, and the next such operation of it, which is held.
    async fn start_prune_up_to(&self, operation: Operation, prefix: &str) -> (JoinHandle<Result<PruneReport, PruneError>>, Arc<Hold>) {
        let condemn = self.gate.hold(Operation::Create, "state/");
        let prune = self.start_prune();
        condemn.arrived().await;
        let next = self.gate.hold(operation, prefix);
        condemn.release(Way::Through).await;
        (prune, next)
    }
}

/// Long enough for whatever can go on to go on.
async fn a_while() {
    tokio::time::sleep(Duration::from_secs(60)).await;
}

type Scenario = fn() -> Pin<Box<dyn Future<Output = ()>>>;

/// What the scenario says with a rule left out, or with all of them: none if nothing is wrong.
fn broken(scenario: Scenario, rule: Option<Rule>) -> Option<String> {
    // The first use makes it, with all rules.
    Beginning::empty();
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| mutation::without(rule, || run_on_virtual_time(tokio::task::LocalSet::new().run_until(scenario())))));
    outcome.err().map(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".to_owned()))
}

macro_rules! scenarios {
    ($($(#[$doc:meta])* $name:ident in $module:ident, noticing $($rule:ident)*;)*) => {
        $(
            $(#[$doc])*
            #[test]
            fn $name() {
                fn scenario() -> Pin<Box<dyn Future<Output = ()>>> {
                    Box::pin($module::$name())
                }
                assert_eq!(broken(scenario, None), None);
                let rules: &[Rule] = &[$(Rule::$rule),*];
                for &rule in rules {
                    assert!(broken(scenario, Some(rule)).is_some(), "without the rule {rule:?} nothing is wrong here");
                }
            }
        )*
    };
}

scenarios! {
    // What is void here by a rule is left alone by a second one too: a writer uses no pack that it finds missing when it begins.
    the_zombies_late_index_run in late, noticing;
    a_delayed_put_after_the_tombstone_is_old in late, noticing Floor Confirm;
    a_lost_commit_answer in late, noticing Tombstone;
    a_fenced_living_writer in late, noticing Survivors;
    a_rotten_pack_that_later_backups_would_dedup_on in late, noticing BadIsAbsent;
    take_back_against_delete in prunes, noticing Relook Wait;
    a_parent_condemned_between_two_states in prunes, noticing Relook Condemned;
    a_lease_that_lands_after_the_publish in prunes, noticing Reread;
    a_commit_between_mark_and_lease_list in prunes, noticing Relook;
    two_pruners in prunes, noticing Number;
    a_state_in_the_place_of_a_deleted_one in prunes, noticing InTheChain;
    a_restore_of_what_is_forgotten_meanwhile in prunes, noticing HeldByFloor;
    a_restore_of_what_a_slow_backup_took_back_and_is_forgotten in prunes, noticing Opened;
    the_last_good_copy_is_found_at_the_last_moment in prunes, noticing DoomedBeforeDelete;
    a_condemning_state_that_is_lost in prunes, noticing;
    a_commit_that_is_forgotten_before_any_state_lists_it in prunes, noticing ForgetLists;
    a_late_run_that_is_taken_up_before_the_floor_rises in late, noticing FarBelowFloor;
    a_late_run_after_two_lost_states in late, noticing;
}
