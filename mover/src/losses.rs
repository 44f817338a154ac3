//! What of a snapshot cannot come back: the files that need blobs which are lost, and the parts whose names are lost too.

use std::sync::Arc;

use holdfast_repository::{BlobId, ReadError, Reader, SnapshotRecord};

use crate::catalog::{CatalogError, CatalogReader, Entry, Extent, Gap, Step};
use crate::listing::join;

/// Gaps that are named one by one.
const GAPS_MAX: usize = 16;

/// What is lost of one snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Files whose content is lost, in part or whole: their paths as the snapshot's user knows them, the first ones in order.
    pub files: Vec<Vec<u8>>,
    /// How many there are in all.
    pub files_count: u64,
    /// Bytes of these files.
    pub bytes: u64,
    /// Parts of which not even the names are left, in order; at most sixteen.
    pub unnamed: Vec<Unnamed>,
}

/// Entries whose names are lost with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unnamed {
    /// The first of them, or the source's path if it is not known.
    pub from: Vec<u8>,
    /// The first entry behind them that is there again.
    pub until: Option<Vec<u8>>,
}

impl Losses {
    /// Nothing is lost.
    pub fn is_none(&self) -> bool {
        self.files_count == 0 && self.unnamed.is_empty()
    }
}

/// Walks all of a snapshot's catalogs past what is damaged; an error is a store that does not answer.
pub async fn of_snapshot(reader: &Reader, record: &SnapshotRecord, is_lost: &(dyn Fn(&BlobId) -> bool + Sync), names_max: usize) -> Result<Losses, ReadError> {
    let mut losses = Losses::default();
    for source in &record.sources {
        let Some(root) = source.catalog else { continue };
        let mut catalog = CatalogReader::new(Arc::new(reader.clone()), root);
        while let Some(step) = catalog.step().await.map_err(store_error)? {
            match step {
                Step::Entry(entry) if loses(&catalog, &entry, is_lost).await? => {
                    losses.files_count += 1;
                    losses.bytes += entry.size;
                    if losses.files.len() < names_max {
                        losses.files.push(join(&source.path, &entry.path));
                    }
                }
                Step::Entry(_) => {}
                Step::Gap(gap) => losses.gap(&source.path, gap),
            }
        }
    }
    Ok(losses)
}

impl Losses {
    fn gap(&mut self, source: &[u8], gap: Gap) {
        if self.unnamed.len() < GAPS_MAX {
            let from = join(source, &gap.path());
            self.unnamed.push(Unnamed { from, until: gap.until.map(|path| join(source, &path)) });
        }
    }
}

async fn loses(catalog: &CatalogReader, entry: &Entry, is_lost: &(dyn Fn(&BlobId) -> bool + Sync)) -> Result<bool, ReadError> {
    if entry.extents.is_empty() && entry.extent_lists.is_empty() {
        return Ok(false);
    }
    let mut extents = catalog.extents(entry);
    loop {
        match extents.next().await {
            Ok(Some(Extent::Blob { blob, .. })) if is_lost(&blob) => return Ok(true),
            Ok(Some(_)) => {}
            Ok(None) => return Ok(false),
            Err(error) if error.is_damage() => return Ok(true),
            Err(error) => return Err(store_error(error)),
        }
    }
}

fn store_error(error: CatalogError) -> ReadError {
    match error {
        CatalogError::Read(error) => error,
        CatalogError::Malformed { blob, what } => ReadError::Damaged { object: format!("catalog blob {blob}"), reason: what.to_owned() },
    }
}
