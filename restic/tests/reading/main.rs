//! Repositories that restic has written (`tests/fixtures`, made by `tests/fixtures/make`), read.

// The whole crate is a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, missing_docs)]

mod damage;
mod fixture;
mod hostile;
mod laid;
mod restored;
mod snapshots;
