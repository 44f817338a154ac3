//! Content to blobs: where large files are cut, what is zero, which small files are the same.

mod cutter;
mod duplicates;
mod pages;
mod stream;

pub use cutter::{Cutter, Looked};
pub(crate) use duplicates::{Duplicates, Place};
pub(crate) use pages::{SAMPLE_BYTES, has_pages, may_have_pages};
pub(crate) use stream::{ChunkStream, READ_BYTES, ZERO_BLOCK_BYTES, is_zero};
