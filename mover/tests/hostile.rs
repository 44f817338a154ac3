//! The catalog's parsers on mutated bytes, and restores of catalogs made to harm. Seeded, bounded, on stable; `HOLDFAST_FUZZ_SEED`
//! and `HOLDFAST_FUZZ_ROUNDS` play others.

// The whole file is a test; the allocator counts.
#![allow(clippy::expect_used, clippy::panic, unsafe_code, unreachable_pub, missing_docs)]

#[path = "../../fuzz/counting_allocator.rs"]
mod counting_allocator;
#[path = "../../fuzz/driver.rs"]
mod driver;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use counting_allocator::{HELD, HELD_MAX};
use holdfast_mover::testing::{MEMORY_BYTES, RestoreTrial, examples, parsers, trial_examples};
use holdfast_repository::testing::{Mutator, rounds, seed};

/// What is held is counted for the whole process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn no_parser_of_catalogs_panics_or_allocates_beyond_what_it_read() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    driver::play(&parsers(), &examples());
}

#[test]
fn a_catalog_without_end_is_refused() {
    let catalog = parsers().into_iter().find(|parser| parser.name == "catalog").expect("catalog");
    assert!(!(catalog.parse)(&holdfast_mover::catalog::testing::endless()));
}

struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Only root can mount; without it the trials leave out what would fill a disk.
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).expect("target");
        let mounted = rustix::mount::mount("tmpfs", at, "tmpfs", rustix::mount::MountFlags::empty(), Some(c"size=24m,nr_inodes=20k"));
        mounted.is_ok().then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Whatever the catalog says: nothing outside the target changes, it ends, it does not panic, and it keeps to its memory.
#[test]
fn no_catalog_reaches_out_of_its_target() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let place = tempfile::TempDir::new().expect("place");
    let disk = SmallDisk::mount(&place.path().join("target"));
    let mut trial = RestoreTrial::new(place.path(), disk.is_some());
    driver::commit(&trial_examples());
    let (mut inputs, found) = driver::committed("restore");
    inputs.extend(found);
    let mut mutation = Mutator::new(seed());
    let held_before = HELD.load(Ordering::Relaxed);
    HELD_MAX.store(held_before, Ordering::Relaxed);
    let committed = inputs.len();
    let mut whole = 0;
    let rounds = rounds(1500) as usize;
    for round in 0..rounds {
        let mut input = match inputs.get(round) {
            Some(input) => input.clone(),
            None => {
                let bytes = mutation.below(900);
                mutation.bytes(bytes)
            }
        };
        if round >= committed && mutation.below(2) == 0 {
            input = inputs[mutation.below(committed)].clone();
            mutation.mutate(&mut input);
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| trial.run(&input)));
        match outcome {
            Ok(is_whole) => whole += usize::from(is_whole),
            Err(panic) => {
                println!("round {round}, seed {}: {input:02x?}", seed());
                std::panic::resume_unwind(panic);
            }
        }
    }
    // Packs that are being written, and the store itself, which is in this process.
    let held = HELD_MAX.load(Ordering::Relaxed) - held_before;
    println!("{whole} of {rounds} restored whole; at most {} KiB held", held >> 10);
    assert!(held < MEMORY_BYTES + (96 << 20), "{held} bytes were held");
    assert!(whole * 50 > rounds && whole < rounds, "{whole} of {rounds}: both honest and hostile ones are wanted");
}
