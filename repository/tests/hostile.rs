//! Every parser of stored records on mutated bytes: seeded, bounded, on stable. It never panics, and what it allocates is bounded by
//! what it read. `HOLDFAST_FUZZ_SEED` and `HOLDFAST_FUZZ_ROUNDS` play others; a failure leaves its input in the message.

// The whole file is a test; the allocator counts.
#![allow(clippy::expect_used, clippy::panic, unsafe_code, unreachable_pub, missing_docs)]

#[path = "../../fuzz/counting_allocator.rs"]
mod counting_allocator;
#[path = "../../fuzz/driver.rs"]
mod driver;

use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use holdfast_repository::testing::{examples, parsers, plain};
use holdfast_repository::{Environment, Repository, SecretBytes, Store, store};

const FOLDERS: [&str; 6] = ["keys", "state", "leases", "snapshots", "index", "packs"];

/// The golden repository's records, and what the encoders make today.
async fn written() -> Vec<(&'static str, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
    let store: Arc<dyn Store> = store::local(&directory).expect("golden");
    let repository = Repository::open(Arc::clone(&store), &SecretBytes::new(b"golden".to_vec()), Environment::system()).await.expect("open");
    let mut names = vec!["config".to_owned()];
    for folder in FOLDERS {
        names.extend(store.list(folder, None).map(|entry| entry.expect("list").name).collect::<Vec<_>>().await);
    }
    let mut written = examples();
    for name in names {
        written.extend(plain(&repository, &name, &store.get(&name).await.expect("get")));
    }
    written
}

#[tokio::test]
async fn no_parser_panics_or_allocates_beyond_what_it_read() {
    driver::play(&parsers(), &written().await);
}
