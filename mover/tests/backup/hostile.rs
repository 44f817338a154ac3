//! A volume whose owner works against us, or from which we are shut out.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use holdfast_mover::backup::{BackupError, Parent};
use holdfast_mover::scan::root_identity;
use holdfast_mover::stop::StopToken;

use crate::fixture::{Fixture, noise};

/// A directory becomes a link to one outside and back, as fast as it goes: nothing outside is ever read.
#[test]
fn a_directory_swapped_for_a_link() {
    let fixture = Fixture::new();
    let outside = tempfile::TempDir::new().unwrap();
    std::fs::write(outside.path().join("file"), b"SECRET").unwrap();
    std::fs::create_dir(outside.path().join("deeper")).unwrap();
    std::fs::write(outside.path().join("deeper/file"), b"SECRET").unwrap();
    for number in 0..20 {
        fixture.write(&format!("d{number:02}/file"), b"public");
        fixture.write(&format!("d{number:02}/deeper/file"), b"public");
    }
    let done = Arc::new(AtomicBool::new(false));
    let swaps = Arc::new(AtomicUsize::new(0));
    let swapper = {
        let (done, swaps) = (Arc::clone(&done), Arc::clone(&swaps));
        let (inside, outside) = (fixture.source.path().to_path_buf(), outside.path().to_path_buf());
        std::thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                for number in 0..20 {
                    let (name, aside) = (inside.join(format!("d{number:02}")), inside.join(format!(".aside{number:02}")));
                    std::fs::rename(&name, &aside).unwrap();
                    symlink(&outside, &name).unwrap();
                    std::fs::remove_file(&name).unwrap();
                    std::fs::rename(&aside, &name).unwrap();
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
            }
        })
    };
    let (mut links_seen, mut backups) = (0, 0);
    // On one core the scheduler may let the two meet late.
    while backups < 30 || (links_seen == 0 && backups < 300) {
        backups += 1;
        let mut request = fixture.request();
        request.parent = Parent::None;
        let report = fixture.try_run(request, StopToken::new()).unwrap();
        let contents = fixture.snapshot(report.snapshot);
        for entry in &contents.entries {
            if entry.kind.is_file() && entry.link_to.is_none() {
                assert_eq!(fixture.content(&contents, entry), b"public", "{}", entry.path);
            }
        }
        links_seen += contents.entries.iter().filter(|entry| matches!(entry.kind, holdfast_mover::catalog::EntryKind::Symlink { .. })).count();
        links_seen += report.unreadable_count as usize + report.changed_while_read_count as usize;
    }
    done.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    assert!(swaps.load(Ordering::Relaxed) > 100 && links_seen > 0, "the swaps were never met: {links_seen}");
}

/// The same at the worst moment, each time: between the call that looks at a name (of a directory: that lists it) and the one that opens it.
#[test]
fn a_name_swapped_for_a_link_between_two_calls() {
    let fixture = Fixture::new();
    let outside = tempfile::TempDir::new().unwrap();
    std::fs::write(outside.path().join("file"), b"SECRET").unwrap();
    for name in ["directory/file", "file", "large", "linked", "stays", "turned"] {
        fixture.write(name, if name == "large" { &[7; 200_000] } else { b"public" });
    }
    std::fs::write(outside.path().join("large"), [9; 200_000]).unwrap();
    std::fs::hard_link(fixture.path("linked"), fixture.path("zlinked")).unwrap();
    let (inside, beyond) = (fixture.source.path().to_path_buf(), outside.path().to_path_buf());
    let mut request = fixture.request();
    let swapped = std::sync::Mutex::new(std::collections::HashSet::new());
    request.is_excluded = Some(Arc::new(move |_, path, _| {
        if !swapped.lock().unwrap().insert(path.clone()) {
            return false;
        }
        let target = match path.as_bytes() {
            b"directory" | b"turned" => beyond.clone(),
            // Listed as a file, and a directory when it is looked at.
            b"stays" => {
                std::fs::remove_file(inside.join("turned")).unwrap();
                std::fs::create_dir(inside.join("turned")).unwrap();
                return false;
            }
            b"file" | b"linked" | b"zlinked" => beyond.join("file"),
            b"large" => beyond.join("large"),
            _ => return false,
        };
        let name = inside.join(path.to_string());
        std::fs::rename(&name, inside.join(format!("{path}.aside"))).unwrap();
        symlink(target, name).unwrap();
        false
    }));
    let report = fixture.try_run(request, StopToken::new()).unwrap();
    let contents = fixture.snapshot(report.snapshot);
    for entry in contents.entries.iter().filter(|entry| entry.kind.is_file() && entry.link_to.is_none()) {
        let content = fixture.content(&contents, entry);
        assert!(content == b"public" || content == [7; 200_000], "{} is from outside", entry.path);
    }
    assert!(!contents.paths().contains(&"directory/file".to_string()) && !contents.paths().contains(&"turned/file".to_string()));
    let directory = contents.entries.iter().find(|entry| entry.path.as_bytes() == b"directory").unwrap();
    assert!(matches!(directory.kind, holdfast_mover::catalog::EntryKind::Symlink { .. }), "{:?}", directory.kind);
    assert!(report.unreadable_count + report.changed_while_read_count >= 4, "{:?} {:?}", report.unreadable_first, report.changed_first);
}

/// Runs on a thread without privileges, and with all that it starts: false if this machine does not allow that.
fn without_privileges(work: impl FnOnce() + Send) -> bool {
    if !rustix::process::geteuid().is_root() {
        work();
        return true;
    }
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let nobody = rustix::process::Uid::from_raw(65_534);
            if rustix::thread::set_thread_res_uid(nobody, nobody, nobody).is_err() {
                return false;
            }
            work();
            true
        });
        thread.join().unwrap()
    })
}

