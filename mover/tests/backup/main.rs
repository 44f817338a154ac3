//! Backups of real directories into a real repository, read back through its own reader.
// Helpers of tests may end them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../shared/cached.rs"]
mod cached;
mod change;
mod content;
mod delta;
mod fenced;
mod fixture;
mod fuse_disk;
mod hostile;
mod links;
mod page_cache;
mod second_read;
mod stale;
mod stop;
mod tree;
