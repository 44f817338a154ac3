//! The seeded simulation of the repository: many hosts with virtual clocks that write, restore, check, forget and prune at once, and
//! every store operation able to be lost, repeated, delayed, answered wrongly, or to be the last thing its process does.
//!
//! `HOLDFAST_SIM_SCHEDULES` runs (1,000), from seed `HOLDFAST_SIM_SEED` (1) on, on `HOLDFAST_SIM_THREADS` threads (one a core). A broken
//! rule prints its seed and the last operations; `HOLDFAST_SIM_SEED=<seed> HOLDFAST_SIM_SCHEDULES=1` replays it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod beginning;
mod chance;
mod clock;
mod content;
mod mutations;
mod oracle;
mod process;
mod roles;
mod scenarios;
mod schedule;
mod store;
mod world;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use holdfast_repository::testing::mutation::{self, Rule};

use crate::world::World;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// All of it on this thread, in an order that depends on nothing but the run.
fn run_on_virtual_time<T>(run: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(run)
}

/// What a seed makes with a rule left out, or with all of them: how many commits, or which rule was broken, with the last operations.
fn run(seed: u64, without: Option<Rule>) -> Result<u64, String> {
    let world = schedule::world(seed);
    let outcome = mutation::without(without, || run_on_virtual_time(schedule::run(seed, &world)));
    outcome.map_err(|broken| {
        let log: Vec<String> = world.log.lock().unwrap().iter().cloned().collect();
        format!("{}\nseed {seed}: {broken}\nreplay with HOLDFAST_SIM_SEED={seed} HOLDFAST_SIM_SCHEDULES=1", log.join("\n"))
    })
}

/// Runs seeds on all threads until one breaks a rule; the commits of all, or the lowest of the seeds that were found broken.
fn run_many(first: u64, schedules: u64, without: Option<Rule>) -> Result<u64, String> {
    let threads = number("HOLDFAST_SIM_THREADS", std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64));
    let (next, commits, stop) = (AtomicU64::new(first), AtomicU64::new(0), AtomicBool::new(false));
    let broken: Mutex<BTreeMap<u64, String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + schedules {
                        break;
                    }
                    match run(seed, without) {
                        Ok(count) => drop(commits.fetch_add(count, Ordering::Relaxed)),
                        Err(report) => {
                            broken.lock().unwrap().insert(seed, report);
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    match broken.into_inner().unwrap().into_values().next() {
        Some(report) => Err(report),
        None => Ok(commits.into_inner()),
    }
}

#[test]
fn every_schedule_keeps_every_committed_snapshot_whole() {
    let (first, schedules) = (number("HOLDFAST_SIM_SEED", 1), number("HOLDFAST_SIM_SCHEDULES", 1000));
    let commits = run_many(first, schedules, None).unwrap_or_else(|report| panic!("{report}"));
    assert!(commits >= schedules, "only {commits} commits in {schedules} runs: the simulation tests nothing");
}

#[test]
fn the_same_seed_makes_the_same_run() {
    let objects = |seed| {
        let world: Arc<World> = schedule::world(seed);
        run_on_virtual_time(schedule::run(seed, &world)).unwrap();
        world.objects.lock().unwrap().clone()
    };
    for seed in [6, 7] {
        let (first, second): (BTreeMap<String, Bytes>, _) = (objects(seed), objects(seed));
        assert!(first == second, "seed {seed}: {:?} and {:?}", first.keys(), second.keys());
    }
}
