//! The tree that the fixtures hold, laid again: what is restored is compared with it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

use holdfast_mover::fidelity::torture::noise;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid};

/// Names that JSON, Go's quotes, a shell or a sort may get wrong.
const ODD_NAMES: [&[u8]; 9] =
    [b"new\nline", b"bad\xffutf8", b"quote\"back\\slash", b"-dash", "\u{e4}\u{20ac}\u{1f600}".as_bytes(), b"a.b", b"a-b", b"\x01control", b"tab\tand space "];

/// Which of the two states.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    First,
    Second,
}

#[test]
#[ignore = "for tests/fixtures/make"]
fn lays_the_tree_of_the_fixtures() {
    let state = if std::env::var("HOLDFAST_LAY").unwrap() == "first" { State::First } else { State::Second };
    lay(Path::new("/kubestash-data"), state);
}

/// Lays it at `root`, which is made. Needs root.
pub fn lay(root: &Path, state: State) {
    for directory in ["", "dir", "dir/deep", "dir/deep/er", "empty", "odd names", "odd names/a"] {
        fs::create_dir(root.join(directory)).unwrap();
    }
    let write = |name: &str, content: &[u8]| fs::write(root.join(name), content).unwrap();
    write("hello.txt", b"hello, restic\n");
    write("empty.txt", b"");
    write("big.bin", &noise(1, 600_000));
    write("odd names/a/c", b"below a\n");
    for (number, name) in ODD_NAMES.into_iter().enumerate() {
        fs::write(root.join("odd names").join(OsStr::from_bytes(name)), [b'0' + number as u8]).unwrap();
    }
    for number in 0..40 {
        write(&format!("dir/deep/f{number}"), format!("file {number}\n").as_bytes());
    }
    if state == State::Second {
        fs::remove_file(root.join("dir/deep/f7")).unwrap();
        write("dir/deep/new", b"only in the second\n");
        write("dir/deep/f9", b"another content\n");
    }
    sparse(&root.join("sparse.img"));
    fs::hard_link(root.join("big.bin"), root.join("dir/another name of big.bin")).unwrap();
    fs::hard_link(root.join("hello.txt"), root.join("odd names/hello again")).unwrap();
    symlink("../hello.txt", root.join("dir/link")).unwrap();
    symlink("/etc/passwd", root.join("dir/outside")).unwrap();
    symlink(OsStr::from_bytes(b"no such \xfe"), root.join("dangling")).unwrap();
    write("setuid", b"#!/bin/sh\n");
    let node = |name: &str, kind, device| rustix::fs::mknodat(CWD, root.join(name), kind, Mode::from_raw_mode(0o640), device).unwrap();
    node("pipe", FileType::Fifo, 0);
    node("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3));
    node("loop", FileType::BlockDevice, rustix::fs::makedev(7, 9));
    let attribute = |name: &str, key: &str, value: &[u8]| rustix::fs::setxattr(root.join(name), key, value, rustix::fs::XattrFlags::empty()).unwrap();
    attribute("hello.txt", "user.comment", b"kept");
    attribute("hello.txt", "user.bytes", b"\x00\xff\n");
    attribute("dir", "user.of a directory", b"");
    finish(root);
}

/// Owners, modes and times, deepest first.
fn finish(root: &Path) {
    let mut all = Vec::new();
    walk(root, &mut all);
    for (number, path) in all.iter().enumerate().rev() {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap_or_default();
        let (owner, mode) = match name {
            "setuid" => ((1000, 1001), Some(0o4755)),
            "empty" => ((0, 1001), Some(0o2775)),
            "dir" => ((0, 0), Some(0o1777)),
            "dir/deep" => ((1000, 1000), Some(0o700)),
            "hello.txt" | "odd names/hello again" => ((0, 0), Some(0o644)),
            name if name.starts_with("dir/deep/") => ((1000, 4_000_000_000), None),
            _ => ((0, 0), None),
        };
        rustix::fs::chownat(CWD, path, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)), AtFlags::SYMLINK_NOFOLLOW).unwrap();
        if !path.is_symlink() {
            let usual = if path.is_dir() { 0o755 } else { 0o640 };
            rustix::fs::chmodat(CWD, path, Mode::from_raw_mode(mode.unwrap_or(usual)), AtFlags::empty()).unwrap();
        }
        // Names of one file have one time; one of the times is before 1970.
        let secs = match name {
            "dir/deep/f1" => -7,
            "hello.txt" | "odd names/hello again" | "big.bin" | "dir/another name of big.bin" => 1_600_000_000,
            _ => 1_577_930_645 + number as i64,
        };
        let time = Timespec { tv_sec: secs, tv_nsec: 123_456_789 };
        rustix::fs::utimensat(CWD, path, &Timestamps { last_access: time, last_modification: time }, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}

fn walk(path: &Path, all: &mut Vec<std::path::PathBuf>) {
    all.push(path.to_owned());
    if path.is_dir() && !path.is_symlink() {
        let mut inside: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        inside.sort();
        inside.iter().for_each(|path| walk(path, all));
    }
}

/// One page, and nothing behind it. (restic leaves sockets out, and does not record where holes are.)
fn sparse(path: &Path) {
    let file = fs::File::create(path).unwrap();
    file.set_len(9 << 20).unwrap();
    file.write_all_at(b"head", 0).unwrap();
}
