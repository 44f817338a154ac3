//! One file of a snapshot as a stream: its content in order, holes as zeros.

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use holdfast_repository::{BlobId, BlobKind, BlobLocation, PackName, ReadError, Reader, Scratch, SnapshotRecord};
use tokio::sync::mpsc;

use crate::catalog::{CatalogError, CatalogReader, Entry, EntryKind, Extent, ExtentStream, RelPath};
use crate::listing::{self, ListError, Listed};

/// One request brings at most this much...
const PART_STORED_BYTES_MAX: u64 = 4 << 20;
/// ...and what is in it becomes about this much at most, or one blob.
const PART_RAW_BYTES_MAX: u64 = 8 << 20;
/// Unwanted bytes between two blobs that are read over.
const GAP_BYTES_MAX: u64 = 256 << 10;
/// Requests under way, and pieces that wait for the output.
const PARTS_AHEAD: usize = 3;
const CHUNKS_AHEAD: usize = 2;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Why a file was not written (to its end).
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// Nothing of that path, or the list cannot be read.
    #[error(transparent)]
    List(#[from] ListError),
    /// Only files have content.
    #[error("{path} is a {kind}; only a file can be dumped")]
    NotAFile {
        /// What was asked for.
        path: String,
        /// What it is.
        kind: &'static str,
    },
    /// The list of its extents cannot be read, or is no honest one.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Its content is not as long as the catalog says.
    #[error("the content of {path} is not as long as it is said to be")]
    Length {
        /// The file.
        path: String,
    },
    /// A part of its content cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Nobody takes it.
    #[error("could not write it: {0}")]
    Output(std::io::Error),
}

/// Writes the file at `path`, as `ls` prints it, to `output`. Its bytes. After an error what was written is not whole.
pub async fn dump(reader: &Reader, record: &SnapshotRecord, path: &[u8], output: impl Write + Send + 'static) -> Result<u64, DumpError> {
    let listed = find(reader, record, path).await?;
    let name = listed.path().escape_ascii().to_string();
    let content = with_content(reader, record, listed).await?;
    let kind = match content.kind {
        EntryKind::File => return write(reader, &content, name, output).await,
        EntryKind::Directory => "directory",
        EntryKind::Symlink { .. } => "symbolic link",
        EntryKind::Fifo => "pipe",
        EntryKind::Socket => "socket",
        EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } => "device node",
    };
    Err(DumpError::NotAFile { path: name, kind })
}

async fn find(reader: &Reader, record: &SnapshotRecord, path: &[u8]) -> Result<Listed, DumpError> {
    let wanted: Vec<u8> = if path.starts_with(b"/") { path.to_vec() } else { [b"/", path].concat() };
    let nothing = || ListError::NoSuchPath(path.escape_ascii().to_string());
    let mut listing = listing::list(reader, record, Some(&wanted), false);
    let found = listing.next().await?.ok_or_else(nothing)?;
    // A stream or a device is a source of one file, which is called as the source is.
    if found.entry.path.is_root()
        && let Some(inside) = listing.next().await?
        && inside.entry.path.name() == wanted.rsplit(|byte| *byte == b'/').next()
        && inside.entry.kind.is_file()
        && listing.next().await?.is_none()
    {
        return Ok(inside);
    }
    Ok(found)
}

/// The entry that has the content: that of the first name, if this is another.
async fn with_content(reader: &Reader, record: &SnapshotRecord, listed: Listed) -> Result<Entry, DumpError> {
    let Some(first) = &listed.entry.link_to else { return Ok(listed.entry) };
    let gone = || ListError::NoSuchPath(first.to_string());
    let catalog = record.sources.iter().find(|source| source.path == listed.source).and_then(|source| source.catalog).ok_or_else(gone)?;
    let entry = entry_at(reader, catalog, first).await?;
    Ok(entry.filter(|entry| entry.link_to.is_none()).ok_or_else(gone)?)
}

