//! A backup that lives and is taken for dead: a prune has ended its lease, and taken what it had sent.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use holdfast_mover::backup::Limits;
use holdfast_mover::stop::StopToken;
use holdfast_repository::testing::{Operation, WaitingStore};
use holdfast_repository::{CheckOptions, CheckProgress, Environment, PruneOptions, PruneProgress, Repository, SecretBytes, store};

use crate::fixture::{Fixture, noise};

/// Condemns and deletes all that no snapshot needs, whoever is at work.
async fn prune(place: &Path) {
    let store = store::local(place).unwrap();
    let password = SecretBytes::new(b"password".to_vec());
    let repository = Repository::open(store, &password, Environment::system()).await.unwrap();
    let options = PruneOptions { now: true, fence_time: Duration::from_millis(1), ..PruneOptions::default() };
    let report = repository.prune(&options, &PruneProgress::default(), std::future::pending()).await.unwrap();
    assert!(report.packs_deleted > 0 && report.fenced.len() == 1, "{report:?}");
}

/// What small files have in common is stored again, too.
#[test]
fn a_backup_that_lost_its_bundles_reads_again_and_commits() {
    let (place, is_due) = (Arc::new(Mutex::new(PathBuf::new())), Arc::new(AtomicBool::new(false)));
    let (known, due) = (Arc::clone(&place), Arc::clone(&is_due));
    let fixture = Fixture::with_store(move |inner| {
        Arc::new(WaitingStore::new(inner, move |operation, name| {
            // All is read and sent, and about to be committed.
            let is_now = operation == Operation::Create && name.starts_with("snapshots/") && due.swap(false, Ordering::SeqCst);
            let place = known.lock().unwrap().clone();
            async move {
                if is_now {
                    prune(&place).await;
                }
            }
            .boxed()
        }))
    });
    for number in 0..400 {
        fixture.write(&format!("f{number:03}"), &noise(number % 150, 20_000));
    }
    fixture.write("large", &noise(1000, 3 << 20));
    *place.lock().unwrap() = fixture.store_directory.path().to_owned();
    is_due.store(true, Ordering::SeqCst);
    let mut request = fixture.request();
    request.limits = Limits { cpus: 1, ..request.limits };
    let report = fixture.try_run(request, StopToken::new()).unwrap();
    assert!(!is_due.load(Ordering::SeqCst), "nobody pruned");
    assert_eq!((report.unreadable_count, report.changed_while_read_count), (0, 0));
    fixture.assert_same_files(report.snapshot);
    let options = CheckOptions { read_data_percent: 100, ..CheckOptions::default() };
    let check = fixture.block_on(fixture.repository.check(options, &CheckProgress::default())).unwrap();
    assert!(check.is_clean(), "{check:?}");
}
