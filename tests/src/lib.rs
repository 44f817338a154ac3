//! Nothing by itself: the tests are `two-server` (one suite for the standalone and the real API server), `tree` (the rules of
//! the source tree) and, outside Cargo, `cluster` and `e2e`.
