//! A repository, a directory that is backed up, and one that it is restored to.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_mover::backup::{BackupRequest, ChangeRule, Limits, Parent, Source};
pub(crate) use holdfast_mover::fidelity::torture::noise;
use holdfast_mover::fidelity::{Comparison, compare};
use holdfast_mover::pattern::PatternSet;
use holdfast_mover::progress::Progress;
use holdfast_mover::restore::{RestoreError, RestoreLimits, RestoreReport, RestoreRequest, Stored, Target};
use holdfast_mover::stop::StopToken;
use holdfast_repository::{Environment, Repository, SecretBytes, SnapshotId, Store, store};
use tempfile::TempDir;

pub(crate) struct Fixture {
    directory: TempDir,
    pub(crate) repository: Repository,
    pub(crate) runtime: tokio::runtime::Runtime,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with_store(|store| store)
    }

    pub(crate) fn with_store(wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>) -> Self {
        let directory = TempDir::new().unwrap();
        for name in ["source", "target", "repository"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let runtime = runtime();
        let store = wrap(store::local(&directory.path().join("repository")).unwrap());
        let password = password();
        let repository = runtime.block_on(Repository::init(store, &password, Environment::system())).unwrap().repository;
        Self { directory, repository, runtime }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn source(&self, name: &str) -> PathBuf {
        self.directory.path().join("source").join(name)
    }

    pub(crate) fn target(&self, name: &str) -> PathBuf {
        self.directory.path().join("target").join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.source(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn backup(&self) -> SnapshotId {
        self.backup_of(&[("/data", &self.source(""))])
    }

    pub(crate) fn backup_of(&self, sources: &[(&str, &Path)]) -> SnapshotId {
        let sources = sources.iter().map(|(path, directory)| Source {
            root: open(directory),
            path: path.as_bytes().to_vec(),
            pvc_uid: String::new(),
            path_in_volume: Vec::new(),
            change_rule: ChangeRule::Full,
            look_again: None,
        });
        let request = BackupRequest {
            sources: sources.collect(),
            host: "host".into(),
            session: String::new(),
            component: String::new(),
            is_excluded: None,
            parent: Parent::Auto,
            limits: Limits { cpus: 2, ..Limits::default() },
            extensions: Default::default(),
            on_unreadable: None,
            on_released: None,
        };
        let run = holdfast_mover::backup::run(&self.repository, request, Arc::new(Progress::default()), StopToken::new());
        let report = self.runtime.block_on(run).unwrap();
        assert_eq!(report.unreadable_count, 0, "{:?}", report.unreadable_first);
        report.snapshot
    }

    pub(crate) fn request(&self, snapshot: SnapshotId) -> Asked {
        request(snapshot, &self.target(""))
    }

    pub(crate) fn try_run(&self, Asked { stored, request }: Asked, stop: &StopToken) -> Result<RestoreReport, RestoreError> {
        self.runtime.block_on(holdfast_mover::restore::run(&self.repository, &stored, request, &Arc::new(Progress::default()), stop))
    }

    pub(crate) fn restore(&self, snapshot: SnapshotId) -> RestoreReport {
        self.try_run(self.request(snapshot), &StopToken::new()).unwrap()
    }

    pub(crate) fn restore_whole(&self, snapshot: SnapshotId) -> RestoreReport {
        let report = self.restore(snapshot);
        assert!(report.is_complete() && report.warnings == 0, "{:#?}", report.issues);
        report
    }

    pub(crate) fn compare(&self) -> Comparison {
        compare(&self.source(""), &self.target("")).unwrap()
    }

    pub(crate) fn assert_identical(&self) {
        let comparison = self.compare();
        assert!(comparison.is_identical_with_holes(), "{:#?}", comparison.differences);
        assert!(comparison.entries > 0);
    }
}

/// A snapshot, and how it is to be restored.
pub(crate) struct Asked {
    pub(crate) stored: Stored,
    pub(crate) request: RestoreRequest,
}

impl std::ops::Deref for Asked {
    type Target = RestoreRequest;

    fn deref(&self) -> &RestoreRequest {
        &self.request
    }
}

impl std::ops::DerefMut for Asked {
    fn deref_mut(&mut self) -> &mut RestoreRequest {
        &mut self.request
    }
}

pub(crate) fn request(snapshot: SnapshotId, target: &Path) -> Asked {
    let stored = Stored { snapshot, host: "host".into(), session: String::new(), component: String::new() };
    let request = RestoreRequest {
        targets: vec![Target { snapshot_path: b"/data".to_vec(), root: open(target) }],
        include: PatternSet::default(),
        exclude: PatternSet::default(),
        may_write: Arc::new(|| true),
        device_nodes: true,
        rules: Default::default(),
        sync: true,
        limits: RestoreLimits { threads: 3, ..RestoreLimits::standard() },
        observer: None,
    };
    Asked { stored, request }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub(crate) fn password() -> SecretBytes {
    SecretBytes::new(b"password".to_vec())
}

pub(crate) fn open(directory: &Path) -> OwnedFd {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(directory, flags, rustix::fs::Mode::empty()).unwrap()
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
