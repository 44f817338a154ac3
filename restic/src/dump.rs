//! One file of a snapshot as a stream: also those that no directory was backed up around, such as a database's dump.

use std::io::Write;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use holdfast_mover::restore::RestoreError;
use holdfast_repository::{BLOB_RAW_BYTES_MAX, ReadError};

use crate::content;
use crate::source::SnapshotSource;

/// Blobs that are read ahead.
const BLOBS_AHEAD: usize = 4;

/// Why a file was not written (to its end).
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// It cannot be found.
    #[error(transparent)]
    Find(#[from] RestoreError),
    /// Only files have content.
    #[error("{path} is no file; only files can be dumped")]
    NotAFile {
        /// What was asked for.
        path: String,
    },
    /// A part of its content cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Its content is not as long as its directory says.
    #[error("the content of {path} is not as long as it is said to be")]
    Length {
        /// The file.
        path: String,
    },
    /// Nobody takes it.
    #[error("could not write it: {0}")]
    Output(#[source] std::io::Error),
}

impl SnapshotSource {
    /// Writes the file at `path` of the first part's snapshot to `output`. Its bytes. After an error what was written is not whole.
    pub async fn dump(&self, path: &str, mut output: impl Write) -> Result<u64, DumpError> {
        let shown = || path.escape_debug().to_string();
        let file = self.find_file(path.as_bytes()).await?.filter(|found| found.entry.kind.is_file());
        let file = file.ok_or_else(|| DumpError::NotAFile { path: shown() })?;
        let here = &self.content;
        let read = |id| async move { content::read(&here.objects, &here.cipher, &here.index, &id, BLOB_RAW_BYTES_MAX).await };
        let mut blobs = stream::iter(file.content.into_iter().map(read)).buffered(BLOBS_AHEAD);
        let mut written = 0;
        while let Some(raw) = blobs.try_next().await? {
            output.write_all(&raw).map_err(DumpError::Output)?;
            written += raw.len() as u64;
        }
        output.flush().map_err(DumpError::Output)?;
        if written == file.entry.size { Ok(written) } else { Err(DumpError::Length { path: shown() }) }
    }
}
