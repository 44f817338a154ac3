//! A repository's objects, to be read. There is no way to write one from here.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use holdfast_repository::{ReadError, Store, StoreError};

use crate::error::damaged;

/// The store gives no more at once; longer ranges come in pieces.
const PIECE_BYTES_MAX: u64 = 32 << 20;
/// Names of one kind that are kept: more is no repository that anybody uses.
const NAMES_MAX: usize = 1_000_000;

#[derive(Clone, Debug)]
pub(crate) struct Objects(Arc<dyn Store>);

impl Objects {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self(store)
    }

    pub(crate) fn location(&self) -> String {
        self.0.location()
    }

    /// A whole object that is named by its content, verified; of at most 64 MiB.
    pub(crate) async fn named(&self, name: &str) -> Result<Bytes, ReadError> {
        let bytes = self.get(name).await?;
        let hash = crate::id::hash(&bytes);
        if name.rsplit('/').next().and_then(crate::id::parse) == Some(hash) { Ok(bytes) } else { Err(damaged(name, "its content is not that of its name")) }
    }

    pub(crate) async fn get(&self, name: &str) -> Result<Bytes, ReadError> {
        match self.0.get(name).await {
            // An object above the limit.
            Err(StoreError::Corrupt { object, reason }) => Err(damaged(object, reason)),
            read => Ok(read?),
        }
    }

    /// A range of an object. One that ends before is damaged.
    pub(crate) async fn range(&self, name: &str, range: Range<u64>) -> Result<Bytes, ReadError> {
        if range.end - range.start <= PIECE_BYTES_MAX {
            return self.piece(name, range).await;
        }
        let mut whole = BytesMut::with_capacity(usize::try_from(range.end - range.start).unwrap_or(0));
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start + PIECE_BYTES_MAX);
            whole.extend_from_slice(&self.piece(name, start..end).await?);
            start = end;
        }
        Ok(whole.freeze())
    }

    async fn piece(&self, name: &str, range: Range<u64>) -> Result<Bytes, ReadError> {
        let end = range.end;
        let error = match self.0.get_range(name, range).await {
            Ok(bytes) => return Ok(bytes),
            Err(error) => error,
        };
        match &error {
            StoreError::NotFound { .. } => Err(damaged(name, "it is missing")),
            error if error.is_ambiguous() => match self.0.head(name).await {
                Ok(bytes) if bytes < end => Err(damaged(name, format!("it has {bytes} bytes, and at least {end} by the index"))),
                _ => Err(error.clone().into()),
            },
            _ => Err(error.into()),
        }
    }

    /// The names below a folder that can be those of its objects, sorted.
    pub(crate) async fn names(&self, folder: &str) -> Result<Vec<String>, ReadError> {
        let mut names = Vec::new();
        let mut listed = self.0.list(folder, None);
        while let Some(entry) = listed.next().await {
            let name = entry?.name;
            if name.strip_prefix(folder).and_then(|name| name.strip_prefix('/')).and_then(crate::id::parse).is_none() {
                continue;
            }
            if names.len() == NAMES_MAX {
                return Err(damaged(folder, format!("it holds more than {NAMES_MAX} objects")));
            }
            names.push(name);
        }
        names.sort_unstable();
        Ok(names)
    }
}
