use std::os::unix::fs::FileExt;

use proptest::prelude::*;

use super::*;

fn spill(bytes_max: u64) -> (tempfile::TempDir, Spill) {
    let folder = tempfile::tempdir().expect("folder");
    let handle = OwnedFd::from(File::open(folder.path()).expect("open"));
    (folder, Spill::new(Environment::system(), handle, bytes_max))
}

fn all(mut sorted: Sorted) -> Vec<(Vec<u8>, Vec<u8>)> {
    std::iter::from_fn(|| sorted.next().expect("sorted")).collect()
}

#[test]
fn what_was_appended_comes_back_and_nothing_else() {
    let (folder, spill) = spill(1 << 20);
    let mut file = spill.file().expect("file");
    let places = [b"secret one".as_slice(), b"", b"secret two"].map(|plain| (plain, file.append(plain).expect("append")));
    let mut plain = Vec::new();
    for (wanted, place) in &places {
        file.read(place, &mut plain).expect("read");
        assert_eq!(plain, *wanted);
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 0, "no name, nothing left behind");
    let mut on_disk = vec![0; file.end as usize];
    file.file.read_exact_at(&mut on_disk, 0).expect("bytes");
    assert!(!on_disk.windows(6).any(|window| window == b"secret"), "nothing is readable on disk");

    file.file.write_all_at(&[on_disk[3] ^ 1], 3).expect("flip");
    assert!(matches!(file.read(&places[0].1, &mut plain), Err(SpillError::Changed)), "changed");
    file.file.set_len(30).expect("cut");
    assert!(matches!(file.read(&places[2].1, &mut plain), Err(SpillError::Changed)), "cut");
}

#[test]
fn the_budget_holds_and_comes_back() {
    let (_folder, spill) = spill(1000);
    let mut file = spill.file().expect("file");
    file.append(&[0; 900]).expect("fits");
    assert!(matches!(file.append(&[0; 100]), Err(SpillError::TooMuch { bytes_max: 1000 })));
    drop(file);
    assert_eq!(spill.bytes(), 0);
    spill.file().expect("file").append(&[0; 900]).expect("room again");
}

#[test]
fn without_a_directory_only_what_fits_is_sorted() {
    let mut sorter = Spill::nowhere(Environment::system()).sorter(1000);
    for key in [3_u8, 1, 2] {
        sorter.push(&[key], b"").expect("fits");
    }
    let error = (0..100).find_map(|_| sorter.push(&[0; 100], b"").err());
    assert!(matches!(error, Some(SpillError::NoDirectory)));
}

#[test]
fn many_runs_are_merged_in_passes_and_equal_keys_keep_their_order() {
    let (_folder, spill) = spill(64 << 20);
    let mut sorter = spill.sorter(4000);
    let count = 30_000_u32;
    for number in 0..count {
        let key = (number.wrapping_mul(2_654_435_761) % 5000).to_be_bytes();
        sorter.push(&key, &number.to_be_bytes()).expect("push");
    }
    assert!(spill.bytes() > 0 && sorter.runs.len() < sorter::FAN_IN, "{} runs", sorter.runs.len());
    let sorted = all(sorter.finish().expect("finish"));
    assert_eq!(sorted.len(), count as usize);
    assert!(sorted.windows(2).all(|pair| pair[0] < pair[1]), "by key, then in the order of arrival");
    assert_eq!(spill.bytes(), 0, "all of it is given back");
}

/// A disk of `bytes`; none where this process may not mount.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(options: &std::ffi::CStr) -> Option<Self> {
        let folder = tempfile::tempdir().expect("folder");
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return None;
        }
        rustix::mount::mount("tmpfs", folder.path(), "tmpfs", rustix::mount::MountFlags::empty(), Some(options)).expect("mount");
        Some(Self(folder))
    }

    fn spill(&self) -> Spill {
        let handle = OwnedFd::from(File::open(self.0.path()).expect("open"));
        Spill::new(Environment::system(), handle, 1 << 30)
    }

    fn free_bytes(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.0.path()).expect("statvfs");
        stat.f_bavail * stat.f_frsize
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

fn is_full(error: &SpillError) -> bool {
    matches!(error, SpillError::Io { source } if source.kind() == io::ErrorKind::StorageFull)
}

/// The budget would allow it, the disk does not: an error that says so, and the room is given back.
#[test]
fn a_full_disk_is_an_error_and_all_is_given_back() {
    let Some(disk) = SmallDisk::mount(c"size=1m") else { return };
    let (spill, free) = (disk.spill(), disk.free_bytes());
    let mut sorter = spill.sorter(64 << 10);
    let refused = (0..1_000_000_u32).find_map(|number| sorter.push(&number.wrapping_mul(2_654_435_761).to_be_bytes(), &[7; 60]).err()).expect("it cannot hold that");
    assert!(is_full(&refused), "{refused}");
    assert!(refused.to_string().contains("put on disk") && refused.to_string().contains("No space"), "{refused}");
    // What is sorted already is not lost with it, but nobody may go on with a part.
    assert!(spill.bytes() > 0);
    drop(sorter);
    assert_eq!((spill.bytes(), disk.free_bytes()), (0, free));

    // Full in the middle of the merge, after everything was pushed.
    let mut sorter = spill.sorter(4 << 10);
    for number in 0..6000_u32 {
        if let Err(error) = sorter.push(&number.wrapping_mul(2_654_435_761).to_be_bytes(), &[7; 60]) {
            assert!(is_full(&error), "{error}");
            break;
        }
    }
    drop(sorter);
    assert_eq!((spill.bytes(), disk.free_bytes()), (0, free));
    // With room again it works as ever.
    let mut file = spill.file().expect("file");
    let place = file.append(b"again").expect("append");
    let mut plain = Vec::new();
    file.read(&place, &mut plain).expect("read");
    assert_eq!(plain, b"again");
}

/// No inode for one more file.
#[test]
fn a_disk_without_inodes_is_an_error() {
    let Some(disk) = SmallDisk::mount(c"size=1m,nr_inodes=2") else { return };
    let spill = disk.spill();
    let first = spill.file();
    let second = spill.file();
    let error = first.err().or(second.err()).expect("there is room for one at most");
    assert!(is_full(&error), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn as_a_stable_sort(records in prop::collection::vec((prop::collection::vec(0..4_u8, 0..4), prop::collection::vec(any::<u8>(), 0..50)), 0..300), memory in 0..4000_usize) {
        let (_folder, spill) = spill(1 << 20);
        let mut sorter = spill.sorter(memory);
        for (key, value) in &records {
            sorter.push(key, value).expect("push");
        }
        let mut expected = records;
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        prop_assert_eq!(all(sorter.finish().expect("finish")), expected);
    }
}
