//! The rules of the source tree: who may depend on whom, how files are named and sized, and that the table of kinds names real tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod dependencies;
mod files;
mod kinds;
