//! Volume to repository and back: scan, change detection, chunk pipeline, catalog, restore.
//!
//! Everything read here is hostile: the volume (its owner swaps directories while we walk), and the stored catalog (a snapshot
//! may have been forged). So the volume is only ever reached by directory handles, one component at a time, and every stored
//! byte goes through a bounded parser.

pub mod allocator;
pub mod backup;
pub mod catalog;
pub mod chunk;
pub mod dump;
pub mod fidelity;
pub mod listing;
pub mod losses;
mod mutation;
pub mod pattern;
pub mod priority;
pub mod progress;
pub mod restore;
pub mod scan;
pub mod stop;
mod syscall;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
