//! Backups restored: into empty places and over old data, whole and in part, from honest and hostile snapshots.
// Helpers of tests may end them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod again;
#[path = "../shared/cached.rs"]
mod cached;
mod direct;
mod fixture;
mod forged;
mod hostile;
mod limits;
mod lost;
mod over_existing;
mod requests;
mod round_trip;
mod rules;
mod selection;
