//! One suite over every store. Set `HOLDFAST_TEST_S3` to an `s3://bucket/prefix` (with the `AWS_*` variables) to run it there too.

#![allow(clippy::expect_used)] // The whole file is a test.

use std::sync::Arc;

use holdfast_repository::store;
use holdfast_repository::testing::{MemoryStore, conformance};

#[tokio::test]
async fn memory() {
    conformance(Arc::new(MemoryStore::new())).await;
}

#[tokio::test]
async fn local_directory() {
    let directory = tempfile::tempdir().expect("directory");
    conformance(store::local(&directory.path().join("new")).expect("store")).await;
}

#[tokio::test]
async fn s3() {
    let Ok(url) = std::env::var("HOLDFAST_TEST_S3") else {
        eprintln!("skipped: HOLDFAST_TEST_S3 is not set");
        return;
    };
    let mut fresh = [0; 8];
    holdfast_repository::Environment::system().random.fill(&mut fresh);
    let url = format!("{url}/{:016x}", u64::from_le_bytes(fresh));
    conformance(store::open_url(&url).expect("store")).await;
}
