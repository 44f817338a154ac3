//! The seeded simulation of the repository: many hosts with virtual clocks, and every store operation able to be lost, repeated,
//! delayed, answered wrongly, or to be the last thing its process does.
//!
//! `HOLDFAST_SIM_SCHEDULES` runs (100), from seed `HOLDFAST_SIM_SEED` (1) on. A failure prints its seed and the last
//! operations; `HOLDFAST_SIM_SEED=<seed> HOLDFAST_SIM_SCHEDULES=1` replays it.

mod actors;
mod chance;
mod clock;
mod content;
mod oracle;
mod schedule;
mod store;
mod world;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use crate::world::World;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().expect("a number"))
}

fn run(seed: u64) -> u64 {
    let world = Arc::new(World::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(schedule::run(seed, &world))));
    match outcome {
        Ok(commits) => commits,
        Err(panic) => {
            for line in world.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter() {
                eprintln!("{line}");
            }
            eprintln!("seed {seed}: replay with HOLDFAST_SIM_SEED={seed} HOLDFAST_SIM_SCHEDULES=1");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn every_schedule_keeps_every_committed_snapshot_whole() {
    let (first, schedules) = (number("HOLDFAST_SIM_SEED", 1), number("HOLDFAST_SIM_SCHEDULES", 100));
    let commits: u64 = (first..first + schedules).map(run).sum();
    assert!(commits >= schedules, "only {commits} commits in {schedules} runs: the simulation tests nothing");
}

#[test]
fn the_same_seed_makes_the_same_run() {
    let names = |seed| {
        let world = Arc::new(World::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(schedule::run(seed, &world));
        let objects = world.objects.lock().unwrap();
        objects.iter().map(|(name, bytes)| (name.clone(), bytes.clone())).collect::<Vec<_>>()
    };
    assert_eq!(names(7), names(7));
}
