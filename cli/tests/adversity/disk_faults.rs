//! Disks that are full or broken, under the source, the cache, the target and the repository. Real file systems.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::loop_disk::{LoopDisk, MemoryDisk};
use crate::place::{Place, failure, noise, said};

const MIB: u64 = 1 << 20;

/// Files of incompressible bytes, each on disk before the next.
fn fill(directory: &Path, count: u64, bytes: u64) -> Vec<PathBuf> {
    let path = |number: u64| directory.join(format!("file-{number:02}"));
    for number in 0..count {
        let file = std::fs::File::create(path(number)).unwrap();
        file.write_all_at(&noise(number + 1, bytes as usize), 0).unwrap();
        file.sync_all().unwrap();
    }
    (0..count).map(path).collect()
}

/// A place with `count` MiB of data in the repository, the cache off: each test says what stands on which disk.
fn with_snapshot(count: u64) -> Place {
    let place = Place::ready();
    fill(&place.path("data"), count, MIB);
    place.ok(&["repo", "init"]);
    place.ok(&["--no-cache", "backup", "data"]);
    place
}

fn at_repository(place: &Place, repository: &Path, arguments: &[&str]) -> Output {
    place.command(arguments).env("HOLDFAST_REPO", format!("file://{}", repository.display())).output().unwrap()
}

fn path_text(path: &Path) -> String {
    path.display().to_string()
}

fn same(left: &Path, right: &Path) -> bool {
    std::fs::read(left).unwrap() == std::fs::read(right).unwrap()
}

#[test]
fn a_source_that_cannot_be_read_is_named_and_the_rest_is_backed_up() {
    let place = Place::ready();
    let Some(disk) = LoopDisk::ext4(&place.path(""), "source", 64 * MIB) else { return };
    let files = fill(&disk.mounted_at, 10, 4 * MIB);
    let originals = place.path("originals");
    std::fs::create_dir(&originals).unwrap();
    for file in &files {
        std::fs::copy(file, originals.join(file.file_name().unwrap())).unwrap();
    }
    disk.break_beyond(24 * MIB);
    let (good, bad): (Vec<_>, Vec<_>) = files.iter().partition(|file| std::fs::read(file).is_ok());
    assert!(good.len() >= 2 && bad.len() >= 2, "{} good, {} bad", good.len(), bad.len());

    place.ok(&["repo", "init"]);
    let source = path_text(&disk.mounted_at);
    let output = place.run(&["backup", &source]);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(3), "{told}");
    let names = |file: &Path| file.file_name().unwrap().to_str().unwrap().to_owned();
    for file in &bad {
        assert!(told.contains(&names(file)) && told.contains("Input/output error"), "{}: {told}", names(file));
    }
    assert!(good.iter().all(|file| !told.contains(&names(file))), "{told}");
    assert!(String::from_utf8_lossy(&output.stdout).contains(&format!("{} entries could not be read", bad.len())));
    place.ok(&["restore", "latest", "restored"]);
    for file in good {
        assert!(same(&originals.join(names(file)), &place.path("restored").join(names(file))), "{}", names(file));
    }
    // What was not read is not there as an empty or shorter file.
    for file in bad {
        assert!(!place.path("restored").join(names(file)).exists(), "{}", names(file));
    }
    assert!(place.ok(&["check", "--read-data"]).contains("nothing is wrong"));
}

