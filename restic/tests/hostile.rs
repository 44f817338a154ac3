//! The parsers of what restic stores on mutated bytes. Seeded, bounded, on stable; `HOLDFAST_FUZZ_SEED` and `HOLDFAST_FUZZ_ROUNDS` play
//! others.

// The whole file is a test; the allocator counts.
#![allow(clippy::expect_used, clippy::panic, unsafe_code, unreachable_pub, missing_docs)]

#[path = "../../fuzz/counting_allocator.rs"]
mod counting_allocator;
#[path = "../../fuzz/driver.rs"]
mod driver;

use holdfast_restic::testing::{examples, parsers};

#[test]
fn no_parser_of_restics_objects_panics_or_allocates_beyond_what_it_read() {
    driver::play(&parsers(), &examples());
}
