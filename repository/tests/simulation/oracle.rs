//! The rules, looked at from outside the run: by a reader that nothing can go wrong for.

use holdfast_repository::{Activity, CheckOptions, CheckProgress, Purpose, Repository};

use crate::actors::{Committed, restore};

/// Every snapshot that readers accept restores whole, and every one that a writer was told is committed is accepted.
pub async fn look(repository: &Repository, committed: &Committed) {
    // First what was told, then what is there: a commit in between is no contradiction.
    let told = committed.lock().unwrap().clone();
    let reader = repository.reader(Purpose::new(Activity::Browse, "oracle")).await.expect("the oracle's store never fails");
    let snapshots = reader.snapshots().await.expect("the oracle can list");
    assert!(snapshots.unreadable.is_empty(), "accepted and unreadable: {:?}", snapshots.unreadable);
    for (id, seeds) in &told {
        assert!(snapshots.readable.iter().any(|(accepted, _)| accepted == id), "{id} was committed ({seeds:?}) and is not accepted");
    }
    for (id, _) in &snapshots.readable {
        let restored = restore(&reader, id).await.unwrap_or_else(|error| panic!("{id} is accepted and not whole: {error}"));
        if let Some(seeds) = told.get(id) {
            assert_eq!(&restored, seeds, "{id} restores something else");
        }
    }
}

/// At the end: `check` reads everything and finds nothing.
pub async fn check_all(repository: &Repository) {
    let options = CheckOptions { trailers: true, read_data_percent: 100, publish_bad: false };
    let report = repository.check(options, &CheckProgress::default()).await.expect("the oracle can check");
    assert!(report.is_clean(), "check finds {:?}", report.findings);
}