#[test]
fn a_full_repository_is_one_line_and_the_next_run_succeeds() {
    let place = Place::ready();
    let Some(disk) = LoopDisk::ext4(&place.path(""), "backend", 96 * MIB) else { return };
    let repository = disk.mounted_at.join("repository");
    let filler = disk.mounted_at.join("filler");
    fill(&place.path("data"), 40, MIB);
    let run = |arguments: &[&str]| at_repository(&place, &repository, arguments);
    assert!(run(&["repo", "init"]).status.success());
    // No room for a single pack, then for one and not for the second.
    for room in [MIB / 2, 36 * MIB] {
        let _ = std::fs::remove_file(&filler);
        fill_up(&disk, &filler, room);
        let line = failure(&["backup"], &run(&["--no-cache", "backup", "data"]));
        assert!(line.contains("make room") && (line.contains("full") || line.contains("No space left")), "{line}");
    }
    std::fs::remove_file(&filler).unwrap();
    assert!(said(&run(&["check", "--read-data"])).is_empty(), "what was cut off is no damage");
    let output = run(&["--no-cache", "backup", "data"]);
    assert!(output.status.success(), "{}", said(&output));
    let output = run(&["check", "--trailers", "--read-data"]);
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("nothing is wrong"), "{}", String::from_utf8_lossy(&output.stdout));
    let restored = path_text(&place.path("restored"));
    assert!(run(&["restore", "latest", &restored]).status.success());
    place.ok(&["compare", "data", "restored"]);
    assert_eq!(unfinished(&repository), Vec::<PathBuf>::new(), "nothing is left to clean");
}

/// Leaves `room` bytes on the disk.
fn fill_up(disk: &LoopDisk, filler: &Path, room: u64) {
    let file = std::fs::File::create(filler).unwrap();
    let bytes = disk.free_bytes().saturating_sub(room);
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).unwrap();
    file.sync_all().unwrap();
}

