//! SIGKILL at every durable step of a real process, and at any time: nothing is lost, nothing has to be cleaned.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod backup;
mod place;
mod verbs;
#[path = "../place/work.rs"]
mod work;