async fn entry_at(reader: &Reader, catalog: BlobId, path: &RelPath) -> Result<Option<Entry>, CatalogError> {
    let mut catalog = CatalogReader::new(Arc::new(reader.clone()), catalog);
    catalog.seek(path).await?;
    Ok(catalog.next().await?.filter(|entry| entry.path == *path))
}

async fn write(reader: &Reader, entry: &Entry, path: String, output: impl Write + Send + 'static) -> Result<u64, DumpError> {
    let (to_output, inbox) = mpsc::channel(CHUNKS_AHEAD);
    let writer = tokio::task::spawn_blocking(move || write_chunks(inbox, output));
    let read = read_all(reader, entry, &to_output).await;
    drop(to_output);
    let written = match writer.await {
        Ok(Ok(written)) => written,
        Ok(Err(error)) => return Err(DumpError::Output(error)),
        Err(error) => return Err(DumpError::Output(std::io::Error::other(error))),
    };
    read?;
    if written == entry.size { Ok(written) } else { Err(DumpError::Length { path }) }
}

async fn read_all(reader: &Reader, entry: &Entry, to_output: &mpsc::Sender<Chunk>) -> Result<(), DumpError> {
    let mut parts = Parts { reader, extents: ExtentStream::new(Arc::new(reader.clone()), entry), held: None };
    let mut ahead = FuturesOrdered::new();
    let mut at_end = false;
    loop {
        while !at_end && ahead.len() < PARTS_AHEAD {
            match parts.next().await? {
                Some(part) => ahead.push_back(read_part(reader, part)),
                None => at_end = true,
            }
        }
        let Some(chunks) = ahead.next().await else { return Ok(()) };
        for chunk in chunks? {
            if to_output.send(chunk).await.is_err() {
                // The output has failed, and says why.
                return Ok(());
            }
        }
    }
}

enum Chunk {
    Bytes(Bytes),
    Zeros(u64),
}

fn write_chunks(mut inbox: mpsc::Receiver<Chunk>, mut output: impl Write) -> std::io::Result<u64> {
    let mut written = 0;
    while let Some(chunk) = inbox.blocking_recv() {
        match chunk {
            Chunk::Bytes(bytes) => {
                output.write_all(&bytes)?;
                written += bytes.len() as u64;
            }
            Chunk::Zeros(mut left) => {
                written += left;
                while left > 0 {
                    let batch = &ZEROS[..usize::try_from(left).unwrap_or(ZEROS.len()).min(ZEROS.len())];
                    output.write_all(batch)?;
                    left -= batch.len() as u64;
                }
            }
        }
    }
    output.flush()?;
    Ok(written)
}

/// What one request brings.
enum Part {
    Zeros(u64),
    /// In the order of the file; all in one range, or one blob that is nowhere in the index.
    Blobs { range: Option<(PackName, Range<u64>)>, wanted: Vec<Wanted> },
}

struct Wanted {
    blob: BlobId,
    location: Option<BlobLocation>,
    offset: u32,
    length: u32,
}

struct Parts<'a> {
    reader: &'a Reader,
    extents: ExtentStream,
    held: Option<Extent>,
}

