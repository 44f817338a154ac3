//! The rules of the source tree: who may depend on whom, and how files are named and sized.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod dependencies;
mod files;
