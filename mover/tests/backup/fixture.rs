//! A directory to back up, a repository beside it, and what is in its snapshots.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use holdfast_mover::backup::{BackupError, BackupReport, BackupRequest, ChangeRule, Limits, Parent, Source, run};
use holdfast_mover::catalog::{CatalogReader, Entry, Extent, ExtentStream, RelPath};
use holdfast_mover::progress::Progress;
use holdfast_mover::stop::StopToken;
use holdfast_repository::{
    Activity, BlobId, BlobKind, Environment, Purpose, Reader, Repository, SecretBytes, SnapshotId, Store, store,
};
use tempfile::TempDir;

pub(crate) struct Fixture {
    pub(crate) source: TempDir,
    pub(crate) store_directory: TempDir,
    pub(crate) repository: Repository,
    runtime: tokio::runtime::Runtime,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with_store(|store| store)
    }

    pub(crate) fn with_store(wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let store_directory = TempDir::new().unwrap();
        let store = wrap(store::local(store_directory.path()).unwrap());
        let password = SecretBytes::new(b"password".to_vec());
        let init = runtime.block_on(Repository::init(store, &password, Environment::system())).unwrap();
        Self { source: TempDir::new().unwrap(), store_directory, repository: init.repository, runtime }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.source.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Long enough that nothing written before counts as unsettled.
    pub(crate) fn settle(&self) {
        std::thread::sleep(Duration::from_millis(150));
    }

    pub(crate) fn request(&self) -> BackupRequest {
        BackupRequest {
            sources: vec![source(self.source.path())],
            host: "host".into(),
            session: String::new(),
            component: String::new(),
            is_excluded: None,
            parent: Parent::Auto,
            limits: Limits { cpus: 2, ..Limits::default() },
            extensions: Default::default(),
            on_unreadable: None,
            on_released: None,
        }
    }

    pub(crate) fn try_run(&self, request: BackupRequest, stop: StopToken) -> Result<BackupReport, BackupError> {
        self.runtime.block_on(run(&self.repository, request, Arc::new(Progress::default()), stop))
    }

    pub(crate) fn backup(&self) -> BackupReport {
        self.try_run(self.request(), StopToken::new()).unwrap()
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    pub(crate) fn snapshot(&self, id: SnapshotId) -> Contents {
        self.block_on(async {
            let reader = self.repository.reader(Purpose::new(Activity::Browse, "host")).await.unwrap();
            let record = reader.snapshot(&id).await.unwrap();
            let mut contents = Contents { entries: Vec::new(), reader: Arc::new(reader) };
            for source in &record.sources {
                let mut catalog = CatalogReader::new(contents.reader.clone(), source.catalog.unwrap());
                while let Some(entry) = catalog.next().await.unwrap() {
                    contents.entries.push(entry);
                }
            }
            contents
        })
    }

    /// The content of a file as the snapshot has it.
    pub(crate) fn content(&self, contents: &Contents, entry: &Entry) -> Vec<u8> {
        self.block_on(async {
            let mut extents = ExtentStream::new(contents.reader.clone(), entry);
            let (mut bytes, mut last) = (Vec::new(), None);
            while let Some(extent) = extents.next().await.unwrap() {
                match extent {
                    Extent::Hole { length } | Extent::Zero { length } => bytes.resize(bytes.len() + length as usize, 0),
                    Extent::Blob { blob, offset, length } => {
                        if last.as_ref().is_none_or(|(id, _)| *id != blob) {
                            last = Some((blob, read_content(&contents.reader, &blob).await));
                        }
                        let raw = &last.as_ref().unwrap().1;
                        bytes.extend_from_slice(&raw[offset as usize..][..length as usize]);
                    }
                }
            }
            assert_eq!(bytes.len() as u64, entry.size, "{}", entry.path);
            bytes
        })
    }

    /// Compares every regular file's content with the directory's.
    pub(crate) fn assert_same_files(&self, id: SnapshotId) {
        let contents = self.snapshot(id);
        let mut files = 0;
        for entry in contents.entries.iter().filter(|entry| entry.kind.is_file() && entry.link_to.is_none()) {
            let path = self.source.path().join(std::ffi::OsStr::from_bytes(entry.path.as_bytes()));
            assert!(self.content(&contents, entry) == std::fs::read(&path).unwrap(), "{}", entry.path);
            files += 1;
        }
        assert!(files > 0);
    }
}

/// An extent does not say which kind of blob it names; its id does, since each kind hashes under its own key.
async fn read_content(reader: &Reader, id: &BlobId) -> Vec<u8> {
    match reader.read_blob(BlobKind::Data, id).await {
        Ok(raw) => raw.to_vec(),
        Err(_) => reader.read_blob(BlobKind::Bundle, id).await.unwrap().to_vec(),
    }
}

pub(crate) struct Contents {
    pub(crate) entries: Vec<Entry>,
    reader: Arc<Reader>,
}

impl Contents {
    pub(crate) fn reader(&self) -> Arc<Reader> {
        Arc::clone(&self.reader)
    }

    pub(crate) fn paths(&self) -> Vec<String> {
        self.entries.iter().map(|entry| entry.path.to_string()).collect()
    }

    pub(crate) fn entry(&self, path: &[u8]) -> &Entry {
        let path = RelPath::parse(path).unwrap();
        self.entries.iter().find(|entry| entry.path == path).unwrap_or_else(|| panic!("{path} is not in the snapshot"))
    }
}

pub(crate) fn source(path: &Path) -> Source {
    Source {
        root: File::open(path).unwrap().into(),
        path: path.as_os_str().as_bytes().to_vec(),
        pvc_uid: String::new(),
        path_in_volume: Vec::new(),
        change_rule: ChangeRule::Full,
        look_again: None,
    }
}

/// Bytes that neither compress nor repeat.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
