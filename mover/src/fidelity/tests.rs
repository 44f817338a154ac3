use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;

struct Pair {
    _keep: tempfile::TempDir,
    left: PathBuf,
    right: PathBuf,
}

fn tortured_pair() -> Pair {
    let keep = tempfile::tempdir().unwrap();
    let (left, right) = (keep.path().join("left"), keep.path().join("right"));
    for side in [&left, &right] {
        std::fs::create_dir(side).unwrap();
        torture::torture(side).unwrap();
        let date = std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(5));
        std::fs::File::open(side).unwrap().set_times(date).unwrap();
    }
    Pair { _keep: keep, left, right }
}

fn aspects(pair: &Pair) -> Vec<(String, Aspect)> {
    let comparison = compare(&pair.left, &pair.right).unwrap();
    comparison.differences.into_iter().map(|difference| (difference.path.to_string(), difference.aspect)).collect()
}

#[test]
fn equal_trees_are_identical() {
    let pair = tortured_pair();
    let comparison = compare(&pair.left, &pair.right).unwrap();
    assert!(comparison.is_identical_with_holes(), "{:#?}", comparison.differences);
    assert!(comparison.entries > 150 && comparison.bytes > 10 << 20, "{} {}", comparison.entries, comparison.bytes);
}

/// A comparison that cannot see a difference proves nothing.
#[test]
fn each_difference_is_seen() {
    let pair = tortured_pair();
    let right = |name: &str| pair.right.join(name);
    let keep_time = |path: &PathBuf, change: &dyn Fn()| {
        let time = std::fs::metadata(path).unwrap().modified().unwrap();
        change();
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_times(std::fs::FileTimes::new().set_modified(time)).unwrap();
    };
    let noise = right("contents/noise");
    keep_time(&noise, &|| {
        use std::os::unix::fs::FileExt;
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&noise).unwrap();
        let mut byte = [0];
        file.read_at(&mut byte, 4_000_000).unwrap();
        file.write_at(&[!byte[0]], 4_000_000).unwrap();
    });
    let zeros = right("contents/written zeros");
    keep_time(&zeros, &|| {
        let file = std::fs::OpenOptions::new().write(true).open(&zeros).unwrap();
        file.set_len(0).unwrap();
        file.set_len(3 << 20).unwrap();
    });
    let xattrs = right("attributes/xattrs");
    rustix::fs::setxattr(&xattrs, "user.text", b"other", rustix::fs::XattrFlags::empty()).unwrap();
    let mode = right("attributes/mode 644");
    std::fs::set_permissions(&mode, std::fs::Permissions::from_mode(0o640)).unwrap();
    let one_byte = right("contents/one byte");
    std::fs::File::options().write(true).open(&one_byte).unwrap().set_times(std::fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH)).unwrap();
    let found = aspects(&pair);
    let expected = [
        ("attributes/mode 644", Aspect::Mode),
        ("attributes/xattrs", Aspect::Xattrs),
        ("contents/noise", Aspect::Content),
        ("contents/one byte", Aspect::Mtime),
        ("contents/written zeros", Aspect::Holes),
    ];
    assert_eq!(found, expected.map(|(path, aspect)| (path.to_owned(), aspect)));
}

#[test]
fn structure_counts() {
    let keep = tempfile::tempdir().unwrap();
    let (left, right) = (keep.path().join("left"), keep.path().join("right"));
    for side in [&left, &right] {
        std::fs::create_dir(side).unwrap();
        for name in ["a", "b", "kind"] {
            std::fs::write(side.join(name), "x").unwrap();
        }
    }
    std::fs::remove_file(left.join("b")).unwrap();
    std::fs::hard_link(left.join("a"), left.join("b")).unwrap();
    std::fs::remove_file(right.join("kind")).unwrap();
    symlink("a", right.join("kind")).unwrap();
    symlink("a", left.join("target")).unwrap();
    symlink("b", right.join("target")).unwrap();
    std::fs::write(left.join("only left"), "").unwrap();
    let pair = Pair { _keep: keep, left, right };
    let found: Vec<_> = aspects(&pair).into_iter().filter(|(_, aspect)| *aspect != Aspect::Mtime).collect();
    let expected = [("b", Aspect::Links), ("kind", Aspect::Kind), ("only left", Aspect::Presence), ("target", Aspect::Target)];
    assert_eq!(found, expected.map(|(path, aspect)| (path.to_owned(), aspect)));
}
