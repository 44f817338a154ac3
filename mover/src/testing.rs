//! For tests of this crate and the fuzz targets: the catalog's parsers by name, and restores of catalogs that no honest backup wrote.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A trial that cannot be set up, or that fails, must end.

mod hostile_catalog;
mod restore_trial;

pub use crate::catalog::testing::{examples, parsers};
pub use restore_trial::{MEMORY_BYTES, RestoreTrial, examples as trial_examples};
