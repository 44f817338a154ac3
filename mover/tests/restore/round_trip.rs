//! Everything comes back.

use holdfast_mover::fidelity::torture::torture;
use holdfast_repository::{Environment, Repository, store};

use crate::fixture::{Asked, Fixture, is_root, noise, password, request, runtime};

#[test]
fn the_torture_tree_comes_back_whole() {
    let fixture = Fixture::new();
    let made = torture(&fixture.source("")).unwrap();
    let snapshot = fixture.backup();
    let report = fixture.restore_whole(snapshot);
    fixture.assert_identical();
    let target = &report.targets[0];
    assert_eq!(target.files + target.directories + target.others + target.links, made.entries + 1, "{target:?}");
    // Over itself it changes nothing.
    fixture.restore_whole(snapshot);
    fixture.assert_identical();
}

#[test]
fn many_small_files_and_a_few_large_ones() {
    let fixture = Fixture::new();
    for number in 0..3000_u64 {
        fixture.write(&format!("d{}/e{}/f{number}", number % 7, number % 31), noise(number, (number % 97 * 50) as usize));
    }
    for number in 0..3 {
        fixture.write(&format!("large{number}"), noise(9000 + number, 20 << 20));
    }
    let snapshot = fixture.backup();
    let report = fixture.restore_whole(snapshot);
    fixture.assert_identical();
    // Each range of a pack is read about once, although bundles serve many files.
    assert!(report.bytes_read < report.targets[0].bytes * 11 / 10, "{} for {}", report.bytes_read, report.targets[0].bytes);
}

/// Small windows: files, links and directories that end in another window than they began in.
#[test]
fn windows_have_no_borders_that_show() {
    let fixture = Fixture::new();
    for number in 0..4000_u64 {
        let name = format!("{}/{}", "d".repeat(1 + (number % 50) as usize), "n".repeat(150) + &number.to_string());
        fixture.write(&name, number.to_string());
    }
    std::fs::hard_link(fixture.source(&format!("d/{}0", "n".repeat(150))), fixture.source("zz link")).unwrap();
    let snapshot = fixture.backup();
    let mut request = fixture.request(snapshot);
    request.limits.memory_bytes = 1;
    let report = fixture.try_run(request, &Default::default()).unwrap();
    assert!(report.is_complete(), "{:#?}", report.issues);
    fixture.assert_identical();
}

/// A file of more extents than its entry holds, and more than one window does.
#[test]
fn a_giant_file_goes_through_many_windows() {
    use std::os::unix::fs::FileExt;
    let fixture = Fixture::new();
    let file = std::fs::File::create(fixture.source("scattered")).unwrap();
    for part in 0..15_000_u64 {
        file.write_all_at(&part.to_le_bytes(), part << 14).unwrap();
    }
    fixture.write("zz after", "it");
    let snapshot = fixture.backup();
    let mut request = fixture.request(snapshot);
    request.limits.memory_bytes = 1;
    assert!(fixture.try_run(request, &Default::default()).unwrap().is_complete());
    fixture.assert_identical();
}

/// As a sandboxed worker has it: an empty root, no `/proc`.
#[test]
fn a_restore_needs_no_proc() {
    if !is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let fixture = Fixture::new();
    torture(&fixture.source("")).unwrap();
    let snapshot = fixture.backup();
    let directory = fixture.directory().to_path_buf();
    let restored = std::thread::spawn(move || {
        // SAFETY: parts only working directory, root and umask of this thread (and those it starts) from the others.
        #[allow(unsafe_code)]
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::FS) }.unwrap();
        rustix::process::chroot(&directory).unwrap();
        rustix::process::chdir("/").unwrap();
        assert!(!std::path::Path::new("/proc").exists());
        runtime().block_on(async {
            let store = store::local("/repository".as_ref()).unwrap();
            let repository = Repository::open(store, &password(), Environment::system()).await.unwrap();
            let Asked { stored, request } = request(snapshot, "/target".as_ref());
            holdfast_mover::restore::run(&repository, &stored, request, &Default::default(), &Default::default()).await.unwrap()
        })
    });
    let report = restored.join().unwrap();
    assert!(report.is_complete() && report.warnings == 0, "{:#?}", report.issues);
    fixture.assert_identical();
}
