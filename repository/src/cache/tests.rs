use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;
use crate::id::LeaseId;

fn cache(bytes_max: u64) -> (tempfile::TempDir, Cache) {
    let folder = tempfile::tempdir().expect("folder");
    let root = OwnedFd::from(File::open(folder.path()).expect("open"));
    let cache = Cache::open(&root, "id", bytes_max, Environment::system()).expect("cache");
    (folder, cache)
}

fn name(number: u8) -> CacheName {
    CacheName::snapshot(&LeaseId { state: 1, random: [number; 16] })
}

fn path(folder: &tempfile::TempDir, number: u8) -> PathBuf {
    folder.path().join("id/snapshots").join(name(number).file())
}

#[test]
fn what_was_put_comes_back_until_it_is_removed() {
    let (folder, cache) = cache(1 << 20);
    assert_eq!(cache.get(&name(1)), None);
    cache.put(&name(1), b"content");
    assert_eq!(cache.get(&name(1)).as_deref(), Some(&b"content"[..]));
    assert!(path(&folder, 1).is_file());
    assert_eq!(cache.usage().expect("usage"), CacheUsage { objects: 1, bytes: 7 });
    cache.remove(&name(1));
    assert_eq!(cache.get(&name(1)), None);
}

#[test]
fn what_was_used_longest_ago_leaves_first_and_the_limit_holds() {
    let (folder, cache) = cache(10_000);
    for number in 0..30 {
        cache.put(&name(number), &[number; 1000]);
        // A day of use between them: the clock of the test does not wait for it.
        let file = File::open(path(&folder, number)).expect("just put");
        let used = Timespec { tv_sec: cache.now() - 86_400 * i64::from(40 - number), tv_nsec: 0 };
        rustix::fs::futimens(&file, &Timestamps { last_access: used, last_modification: used }).expect("times");
        assert!(cache.usage().expect("usage").bytes <= 10_000);
        if number == 20 {
            assert!(cache.get(&name(14)).is_some(), "used again");
        }
    }
    assert!(cache.get(&name(29)).is_some() && cache.get(&name(0)).is_none());
    assert!(cache.get(&name(14)).is_some(), "what is used stays");
    assert_eq!(cache.limit(0).expect("limit"), 0);
    assert_eq!(cache.usage().expect("usage"), CacheUsage::default());
}

#[test]
fn links_and_other_things_are_not_followed() {
    let (folder, cache) = cache(1 << 20);
    let outside = folder.path().join("outside");
    std::fs::write(&outside, b"secret").expect("write");
    symlink(&outside, path(&folder, 1)).expect("link");
    std::fs::create_dir(path(&folder, 2)).expect("directory");
    assert_eq!(cache.get(&name(1)), None);
    assert_eq!(cache.get(&name(2)), None);
    cache.put(&name(1), b"new");
    assert_eq!(cache.get(&name(1)).as_deref(), Some(&b"new"[..]), "replaced, not written through");
    assert_eq!(std::fs::read(&outside).expect("outside"), b"secret");

    let root = OwnedFd::from(File::open(folder.path()).expect("open"));
    symlink("/tmp", folder.path().join("linked")).expect("link");
    assert!(Cache::open(&root, "linked", 1, Environment::system()).is_err(), "a folder is never a link");
}

#[test]
fn sweeping_takes_what_is_gone_and_old_unfinished_files() {
    let (folder, cache) = cache(1 << 20);
    cache.put(&name(1), b"lives");
    cache.put(&name(2), b"gone");
    let unfinished = folder.path().join("id/snapshots/tmp-young");
    std::fs::write(&unfinished, b"").expect("write");
    let old = File::create(folder.path().join("id/snapshots/tmp-old")).expect("write");
    let long_ago = Timespec { tv_sec: cache.now() - 2 * UNFINISHED_SECONDS, tv_nsec: 0 };
    rustix::fs::futimens(&old, &Timestamps { last_access: long_ago, last_modification: long_ago }).expect("times");
    let lives = name(1);
    cache.sweep(CacheClass::Snapshots, |file| file == lives.file());
    assert!(cache.get(&name(1)).is_some() && cache.get(&name(2)).is_none());
    assert!(unfinished.exists() && !folder.path().join("id/snapshots/tmp-old").exists());
}

#[test]
fn a_directory_that_takes_nothing_is_only_no_cache() {
    let (folder, cache) = cache(1 << 20);
    std::fs::remove_dir_all(folder.path().join("id")).expect("remove");
    cache.put(&name(1), b"content");
    assert_eq!(cache.get(&name(1)), None);
    assert!(cache.read_only.load(Ordering::Relaxed), "not tried again each time");
}
