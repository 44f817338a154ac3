//! What a restore asks of a store that is far away: few requests, several at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use holdfast_repository::store::Store;
use holdfast_repository::testing::{Operation, WaitingStore};

use crate::fixture::{Fixture, noise};

#[derive(Debug, Default)]
struct Counts {
    is_far: AtomicBool,
    requests: AtomicU64,
    under_way: AtomicU64,
    under_way_max: AtomicU64,
}

/// Each range of data takes its time, and is counted.
fn far_away(inner: Arc<dyn Store>, counts: &Arc<Counts>) -> Arc<dyn Store> {
    let counts = Arc::clone(counts);
    Arc::new(WaitingStore::new(inner, move |operation, name| {
        let is_counted = operation == Operation::Get && name.starts_with("packs/data") && counts.is_far.load(Ordering::Relaxed);
        let counts = Arc::clone(&counts);
        let wait = async move {
            counts.requests.fetch_add(1, Ordering::Relaxed);
            let under_way = counts.under_way.fetch_add(1, Ordering::Relaxed) + 1;
            counts.under_way_max.fetch_max(under_way, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(30)).await;
            counts.under_way.fetch_sub(1, Ordering::Relaxed);
        };
        if is_counted { wait.boxed() } else { std::future::ready(()).boxed() }
    }))
}

#[test]
fn ranges_are_joined_and_asked_for_side_by_side() {
    let counts = Arc::new(Counts::default());
    let fixture = Fixture::with_store(|inner| far_away(inner, &counts));
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
