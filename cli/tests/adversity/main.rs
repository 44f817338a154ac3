//! The real binary where nothing is as it should be: wrong input, signals, disks that are full or broken.
// Helpers of tests may end them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_input;
mod disk_faults;
mod interrupted;
mod loop_disk;
mod place;
#[path = "../place/work.rs"]
mod work;
