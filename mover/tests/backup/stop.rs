//! Letting go, and limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt;
use holdfast_mover::backup::{BackupError, Limits};
use holdfast_mover::stop::{Stop, StopToken};
use holdfast_repository::store::Store;
use holdfast_repository::testing::{Operation, WaitingStore};

use crate::fixture::{Fixture, noise};

/// Handles of this process on something below the directory, working directories of its threads included.
fn handles_below(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let working = threads.filter_map(|entry| std::fs::read_link(entry.ok()?.path().join("cwd")).ok());
    descriptors.chain(working).filter(|path| path.starts_with(directory)).collect()
}

/// It takes nothing while it hangs.
fn hanging(inner: Arc<dyn Store>, hangs: &Arc<AtomicBool>) -> Arc<dyn Store> {
    let hangs = Arc::clone(hangs);
    Arc::new(WaitingStore::new(inner, move |operation, _| {
        let hangs = Arc::clone(&hangs);
        async move {
            while operation == Operation::Create && hangs.load(Ordering::Acquire) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        .boxed()
    }))
}

/// The store takes nothing any more, every worker waits for it, and the pod is deleted.
#[test]
fn a_release_closes_every_handle_while_the_store_hangs() {
    let hangs = Arc::new(AtomicBool::new(false));
    let fixture = Fixture::with_store(|inner| hanging(inner, &hangs));
    for number in 0..40 {
        fixture.write(&format!("d/large{number}"), &noise(number, 6 << 20));
        std::os::unix::fs::symlink("x", fixture.path(&format!("s{number}"))).unwrap();
    }
    hangs.store(true, Ordering::Release);
    let stop = StopToken::new();
    let (released, held, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)), stop.clone());
    let mut request = fixture.request();
    // The lease is taken while the store still answers.
    hangs.store(false, Ordering::Release);
    let (flag, directory) = (Arc::clone(&released), fixture.source.path().to_path_buf());
    let released_at = Arc::new(std::sync::Mutex::new(None));
    let at = Arc::clone(&released_at);
    request.on_released = Some(Box::new(move || {
        assert_eq!(handles_below(&directory), Vec::<std::path::PathBuf>::new());
        *at.lock().unwrap() = Some(Instant::now());
        flag.store(true, Ordering::Release);
    }));
    let (hang, hold, directory, let_on) = (Arc::clone(&hangs), Arc::clone(&held), fixture.source.path().to_path_buf(), Arc::clone(&hangs));
    let released_seen = Arc::clone(&released);
    let watcher = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(150));
        hang.store(true, Ordering::Release);
        std::thread::sleep(Duration::from_millis(1500));
        hold.store(!handles_below(&directory).is_empty(), Ordering::Release);
        let asked_at = Instant::now();
        asked.stop(Stop::Release);
        while !released_seen.load(Ordering::Acquire) && asked_at.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(5));
        }
        // The store comes back, so that the test need not wait for it to be given up.
        let_on.store(false, Ordering::Release);
        asked_at
    });
    let result = fixture.try_run(request, stop);
    let asked_at = watcher.join().unwrap();
    assert!(matches!(result, Err(BackupError::Released)), "{result:?}");
    assert!(held.load(Ordering::Acquire), "it held handles, and waited for the store, when it was asked");
    let took = released_at.lock().unwrap().expect("it said that it let go") - asked_at;
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_cancelled_backup_leaves_no_snapshot() {
    let fixture = Fixture::new();
    for number in 0..20 {
        fixture.write(&format!("f{number}"), &noise(number, 4 << 20));
    }
    let stop = StopToken::new();
    let mut request = fixture.request();
    request.limits = Limits { bandwidth_bytes_per_second: 10 << 20, ..request.limits };
    let asked = stop.clone();
    let watcher = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(500));
        asked.stop(Stop::Cancel);
    });
    let result = fixture.try_run(request, stop);
    watcher.join().unwrap();
    assert!(matches!(result, Err(BackupError::Cancelled)), "{result:?}");
    assert!(fixture.block_on(fixture.repository.snapshots()).unwrap().readable.is_empty());
    fixture.backup();
}

#[test]
fn bandwidth_is_kept() {
    let fixture = Fixture::new();
    fixture.write("file", &noise(1, 8 << 20));
    let mut request = fixture.request();
    request.limits = Limits { bandwidth_bytes_per_second: 8 << 20, ..request.limits };
    let started = Instant::now();
    fixture.try_run(request, StopToken::new()).unwrap();
    let took = started.elapsed();
    assert!(took > Duration::from_millis(600), "8 MiB at 8 MiB/s took {took:?}");
}
