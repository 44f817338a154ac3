//! Restores that cannot go on: no room, no right, no data.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt;
use holdfast_mover::restore::{RestoreError, Severity};
use holdfast_mover::stop::{Stop, StopToken};
use holdfast_repository::store::Store;
use holdfast_repository::testing::{Operation, WaitingStore};

use crate::fixture::{Fixture, is_root, noise};

fn files(fixture: &Fixture, count: u64) {
    for number in 0..count {
        fixture.write(&format!("f{number:04}"), noise(number, 20_000));
    }
}

#[test]
fn nothing_is_written_after_the_grant() {
    let fixture = Fixture::new();
    files(&fixture, 200);
    let snapshot = fixture.backup();
    for asked_max in [0, 1, 7, 100] {
        let asked = Arc::new(AtomicU64::new(0));
        let mut request = fixture.request(snapshot);
        let count = Arc::clone(&asked);
        request.may_write = Arc::new(move || count.fetch_add(1, Ordering::SeqCst) < asked_max);
        let error = fixture.try_run(request, &StopToken::new()).unwrap_err();
        assert!(matches!(error, RestoreError::GrantLapsed), "{error}");
        // Every file takes at least one leave; nothing was made without.
        assert!((std::fs::read_dir(fixture.target("")).unwrap().count() as u64) <= asked_max);
    }
    fixture.restore_whole(snapshot);
    fixture.assert_identical();
}

struct SmallDisk(PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

fn small_disk(at: &Path, options: &std::ffi::CStr) -> SmallDisk {
    rustix::mount::mount("tmpfs", at, "tmpfs", rustix::mount::MountFlags::empty(), Some(options)).unwrap();
    SmallDisk(at.to_path_buf())
}

#[test]
fn a_full_target_is_named() {
    if !is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let fixture = Fixture::new();
    files(&fixture, 200);
    let snapshot = fixture.backup();
    for options in [c"size=2m", c"size=64m,nr_inodes=50"] {
        let _disk = small_disk(&fixture.target(""), options);
        let error = fixture.try_run(fixture.request(snapshot), &StopToken::new()).unwrap_err();
        assert!(matches!(&error, RestoreError::TargetFull { path, .. } if path.starts_with('f')), "{error}");
    }
    fixture.restore_whole(snapshot);
    fixture.assert_identical();
}

#[test]
fn another_file_system_inside_the_target_is_not_entered() {
    if !is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let fixture = Fixture::new();
    fixture.write("d/inside", "restored");
    fixture.write("beside", "restored");
    let snapshot = fixture.backup();
    std::fs::create_dir(fixture.target("d")).unwrap();
    let disk = small_disk(&fixture.target("d"), c"size=2m");
    let report = fixture.restore(snapshot);
    assert!(!report.is_complete(), "{report:?}");
    assert_eq!(std::fs::read_dir(fixture.target("d")).unwrap().count(), 0);
    assert!(fixture.target("beside").is_file());
    drop(disk);
}

fn packs(fixture: &Fixture) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(fixture.directory().join("repository/holdfast/v1/packs/data")).unwrap();
    let packs = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    packs.map(|pack| pack.unwrap().path()).collect()
}

#[test]
fn a_rotten_blob_costs_its_files_and_no_others() {
    let fixture = Fixture::new();
    fixture.write("large", noise(1, 8 << 20));
    files(&fixture, 300);
    let snapshot = fixture.backup();
    let pack = &packs(&fixture)[0];
    let mut bytes = std::fs::read(pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(pack, &bytes).unwrap();
    let report = fixture.restore(snapshot);
    assert!(!report.is_complete() && !report.bad_blobs.is_empty(), "{report:?}");
    let blob = report.bad_blobs[0].to_string();
    for issue in &report.issues {
        assert!(issue.severity == Severity::Failed && issue.what.contains(&blob), "{issue}");
        assert!(!fixture.target(&issue.path.to_string()).exists(), "never restored as good: {issue}");
    }
    let restored = report.targets[0].files;
    assert!(restored >= 200 && restored + report.failed == 301, "{restored} and {}", report.failed);
    // It was put on the bad list: the next backup that sees the data stores it again.
    std::fs::write(fixture.source("large"), noise(1, 8 << 20)).unwrap();
    for number in 0..300 {
        fixture.write(&format!("f{number:04}"), noise(number, 20_000));
    }
    let healed = fixture.backup();
    fixture.restore_whole(healed);
    fixture.assert_identical();
    fixture.restore_whole(snapshot);
}

#[test]
fn a_missing_pack_is_named() {
    let fixture = Fixture::new();
    files(&fixture, 20);
    fixture.write("empty", "");
    let snapshot = fixture.backup();
    for pack in packs(&fixture) {
        std::fs::remove_file(pack).unwrap();
    }
    let report = fixture.restore(snapshot);
    assert_eq!((report.failed, report.targets[0].files), (20, 1), "{:#?}", report.issues);
    assert!(report.issues[0].what.contains("packs/data"), "{}", report.issues[0]);
}

/// Neither data nor the end of the lease goes through while it hangs.
fn hanging(inner: Arc<dyn Store>, hangs: &Arc<AtomicBool>) -> Arc<dyn Store> {
    let hangs = Arc::clone(hangs);
    Arc::new(WaitingStore::new(inner, move |operation, name| {
        let may_hang = match operation {
            Operation::Create => name.starts_with("snapshots/"),
            Operation::Get => name.starts_with("packs/data"),
            _ => false,
        };
        let hangs = Arc::clone(&hangs);
        async move {
            while may_hang && hangs.load(Ordering::Acquire) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        .boxed()
    }))
}

/// Handles on something below the directory, working directories of threads included.
fn handles_below(directory: &Path) -> usize {
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let working = threads.filter_map(|entry| std::fs::read_link(entry.ok()?.path().join("cwd")).ok());
    descriptors.chain(working).filter(|path| path.starts_with(directory)).count()
}

#[test]
fn a_stop_closes_every_handle_while_the_store_hangs() {
    let hangs = Arc::new(AtomicBool::new(false));
    let fixture = Fixture::with_store(|inner| hanging(inner, &hangs));
    files(&fixture, 200);
    std::os::unix::fs::symlink("x", fixture.source("symlink")).unwrap();
    let snapshot = fixture.backup();
    hangs.store(true, Ordering::Release);
    let stop = StopToken::new();
    let (asked, directory, symlink) = (stop.clone(), fixture.target(""), fixture.target("symlink"));
    let enemy = std::thread::spawn(move || {
        // The restore has begun to write, and waits for data.
        while symlink.symlink_metadata().is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(500));
        assert!(handles_below(&directory) > 0);
        let at = Instant::now();
        asked.stop(Stop::Release);
        at
    });
    let error = fixture.try_run(fixture.request(snapshot), &stop).unwrap_err();
    assert!(matches!(error, RestoreError::Stopped(Stop::Release)), "{error}");
    let asked_at = enemy.join().unwrap();
    assert!(asked_at.elapsed() < Duration::from_secs(5), "{:?}", asked_at.elapsed());
    assert_eq!(handles_below(&fixture.target("")), 0);
}
