//! What a restore asks of a store that is far away: few requests, several at once.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use holdfast_repository::StoreError;
use holdfast_repository::store::{ObjectEntry, Store};

use crate::fixture::{Fixture, noise};

/// Each range of data takes its time, and is counted.
#[derive(Debug)]
struct FarAway {
    inner: Arc<dyn Store>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    is_far: AtomicBool,
    requests: AtomicU64,
    under_way: AtomicU64,
    under_way_max: AtomicU64,
}

#[async_trait]
impl Store for FarAway {
    async fn create(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.inner.create(name, parts).await
    }

    async fn get(&self, name: &str) -> Result<Bytes, StoreError> {
        self.inner.get(name).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        if !name.starts_with("packs/data") || !self.counts.is_far.load(Ordering::Relaxed) {
            return self.inner.get_range(name, range).await;
        }
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        let under_way = self.counts.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.counts.under_way_max.fetch_max(under_way, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(30)).await;
        let result = self.inner.get_range(name, range).await;
        self.counts.under_way.fetch_sub(1, Ordering::Relaxed);
        result
    }

    async fn head(&self, name: &str) -> Result<u64, StoreError> {
        self.inner.head(name).await
    }

    fn list(&self, prefix: &str, start_after: Option<&str>) -> BoxStream<'_, Result<ObjectEntry, StoreError>> {
        self.inner.list(prefix, start_after)
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.inner.delete(name).await
    }

    fn conditional(&self) -> bool {
        self.inner.conditional()
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}

#[test]
fn ranges_are_joined_and_asked_for_side_by_side() {
    let counts = Arc::new(Counts::default());
    let fixture = Fixture::with_store(|inner| Arc::new(FarAway { inner, counts: Arc::clone(&counts) }));
    for number in 0..2000_u64 {
        fixture.write(&format!("d{}/f{number}", number % 40), noise(number, 12_000));
    }
    fixture.write("large", noise(3, 40 << 20));
    let snapshot = fixture.backup();
    counts.is_far.store(true, Ordering::Relaxed);
    let report = fixture.restore_whole(snapshot);
    let (requests, at_once) = (counts.requests.swap(0, Ordering::Relaxed), counts.under_way_max.load(Ordering::Relaxed));
    // 4 MiB each, and what is left at the ends of packs and windows.
    assert!(requests <= report.bytes_read / (4 << 20) + 12, "{requests} requests for {} bytes", report.bytes_read);
    assert!(at_once >= 5, "{at_once} at once");
    // Again, over what is there: nothing is asked for.
    fixture.restore_whole(snapshot);
    assert_eq!(counts.requests.load(Ordering::Relaxed), 0);
}
