//! A snapshot, or parts of several, as the source of a restore.

use std::sync::Arc;

use async_trait::async_trait;
use holdfast_mover::restore::RestoreError;
use holdfast_mover::restore::source::{Archive, Source, Tree};
use holdfast_repository::BlobId;

use crate::archive::Content;
use crate::entries::{Entries, read_tree};
use crate::error::{OpenError, damaged};
use crate::node::{Taken, What};
use crate::repository::Repository;
use crate::snapshot::Snapshot;

/// Of the memory, what the index may take.
const INDEX_PART: (usize, usize) = (3, 4);
/// Lists of entries beside that: those of the directories on the way down, all together. As much as the memory, and this.
const TREES_BYTES_MIN: usize = 64 << 20;

/// One path, and the snapshot that has it: KubeStash takes one for each path.
#[derive(Clone, Debug)]
pub struct Part {
    /// The path, as it was backed up.
    pub path: String,
    /// The snapshot.
    pub snapshot: Snapshot,
}

/// What a restore reads.
pub struct SnapshotSource {
    pub(crate) content: Arc<Content>,
    parts: Vec<Part>,
    trees_bytes_max: usize,
}

impl SnapshotSource {
    /// Reads the index, within `memory_bytes`.
    pub async fn open(repository: &Repository, parts: Vec<Part>, memory_bytes: usize) -> Result<Self, OpenError> {
        let (index, unreadable) = repository.index(memory_bytes / INDEX_PART.1 * INDEX_PART.0).await?;
        let content = Content { objects: repository.objects.clone(), cipher: Arc::clone(&repository.cipher), index, unreadable };
        Ok(Self { content: Arc::new(content), parts, trees_bytes_max: memory_bytes.saturating_add(TREES_BYTES_MIN) })
    }

    /// What the index leaves of the memory for everything else.
    pub fn memory_left(&self, memory_bytes: usize) -> usize {
        memory_bytes.saturating_sub(self.content.index.bytes())
    }

    /// The directory at a path; none: that of the snapshot's own root, of which nothing was recorded.
    async fn find(&self, path: &[u8], part: &Part) -> Result<Option<Taken>, RestoreError> {
        let found = self.find_any(path, part).await?;
        match found {
            Some(taken) if taken.subtree.is_none() => Err(RestoreError::BadCatalog {
                source_path: shown(path),
                path: ".".into(),
                reason: "it is no directory; only directories are restored into volumes",
            }),
            found => Ok(found),
        }
    }

    /// What is at a path of the first part's snapshot.
    pub(crate) async fn find_file(&self, path: &[u8]) -> Result<Option<Taken>, RestoreError> {
        match self.parts.first() {
            Some(part) => self.find_any(path, part).await,
            None => Ok(None),
        }
    }

    async fn find_any(&self, path: &[u8], part: &Part) -> Result<Option<Taken>, RestoreError> {
        let mut tree = Some(part.snapshot.tree);
        let mut found = None;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            let inside = tree.ok_or_else(|| no_such(path, part))?;
            let taken = self.child(inside, name).await?.ok_or_else(|| no_such(path, part))?;
            tree = taken.subtree;
            found = Some(taken);
        }
        Ok(found)
    }

    async fn child(&self, tree: BlobId, name: &[u8]) -> Result<Option<Taken>, RestoreError> {
        let refused = |reason| RestoreError::Repository(damaged(format!("tree {tree}"), reason));
        let mut entries = read_tree(&self.content, &tree, self.trees_bytes_max).await?;
        while let Some(found) = entries.next().map_err(refused)? {
            if found.name == name {
                return match found.what {
                    What::Entry(taken) => Ok(Some(*taken)),
                    What::Unknown(_) => Ok(None),
                };
            }
        }
        Ok(None)
    }
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn no_such(path: &[u8], part: &Part) -> RestoreError {
    RestoreError::NoSuchSource { wanted: shown(path), present: part.snapshot.paths.join(", ") }
}

#[async_trait]
impl Source for SnapshotSource {
    async fn tree(&self, path: &[u8]) -> Result<Tree, RestoreError> {
        let part = self.parts.iter().find(|part| part.path.as_bytes() == path).ok_or_else(|| RestoreError::NoSuchSource {
            wanted: shown(path),
            present: self.parts.iter().map(|part| part.path.as_str()).collect::<Vec<_>>().join(", "),
        })?;
        let found = self.find(path, part).await?;
        let is_all = part.snapshot.paths.len() == 1;
        let (files, bytes) = if is_all { (part.snapshot.files, part.snapshot.bytes) } else { (0, 0) };
        let has_root = found.is_some();
        let entries = match found {
            Some(taken) => Entries::below(Arc::clone(&self.content), taken, self.trees_bytes_max),
            None => Entries::in_tree(Arc::clone(&self.content), part.snapshot.tree, self.trees_bytes_max),
        };
        Ok(Tree { entries: Box::new(entries), has_root, files, bytes })
    }

    fn archive(&self) -> Arc<dyn Archive> {
        Arc::clone(&self.content) as Arc<dyn Archive>
    }
}
