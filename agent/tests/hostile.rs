//! What agent and worker read from each other, on mutated bytes: it never panics, and what it allocates is bounded by what it read.
//! Seeded, bounded, on stable; `HOLDFAST_FUZZ_SEED` and `HOLDFAST_FUZZ_ROUNDS` play others.

// The whole file is a test; the allocator counts.
#![allow(clippy::expect_used, clippy::panic, unsafe_code, unreachable_pub, missing_docs)]

#[path = "../../fuzz/counting_allocator.rs"]
mod counting_allocator;
#[path = "../../fuzz/driver.rs"]
mod driver;

use holdfast_agent::testing::{examples, parsers};

#[test]
fn no_frame_panics_or_allocates_beyond_what_it_says() {
    driver::play(&parsers(), &examples());
}
