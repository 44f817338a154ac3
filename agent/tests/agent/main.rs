//! The agent against a controller over real gRPC with TLS, with real worker processes, on real mounts.
//! Tests that mount need root; without it they say SKIPPED.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod backup;
mod cache;
mod check;
mod controller;
mod dispatch;
mod manifests;
mod node;
mod read_back;
mod removal;
#[cfg(feature = "restic")]
mod restic;
mod tasks;