impl Parts<'_> {
    async fn next(&mut self) -> Result<Option<Part>, DumpError> {
        let mut wanted: Vec<Wanted> = Vec::new();
        let mut range: Option<(PackName, Range<u64>)> = None;
        let mut raw_bytes = 0;
        loop {
            let extent = match self.held.take() {
                Some(extent) => extent,
                None => match self.extents.next().await? {
                    Some(extent) => extent,
                    None => break,
                },
            };
            match extent {
                Extent::Hole { length } | Extent::Zero { length } if wanted.is_empty() => return Ok(Some(Part::Zeros(length))),
                Extent::Blob { blob, offset, length } => {
                    let location = self.reader.locate(&blob);
                    let joined = match (&range, &location) {
                        (None, Some(location)) if wanted.is_empty() => Some((location.pack, location.range())),
                        (Some((pack, range)), Some(location)) if *pack == location.pack => joined(range, &location.range()).map(|range| (*pack, range)),
                        _ => None,
                    };
                    raw_bytes += location.map_or(0, |location| u64::from(location.raw_bytes));
                    let fits = joined.is_some() && raw_bytes <= PART_RAW_BYTES_MAX;
                    if fits || wanted.is_empty() {
                        range = joined;
                        wanted.push(Wanted { blob, location, offset, length });
                        if !fits {
                            break;
                        }
                        continue;
                    }
                }
                Extent::Hole { .. } | Extent::Zero { .. } => {}
            }
            self.held = Some(extent);
            break;
        }
        Ok((!wanted.is_empty()).then_some(Part::Blobs { range, wanted }))
    }
}

fn joined(range: &Range<u64>, next: &Range<u64>) -> Option<Range<u64>> {
    let joined = range.start..range.end.max(next.end);
    let is_near = range.start <= next.start && next.start <= range.end.saturating_add(GAP_BYTES_MAX);
    (is_near && joined.end - joined.start <= PART_STORED_BYTES_MAX).then_some(joined)
}

async fn read_part(reader: &Reader, part: Part) -> Result<Vec<Chunk>, DumpError> {
    let (range, wanted) = match part {
        Part::Zeros(length) => return Ok(vec![Chunk::Zeros(length)]),
        Part::Blobs { range, wanted } => (range, wanted),
    };
    let fetched = match range {
        Some((pack, range)) => match reader.fetch(pack, range).await {
            Ok(fetched) => Some(fetched),
            // Another copy may be good.
            Err(error) if error.is_damage() => None,
            Err(error) => return Err(error.into()),
        },
        None => None,
    };
    let mut chunks = Vec::with_capacity(wanted.len());
    let mut bad = wanted.into_iter();
    if let Some(fetched) = fetched {
        let (decoder, wanted) = (reader.clone(), std::mem::take(&mut bad).collect::<Vec<_>>());
        let decoded = tokio::task::spawn_blocking(move || {
            let mut scratch = Scratch::new();
            wanted.into_iter().map(|wanted| {
                let raw = wanted.location.and_then(|location| decoder.decode(&fetched, &wanted.blob, &location, &mut scratch).ok());
                let bytes = raw.and_then(|raw| piece(raw, &wanted)).map(Bytes::copy_from_slice);
                (wanted, bytes)
            }).collect::<Vec<_>>()
        });
        for (wanted, bytes) in decoded.await.map_err(|error| DumpError::Output(std::io::Error::other(error)))? {
            chunks.push(match bytes {
                Some(bytes) => Chunk::Bytes(bytes),
                None => Chunk::Bytes(rescue(reader, &wanted).await?),
            });
        }
    }
    for wanted in bad {
        chunks.push(Chunk::Bytes(rescue(reader, &wanted).await?));
    }
    Ok(chunks)
}

/// From any copy, and by a newer index.
async fn rescue(reader: &Reader, wanted: &Wanted) -> Result<Bytes, DumpError> {
    let raw = match reader.read_blob(BlobKind::Data, &wanted.blob).await {
        // An extent does not say of which kind its blob is; the id fits only one.
        Err(error) if error.is_damage() => reader.read_blob(BlobKind::Bundle, &wanted.blob).await?,
        raw => raw?,
    };
    let missing = || ReadError::NotFound { what: format!("bytes {} to {} of blob {}", wanted.offset, u64::from(wanted.offset) + u64::from(wanted.length), wanted.blob) };
    let bytes = piece(&raw, wanted).ok_or_else(missing)?;
    Ok(raw.slice_ref(bytes))
}

fn piece<'r>(raw: &'r [u8], wanted: &Wanted) -> Option<&'r [u8]> {
    let start = wanted.offset as usize;
    raw.get(start..start.checked_add(wanted.length as usize)?)
}
