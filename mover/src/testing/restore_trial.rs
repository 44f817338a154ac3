//! Restores hostile catalogs into a directory with a neighbour that must stay as it is.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use holdfast_repository::testing::MemoryStore;
use holdfast_repository::{
    Activity, BlobId, BlobKind, Environment, Purpose, Repository, Scratch, SecretBytes, SnapshotDraft, SnapshotId, SourceRecord,
};
use tokio::runtime::Runtime;

use super::hostile_catalog::{Choices, Surroundings, catalog};
use crate::pattern::PatternSet;
use crate::progress::Progress;
use crate::restore::{RestoreError, RestoreLimits, RestoreReport, RestoreRequest, Stored, Target};
use crate::stop::StopToken;

/// Inputs in one repository: its index would grow.
const TRIALS_PER_REPOSITORY: u32 = 200;
/// No restore of so few bytes takes longer, whatever they say.
const TIME_MAX: Duration = Duration::from_secs(30);
/// What a restore here is given.
pub const MEMORY_BYTES: usize = 32 << 20;
const DATA: &[u8] = b"what an honest file would hold\n";

/// A place for trials: `canary` must stay as it is, `target` is restored into.
pub struct RestoreTrial {
    place: PathBuf,
    runtime: Runtime,
    repository: Repository,
    trials: u32,
    is_small_target: bool,
}

impl std::fmt::Debug for RestoreTrial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RestoreTrial({})", self.place.display())
    }
}

/// Everything below a directory that a write could change, by path; the target left out.
type State = BTreeMap<PathBuf, (u64, u32, u32, u32, u64, u64, i64, i64, i64, i64)>;

fn state(directory: &Path, except: &Path, state: &mut State) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path == except {
            continue;
        }
        let data = path.symlink_metadata().unwrap();
        let value = (data.ino(), data.mode(), data.uid(), data.gid(), data.size(), data.nlink(), data.mtime(), data.mtime_nsec(), data.ctime(), data.ctime_nsec());
        if data.is_dir() {
            self::state(&path, except, state);
        }
        state.insert(path, value);
    }
}

impl RestoreTrial {
    /// In an empty directory. `is_small_target`: `target` lies there already, on a file system that may be filled.
    pub fn new(place: &Path, is_small_target: bool) -> Self {
        std::fs::create_dir_all(place.join("canary/directory")).unwrap();
        std::fs::write(place.join("canary/file"), "stays").unwrap();
        std::fs::write(place.join("canary/directory/a"), "stays").unwrap();
        std::fs::create_dir_all(place.join("target")).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let repository = runtime.block_on(repository());
        Self { place: place.to_owned(), runtime, repository, trials: 0, is_small_target }
    }

    /// Makes a catalog of the input, restores it, and panics if anything but the target has changed, or it took too long.
    /// Whether all of it was restored.
    pub fn run(&mut self, input: &[u8]) -> bool {
        self.trials += 1;
        if self.trials.is_multiple_of(TRIALS_PER_REPOSITORY) {
            self.repository = self.runtime.block_on(repository());
        }
        let mut choices = Choices::new(input);
        self.furnish(&mut choices);
        let before = self.state();
        let device_nodes = choices.one_in(2);
        let snapshot = self.commit(&mut choices);
        let outcome = self.restore(snapshot, device_nodes);
        assert_eq!(self.state(), before, "something outside the target was changed ({outcome:?})");
        if let Ok(report) = &outcome {
            assert!(report.is_complete() || !report.issues.is_empty(), "what failed is named: {report:?}");
        }
        outcome.is_ok_and(|report| report.is_complete())
    }

    fn state(&self) -> State {
        let mut found = State::new();
        state(&self.place, &self.place.join("target"), &mut found);
        found
    }

    /// What stands in the target before: nothing, or what an earlier hostile restore may have left.
    fn furnish(&self, choices: &mut Choices<'_>) {
        let target = self.place.join("target");
        clear(&target);
        if choices.one_in(3) {
            std::os::unix::fs::symlink(self.place.join("canary"), target.join("link")).unwrap();
            std::os::unix::fs::symlink("../canary/file", target.join("a")).unwrap();
            std::fs::write(target.join("old"), "old").unwrap();
            std::fs::create_dir(target.join("d")).unwrap();
            std::os::unix::fs::symlink("../../canary", target.join("d/a")).unwrap();
        }
    }

    fn commit(&self, choices: &mut Choices<'_>) -> SnapshotId {
        let writer = self.runtime.block_on(self.repository.begin(Purpose::new(Activity::Backup, "enemy"))).unwrap();
        let mut scratch = Scratch::new();
        let mut refs = BTreeMap::new();
        let mut store = |kind: BlobKind, raw: &[u8]| -> BlobId {
            let id = writer.blob_id(kind, raw);
            writer.add(kind, id, raw, None, &mut scratch).unwrap();
            refs.insert(id, raw.len() as u64);
            id
        };
        let data = (store(BlobKind::Data, DATA), DATA.len() as u32);
        let outside = self.place.join("canary");
        let surroundings = Surroundings { data, outside: outside.as_os_str().as_encoded_bytes(), is_small_target: self.is_small_target };
        let root = catalog(choices, &surroundings, &mut store);
        let source = SourceRecord { path: b"/data".to_vec(), catalog: Some(root), ..SourceRecord::default() };
        let draft = SnapshotDraft { sources: vec![source], ..SnapshotDraft::default() };
        self.runtime.block_on(writer.commit(draft, || refs.iter().map(|(id, bytes)| (*id, *bytes)))).unwrap()
    }

    fn restore(&self, snapshot: SnapshotId, device_nodes: bool) -> Result<RestoreReport, RestoreError> {
        let stored = Stored { snapshot, host: "host".into(), session: String::new(), component: String::new() };
        let request = RestoreRequest {
            targets: vec![Target { snapshot_path: b"/data".to_vec(), root: open(&self.place.join("target")) }],
            include: PatternSet::default(),
            exclude: PatternSet::default(),
            may_write: Arc::new(|| true),
            device_nodes,
            rules: Default::default(),
            sync: false,
            limits: RestoreLimits { memory_bytes: MEMORY_BYTES, threads: 2 },
            observer: None,
        };
        let (progress, stop) = (Arc::new(Progress::default()), StopToken::new());
        let restore = crate::restore::run(&self.repository, &stored, request, &progress, &stop);
        let outcome = self.runtime.block_on(async { tokio::time::timeout(TIME_MAX, restore).await });
        outcome.expect("a restore of a few bytes that does not end")
    }
}

/// Removes what a restore has left, also where it has taken its own user's right to do so.
fn clear(directory: &Path) {
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700)).unwrap();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.symlink_metadata().unwrap().is_dir() {
            clear(&path);
            std::fs::remove_dir(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
}

async fn repository() -> Repository {
    let password = SecretBytes::new(b"password".to_vec());
    Repository::init(Arc::new(MemoryStore::new()), &password, Environment::system()).await.unwrap().repository
}

fn open(directory: &Path) -> OwnedFd {
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open(directory, flags, rustix::fs::Mode::empty()).unwrap()
}

/// Inputs that lead somewhere.
pub fn examples() -> Vec<(&'static str, Vec<u8>)> {
    let mut mutation = holdfast_repository::testing::Mutator::new(7);
    (0..8).map(|_| ("restore", mutation.bytes(400))).collect()
}
