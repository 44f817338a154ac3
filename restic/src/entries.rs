//! A walk through the trees, directory by directory, in the order of path components.
//!
//! On the way down each directory's list is in memory, all of them together within a limit. What cannot be read is named, and the rest
//! goes on; what no restic wrote ends the restore.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use holdfast_mover::catalog::{CatalogError, Entry, Extent, RelPath};
use holdfast_mover::restore::source::{self, Extents, Step};
use holdfast_repository::{BlobId, ReadError};

use crate::archive::Content;
use crate::content;
use crate::index::TREE_BYTES_MAX;
use crate::node::{Found, Taken, What};
use crate::tree::Tree;

/// A run of zeros is cut into these by restic's chunker, whatever wrote it: what it held as holes comes back as holes.
const ZERO_BYTES: usize = 512 << 10;
/// What is remembered of files that have several names.
const LINKS_BYTES_MAX: usize = 16 << 20;
/// Of one of them, beside its path.
const LINK_BYTES: usize = 160;
/// Of one directory on the way down, beside its list.
const LEVEL_BYTES: usize = 256;

/// A directory on the way down.
struct Level {
    path: RelPath,
    blob: BlobId,
    tree: Tree,
}

/// What makes two names one file: the inode as it was, and the content, in case the inode was another's a moment later.
#[derive(PartialEq, Eq, Hash)]
struct Identity {
    device_id: u64,
    inode: u64,
    size: u64,
    mtime: (i64, u32),
}

struct First {
    path: RelPath,
    names_left: u64,
}

/// Stands before the next entry.
pub(crate) struct Entries {
    content: Arc<Content>,
    /// The directory that all is below.
    root: BlobId,
    levels: Vec<Level>,
    /// The directory that was given last: its list is read when the next entry is asked for.
    inside: Option<(RelPath, BlobId)>,
    ready: VecDeque<Step>,
    links: HashMap<Identity, First>,
    links_bytes: usize,
    trees_bytes: usize,
    trees_bytes_max: usize,
    zero: BlobId,
}

impl Entries {
    /// What is in a tree that is nobody's entry.
    pub(crate) fn in_tree(content: Arc<Content>, tree: BlobId, trees_bytes_max: usize) -> Self {
        Self {
            content,
            root: tree,
            levels: Vec::new(),
            inside: Some((RelPath::root(), tree)),
            ready: VecDeque::new(),
            links: HashMap::new(),
            links_bytes: 0,
            trees_bytes: 0,
            trees_bytes_max,
            zero: BlobId(crate::id::hash(&vec![0; ZERO_BYTES])),
        }
    }

    /// A directory, and what is in it.
    pub(crate) fn below(content: Arc<Content>, directory: Taken, trees_bytes_max: usize) -> Self {
        let mut entries = Self::in_tree(content, directory.subtree.unwrap_or(BlobId([0; 32])), trees_bytes_max);
        entries.ready.push_back(Step::Entry(directory.entry));
        entries
    }

