//! What an application does to its data between two backups: a little of everything.

use std::{
    fs,
    io::{Seek as _, SeekFrom, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{at, cluster::Cluster};

/// Below this a file is not worth changing in the middle.
const LARGE_BYTES: u64 = 4 * 1024 * 1024;
/// Files below this are removed and appended to, so that the table shows the changes and not one large file's absence.
const SMALL_BYTES: u64 = 64 * 1024;

/// Makes the changes, in the applications' own mounts, and says what they are.
pub(super) fn make(cluster: &Cluster) -> Result<String> {
    let mut made = Vec::new();
    for volume in cluster.volumes() {
        let root = cluster.mounted(&volume);
        let files = files(&root)?;
        let added = root.join("added after the first backup");
        at(fs::write(&added, "new\n"), &added)?;
        made.push("added");
        if let Some(large) = files
            .iter()
            .find(|path| fs::metadata(path).is_ok_and(|file| file.len() > LARGE_BYTES))
        {
            at(change_in_the_middle(large), large)?;
            made.push("changed inside (64 bytes of a large file)");
        }
        let small: Vec<&PathBuf> = files.iter().filter(|path| is_small(path)).take(3).collect();
        if let [appended, removed, closed] = small.as_slice() {
            let mut file = at(fs::OpenOptions::new().append(true).open(appended), appended)?;
            at(file.write_all(b"one more line\n"), appended)?;
            at(fs::remove_file(removed), removed)?;
            at(
                fs::set_permissions(closed, fs::Permissions::from_mode(0o600)),
                closed,
            )?;
            made.extend(["appended to", "removed", "of another mode"]);
        }
    }
    made.sort_unstable();
    let mut counted: Vec<(usize, &str)> = Vec::new();
    for change in made {
        match counted.last_mut().filter(|(_, last)| *last == change) {
            Some((count, _)) => *count += 1,
            None => counted.push((1, change)),
        }
    }
    Ok(counted
        .iter()
        .map(|(count, change)| {
            format!(
                "{count} {} {change}",
                if *count == 1 { "file" } else { "files" }
            )
        })
        .collect::<Vec<_>>()
        .join(", "))
}

fn is_small(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.len() < SMALL_BYTES)
}

fn change_in_the_middle(path: &Path) -> std::io::Result<()> {
    let mode = fs::metadata(path)?.permissions();
    fs::set_permissions(path, fs::Permissions::from_mode(mode.mode() | 0o200))?;
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    file.seek(SeekFrom::Start(LARGE_BYTES / 2))?;
    file.write_all(&[0x5a; 64])?;
    fs::set_permissions(path, mode)
}

/// The first regular files of a volume, in order of name, so that every run changes the same ones.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    const ENOUGH: usize = 20_000;
    let (mut found, mut open) = (Vec::new(), vec![root.to_owned()]);
    while let Some(directory) = open.pop() {
        let entries = at(fs::read_dir(&directory), &directory)?;
        let mut entries = entries
            .collect::<std::io::Result<Vec<_>>>()
            .with_context(|| directory.display().to_string())?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let kind = at(entry.file_type(), &entry.path())?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
        if found.len() > ENOUGH {
            break;
        }
    }
    Ok(found)
}
