//! What this node keeps of repositories between tasks, sealed as stored: a folder for each repository, so that no worker sees another
//! one's, and one limit for all of them. Nothing depends on it: a task without a cache takes longer.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant, SystemTime};

use holdfast_proto::v1::{assign, backend};

use crate::worker::task::repository;

/// How often the folders are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(600);
/// A repository's share of the limit; one task may spill four times as much (`Repository::use_cache`), without a name, while it runs.
const SHARE: u64 = 4;
/// Removing goes on until so much of the limit is left, so that not every task removes another one's folder.
const KEPT_PERCENT: u64 = 90;
/// A folder holds a repository's id, below it classes, below those files.
const DEPTH_MAX: usize = 4;

/// Where caches are, and how much may be in all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachePlace {
    /// Ours alone; made if it is not there.
    pub directory: PathBuf,
    /// Of all repositories together.
    pub bytes_max: u64,
}

/// The cache of one task's repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    pub(crate) bytes_max: u64,
}

/// Hands out folders, and removes those that were used longest ago.
#[derive(Debug)]
pub(crate) struct Caches {
    place: Option<CachePlace>,
    counted: Mutex<Option<Instant>>,
}

impl Caches {
    pub(crate) fn new(place: Option<CachePlace>) -> Self {
        Self { place, counted: Mutex::default() }
    }

    /// The folder of this name, there and marked as used; none if there is no place for it. Counts what is there from time to time.
    pub(crate) fn folder(&self, name: &str) -> Option<Folder> {
        let place = self.place.as_ref()?;
        let path = place.directory.join(name);
        if self.is_due()
            && let Err(error) = make_room(place)
        {
            tracing::warn!(directory = %place.directory.display(), %error, "what is cached cannot be counted");
        }
        match make(&path) {
            Ok(()) => Some(Folder { path, bytes_max: place.bytes_max / SHARE }),
            Err(error) => {
                tracing::warn!(folder = %path.display(), %error, "a task has no cache");
                None
            }
        }
    }

    fn is_due(&self) -> bool {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = counted.is_none_or(|counted| counted.elapsed() >= COUNT_INTERVAL);
        if is_due {
            *counted = Some(Instant::now());
        }
        is_due
    }
}

/// The name of the folder for a task's repository, from where that is: the same for every task of it, another one for every other.
pub(crate) fn name(spec: &assign::Spec) -> Option<String> {
    let access = repository(spec)?;
    let parts: [&str; 5] = match access.backend.as_ref()?.kind.as_ref()? {
        backend::Kind::S3(s3) => ["s3", &s3.endpoint, &s3.bucket, &s3.prefix, &access.directory],
        backend::Kind::Local(local) => ["local", &local.path, "", "", &access.directory],
    };
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    Some(hasher.finalize().to_hex()[..32].to_owned())
}

fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    File::open(path)?.set_modified(SystemTime::now())
}

/// Removes the folders that were used longest ago, until the rest fits. A task that still uses one goes on without.
fn make_room(place: &CachePlace) -> io::Result<()> {
    let mut folders = Vec::new();
    for entry in listed(&place.directory)? {
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            folders.push((metadata.modified()?, bytes_below(&entry.path(), DEPTH_MAX)?, entry.path()));
        }
    }
    folders.sort();
    let mut bytes: u64 = folders.iter().map(|(_, bytes, _)| bytes).sum();
    let kept_bytes = if bytes > place.bytes_max { place.bytes_max / 100 * KEPT_PERCENT } else { u64::MAX };
    for (_, folder_bytes, path) in folders {
        if bytes <= kept_bytes {
            break;
        }
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => bytes = bytes.saturating_sub(folder_bytes),
        }
    }
    Ok(())
}

fn bytes_below(directory: &Path, depth: usize) -> io::Result<u64> {
    let mut bytes = 0_u64;
    for entry in listed(directory)? {
        // Workers evict and rename while this looks.
        let Ok(metadata) = entry.metadata() else { continue };
        bytes = bytes.saturating_add(match metadata.is_dir() {
            true if depth > 0 => bytes_below(&entry.path(), depth - 1)?,
            true => 0,
            false => metadata.len(),
        });
    }
    Ok(bytes)
}

fn listed(directory: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.collect(),
    }
}

#[cfg(test)]
mod tests {
    use holdfast_proto::v1::{Backend, BackupTask, LocalDirectory, RepositoryAccess, S3};

    use super::*;

    fn backup(kind: backend::Kind, directory: &str) -> assign::Spec {
        let repository = RepositoryAccess { backend: Some(Backend { kind: Some(kind) }), directory: directory.into(), password: Vec::new() };
        assign::Spec::Backup(BackupTask { repository: Some(repository), ..BackupTask::default() })
    }

    fn local(path: &str) -> backend::Kind {
        backend::Kind::Local(LocalDirectory { path: path.into() })
    }

    #[test]
    fn every_repository_has_a_folder_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let place = CachePlace { directory: directory.path().join("cache"), bytes_max: 400 };
        let caches = Caches::new(Some(place));
        let s3 = |bucket: &str, prefix: &str, key: &str| {
            backend::Kind::S3(S3 { bucket: bucket.into(), prefix: prefix.into(), access_key_id: key.into(), ..S3::default() })
        };
        let folder = |kind, directory: &str| caches.folder(&name(&backup(kind, directory)).unwrap()).unwrap();
        let first = folder(s3("b", "p", "key"), "r");
        assert!(first.path.is_dir() && first.bytes_max == 100);
        assert_eq!(folder(s3("b", "p", "newer key"), "r"), first);
        for other in [folder(s3("b", "pr", "key"), ""), folder(s3("bp", "", "key"), "r"), folder(s3("b", "p", "key"), "r2"), folder(local("b"), "r")] {
            assert_ne!(other.path, first.path);
        }
        assert_eq!(Caches::new(None).folder("name"), None);
        assert_eq!(name(&assign::Spec::Wipe(Default::default())), None);
    }

    #[test]
    fn what_was_used_longest_ago_goes_when_there_is_too_much() {
        let directory = tempfile::tempdir().unwrap();
        let place = CachePlace { directory: directory.path().to_owned(), bytes_max: 1000 };
        let used = |name: &str, seconds_ago: u64, bytes: usize| {
            let folder = directory.path().join(name);
            fs::create_dir_all(folder.join("id/index")).unwrap();
            fs::write(folder.join("id/index/run"), vec![0; bytes]).unwrap();
            File::open(&folder).unwrap().set_modified(SystemTime::now() - Duration::from_secs(seconds_ago)).unwrap();
        };
        used("old", 300, 400);
        used("older", 400, 400);
        used("new", 0, 150);
        make_room(&place).unwrap();
        assert_eq!(listed(directory.path()).unwrap().len(), 3, "there was room");
        used("newest", 0, 300);
        make_room(&place).unwrap();
        let mut left: Vec<_> = listed(directory.path()).unwrap().iter().map(|entry| entry.file_name()).collect();
        left.sort();
        assert_eq!(left, ["new", "newest", "old"]);
    }
}