    /// Reads the list of the directory that was given last.
    async fn go_inside(&mut self, path: RelPath, blob: BlobId) -> Result<(), CatalogError> {
        let room = self.trees_bytes_max.saturating_sub(self.trees_bytes);
        match read_tree(&self.content, &blob, room).await {
            Ok(tree) => {
                self.trees_bytes += weight(&path, &tree);
                self.levels.push(Level { path, blob, tree });
                Ok(())
            }
            Err(error) if error.is_damage() => {
                self.ready.push_back(Step::Missing(path, format!("everything in it is lost: {error}")));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn take(&mut self, path: &RelPath, found: Found, blob: BlobId) -> Result<(), CatalogError> {
        let path = path.join(&found.name).map_err(|_| malformed(blob, "a name that no file can have"))?;
        let taken = match found.what {
            What::Entry(taken) => *taken,
            What::Unknown(why) => {
                self.ready.push_back(Step::Missing(path, why));
                return Ok(());
            }
        };
        if let Some(subtree) = taken.subtree {
            self.inside = Some((path.clone(), subtree));
        }
        let is_linked = taken.links > 1 && !taken.entry.kind.is_directory();
        let identity = is_linked.then(|| (identity(&taken), taken.links));
        let (mut entry, lost) = self.whole(taken, path);
        if let Some((identity, links)) = identity.filter(|_| lost.is_none()) {
            self.link(identity, links, &mut entry);
        }
        self.ready.push_back(match lost {
            Some(why) => Step::Lost(entry, why),
            None => Step::Entry(entry),
        });
        Ok(())
    }

    /// The entry with its content, or why it has none.
    fn whole(&self, taken: Taken, path: RelPath) -> (Entry, Option<String>) {
        let mut entry = Entry { path, ..taken.entry };
        let mut extents: Vec<Extent> = Vec::with_capacity(taken.content.len().min(1024));
        let mut bytes = 0_u64;
        for blob in taken.content {
            if blob == self.zero {
                bytes = bytes.saturating_add(ZERO_BYTES as u64);
                match extents.last_mut() {
                    Some(Extent::Hole { length }) => *length += ZERO_BYTES as u64,
                    _ => extents.push(Extent::Hole { length: ZERO_BYTES as u64 }),
                }
                continue;
            }
            let Some(place) = self.content.index.find_content(&blob) else {
                let hidden = if self.content.unreadable.is_empty() { "" } else { " that can be read" };
                return (entry, Some(format!("no index{hidden} lists blob {blob}")));
            };
            bytes = bytes.saturating_add(place.raw_bytes().into());
            extents.push(Extent::Blob { blob, offset: 0, length: place.raw_bytes() });
        }
        if bytes != entry.size {
            return (entry, Some("its content is not as long as it is said to be".into()));
        }
        entry.extents = extents;
        (entry, None)
    }

    /// Makes it another name of the file that it is one of, or the first.
    fn link(&mut self, identity: Identity, links: u64, entry: &mut Entry) {
        use std::collections::hash_map::Entry as Slot;
        match self.links.entry(identity) {
            Slot::Occupied(mut first) => {
                entry.link_to = Some(first.get().path.clone());
                entry.extents = Vec::new();
                first.get_mut().names_left -= 1;
                if first.get().names_left == 0 {
                    self.links_bytes -= LINK_BYTES + first.get().path.as_bytes().len();
                    first.remove();
                }
            }
            Slot::Vacant(slot) => {
                let bytes = LINK_BYTES + entry.path.as_bytes().len();
                if self.links_bytes + bytes > LINKS_BYTES_MAX {
                    let what = "its other names become files of their own: too many files have several names".to_owned();
                    self.ready.push_back(Step::Missing(entry.path.clone(), what));
                    return;
                }
                self.links_bytes += bytes;
                slot.insert(First { path: entry.path.clone(), names_left: links - 1 });
            }
        }
    }
}

fn identity(taken: &Taken) -> Identity {
    let entry = &taken.entry;
    Identity { device_id: taken.device_id, inode: entry.inode, size: entry.size, mtime: (entry.mtime.secs, entry.mtime.nanos) }
}

/// What a directory on the way down takes of the memory.
fn weight(path: &RelPath, tree: &Tree) -> usize {
    tree.bytes() + path.as_bytes().len() + LEVEL_BYTES
}

fn malformed(blob: BlobId, what: &'static str) -> CatalogError {
    CatalogError::Malformed { blob, what }
}

/// A directory's list, of at most so many bytes.
pub(crate) async fn read_tree(content: &Content, id: &BlobId, bytes_max: usize) -> Result<Tree, ReadError> {
    let raw = match content::read(&content.objects, &content.cipher, &content.index, id, bytes_max.min(TREE_BYTES_MAX)).await {
        Err(ReadError::NotFound { .. }) => return Err(crate::error::damaged(format!("tree {id}"), "no index that can be read lists it")),
        raw => raw?,
    };
    Tree::parse(raw).map_err(|reason| crate::error::damaged(format!("tree {id}"), reason))
}

#[async_trait]
impl source::Entries for Entries {
    async fn step(&mut self) -> Result<Option<Step>, CatalogError> {
        loop {
            if let Some(step) = self.ready.pop_front() {
                return Ok(Some(step));
            }
            if let Some((path, blob)) = self.inside.take() {
                self.go_inside(path, blob).await?;
                continue;
            }
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let blob = level.blob;
            match level.tree.next().map_err(|what| malformed(blob, what))? {
                Some(found) => {
                    let path = level.path.clone();
                    self.take(&path, found, blob)?;
                }
                None => {
                    self.trees_bytes -= weight(&level.path, &level.tree);
                    self.levels.pop();
                }
            }
        }
    }

    async fn entry_at(&self, path: &RelPath) -> Result<Option<Entry>, CatalogError> {
        let mut tree = self.root;
        let mut names = path.components().peekable();
        while let Some(name) = names.next() {
            let mut list = read_tree(&self.content, &tree, self.trees_bytes_max).await?;
            let taken = loop {
                match list.next().map_err(|what| malformed(tree, what))? {
                    Some(Found { name: found, what: What::Entry(taken) }) if found == name => break *taken,
                    Some(_) => {}
                    None => return Ok(None),
                }
            };
            if names.peek().is_none() {
                let (entry, lost) = self.whole(taken, path.clone());
                return match lost {
                    Some(why) => Err(ReadError::Damaged { object: path.to_string(), reason: why }.into()),
                    None => Ok(Some(entry)),
                };
            }
            let Some(subtree) = taken.subtree else { return Ok(None) };
            tree = subtree;
        }
        Ok(None)
    }

    fn extents(&self, entry: &mut Entry) -> Box<dyn Extents> {
        Box::new(Listed(std::mem::take(&mut entry.extents).into_iter()))
    }

    fn pass_over(&mut self, path: &RelPath) {
        self.inside.take_if(|(inside, _)| inside == path);
    }
}

struct Listed(std::vec::IntoIter<Extent>);

#[async_trait]
impl Extents for Listed {
    async fn next(&mut self) -> Result<Option<Extent>, CatalogError> {
        Ok(self.0.next())
    }
}
