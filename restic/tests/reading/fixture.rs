//! A copy of a fixture, opened, and restores out of it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_mover::fidelity::{Comparison, compare};
use holdfast_mover::pattern::PatternSet;
use holdfast_mover::progress::Progress;
use holdfast_mover::restore::{self, RestoreError, RestoreLimits, RestoreReport, RestoreRequest, Target};
use holdfast_mover::stop::StopToken;
use holdfast_repository::SecretBytes;
use holdfast_repository::store::open_foreign_url;
use holdfast_restic::testing::copy_fixture;
use holdfast_restic::{OpenError, Part, Repository, Snapshot, SnapshotSource};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::laid::{State, lay};

pub const PASSWORD: &str = "kubestash-password";
pub const VERSIONS: [&str; 2] = ["v1", "v2"];
pub const PATH: &str = "/kubestash-data";

pub struct Fixture {
    pub runtime: Runtime,
    pub place: TempDir,
}

impl Fixture {
    /// Of version `v1` or `v2`.
    pub fn new(version: &str) -> Self {
        let place = TempDir::new().unwrap();
        copy_fixture(version, &place.path().join("repository"));
        std::fs::create_dir(place.path().join("target")).unwrap();
        Self { runtime: tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap(), place }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub fn open(&self) -> Repository {
        self.try_open(PASSWORD).unwrap()
    }

    pub fn try_open(&self, password: &str) -> Result<Repository, OpenError> {
        let store = open_foreign_url(self.path("repository").to_str().unwrap()).unwrap();
        self.runtime.block_on(Repository::open(store, &SecretBytes::password(password.into())))
    }

    /// The snapshot taken so many days into the month.
    pub fn snapshot(&self, number: usize) -> Snapshot {
        self.runtime.block_on(self.open().snapshots()).unwrap().readable[number - 1].clone()
    }

    pub fn request(&self, path: &str) -> RestoreRequest {
        RestoreRequest {
            targets: vec![Target { snapshot_path: path.into(), root: open(&self.path("target")) }],
            include: PatternSet::default(),
            exclude: PatternSet::default(),
            may_write: Arc::new(|| true),
            device_nodes: true,
            rules: Default::default(),
            sync: true,
            limits: RestoreLimits { threads: 3, ..RestoreLimits::standard() },
            observer: None,
        }
    }

    pub fn restore(&self, snapshot: &Snapshot, request: RestoreRequest) -> Result<RestoreReport, RestoreError> {
        let paths = request.targets.iter().map(|target| String::from_utf8(target.snapshot_path.clone()).unwrap());
        let parts = paths.map(|path| Part { path, snapshot: snapshot.clone() }).collect();
        let memory_bytes = request.limits.memory_bytes;
        self.runtime.block_on(async {
            let source = SnapshotSource::open(&self.open_async().await, parts, memory_bytes).await.map_err(|error| match error {
                OpenError::Read(error) => RestoreError::Repository(error),
                other => panic!("{other}"),
            })?;
            restore::run_from(&source, request, &Arc::new(Progress::default()), &StopToken::new()).await
        })
    }

    async fn open_async(&self) -> Repository {
        let store = open_foreign_url(self.path("repository").to_str().unwrap()).unwrap();
        Repository::open(store, &SecretBytes::password(PASSWORD.into())).await.unwrap()
    }

    pub fn restore_all(&self, number: usize) -> RestoreReport {
        self.restore(&self.snapshot(number), self.request(PATH)).unwrap()
    }

    /// What was restored beside the tree as it was.
    pub fn compare(&self, state: State) -> Comparison {
        let laid = self.path("laid");
        lay(&laid, state);
        compare(&laid, &self.path("target")).unwrap()
    }

    /// The objects below a folder, sorted, or the one file.
    pub fn objects(&self, folder: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        files(&self.path("repository").join(folder), &mut found);
        found.sort();
        found
    }
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

pub fn open(directory: &Path) -> OwnedFd {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(directory, flags, rustix::fs::Mode::empty()).unwrap()
}

/// The trees have other people's files and device nodes.
pub fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: only root can lay the tree");
    }
    is_root
}
