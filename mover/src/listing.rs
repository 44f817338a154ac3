//! What a snapshot holds, path by path.

use std::sync::Arc;

use holdfast_repository::{BlobId, Reader, SnapshotRecord};

use crate::catalog::{CatalogError, CatalogReader, Entry, RelPath};

/// A listed entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The source's path in the snapshot.
    pub source: Vec<u8>,
    /// The entry; its path is below the source's.
    pub entry: Entry,
}

impl Listed {
    /// The entry's path as the snapshot's user knows it.
    pub fn path(&self) -> Vec<u8> {
        join(&self.source, &self.entry.path)
    }
}

/// A path below a source's as the snapshot's user knows it.
pub(crate) fn join(source: &[u8], below: &RelPath) -> Vec<u8> {
    let mut path = source.to_vec();
    if !below.is_root() {
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        path.extend_from_slice(below.as_bytes());
    }
    path
}

/// Why nothing (more) is listed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ListError {
    /// Nothing of that path is in the snapshot.
    #[error("the snapshot has no {0}")]
    NoSuchPath(String),
    /// The catalog cannot be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// The entries of a snapshot, or of a path in it, in the order of path components.
pub struct Listing {
    reader: Reader,
    parts: std::vec::IntoIter<Part>,
    current: Option<(Part, CatalogReader)>,
    recursive: bool,
    path: Option<String>,
    found: bool,
}

struct Part {
    source: Vec<u8>,
    catalog: BlobId,
    within: RelPath,
}

/// Lists `path` (all sources if none), and what is below it; without `recursive` only what is directly there.
pub fn list(reader: &Reader, record: &SnapshotRecord, path: Option<&[u8]>, recursive: bool) -> Listing {
    let parts: Vec<Part> = record
        .sources
        .iter()
        .filter_map(|source| {
            let within = match path {
                None => RelPath::root(),
                Some(path) => path_within(&source.path, path)?,
            };
            Some(Part { source: source.path.clone(), catalog: source.catalog?, within })
        })
        .collect();
    Listing {
        reader: reader.clone(),
        parts: parts.into_iter(),
        current: None,
        recursive,
        path: path.map(|path| path.escape_ascii().to_string()),
        found: false,
    }
}

/// Where `path` is in a source: itself if the source is at or below it.
fn path_within(source: &[u8], path: &[u8]) -> Option<RelPath> {
    let names = |path: &[u8]| path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (source, path) = (names(source), names(path));
    match path.strip_prefix(source.as_slice()) {
        Some(rest) => RelPath::parse(&rest.join(&b'/')).ok(),
        None => source.starts_with(&path).then(RelPath::root),
    }
}

impl Listing {
    /// The next entry; none at the end.
    pub async fn next(&mut self) -> Result<Option<Listed>, ListError> {
        loop {
            let Some((part, catalog)) = &mut self.current else {
                let Some(part) = self.parts.next() else {
                    return self.end();
                };
                let mut catalog = CatalogReader::new(Arc::new(self.reader.clone()), part.catalog);
                if !part.within.is_root() {
                    catalog.seek(&part.within).await?;
                }
                self.current = Some((part, catalog));
                continue;
            };
            match catalog.next().await?.filter(|entry| entry.path.is_within(&part.within)) {
                Some(entry) => {
                    self.found = true;
                    if self.recursive || is_at(&part.within, &entry.path) {
                        return Ok(Some(Listed { source: part.source.clone(), entry }));
                    }
                }
                None => self.current = None,
            }
        }
    }

    fn end(&mut self) -> Result<Option<Listed>, ListError> {
        match self.path.take().filter(|_| !self.found) {
            Some(path) => Err(ListError::NoSuchPath(path)),
            None => Ok(None),
        }
    }
}

fn is_at(directory: &RelPath, path: &RelPath) -> bool {
    path == directory || path.parent().is_some_and(|parent| parent == *directory)
}
