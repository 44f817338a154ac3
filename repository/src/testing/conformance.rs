//! What every store must do, whatever it is made of.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::StreamExt;

use crate::environment::Environment;
use crate::store::{Store, StoreError, probe_conditional_create};

#[allow(clippy::unwrap_used)] // A test suite, for tests.
async fn listed(store: &dyn Store, prefix: &str, start_after: Option<&str>) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let mut names = store.list(prefix, start_after);
    while let Some(entry) = names.next().await {
        let entry = entry.unwrap();
        found.push((entry.name, entry.bytes));
    }
    found.sort();
    found
}

/// Panics at the first thing that a store does otherwise than `Store` says. The store must be empty.
#[allow(clippy::unwrap_used, clippy::panic)] // A test suite, for tests.
pub async fn conformance(store: Arc<dyn Store>) {
    let name = "packs/data/ab/first";
    let content = Bytes::from(vec![7; 100_000]);
    let absent = |result: Result<Bytes, StoreError>| matches!(result, Err(StoreError::NotFound { .. }));

    assert!(listed(store.as_ref(), "packs/data", None).await.is_empty(), "the store is not empty");
    assert!(absent(store.get(name).await), "get of what is not there");
    assert!(matches!(store.head(name).await, Err(StoreError::NotFound { .. })), "head of what is not there");
    assert!(absent(store.get_range(name, 0..1).await), "range of what is not there");

    store.create(name, vec![content.slice(..60_000), content.slice(60_000..)]).await.unwrap();
    assert_eq!(store.get(name).await.unwrap(), content, "parts are one object");
    assert_eq!(store.head(name).await.unwrap(), 100_000);
    assert_eq!(store.get_range(name, 10..20).await.unwrap(), content.slice(10..20));
    for beyond in [Range { start: 99_999, end: 100_001 }, Range { start: 200_000, end: 200_001 }] {
        assert!(store.get_range(name, beyond.clone()).await.is_err(), "{beyond:?} is beyond the object");
    }

    let again = store.create(name, vec![Bytes::from_static(b"other")]).await;
    assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "{again:?}");
    assert_eq!(store.get(name).await.unwrap(), content, "the first content stands");

    store.create("packs/data/ab/second", vec![Bytes::from_static(b"2")]).await.unwrap();
    store.create("packs/database", vec![Bytes::from_static(b"no part of the folder packs/data")]).await.unwrap();
    let both = [("packs/data/ab/first".to_owned(), 100_000), ("packs/data/ab/second".to_owned(), 1)];
    assert_eq!(listed(store.as_ref(), "packs/data", None).await, both, "a listing sees every write at once");
    assert_eq!(listed(store.as_ref(), "packs/data", Some(name)).await, both[1..]);

    store.delete(name).await.unwrap();
    assert!(store.delete(name).await.is_ok(), "deleting what is gone");
    assert!(absent(store.get(name).await), "deleted");
    assert_eq!(listed(store.as_ref(), "packs/data", None).await, both[1..], "a listing sees every deletion at once");

    // In a bucket with versions a marker stands there now. AWS gives the name away again, once; others do not: nobody relies on either.
    match store.create(name, vec![Bytes::from_static(b"anew")]).await {
        Ok(()) => {
            let again = store.create(name, vec![Bytes::from_static(b"and again")]).await;
            assert!(matches!(again, Err(StoreError::AlreadyExists { .. })), "{again:?}");
            assert_eq!(store.get(name).await.unwrap(), "anew");
        }
        Err(StoreError::AlreadyExists { .. }) => assert!(absent(store.get(name).await), "still deleted"),
        Err(error) => panic!("{error}"),
    }

    assert!(probe_conditional_create(store.as_ref(), &Environment::system()).await.unwrap(), "conditional creation");
}