/// Files that are no object: temporary names of uploads that never ended.
fn unfinished(repository: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![repository.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let is_object_name = |name: &str| name.chars().all(|character| character.is_ascii_hexdigit() || character == '-') || name == "config";
            if path.is_dir() {
                folders.push(path);
            } else if !path.file_name().and_then(|name| name.to_str()).is_some_and(is_object_name) {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn a_repository_whose_disk_breaks_is_never_called_whole() {
    let place = with_snapshot(24);
    let Some(disk) = LoopDisk::ext4(&place.path(""), "backend", 64 * MIB) else { return };
    let repository = disk.mounted_at.join("repository");
    copy_tree(&place.path("repository"), &repository);
    disk.break_beyond(12 * MIB);
    let check = at_repository(&place, &repository, &["check", "--read-data"]);
    assert_eq!(check.status.code(), Some(1), "{}", said(&check));
    let told = format!("{}{}", said(&check), String::from_utf8_lossy(&check.stdout));
    assert!(told.contains("packs/") || told.contains("Input/output error"), "{told}");
    let restore = at_repository(&place, &repository, &["restore", "latest", &path_text(&place.path("restored"))]);
    let told = said(&restore);
    assert_eq!(restore.status.code(), Some(1), "{told}");
    assert!(told.contains("file-") || told.contains("packs/"), "what is missing is named: {told}");
    // It stopped: a file that it was at is there in part, and then without its time, by which it would be taken for whole.
    let modified = |file: &Path| std::fs::metadata(file).unwrap().modified().unwrap();
    for file in std::fs::read_dir(place.path("restored")).unwrap() {
        let file = file.unwrap().path();
        let original = place.path("data").join(file.file_name().unwrap());
        assert!(same(&file, &original) || modified(&file) != modified(&original), "{} is not what it was", file.display());
    }
    place.ok(&["restore", "latest", "restored"]);
    place.ok(&["compare", "data", "restored"]);
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let mut paths: Vec<_> = std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect();
    // Packs last, so that they lie at the end of a new disk.
    paths.sort_by_key(|path| path.ends_with("packs"));
    for path in paths {
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_tree(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
            std::fs::File::open(&target).unwrap().sync_all().unwrap();
        }
    }
}

/// A disk that takes writes and loses them: the page cache says yes, the device says EIO when it is synced.
#[test]
fn a_disk_that_loses_writes_makes_no_success() {
    let place = with_snapshot(40);
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root for file systems on loop devices");
        return;
    }
    let Some(_memory) = MemoryDisk::mount(&place.path("small"), c"size=16m") else { return };
    let Some(disk) = LoopDisk::ext4(&place.path("small"), "disk", 128 * MIB) else { return };
    let target = path_text(&disk.mounted_at.join("restored"));
    let restore = place.run(&["restore", "latest", &target]);
    assert_eq!(restore.status.code(), Some(1), "a restore that did not reach the disk: {}", said(&restore));
    assert!(said(&restore).contains("error"), "{}", said(&restore));

    let repository = disk.mounted_at.join("repository");
    let init = at_repository(&place, &repository, &["repo", "init"]);
    let backup = at_repository(&place, &repository, &["--no-cache", "backup", "data"]);
    assert!(!(init.status.success() && backup.status.success()), "a backup that did not reach the disk");
    assert_eq!(backup.status.code(), Some(1), "{}", said(&backup));
    assert_eq!(said(&backup).lines().count(), 1, "{}", said(&backup));
}

#[test]
fn a_full_target_names_what_is_missing_and_is_finished_when_there_is_room() {
    let place = with_snapshot(40);
    let Some(disk) = LoopDisk::ext4(&place.path(""), "target", 96 * MIB) else { return };
    let filler = disk.mounted_at.join("filler");
    fill_up(&disk, &filler, 20 * MIB);
    let target = disk.mounted_at.join("restored");
    let restore = place.run(&["restore", "latest", &path_text(&target)]);
    let told = said(&restore);
    assert!(matches!(restore.status.code(), Some(1 | 3)), "{told}");
    assert!(told.contains("file-") && (told.contains("full") || told.contains("No space left")), "{told}");
    std::fs::remove_file(&filler).unwrap();
    place.ok(&["restore", "latest", &path_text(&target)]);
    place.ok(&["compare", "data", &path_text(&target)]);
}

/// An index that would be spilled there stays in memory; what must be sorted says that there is no room.
#[test]
fn a_full_cache_that_an_index_outgrows_costs_memory_and_nothing_else() {
    let place = with_snapshot(8);
    let Some(_memory) = MemoryDisk::mount(&place.path("cachedisk"), c"size=64k") else { return };
    let cache = path_text(&place.path("cachedisk/cache"));
    let run = |verb: &[&str]| place.command(verb).env("HOLDFAST_CACHE_DIR", &cache).env("HOLDFAST_TEST_RESIDENT_ENTRIES", "0").output().unwrap();
    assert!(run(&["snapshots"]).status.success());
    std::fs::write(place.path("cachedisk/filler"), vec![1; 1 << 20]).unwrap_err();
    for verb in [&["backup", "data"][..], &["backup", "data"], &["check", "--read-data"], &["restore", "latest", "restored"], &["ls", "latest"], &["forget", "--keep-last", "1"], &["prune", "--now"], &["stats"]] {
        let output = run(verb);
        assert!(output.status.success(), "{verb:?} with a full cache: {}", said(&output));
    }
    place.ok(&["compare", "data", "restored"]);
    std::fs::remove_file(place.path("cachedisk/filler")).unwrap();
}

#[test]
fn a_full_or_broken_cache_costs_time_and_nothing_else() {
    let place = with_snapshot(8);
    let Some(disk) = LoopDisk::ext4(&place.path(""), "cachedisk", 16 * MIB) else { return };
    let cache = path_text(&disk.mounted_at.join("cache"));
    let run = |verb: &[&str]| place.command(verb).env("HOLDFAST_CACHE_DIR", &cache).output().unwrap();
    let filler = disk.mounted_at.join("filler");
    fill_up(&disk, &filler, 0);
    for verb in [&["backup", "data"][..], &["backup", "data"], &["restore", "latest", "from-full"], &["snapshots"]] {
        let output = run(verb);
        assert!(output.status.success(), "{verb:?} with a full cache: {}", said(&output));
    }
    place.ok(&["compare", "data", "from-full"]);
    std::fs::remove_file(&filler).unwrap();
    for number in 0..4 {
        std::fs::write(place.path("data/changes"), noise(number, MIB as usize)).unwrap();
        assert!(run(&["backup", "data"]).status.success());
    }
    // Every byte of what is cached reads as EIO from now on, and nothing can be written.
    disk.break_beyond(2 * MIB);
    for verb in [&["backup", "data"][..], &["restore", "latest", "from-broken"], &["snapshots"], &["check"]] {
        let output = run(verb);
        assert!(output.status.success(), "{verb:?} with a broken cache: {}", said(&output));
    }
    place.ok(&["compare", "data", "from-broken"]);
}
