//! Sizes and names of source files, and what must never stand in one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::dependencies::root;

const LINES_MAX: usize = 600;
const VAGUE_NAMES: [&str; 8] = [
    "util", "utils", "helper", "helpers", "common", "manager", "misc", "mod",
];
const NOT_OURS: [&str; 5] = ["target", ".git", "node_modules", "assets.d", "demo-data"];

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        // A module may be called as one of those: `controller/src/target`.
        let is_module = directory.ends_with("src");
        if !is_module && NOT_OURS.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        if kind.is_dir() {
            files(&path, found);
        } else if kind.is_file() {
            found.push(path);
        }
    }
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&root(), &mut found);
    found.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    assert!(found.len() > 50, "the walk finds the tree");
    found
}

/// The Rust sources of a folder of the root.
pub(crate) fn texts(folder: &str) -> Vec<(PathBuf, String)> {
    let folder = root().join(folder);
    let inside = sources()
        .into_iter()
        .filter(|path| path.starts_with(&folder));
    let texts: Vec<_> = inside
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect();
    assert!(!texts.is_empty());
    texts
}

#[test]
fn no_source_file_is_too_long() {
    let long: Vec<_> = sources()
        .into_iter()
        .map(|path| (fs::read_to_string(&path).unwrap().lines().count(), path))
        .filter(|(lines, _)| *lines > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "more than {LINES_MAX} lines: {long:?}");
}

#[test]
fn files_are_named_by_the_noun_they_own() {
    let vague: Vec<_> = sources()
        .into_iter()
        .filter(|path| {
            let of_root = path.strip_prefix(root()).unwrap();
            of_root
                .with_extension("")
                .components()
                .any(|part| VAGUE_NAMES.iter().any(|name| part.as_os_str() == *name))
        })
        .collect();
    assert!(vague.is_empty(), "names that say nothing: {vague:?}");
}

#[test]
fn nothing_is_left_to_do_or_to_guess() {
    let markers = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
    ];
    let mut found = Vec::new();
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        for (at, line) in text.lines().enumerate() {
            if markers.iter().any(|marker| line.contains(marker)) {
                found.push(format!("{}:{}", path.display(), at + 1));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn crates_of_plain_logic_forbid_unsafe_code() {
    for folder in [
        "api",
        "proto",
        "repository",
        "restic",
        "controller",
        "standalone",
    ] {
        // What ships; a test harness may need it (an allocator that counts).
        for (path, text) in texts(&format!("{folder}/src")) {
            let is_unsafe = text
                .lines()
                .any(|line| !line.trim_start().starts_with("//") && line.contains("unsafe {"));
            assert!(!is_unsafe, "{} has unsafe code", path.display());
        }
    }
}