fn open_to_all(fixture: &Fixture) {
    for directory in [&fixture.source, &fixture.store_directory] {
        std::fs::set_permissions(directory.path(), Permissions::from_mode(0o777)).unwrap();
    }
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_kept() {
    let ran = without_privileges(|| {
        let fixture = Fixture::new();
        fixture.write("good", &noise(1, 5000));
        fixture.write("secret", b"secret");
        fixture.write("closed/inside", b"inside");
        for path in ["secret", "closed"] {
            std::fs::set_permissions(fixture.path(path), Permissions::from_mode(0o000)).unwrap();
        }
        let told = Arc::new(AtomicUsize::new(0));
        let mut request = fixture.request();
        let counter = Arc::clone(&told);
        request.on_unreadable = Some(Arc::new(move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
        }));
        let report = fixture.try_run(request, StopToken::new()).unwrap();
        assert_eq!(report.unreadable_count, 2);
        assert_eq!(told.load(Ordering::Relaxed), 2);
        assert!(report.unreadable_first[0].contains("closed") && report.unreadable_first[1].contains("secret"), "{:?}", report.unreadable_first);
        let contents = fixture.snapshot(report.snapshot);
        assert_eq!(contents.paths(), [".", "closed", "good"]);
        assert!(contents.entry(b"closed").flags.listing_incomplete);
        std::fs::set_permissions(fixture.path("closed"), Permissions::from_mode(0o700)).unwrap();
    });
    assert!(ran, "this machine cannot give up its privileges");
}

#[test]
fn nothing_readable_is_a_failure() {
    without_privileges(|| {
        let fixture = Fixture::new();
        open_to_all(&fixture);
        fixture.write("secret", b"secret");
        std::fs::set_permissions(fixture.path("secret"), Permissions::from_mode(0o000)).unwrap();
        let result = fixture.try_run(fixture.request(), StopToken::new());
        assert!(matches!(result, Err(BackupError::VolumeUnreadable { .. })), "{result:?}");
    });
}

/// The first name of a file is out of reach, a later one is not: the content is kept under that.
#[test]
fn a_link_whose_first_name_cannot_be_read() {
    let fixture = Fixture::new();
    fixture.write("a", b"content");
    for name in ["b", "c"] {
        std::fs::hard_link(fixture.path("a"), fixture.path(name)).unwrap();
    }
    // The walk sees `a`, and it is gone before a worker comes to it.
    let path = fixture.path("a");
    let mut request = fixture.request();
    request.is_excluded = Some(Arc::new(move |_, now, _| {
        if now.as_bytes() == b"b" {
            let _ = std::fs::remove_file(&path);
        }
        false
    }));
    let report = fixture.try_run(request, StopToken::new()).unwrap();
    let contents = fixture.snapshot(report.snapshot);
    let paths = contents.paths();
    let first = if paths.contains(&"a".to_string()) { &b"a"[..] } else { b"b" };
    assert_eq!(fixture.content(&contents, contents.entry(first)), b"content");
    assert_eq!(contents.entry(b"c").link_to.as_ref().map(|path| path.as_bytes()), Some(first));
}

#[test]
fn a_volume_that_was_replaced_is_refused() {
    let fixture = Fixture::new();
    fixture.write("file", b"content");
    let other = tempfile::TempDir::new().unwrap();
    for (look, good) in [(fixture.source.path().to_path_buf(), true), (other.path().to_path_buf(), false)] {
        let mut request = fixture.request();
        request.sources[0].look_again = Some(Arc::new(move || Ok(root_identity(std::fs::File::open(&look)?)?)));
        let result = fixture.try_run(request, StopToken::new());
        assert_eq!(result.is_ok(), good);
        assert!(good || matches!(result, Err(BackupError::VolumeChanged { .. })));
    }
    let request = fixture.request();
    std::fs::remove_dir_all(fixture.source.path()).unwrap();
    assert!(matches!(fixture.try_run(request, StopToken::new()), Err(BackupError::VolumeChanged { .. })), "an unlinked root");
}

/// In a mount namespace of its own, so that nothing is left over: a mount below the root is named and not entered.
#[test]
#[allow(unsafe_code)]
fn another_mount_is_not_entered() {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // SAFETY: only this thread, and those that it starts, see the mounts that follow.
            let unshared = unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) };
            if unshared.is_err() {
                eprintln!("skipped: a mount namespace needs root");
                return;
            }
            mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE).unwrap();
            let fixture = Fixture::new();
            fixture.write("mine", b"mine");
            fixture.write("bound-file", b"hidden below");
            for name in ["tmpfs", "bound"] {
                std::fs::create_dir(fixture.path(name)).unwrap();
            }
            mount("tmpfs", fixture.path("tmpfs"), "tmpfs", MountFlags::empty(), None).unwrap();
            std::fs::write(fixture.path("tmpfs/other"), b"other").unwrap();
            // A bind mount of the same file system has the same device: only the mount tells it apart.
            rustix::mount::mount_bind(fixture.store_directory.path(), fixture.path("bound")).unwrap();
            rustix::mount::mount_bind(fixture.path("mine"), fixture.path("bound-file")).unwrap();
            let report = fixture.backup();
            // A directory is there again to be mounted on; nothing of what is mounted is.
            assert_eq!(fixture.snapshot(report.snapshot).paths(), [".", "bound", "mine", "tmpfs"]);
            assert_eq!((report.notes.len(), report.unreadable_count), (3, 0), "{:?}", report.notes);
            for name in ["tmpfs", "bound", "bound-file"] {
                rustix::mount::unmount(fixture.path(name), rustix::mount::UnmountFlags::DETACH).unwrap();
            }
        });
    });
}
